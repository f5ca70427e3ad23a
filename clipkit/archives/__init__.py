"""Pictures in archives: WebDataset's tar files, and Parquet files with a column of image bytes.

    /data/shard.tar#cats/0001.jpg    a member of a tar; 0001.txt and 0001.json beside it speak of it
    /data/photos.parquet#17          a row, counted from 0; its other columns speak of it

These are the ids and the URIs of such pictures. Archives are read where they lie: nothing is unpacked, and
what is in memory at once does not grow with them, but for the names of a tar's members.
"""

from __future__ import annotations

from clipkit.archives.members import Archive, Member
from clipkit.archives.tables import open_table, read_row
from clipkit.archives.tars import open_tar, read_entry
from clipkit.folders import FoundFile, id_to_path

__all__ = ["Archive", "Member", "open_archive", "read_member"]


def open_archive(file: FoundFile) -> Archive:
    """What is in an archive. Raises ImageError if it is no archive, or of another kind than its suffix says,
    and OSError if it cannot be read."""
    return open_tar(file) if file.id.lower().endswith(".tar") else open_table(file)


def read_member(archive_id: str, name: str) -> bytes:
    """The bytes of one picture in an archive. Raises ImageError if it is not there, or OSError."""
    path = id_to_path(archive_id)
    return read_entry(path, name) if archive_id.lower().endswith(".tar") else read_row(path, name)

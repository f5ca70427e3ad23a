"""Parquet files with a column of image bytes, as Hugging Face's datasets write them: a row a picture."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipkit.archives.members import Archive, Member
from clipkit.descriptions import Broken, Description, Said, described_by
from clipkit.errors import ImageError
from clipkit.folders import FoundFile
from clipkit.labelled.parquet import IMAGES, class_names, is_image, picture_bytes

_AT_ONCE = 16  # rows read together; their bytes are held
_TEXTS_AT_ONCE = 1024


def open_table(file: FoundFile) -> Archive:
    """What a Parquet file holds: no pictures if it has no column of them."""
    status = os.stat(file.path)
    file = replace(file, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    with _as_image_error():
        table = pq.ParquetFile(file.path)
        image = _image_column(table.schema_arrow)
    rows = table.metadata.num_rows if image else 0
    return Archive(
        file=file,
        ids=[f"{file.id}#{number}" for number in range(rows)],
        members=partial(_members, file, image or ""),
        said=partial(_said, file, image or ""),
    )


def read_row(path: str, number: str) -> bytes:
    """The picture in one row. Raises ImageError if there is none."""
    status = os.stat(path)
    with _as_image_error():
        table = pq.ParquetFile(path)
        image = _image_column(table.schema_arrow)
        first = 0
        for group in range(table.metadata.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            if image and number.isdecimal() and first <= int(number) < first + count:
                column = _row_group(path, status.st_size, status.st_mtime_ns, group, image)
                return picture_bytes(column[int(number) - first].as_py())
            first += count
    raise ImageError("is no longer in its archive")


@lru_cache(maxsize=1)  # rows of one group are asked for one after the other
def _row_group(path: str, _size: int, _mtime_ns: int, group: int, image: str) -> pa.ChunkedArray:
    return pq.ParquetFile(path).read_row_group(group, columns=[image])[image]


@contextmanager
def _as_image_error() -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise ImageError(f"is not a whole Parquet file: {error}") from error


def _image_column(schema: pa.Schema) -> str | None:
    """The column of pictures: one of the usual names, or else the first that is built like one."""
    usual = [name for name in IMAGES if name in schema.names and is_image(schema.field(name).type)]
    built = [f.name for f in schema if pa.types.is_struct(f.type) and is_image(f.type)]
    return next(iter(usual + built), None)


def _members(file: FoundFile, image: str, but: Container[str]) -> Iterator[Member]:
    table = pq.ParquetFile(file.path)
    first = 0
    for group in range(table.metadata.num_row_groups):
        number, first = first, first + table.metadata.row_group(group).num_rows
        wanted = {at for at in range(number, first) if f"{file.id}#{at}" not in but}
        if not wanted:
            continue
        try:
            for batch in table.iter_batches(batch_size=_AT_ONCE, row_groups=[group], columns=[image]):
                for value in batch.column(0):
                    if number in wanted:
                        yield _member(file, number, value.as_py())
                    number += 1
        except (pa.ArrowException, OSError) as error:
            for lost in wanted & set(range(number, first)):
                yield Member(_own(file, lost, 0), partial(_raise, f"cannot be read: {error}"))


def _member(file: FoundFile, number: int, value: Any) -> Member:
    data = value.get("bytes") if isinstance(value, dict) else value
    return Member(_own(file, number, len(data or b"")), partial(picture_bytes, value))


def _own(file: FoundFile, number: int, size_bytes: int) -> FoundFile:
    return FoundFile(f"{file.id}#{number}", size_bytes, file.mtime_ns)


def _raise(reason: str) -> bytes:
    raise ImageError(reason)


def _said(file: FoundFile, image: str) -> Iterator[Said]:
    table = pq.ParquetFile(file.path)
    columns = [f.name for f in table.schema_arrow if f.name != image and not is_image(f.type)]
    names = {column: class_names(table.schema_arrow, column) for column in columns}
    number = 0
    try:
        for batch in table.iter_batches(batch_size=_TEXTS_AT_ONCE, columns=columns) if columns else ():
            for record in batch.to_pylist():
                named = {
                    column: names[column].get(value, (value,))[0] if isinstance(value, int) else value
                    for column, value in record.items()
                }
                captions, values = described_by(named)
                yield Description(f"{file.id}#{number}", captions, values, f"row {number}")
                number += 1
    except (pa.ArrowException, OSError) as error:
        yield Broken(f"row {number}", f"cannot be read, nor can those after it: {error}")

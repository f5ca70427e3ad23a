"""Files to what an encoder takes, as plain functions; and once more, years later.

They hold no state and touch no table, so that threads here, processes beside this one and partitions
elsewhere can run the same ones.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa

from clipkit import archives
from clipkit.archives import Member
from clipkit.encoder import Encoder, ImageInput, Pixels
from clipkit.errors import ImageError, MissingExtra
from clipkit.folders import FoundFile, id_to_path, member_of
from clipkit.images import (
    MAX_PIXELS,
    Picture,
    enough_for,
    open_image,
    read_picture,
)
from clipkit.jpegs import header_of
from clipkit.resizing import THUMBNAIL_EDGE, thumbnail
from clipkit.schema import ItemRow

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FILE_BYTES = 1 << 30  # beyond every camera; bounds what one file can take of memory


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file that was read: its row but for the vector, and what the encoder wants."""

    row: ItemRow
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Undecoded:
    """A JPEG that is to be decoded where the model runs: its row, and its bytes."""

    row: ItemRow
    data: bytes | memoryview
    orientation: int  # EXIF's 1..8

    def decoded(self, pixels: Pixels, thumbnail: bytes) -> Decoded:
        return Decoded(replace(self.row, thumbnail=thumbnail), pixels)


@dataclass(frozen=True, slots=True)
class Copy:
    """A file whose content the collection has already, under this or another id."""

    file: FoundFile
    content_hash: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be read. Unless `lasting`, it is tried again even if it does not change."""

    file: FoundFile
    reason: str
    lasting: bool


class Eye(Protocol):
    """The part of an encoder that reading takes: how pictures come to what the model sees."""

    @property
    def image_size(self) -> int: ...
    @property
    def upright(self) -> bool: ...
    def preprocess(self, image: Image) -> Pixels: ...


class KnownHashes:
    """The content hashes of a collection, 8 bytes each. A false hit is as rare as a 64-bit collision."""

    def __init__(self, hashes: pa.ChunkedArray) -> None:
        heads = (int(value[:16], 16) for value in hashes.to_pylist() if value)
        self._heads = np.sort(np.fromiter(heads, np.uint64))

    def __contains__(self, content_hash: str) -> bool:
        head = np.uint64(int(content_hash[:16], 16))
        at = int(np.searchsorted(self._heads, head))
        return at < len(self._heads) and bool(self._heads[at] == head)


def read_file(
    file: FoundFile, encoder: Callable[[], Eye], known: KnownHashes | None, max_pixels: int
) -> Decoded | Copy | Unreadable:
    """The file's picture, ready to encode; or that its content is `known`; or why it cannot be read.

    The file is read once. Its size and time are taken from the open file, so they belong to those bytes.
    `encoder` is called only for unknown content, and what it raises is passed on: that is not the file's.
    """
    found = _bytes_of(file)
    if isinstance(found, Unreadable):
        return found
    return _read_data(*found, encoder, known, max_pixels)


def read_undecoded(
    file: FoundFile, encoder: Callable[[], Eye], known: KnownHashes | None, max_pixels: int
) -> Undecoded | Decoded | Copy | Unreadable:
    """The same, but leaves JPEGs as they are if any decoder makes the same picture of them."""
    found = _bytes_of(file)
    if isinstance(found, Unreadable):
        return found
    file, data = found
    header = header_of(data, max_pixels=max_pixels)
    if header is None:
        return _read_data(file, data, encoder, known, max_pixels)
    content_hash = hashlib.sha256(data).hexdigest()
    if known is not None and content_hash in known:
        return Copy(file, content_hash)
    row = replace(picture_row(header.picture, file.id, thumbnail=None), **_origin(file, content_hash))
    return Undecoded(row, data, header.orientation)


def decode_left(left: Undecoded, encoder: Callable[[], Eye], max_pixels: int) -> Decoded | Unreadable:
    """What `read_file` would have made of the file."""
    row = left.row
    file = FoundFile(row.id, row.size_bytes or 0, row.mtime_ns or 0)
    read = _read_data(file, left.data, encoder, None, max_pixels)
    assert not isinstance(read, Copy)  # of what is known: and nothing is
    return read


def _bytes_of(file: FoundFile) -> tuple[FoundFile, bytes] | Unreadable:
    """What is in the file, with the size and time that belong to those bytes."""
    try:
        with open(file.path, "rb") as stream:
            before = os.fstat(stream.fileno())
            if before.st_size > MAX_FILE_BYTES:
                return Unreadable(file, f"is over the limit of {MAX_FILE_BYTES >> 20} MiB", lasting=True)
            data = stream.read(before.st_size + 1)
            after = os.fstat(stream.fileno())
    except OSError as error:
        return Unreadable(file, f"cannot be read: {error.strerror or error}", lasting=False)
    file = replace(file, size_bytes=before.st_size, mtime_ns=before.st_mtime_ns)
    if (after.st_size, after.st_mtime_ns) != (len(data), file.mtime_ns):
        return Unreadable(file, "changed while it was being read", lasting=False)
    return file, data


def read_member(
    member: Member, encoder: Callable[[], Encoder], known: KnownHashes | None, max_pixels: int
) -> Decoded | Copy | Unreadable:
    """The same for a picture in an archive."""
    try:
        data = member.read()
    except ImageError as error:
        return Unreadable(member.file, error.reason, lasting=True)
    except OSError as error:
        return Unreadable(member.file, f"cannot be read: {error.strerror or error}", lasting=False)
    return _read_data(member.file, data, encoder, known, max_pixels)


def reopen(uri: str) -> BinaryIO:
    """The image file behind an item's `uri` once more, a file of its own or in an archive, at its start.

    Raises ImageError if it is no longer there or cannot be read.
    """
    member = member_of(uri)
    try:
        if member is None:
            with open(id_to_path(uri), "rb") as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                raise ImageError(f"is over the limit of {MAX_FILE_BYTES >> 20} MiB")
        else:
            data = archives.read_member(*member)
    except FileNotFoundError as error:
        raise ImageError("does not exist") from error
    except OSError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
    return _named(data, uri)


def original(
    item: Mapping[str, Any], encoder: Encoder, reduce_to: int, *, max_pixels: int = MAX_PIXELS
) -> Image | None:
    """The picture of an item as it was when it was added, if its file or archive still has that.

    `item` has its uri and content_hash. It may be reduced, as in `read_picture`.
    """
    if item["uri"] is None:
        return None
    try:
        data = reopen(item["uri"])
        if hashlib.sha256(data.read()).hexdigest() != item["content_hash"]:
            return None
        data.seek(0)
        picture = read_picture(data, upright=encoder.upright, reduce_to=reduce_to, max_pixels=max_pixels)
    except (ImageError, MissingExtra):
        return None
    return picture.image


def _named(data: bytes | memoryview, identity: str) -> BinaryIO:
    """The bytes as a stream with a name: some raw formats are told by their suffix alone."""
    stream = io.BytesIO(data)
    stream.name = identity
    return stream


def _read_data(
    file: FoundFile,
    data: bytes | memoryview,
    encoder: Callable[[], Eye],
    known: KnownHashes | None,
    max_pixels: int,
) -> Decoded | Copy | Unreadable:
    content_hash = hashlib.sha256(data).hexdigest()
    if known is not None and content_hash in known:
        return Copy(file, content_hash)
    model = encoder()
    try:
        picture = read_picture(
            _named(data, file.id),
            upright=model.upright,
            reduce_to=size_needed(model),
            max_pixels=max_pixels,
        )
    except (ImageError, MissingExtra) as error:
        return Unreadable(file, str(error), lasting=isinstance(error, ImageError))
    row = picture_row(picture, file.id, thumbnail=thumbnail(picture.image))
    return Decoded(replace(row, **_origin(file, content_hash)), model.preprocess(picture.image))


def _origin(file: FoundFile, content_hash: str) -> dict[str, Any]:
    """The columns that tell where a picture is from."""
    return {
        "uri": file.id,
        "content_hash": content_hash,
        "size_bytes": file.size_bytes,
        "mtime_ns": file.mtime_ns,
    }


def decode_value(image: ImageInput, identity: str, encoder: Encoder, position: int) -> Decoded:
    """An image given as bytes, PIL image or array. Raises ImageError with its position."""
    try:
        if isinstance(image, bytes):
            picture = read_picture(image, upright=encoder.upright, reduce_to=size_needed(encoder))
        else:
            whole = open_image(image, upright=encoder.upright)
            picture = Picture(whole, *whole.size)
    except ImageError as error:
        raise ImageError(f"the image {error.reason}", position=position) from error
    row = picture_row(picture, identity, thumbnail=thumbnail(picture.image))
    if isinstance(image, bytes):
        row = replace(row, content_hash=hashlib.sha256(image).hexdigest(), size_bytes=len(image))
    return Decoded(row, encoder.preprocess(picture.image))


def size_needed(encoder: Eye) -> int:
    """The `reduce_to` that leaves enough of a picture for the encoder and for a thumbnail."""
    return max(encoder.image_size, enough_for(THUMBNAIL_EDGE))


def picture_row(picture: Picture, identity: str, *, thumbnail: bytes | None) -> ItemRow:
    """The row of a picture, with what its header says."""
    return ItemRow(
        id=identity,
        kind="image",
        width=picture.width,
        height=picture.height,
        taken_at=picture.taken_at,
        latitude=picture.latitude,
        longitude=picture.longitude,
        camera=picture.camera,
        thumbnail=thumbnail,
    )

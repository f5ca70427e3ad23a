"""The stages of indexing as plain functions: compare → read → (encode) → reuse; and reopen, years later.

They hold no state and touch no table, so that threads here and partitions elsewhere can run the same ones.
Encoding is `Encoder.encode_pixels`, writing is `Store.write`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipkit import archives
from clipkit.archives import Member
from clipkit.encoder import Encoder, ImageInput, Pixels
from clipkit.errors import ImageError, MissingExtra
from clipkit.folders import FoundFile, Walk, id_to_path, member_of
from clipkit.images import (
    MAX_PIXELS,
    THUMBNAIL_EDGE,
    Picture,
    enough_for,
    open_image,
    read_picture,
    thumbnail,
)
from clipkit.schema import BUILTIN_COLUMNS, ItemRow
from clipkit.stamps import is_vector_column

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FILE_BYTES = 1 << 30  # beyond every camera; bounds what one file can take of memory

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Changes:
    """How a walk differs from what the collection knows below its roots."""

    new: list[FoundFile]
    changed: list[FoundFile]
    unchanged: int
    failing: list[str]  # ids that could not be read before and have not changed since
    settled: list[str]  # ids that failed before and are to be tried again, or are gone
    missing: list[str]  # ids of items that the walk did not find
    known: int  # items below the roots


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file that was read: its row but for the vector, and what the encoder wants."""

    row: ItemRow
    pixels: Pixels


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


@dataclass(frozen=True, slots=True)
class Reused:
    """Rows that give copies the vector of their content; beside each table, which items they are from."""

    moved: pa.Table  # all columns: these are the same items under new ids
    moved_from: list[str]
    copied: pa.Table  # the built-in columns and all vectors: items of their own
    copied_from: list[str]
    unfound: list[Copy]  # the source has been deleted meanwhile


class KnownHashes:
    """The content hashes of a collection, 8 bytes each. A false hit is as rare as a 64-bit collision."""

    def __init__(self, hashes: pa.ChunkedArray) -> None:
        heads = (int(value[:16], 16) for value in hashes.to_pylist() if value)
        self._heads = np.sort(np.fromiter(heads, np.uint64))

    def __contains__(self, content_hash: str) -> bool:
        head = np.uint64(int(content_hash[:16], 16))
        at = int(np.searchsorted(self._heads, head))
        return at < len(self._heads) and bool(self._heads[at] == head)


def compare(walk: Walk, items: pa.Table, failures: pa.Table, *, retry: bool = False) -> Changes:
    """What has to be done, in one columnar pass.

    `items` and `failures` are what the collection knows below the roots, with id, size_bytes and mtime_ns.
    A file is unchanged if size and time are. `retry` gives failures another try even if they are.
    """
    ids, stats = _columns(walk.files)
    known, same = _lookup(ids, stats, items)
    _, failed_as_it_is = _lookup(ids, stats, failures)
    failing = failed_as_it_is & ~same & (not retry)
    todo = ~same & ~failing
    return Changes(
        new=_picked(walk.files, todo & ~known),
        changed=_picked(walk.files, todo & known),
        unchanged=int(same.sum()),
        failing=[file.id for file in _picked(walk.files, failing)],
        settled=_absent(failures["id"], pc.filter(ids, pa.array(failing))),
        missing=_absent(items["id"], ids),
        known=items.num_rows,
    )


def differing(files: Sequence[FoundFile], known: pa.Table) -> list[FoundFile]:
    """Those of `files` that are not known, or not with their size and time."""
    ids, stats = _columns(files)
    return _picked(files, ~_lookup(ids, stats, known)[1])


def read_file(
    file: FoundFile, encoder: Callable[[], Encoder], known: KnownHashes | None, max_pixels: int
) -> Decoded | Copy | Unreadable:
    """The file's picture, ready to encode; or that its content is `known`; or why it cannot be read.

    The file is read once. Its size and time are taken from the open file, so they belong to those bytes.
    `encoder` is called only for unknown content, and what it raises is passed on: that is not the file's.
    """
    try:
        with open(file.path, "rb") as stream:
            before = os.fstat(stream.fileno())
            data = stream.read(MAX_FILE_BYTES + 1)
            after = os.fstat(stream.fileno())
    except OSError as error:
        return Unreadable(file, f"cannot be read: {error.strerror or error}", lasting=False)
    file = replace(file, size_bytes=before.st_size, mtime_ns=before.st_mtime_ns)
    if len(data) > MAX_FILE_BYTES:
        return Unreadable(file, f"is over the limit of {MAX_FILE_BYTES >> 20} MiB", lasting=True)
    if (after.st_size, after.st_mtime_ns) != (len(data), file.mtime_ns):
        return Unreadable(file, "changed while it was being read", lasting=False)
    return _read_data(file, data, encoder, known, max_pixels)


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


def _named(data: bytes, identity: str) -> BinaryIO:
    """The bytes as a stream with a name: some raw formats are told by their suffix alone."""
    stream = io.BytesIO(data)
    stream.name = identity
    return stream


def _read_data(
    file: FoundFile,
    data: bytes,
    encoder: Callable[[], Encoder],
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
    row = picture_row(picture, file.id)
    row = replace(
        row, uri=file.id, content_hash=content_hash, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns
    )
    return Decoded(row, model.preprocess(picture.image))


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
    row = picture_row(picture, identity)
    if isinstance(image, bytes):
        row = replace(row, content_hash=hashlib.sha256(image).hexdigest(), size_bytes=len(image))
    return Decoded(row, encoder.preprocess(picture.image))


def size_needed(encoder: Encoder) -> int:
    """The `reduce_to` that leaves enough of a picture for the encoder and for a thumbnail."""
    return max(encoder.image_size, enough_for(THUMBNAIL_EDGE))


def picture_row(picture: Picture, identity: str) -> ItemRow:
    """The row of a picture, with what its header says and its thumbnail."""
    return ItemRow(
        id=identity,
        kind="image",
        width=picture.width,
        height=picture.height,
        taken_at=picture.taken_at,
        latitude=picture.latitude,
        longitude=picture.longitude,
        camera=picture.camera,
        thumbnail=thumbnail(picture.image),
    )


def reuse(copies: Sequence[Copy], sources: pa.Table, missing: set[str]) -> Reused:
    """Rows that give `copies` the vectors of `sources`, items of equal content.

    A source whose id is in `missing` has moved: its copy inherits the user's columns and captions too. A copy
    that has its own id among the sources was merely touched, and keeps them as well.
    """
    by_hash: dict[str, list[int]] = {}
    for position, content_hash in enumerate(sources["content_hash"].to_pylist()):
        by_hash.setdefault(content_hash, []).append(position)
    ids = sources["id"].to_pylist()
    moves: list[tuple[Copy, int]] = []
    others: list[tuple[Copy, int]] = []
    unfound: list[Copy] = []
    taken: set[str] = set()
    for copy in copies:
        candidates = by_hash.get(copy.content_hash, [])
        own = [at for at in candidates if ids[at] == copy.file.id]
        gone = [at for at in candidates if ids[at] in missing and ids[at] not in taken]
        if own or (candidates and not gone):
            others.append((copy, (own or candidates)[0]))
        elif gone:
            taken.add(ids[gone[0]])
            moves.append((copy, gone[0]))
        else:
            unfound.append(copy)
    shared = [f.name for f in sources.schema if f.name in BUILTIN_COLUMNS or is_vector_column(f)]
    copied_from = [ids[at] for _, at in others]
    return Reused(
        moved=_readdressed(moves, sources, sources.schema.names),
        moved_from=[ids[at] for _, at in moves],
        copied=_uncaptioned(_readdressed(others, sources, shared), copied_from),
        copied_from=copied_from,
        unfound=unfound,
    )


def _readdressed(pairs: list[tuple[Copy, int]], sources: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The rows that `pairs` point at, under the ids, sizes and times of their copies."""
    rows = sources.select(columns).take(pa.array([at for _, at in pairs], pa.int64()))
    files = [copy.file for copy, _ in pairs]
    for name, values in (
        ("id", [file.id for file in files]),
        ("uri", [file.id for file in files]),
        ("size_bytes", [file.size_bytes for file in files]),
        ("mtime_ns", [file.mtime_ns for file in files]),
    ):
        rows = _with_column(rows, name, values)
    return rows


def readdressed_captions(captions: pa.Table, moves: Mapping[str, str]) -> pa.Table:
    """The captions of images that moved, under their new ids; `moves` has these by the old ones."""
    images = captions["image_id"].to_pylist()
    ids = [
        moves[image] + id.removeprefix(image)
        for id, image in zip(captions["id"].to_pylist(), images, strict=True)
    ]
    moved = [moves[image] for image in images]
    rows = captions
    for name, values in (("id", ids), ("image_id", moved), ("uri", moved)):
        rows = _with_column(rows, name, values)
    return rows


def _uncaptioned(rows: pa.Table, sources: Sequence[str]) -> pa.Table:
    """The rows without the text of an item that is not their own: captions are one picture's."""
    own = zip(rows["id"].to_pylist(), sources, rows["text"].to_pylist(), strict=True)
    return _with_column(rows, "text", [text if id == source else None for id, source, text in own])


def _with_column(rows: pa.Table, name: str, values: Sequence[object]) -> pa.Table:
    at = rows.schema.get_field_index(name)
    field = rows.schema.field(at)
    return rows.set_column(at, field, pa.array(values, field.type))


def _columns(files: Sequence[FoundFile]) -> tuple[pa.Array, NDArray[np.int64]]:
    """(ids, sizes and times of shape (n, 2))"""
    stats = np.array([(file.size_bytes, file.mtime_ns) for file in files], np.int64).reshape(-1, 2)
    return pa.array([file.id for file in files], pa.string()), stats


def _lookup(ids: pa.Array, stats: NDArray[np.int64], table: pa.Table) -> tuple[Mask, Mask]:
    """Which `ids` are in `table`, and which of those with the same size and time; each of shape (n,)."""
    at = pc.index_in(ids, value_set=table["id"].combine_chunks())
    known = at.is_valid().to_numpy(zero_copy_only=False)
    same = known.copy()
    for column, found in (("size_bytes", stats[:, 0]), ("mtime_ns", stats[:, 1])):
        stored = table[column].combine_chunks().take(at).fill_null(-1).to_numpy(zero_copy_only=False)
        same &= stored == found
    return known, same


def _picked(files: Sequence[FoundFile], mask: Mask) -> list[FoundFile]:
    return [files[int(i)] for i in np.flatnonzero(mask)]


def _absent(ids: pa.ChunkedArray, among: pa.Array) -> list[str]:
    """Those of `ids` that are not `among` the others."""
    absent: list[str] = pc.filter(ids, pc.invert(pc.is_in(ids, value_set=among))).to_pylist()
    return absent

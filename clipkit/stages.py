"""The stages of indexing as plain functions: compare → (read → encode) → reuse.

They hold no state and touch no table, so that threads here and partitions elsewhere can run the same ones.
Reading is in `reading`, encoding is `Encoder.encode_pixels`, writing is `Store.write`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipkit.folders import FoundFile, Walk
from clipkit.reading import Copy
from clipkit.schema import BUILTIN_COLUMNS
from clipkit.stamps import is_vector_column

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
class Reused:
    """Rows that give copies the vector of their content; beside each table, which items they are from."""

    moved: pa.Table  # all columns: these are the same items under new ids
    moved_from: list[str]
    copied: pa.Table  # the built-in columns and all vectors: items of their own
    copied_from: list[str]
    unfound: list[Copy]  # the source has been deleted meanwhile


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

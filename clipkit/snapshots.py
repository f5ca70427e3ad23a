"""Snapshots: named versions of a collection, all its tables together."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipkit.errors import InvalidInput, did_you_mean
from clipkit.filters import id_in
from clipkit.lance import Table, snapshots
from clipkit.reports import Snapshot, SnapshotChanges
from clipkit.stamps import is_vector_column
from clipkit.store import Store

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
NOW = "now"  # stands for what the collection is at this moment
_OF_THE_FILE = ("size_bytes", "mtime_ns")  # a file that was touched is no other item


def take(store: Store, name: str) -> Snapshot:
    """The snapshot of what the collection is now. Raises InvalidInput for a name that is taken or unfit.

    The items go first: whatever is written meanwhile, they have their thumbnails.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in (NOW, "main"):
        raise InvalidInput(
            f"{name!r} cannot name a snapshot: it takes up to 100 letters, digits, '-' and '_', starts with "
            f"a letter or digit, and is not {NOW!r} or 'main'"
        )
    if name in _names(store):
        raise InvalidInput(f"there is a snapshot {name!r} already: delete it, or take another name")
    with snapshots.held(store.tables):
        for table in store.tables:
            if name in snapshots.names(table):  # of one that was interrupted
                snapshots.drop(table, name)
            snapshots.take(table, name)
    return next(found for found in listed(store) if found.name == name)


def listed(store: Store) -> list[Snapshot]:
    """All snapshots, the oldest first."""
    kept = ((name, snapshots.at(store.items, name)) for name in _names(store))
    found = [Snapshot(name, snapshots.taken_at(items), items.count()) for name, items in kept]
    return sorted(found, key=lambda each: (each.taken_at, each.name))


def restore(store: Store, name: str) -> str:
    """The name of a snapshot of what was there before; the collection is now as it was at `name`.

    Raises InvalidInput for a name that is not there. The items come last, so that all have their thumbnails.
    """
    _checked(store, name)
    undo = f"before-restore-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    take(store, undo)
    for table in reversed(store.tables):
        snapshots.restore(table, name)
    return undo


def delete(store: Store, name: str) -> None:
    """Give up a snapshot, and free its space. Raises InvalidInput for a name that is not there."""
    if not any(name in snapshots.names(table) for table in store.tables):
        _checked(store, name)
    for table in store.tables:
        if name in snapshots.names(table):
            snapshots.drop(table, name)
            table.optimize()


def changes(store: Store, before: str, after: str | None = None) -> SnapshotChanges:
    """What changed from one snapshot to another, or to now. Raises InvalidInput for one that is not there."""
    one, other = (_items(store, name) for name in (before, after or NOW))
    names = {f.name for table in (one, other) for f in table.schema if not is_vector_column(f)}
    columns = sorted(names - {"id", *_OF_THE_FILE})
    old, new = (_read(table, columns) for table in (one, other))
    in_old = pc.index_in(new["id"], value_set=old["id"].combine_chunks())
    known = pc.is_valid(in_old)
    there, here = old.take(in_old.drop_null()), new.filter(known)
    different = np.zeros(here.num_rows, bool)
    for column in columns:
        different |= _differ(there[column], here[column])
    unhashed = _images_without_hash(here, ~different)
    pictures = [_thumbnails(store, name, unhashed) for name in (before, after or NOW)]
    changed = [*pc.filter(here["id"], pa.array(different)).to_pylist()]
    changed += [identity for identity in unhashed if pictures[0].get(identity) != pictures[1].get(identity)]
    added = pc.filter(new["id"], pc.invert(known)).to_pylist()
    left = pc.is_in(old["id"], value_set=new["id"].combine_chunks())
    removed = pc.filter(old["id"], pc.invert(left)).to_pylist()
    return SnapshotChanges(*(tuple(sorted(ids)) for ids in (added, removed, changed)))


def _items(store: Store, name: str) -> Table:
    if name == NOW:
        return store.items
    _checked(store, name)
    return snapshots.at(store.items, name)


def _read(table: Table, columns: list[str]) -> pa.Table:
    """The id and these columns of all rows; null where the table has no such column."""
    there = table.schema.names
    rows = table.read(["id", *(name for name in columns if name in there)])
    for name in columns:
        if name not in there:
            rows = rows.append_column(name, pa.nulls(rows.num_rows))
    return rows


def _differ(old: pa.ChunkedArray, new: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Where two columns of equal length differ; a null is equal to a null, and NaN to NaN."""
    if pa.types.is_nested(new.type) or pa.types.is_null(old.type) or pa.types.is_null(new.type):
        pairs = zip(old.to_pylist(), new.to_pylist(), strict=True)
        return np.array([a != b for a, b in pairs], bool)
    unequal = pc.fill_null(pc.not_equal(old, new), False)
    if pa.types.is_floating(new.type):
        both_nan = pc.and_(pc.fill_null(pc.is_nan(old), False), pc.fill_null(pc.is_nan(new), False))
        unequal = pc.and_(unequal, pc.invert(both_nan))
    one_null = pc.xor(pc.is_null(old), pc.is_null(new))
    return np.asarray(pc.or_(unequal, one_null).to_numpy(), bool)


def _images_without_hash(items: pa.Table, among: NDArray[np.bool_]) -> list[str]:
    """The ids of the images that were handed over as pixels: whether they changed, their thumbnails tell."""
    unhashed = pc.and_(pc.equal(items["kind"], "image"), pc.is_null(items["content_hash"]))
    ids: list[str] = pc.filter(items["id"], pc.and_(unhashed, pa.array(among))).to_pylist()
    return ids


def _thumbnails(store: Store, name: str, ids: list[str]) -> dict[str, bytes]:
    table = store.thumbnails if name == NOW else snapshots.at(store.thumbnails, name)
    rows = table.read(["id", "jpeg"], id_in(ids))
    return dict(zip(rows["id"].to_pylist(), rows["jpeg"].to_pylist(), strict=True))


def _names(store: Store) -> set[str]:
    """The snapshots that all tables have; one that some lack was interrupted."""
    return set[str].intersection(*(snapshots.names(table) for table in store.tables))


def _checked(store: Store, name: str) -> None:
    there = _names(store)
    if name not in there:
        hint = did_you_mean(str(name), there) or "There is none yet: take one first."
        raise InvalidInput(f"there is no snapshot {name!r}. {hint}")

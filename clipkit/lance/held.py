"""The rows of a small table in memory, where a search takes a sixth of the time of Lance's scan.

What is found is what one version of the table has. Filters are Lance's to evaluate. It tells the rows that
pass by numbers that hold for one version only: if that is another by then, nothing is found here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipkit.encoder import Vectors
from clipkit.lance.table import Table

HELD_BYTES = 128 << 20  # 60,000 pictures with vectors of 512 dimensions
ROUNDING = 1e-6  # float32 takes less from a cosine: 2e-7 with 512 dimensions, 3e-7 with 4,096


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a version that have a vector: their numbers, (n,), vectors, (n, dim), and other columns."""

    version: int
    row_ids: NDArray[np.uint64]
    vectors: Vectors
    others: pa.Table


class HeldRows:
    """The rows with a unit vector in a column, read again once they change. Safe for several threads."""

    def __init__(self, table: Table, column: str, *, unless: Callable[[], bool] = lambda: False) -> None:
        self._table = table
        self._column = column
        self._unless = unless  # of a version: whether it is better searched otherwise
        self._version = -1  # the one that was asked for last
        self._read = False  # whether it was asked for more than once, and therefore read
        self._rows: _Rows | None = None
        self._reading = threading.Lock()

    def nearest(
        self, vector: NDArray[np.float32], k: int, *, where: str | None, columns: Sequence[str]
    ) -> pa.Table | None:
        """What `VectorColumn.nearest` gives, or None if nothing is held.

        That is so at the first search of a version, which may be the last, where there is too much or an
        index, and while the table is changing.
        """
        return self._table.patiently(lambda: self._nearest(vector, k, where, columns), where)

    def _nearest(
        self, vector: NDArray[np.float32], k: int, where: str | None, columns: Sequence[str]
    ) -> pa.Table | None:
        rows = self._newest()
        if rows is None or not set(columns) <= set(rows.others.column_names):
            return None
        scores = products(rows.vectors, vector)
        if where is None:
            places = np.arange(len(scores))
        else:
            places = np.flatnonzero(np.isin(rows.row_ids, self._passing(where)))
            if self._table.handle.version != rows.version:
                return None
        if k < len(places):  # and whatever may score as the last of them, once they are summed in float64
            scores = scores[places]
            places = places[scores >= np.partition(scores, -k)[-k] - ROUNDING]
        found = rows.others.select(list(columns)).take(places)
        return ordered(_with_scores(found, rows.vectors[places], vector)).slice(0, k)

    def _newest(self) -> _Rows | None:
        with self._reading:
            version = self._table.handle.version
            if version != self._version:
                self._version, self._read, self._rows = version, False, None
            elif not self._read:
                self._rows = self._all(version)
                self._read = True
            return self._rows

    def _all(self, version: int) -> _Rows | None:
        """All rows, if they are worth it, not too much, and still those of that version."""
        handle = self._table.handle
        schema = handle.schema
        if self._unless() or handle.count_rows() * schema.field(self._column).type.list_size * 4 > HELD_BYTES:
            return None
        others = [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
        batches, size = [], 0
        reader = handle.search().select(["_rowid", self._column, *others]).to_batches()
        for batch in reader:
            size += batch.nbytes
            if size > HELD_BYTES:
                return None
            batches.append(batch)
        if handle.version != version:
            return None
        stored = with_vectors(pa.Table.from_batches(batches, reader.schema), self._column).combine_chunks()
        return _Rows(
            version, stored["_rowid"].to_numpy(), array_of(stored, self._column), stored.select(others)
        )

    def _passing(self, where: str) -> NDArray[np.uint64]:
        passing = self._table.handle.search().where(f"({where})").select(["_rowid"]).to_arrow()
        ids: NDArray[np.uint64] = passing["_rowid"].to_numpy()
        return ids


def products(rows: Vectors, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product of each of `rows` (n, dim) with a vector (dim,), in one thread.

    NumPy's matrix product takes several, which spin for some 20 ms afterwards in wait for the next: a model
    on the same cores then takes five times as long.
    """
    summed: NDArray[np.float32] = np.einsum("nd,d->n", rows, vector)
    return summed


def with_vectors(rows: pa.Table, column: str) -> pa.Table:
    """Those of `rows` that have a vector there: while a collection changes its model, some may lack one."""
    return rows.filter(pc.is_valid(rows[column]))


def scored(rows: pa.Table, column: str, vector: NDArray[np.float32]) -> pa.Table:
    """Those of `rows` that have a vector there, with a float32 column `score` in its place."""
    rows = with_vectors(rows, column)
    return _with_scores(rows.drop_columns([column]), array_of(rows, column), vector)


def _with_scores(rows: pa.Table, vectors: Vectors, vector: NDArray[np.float32]) -> pa.Table:
    """`rows` and the float32 column `score` of their vectors, (n, dim).

    Each is summed alone: a matrix product gives equal rows scores that differ in the last bit.
    """
    scores = np.clip((vectors.astype(np.float64) * vector).sum(axis=1), -1.0, 1.0)
    return rows.append_column("score", pa.array(scores.astype(np.float32)))


def ordered(rows: pa.Table) -> pa.Table:
    """Rows with a score, best first, ties by id."""
    return rows.sort_by([("score", "descending"), ("id", "ascending")])


def array_of(rows: pa.Table, column: str) -> Vectors:
    """The vectors, (n, dim), of rows that all have one."""
    vectors = rows[column].combine_chunks()
    flat: Vectors = vectors.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(vectors), vectors.type.list_size)

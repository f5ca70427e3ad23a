"""The vectors of a small table in memory, where a search takes a third of the time that Lance's scan takes.

A row is known here by the number that Lance gives it, which holds for one version of the table only. So what
is found is what one version has, or nothing: then another process has changed the table meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipkit.encoder import Vectors
from clipkit.lance.table import Table

HELD_BYTES = 64 << 20  # 32,768 rows of 512 dimensions
ROUNDING = 1e-6  # float32 takes less from a cosine: 2e-7 with 512 dimensions, 3e-7 with 4,096


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a version that have a vector: their numbers, (n,), and the vectors, (n, dim)."""

    version: int
    row_ids: NDArray[np.uint64]
    vectors: Vectors


class HeldVectors:
    """A column of unit vectors, read again whenever its table has changed. Safe for several threads."""

    def __init__(self, table: Table, column: str) -> None:
        self._table = table
        self._column = column
        self._rows: _Rows | None = None
        self._asked = -1  # the version that was last asked for
        self._reading = threading.Lock()

    def nearest(
        self, vector: NDArray[np.float32], k: int, *, where: str | None, columns: Sequence[str]
    ) -> pa.Table | None:
        """What `VectorColumn.nearest` gives, or None if nothing is held.

        That is so at the first search of a version, which may be the last, where there are too many rows, and
        while the table is changing.
        """
        return self._table.patiently(lambda: self._nearest(vector, k, where, columns), where)

    def _nearest(
        self, vector: NDArray[np.float32], k: int, where: str | None, columns: Sequence[str]
    ) -> pa.Table | None:
        rows = self._newest()
        if rows is None:
            return None
        row_ids, scores = rows.row_ids, products(rows.vectors, vector)
        if where is not None:
            passing = np.isin(row_ids, self._passing(where))
            row_ids, scores = row_ids[passing], scores[passing]
        if k < len(scores):  # and whatever may score as the last of them, once they are summed in float64
            row_ids = row_ids[scores >= np.partition(scores, -k)[-k] - ROUNDING]
        query = self._table.handle.take_row_ids(row_ids.tolist()).select([*columns, self._column])
        found = ranked(query.to_arrow(), self._column, vector)
        return found.slice(0, k) if self._table.handle.version == rows.version else None

    def _newest(self) -> _Rows | None:
        with self._reading:
            version = self._table.handle.version
            if self._rows is None or self._rows.version != version:
                again, self._asked = version == self._asked, version
                self._rows = self._read(version) if again else None
            return self._rows

    def _read(self, version: int) -> _Rows | None:
        handle = self._table.handle
        dim = handle.schema.field(self._column).type.list_size
        if handle.count_rows() * dim * 4 > HELD_BYTES:
            return None
        stored = with_vectors(handle.search().select(["_rowid", self._column]).to_arrow(), self._column)
        if handle.version != version:
            return None
        return _Rows(version, stored["_rowid"].to_numpy(), array_of(stored, self._column))

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
    """Those of `rows` that have a vector there, with a float32 column `score` in its place.

    Each is summed alone: a matrix product gives equal rows scores that differ in the last bit.
    """
    rows = with_vectors(rows, column)
    scores = np.clip((array_of(rows, column).astype(np.float64) * vector).sum(axis=1), -1.0, 1.0)
    return rows.drop_columns([column]).append_column("score", pa.array(scores.astype(np.float32)))


def ranked(rows: pa.Table, column: str, vector: NDArray[np.float32]) -> pa.Table:
    """What `scored` gives, best first, ties by id."""
    return scored(rows, column, vector).sort_by([("score", "descending"), ("id", "ascending")])


def array_of(rows: pa.Table, column: str) -> Vectors:
    """The vectors, (n, dim), of rows that all have one."""
    vectors = rows[column].combine_chunks()
    flat: Vectors = vectors.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(vectors), vectors.type.list_size)

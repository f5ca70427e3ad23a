"""The vectors of a table: the nearest rows by cosine similarity, and the index that finds them sooner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from lancedb.index import IvfSq
from numpy.typing import NDArray

from clipkit.encoder import batched
from clipkit.filters import all_of, id_in
from clipkit.lance.table import Table

INDEX_FROM_ROWS = 100_000  # below, an exact scan of 512 float32 dimensions answers in about 0.3 s or less
APPROXIMATE_UP_TO_K = 1_000  # asked for more, an index would have to visit most of the table anyway
PROBED_PARTITIONS = 50  # with REFINE_FACTOR: recall@10 of 1.000 on 200,000 clustered vectors
REFINE_FACTOR = 10  # candidates per hit that are scored again from the stored vectors, so scores are true
ROUNDING = 1e-6  # float32 takes less from a cosine: 2e-7 with 512 dimensions, 3e-7 with 4,096
MOST_ROWS = 2**31 - 1  # of one answer; Lance takes a limit of 32 bits
TIES_AHEAD = 8  # rows asked for beyond k, to see whether the k-th hit shares its score with others


class VectorColumn:
    """A column of unit vectors. From so many rows on it is indexed, without being asked."""

    def __init__(self, table: Table, column: str = "vector") -> None:
        self._table = table
        self._column = column
        table.indexes[column] = self

    def nearest(
        self, vector: NDArray[np.float32], k: int, *, where: str | None, columns: Sequence[str]
    ) -> pa.Table:
        """The `k` rows of highest cosine similarity, best first, ties by id, with a float32 column `score`.

        Exact while the table has no vector index; with one, the candidates are scored again exactly.
        """
        k = min(k, MOST_ROWS - TIES_AHEAD)
        found = self._search(vector, k + TIES_AHEAD, where, columns)
        if found.num_rows == k + TIES_AHEAD and found["score"][k - 1] == found["score"][-1]:
            only = id_in(self._best_ids(vector, k, where, found["score"][-1].as_py()))
            found = self._search(vector, k, all_of(where, only), columns, farthest=2.0 + ROUNDING)
        return found.sort_by([("score", "descending"), ("id", "ascending")]).slice(0, k)

    def read(self, where: str) -> tuple[list[str], NDArray[np.float32]]:
        """The ids that pass `where`, (n), and their vectors, (n, dim), in the same order."""
        stored = self._table.read(["id", self._column], where)
        column = stored[self._column].combine_chunks()
        vectors = column.flatten().to_numpy(zero_copy_only=False)
        return stored["id"].to_pylist(), vectors.reshape(len(column), column.type.list_size)

    def scored(self, vector: NDArray[np.float32], ids: Iterable[str], *, columns: Sequence[str]) -> pa.Table:
        """The rows of these ids, in no order, with a float32 column `score`, exact even beside an index."""
        pages = [self._table.read([*columns, self._column], id_in(page)) for page in batched(ids, 10_000)]
        rows = pa.concat_tables(pages or [self._table.read([*columns, self._column], "false")])
        stored = rows[self._column].combine_chunks().flatten().to_numpy().reshape(-1, len(vector))  # (n, dim)
        # each row summed alone: a matrix product gives equal rows scores that differ in the last bit
        scores = np.clip((stored.astype(np.float64) * vector).sum(axis=1), -1.0, 1.0).astype(np.float32)
        return rows.drop_columns([self._column]).append_column("score", pa.array(scores))

    def _best_ids(self, vector: NDArray[np.float32], k: int, where: str | None, least: float) -> list[str]:
        """The ids of the k best rows, where more than were asked for score `least` at the k-th place."""
        found = self._search(vector, MOST_ROWS, where, ["id"], farthest=1.0 - least + ROUNDING)
        ids: list[str] = found.sort_by([("score", "descending"), ("id", "ascending")])["id"].to_pylist()
        return ids[:k]

    def _search(
        self,
        vector: NDArray[np.float32],
        limit: int,
        where: str | None,
        columns: Sequence[str],
        farthest: float | None = None,
    ) -> pa.Table:
        """Up to `limit` rows, best first, with a column `score`; none beyond the distance `farthest`."""

        def search() -> pa.Table:
            query = self._table.handle.search(vector, vector_column_name=self._column).distance_type("dot")
            if farthest is not None:
                query = query.bypass_vector_index().distance_range(upper_bound=farthest)
            elif limit > APPROXIMATE_UP_TO_K + TIES_AHEAD:
                query = query.bypass_vector_index()
            else:
                query = query.nprobes(PROBED_PARTITIONS).refine_factor(REFINE_FACTOR)
            query = query.select([*columns, "_distance"]).limit(limit)
            return (query if where is None else query.where(f"({where})")).to_arrow()

        found = self._table.patiently(search, where)
        scores = np.clip(1.0 - found["_distance"].to_numpy(), -1.0, 1.0).astype(np.float32)  # unit vectors
        return found.drop_columns(["_distance"]).append_column("score", pa.array(scores))

    def is_due(self) -> bool:
        return self._table.count() >= INDEX_FROM_ROWS and self._column not in self._table.indexed()

    def build(self) -> None:
        config = IvfSq(distance_type="dot")
        self._table.write(lambda: self._table.handle.create_index(self._column, config=config))

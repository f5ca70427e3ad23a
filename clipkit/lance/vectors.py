"""The vectors of a table: the nearest rows by cosine similarity, and the index that finds them sooner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipkit.encoder import batched
from clipkit.filters import all_of, id_in
from clipkit.lance.held import ROUNDING, HeldRows, array_of, ordered, scored, with_vectors
from clipkit.lance.plans import Plan
from clipkit.lance.table import Table
from clipkit.lance.upkeep import VectorIndex

APPROXIMATE_UP_TO_K = 1_000  # asked for more, an index would have to visit most of the table anyway
EXACT_UP_TO_ROWS = 10_000  # that pass a filter: to score them all is sure, and takes about 20 ms
MOST_ROWS = 2**31 - 1  # of one answer; Lance takes a limit of 32 bits
TIES_AHEAD = 8  # rows asked for beyond k, to see whether the k-th hit shares its score with others


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a search goes: through all rows, up to a distance, or through `probes` parts of the index."""

    probes: int | None = None
    refine: int = 1
    farthest: float | None = None

    @classmethod
    def of(cls, plan: Plan, k: int, passing: float) -> Reach:
        """As far as `plan` goes for `k` hits among that share of the rows."""
        return cls(None if plan.kind == "exact" else plan.probes_for(k, passing), plan.refine)

    def applied(self, query: Any) -> Any:
        """LanceDB's `query`, told so."""
        if self.probes is None:
            query = query.bypass_vector_index()
            return query if self.farthest is None else query.distance_range(upper_bound=self.farthest)
        return query.nprobes(self.probes).refine_factor(self.refine)


EXACT = Reach()


class VectorColumn:
    """A column of unit vectors, with an index once its table is so large that one pays."""

    def __init__(self, table: Table, column: str = "vector") -> None:
        self._table = table
        self.column = column
        self.index = VectorIndex(table, column)
        self._held = HeldRows(table, column, unless=lambda: self._reach(1, None).probes is not None)
        table.indexes[column] = self.index

    def nearest(
        self, vector: NDArray[np.float32], k: int, *, where: str | None, columns: Sequence[str]
    ) -> pa.Table:
        """The `k` rows of highest cosine similarity, best first, ties by id, with a float32 column `score`.

        Exact where there is no index, and where a scan is sure and as fast: for many hits, or few rows that
        pass the filter. Else the index chooses candidates, which are scored again exactly.
        """
        k = min(k, MOST_ROWS - TIES_AHEAD)
        held = self._held.nearest(vector, k, where=where, columns=columns)
        if held is not None:
            return held
        wanted = k + TIES_AHEAD
        reach = self._reach(k, where)
        found = self._ranked(vector, wanted, where, columns, reach)
        if found.num_rows < k and reach.probes is not None:  # these partitions hold no more
            found = self._ranked(vector, wanted, where, columns, EXACT)
        if found.num_rows == wanted and found["score"][k - 1] == found["score"][-1]:
            only = id_in(self._best_ids(vector, k, where, found["score"][-1].as_py()))
            found = self._ranked(vector, k, all_of(where, only), columns, EXACT)
        return found.slice(0, k)

    def read(self, where: str | None) -> tuple[list[str], NDArray[np.float32]]:
        """The ids that pass `where` and have a vector, (n), and these, (n, dim), in the same order."""
        stored = with_vectors(self._table.read(["id", self.column], where), self.column)
        return stored["id"].to_pylist(), array_of(stored, self.column)

    def scored(self, vector: NDArray[np.float32], ids: Iterable[str], *, columns: Sequence[str]) -> pa.Table:
        """The rows of these ids that have a vector, in no order, with a float32 column `score`, exact even
        beside an index."""
        pages = [self._table.read([*columns, self.column], id_in(page)) for page in batched(ids, 10_000)]
        rows = pa.concat_tables(pages or [self._table.read([*columns, self.column], "false")])
        return scored(rows, self.column, vector)

    def nearest_by(self, plan: Plan, vector: NDArray[np.float32], k: int) -> pa.Table:
        """`id` and `score` of up to `k` rows, searched as `plan` says, whatever the index was made for."""
        return self._ranked(vector, k, None, ["id"], Reach.of(plan, k, 1.0))

    def nearest_to_each(self, vectors: NDArray[np.float32], k: int) -> pa.Table:
        """`id`, `score` and `query_index` of the `k` best rows for each of `vectors` (n, dim), exactly.

        One scan for all of them: 50 take about twice as long as one.
        """
        found = self._search(vectors, k, None, ["id"], EXACT)
        scores = np.clip(1.0 - found["_distance"].to_numpy(), -1.0, 1.0).astype(np.float32)  # unit vectors
        found = found.drop_columns(["_distance"]).append_column("score", pa.array(scores))
        if len(vectors) > 1:
            return found
        return found.append_column("query_index", pa.array(np.zeros(found.num_rows, np.int32)))

    def _reach(self, k: int, where: str | None) -> Reach:
        built = self.index.built() if k <= APPROXIMATE_UP_TO_K else None
        if built is None:
            return EXACT
        if where is None:
            return Reach.of(built.plan, k, 1.0)
        passing = self._table.count(where)
        if passing <= EXACT_UP_TO_ROWS:
            return EXACT
        return Reach.of(built.plan, k, passing / max(passing, self._table.count()))

    def _best_ids(self, vector: NDArray[np.float32], k: int, where: str | None, least: float) -> list[str]:
        """The ids of the k best rows, where more than were asked for score `least` at the k-th place."""
        found = self._ranked(vector, MOST_ROWS, where, ["id"], Reach(farthest=1.0 - least + ROUNDING))
        ids: list[str] = found["id"].to_pylist()
        return ids[:k]

    def _ranked(
        self,
        vector: NDArray[np.float32],
        limit: int,
        where: str | None,
        columns: Sequence[str],
        reach: Reach,
    ) -> pa.Table:
        """Up to `limit` rows, best first, scored as `HeldRows` scores: alike, however they are found."""
        found = self._search(vector, limit, where, [*columns, self.column], reach)
        return ordered(scored(found.drop_columns(["_distance"]), self.column, vector))

    def _search(
        self,
        vector: NDArray[np.float32],
        limit: int,
        where: str | None,
        columns: Sequence[str],
        reach: Reach,
    ) -> pa.Table:
        """Up to `limit` rows, to one vector (dim,) or to each of several, with Lance's column `_distance`."""

        def search() -> pa.Table:
            query = self._table.handle.search(vector, vector_column_name=self.column).distance_type("dot")
            query = reach.applied(query).select([*columns, "_distance"]).limit(limit)
            return (query if where is None else query.where(f"({where})")).to_arrow()

        return self._table.patiently(search, where)

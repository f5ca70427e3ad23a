"""The index of a vector column: built when it pays, trained again when the table has outgrown it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clipkit.lance.plans import LANCE_KINDS, Built, Plan
from clipkit.lance.table import Table
from clipkit.reports import IndexStatus

INDEX_FROM_ROWS = 50_000  # an exact scan of 512 dimensions takes up to 0.3 s there, an index 0.01 s
GROWN = 4  # times the rows that it was trained on: its partitions are then too large, and too few
MOST_SEGMENTS = 16  # an `optimize` that finds new rows may add one; each costs a search about 0.3 ms
TAIL_ROWS = 10_000  # rows outside the index, all of which a search scans: 13 ms with 512 dimensions
TAIL_SHARE = 0.05  # of the rows inside: so that a large table gets few segments

METADATA = "clipkit.index"  # of the column's field


def index_pays_from() -> int:
    """From how many rows on a table is indexed."""
    return INDEX_FROM_ROWS


class VectorIndex:
    """The index of one column of unit vectors. Its table builds it, and keeps it up to date."""

    def __init__(self, table: Table, column: str) -> None:
        self._table = table
        self._column = column

    def built(self) -> Built | None:
        """The plan that the present index was built by, or that says there shall be none."""
        metadata = self._table.schema.field(self._column).metadata or {}
        stored = metadata.get(METADATA.encode())
        return None if stored is None else Built.from_json(stored)

    def status(self) -> IndexStatus | None:
        """What there is; None if there is no index, or none that clipkit made."""
        built, there = self.built(), self._listed()
        if built is None or there is None:
            return None
        return IndexStatus(
            kind=built.plan.name,
            indexed=there.num_indexed_rows,
            unindexed=there.num_unindexed_rows,
            size_bytes=there.size_bytes,
            partitions=built.plan.partitions,
            probes=built.plan.probes,
            refine=built.plan.refine,
            recall=built.recall,
        )

    def is_due(self) -> bool:
        """Whether there is something to build, or rows enough to be folded in."""
        rows = self._table.count()
        if rows < INDEX_FROM_ROWS:
            return False
        return self._is_outgrown(rows) or self._has_tail()

    def build(self) -> None:
        """Train the index anew if it is missing or outgrown."""
        rows = self._table.count()
        if self._is_outgrown(rows):
            self._make(self._next(rows), wanted=lambda: self._is_outgrown(rows))

    def adopt(self, chosen: Built) -> None:
        """Have the index be as `chosen` says, from now on."""
        self._make(chosen, wanted=lambda: True)

    def _make(self, chosen: Built, *, wanted: Callable[[], bool]) -> None:
        """Build the index, or drop it, and write down its plan, if that is still `wanted` when others let us.

        In this order, since a process may be killed in between: its index is then due again.
        """
        handle = self._table.handle

        def make() -> bool:
            if not wanted():  # another process was faster
                return False
            if chosen.plan.kind != "exact":
                handle.create_index(self._column, config=chosen.plan.config())
            elif (there := self._listed()) is not None:
                handle.drop_index(there.name)
            return True

        if self._table.write(make):
            self.note(chosen)

    def note(self, chosen: Built) -> None:
        """Write down how the index is made and searched."""
        noted = {"path": self._column, "metadata": {METADATA: chosen.to_json()}}
        self._table.write(lambda: self._table.handle.update_field_metadata(noted))

    def warm(self) -> None:
        """Read the index into memory, if there is one."""
        there = self._listed()
        if there is not None:
            self._table.patiently(lambda: self._table.handle.prewarm_index(there.name))

    def _next(self, rows: int) -> Built:
        """What so many rows call for: the plan that was tuned, or else one by size."""
        built = self.built()
        if built is None or built.recall is None or built.plan.kind == "exact":
            return Built(Plan.by_size(rows), rows)
        return Built(built.plan.scaled(rows), rows, built.recall)

    def _is_outgrown(self, rows: int) -> bool:
        built, there = self.built(), self._listed()
        if built is None or rows >= GROWN * built.rows:
            return True
        if built.plan.kind == "exact":
            return False
        if there is None or there.index_type != LANCE_KINDS[built.plan.kind]:
            return True
        return bool(there.num_segments > MOST_SEGMENTS)

    def _has_tail(self) -> bool:
        there = self._listed()
        if there is None:
            return False
        return bool(there.num_unindexed_rows > max(TAIL_ROWS, TAIL_SHARE * there.num_indexed_rows))

    def _listed(self) -> Any:
        """The index as Lance lists it, or None."""
        listed = self._table.patiently(self._table.handle.list_indices)
        return next((index for index in listed if index.columns == [self._column]), None)

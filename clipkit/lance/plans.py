"""Plans of vector indexes: the kinds there are, and what one is built and searched with."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lancedb.index import IvfFlat, IvfRq, IvfSq

# How the vectors of a partition are kept: as they are, 8 bits a number, or RaBitQ codes of 4 bits or 1.
# "exact" is no index. HNSW is none of them: it took 20 times as long to build and found no more.
Kind = Literal["exact", "flat", "sq", "rq4", "rq1"]
LANCE_KINDS = {"flat": "IvfFlat", "sq": "IvfSq", "rq4": "IvfRq", "rq1": "IvfRq"}  # as Lance lists them
NAMES = {"exact": "exact", "flat": "IVF_FLAT", "sq": "IVF_SQ", "rq4": "IVF_RQ 4 bit", "rq1": "IVF_RQ 1 bit"}
ROWS_PER_PARTITION = 1_000
PROBES_PER_ROOT = 2  # times the square root of the partitions: twice what finds 0.95 of the best ten
REFINE = 4
HITS = 10  # what `probes` is meant for


@dataclass(frozen=True, slots=True)
class Plan:
    """How an index is made, and how it is searched.

    Its rows lie in `partitions`, by nearness; a search for ten hits reads the `probes` nearest of them. The
    best `refine` candidates per hit are scored again from the stored vectors, so that scores are true.
    """

    kind: Kind
    partitions: int = 1
    probes: int = 1
    refine: int = 1

    @classmethod
    def of(cls, kind: Kind, rows: int, *, share: float, refine: int) -> Plan:
        """A plan for a table of `rows` that reads a `share` of the partitions, from 0 to 1."""
        partitions = max(1, rows // ROWS_PER_PARTITION)
        return cls(kind, partitions, max(1, math.ceil(share * partitions)), refine)

    @classmethod
    def by_size(cls, rows: int) -> Plan:
        """The plan for a table that has not been tuned."""
        partitions = max(1, rows // ROWS_PER_PARTITION)
        return cls.of("sq", rows, share=min(1.0, PROBES_PER_ROOT / math.sqrt(partitions)), refine=REFINE)

    @property
    def name(self) -> str:
        """The kind, as LanceDB's documentation calls it."""
        return NAMES[self.kind]

    def scaled(self, rows: int) -> Plan:
        """The same for a table of `rows`: with as many partitions as it needs, and the same share read."""
        if self.kind == "exact":
            return self
        return Plan.of(self.kind, rows, share=self.probes / self.partitions, refine=self.refine)

    def probes_for(self, k: int, passing: float) -> int:
        """How many partitions to read for `k` hits among the share of rows that pass a filter.

        Ten hits of a tenth of the rows lie as far out as a hundred of all. The square root of that is more
        than it takes: by it recall@100 was 0.999, by `probes` alone 0.982, where recall@10 is 0.988.
        """
        depth = max(1.0, k / HITS / passing)
        return min(self.partitions, math.ceil(self.probes * math.sqrt(depth)))

    def config(self) -> Any:
        """What LanceDB builds the index from.

        Only a target size keeps the partitions: made by their number, `optimize` merges all but a few.
        """
        size = ROWS_PER_PARTITION
        match self.kind:
            case "flat":
                return IvfFlat(distance_type="dot", target_partition_size=size)
            case "sq":
                return IvfSq(distance_type="dot", target_partition_size=size)
            case _:
                bits = 4 if self.kind == "rq4" else 1
                return IvfRq(distance_type="dot", target_partition_size=size, num_bits=bits)


@dataclass(frozen=True, slots=True)
class Built:
    """A plan in use: made when the table had `rows`; `recall` was measured when it was tuned, else None."""

    plan: Plan
    rows: int
    recall: float | None = None

    def to_json(self) -> str:
        return json.dumps({**asdict(self.plan), "rows": self.rows, "recall": self.recall})

    @classmethod
    def from_json(cls, text: bytes) -> Built:
        found = json.loads(text)
        rows, recall = found.pop("rows"), found.pop("recall")
        return cls(Plan(**found), rows, recall)

"""The items of one kind, read once: their vectors in one matrix, a few of their columns beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipkit.collection import Collection
from clipkit.encoder import Vectors, batched
from clipkit.filters import all_of, id_in, self_contained
from clipkit.hits import Hit, Kind
from clipkit.searching import kind_is

_PAGE = 16_384  # items read at once: with 512 dimensions 34 MB
_PAGE_OF_HITS = 1_000


@dataclass(frozen=True, slots=True)
class Rows:
    """Items: `columns` has `id` and what was asked for, `vectors` (n, dim) a unit row for each."""

    columns: pa.Table
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def ids(self) -> list[str]:
        ids: list[str] = self.columns["id"].to_pylist()
        return ids

    def taken(self, places: Sequence[int]) -> Rows:
        """Those at these places, in that order."""
        return Rows(self.columns.take(pa.array(places, pa.int64())), self.vectors[np.array(places, np.int64)])


def read_rows(collection: Collection, kind: Kind, where: str | None, columns: Sequence[str] = ()) -> Rows:
    """The items of that kind that pass the filter. Raises InvalidInput or FilterError."""
    vectors = np.empty((collection.count(kind=kind, where=where), collection.dim), np.float32)
    condition = all_of(kind_is(kind), where and self_contained(where))
    names = ["id", *columns]
    parts = [collection.to_arrow(columns=names, where="false")]
    done = 0
    for batch in collection.batches(columns=[*names, "vector"], where=condition, batch_size=_PAGE):
        batch = batch.filter(batch["vector"].is_valid())  # a new model may lack some still
        batch = batch.slice(0, len(vectors) - done)  # others may have added items since they were counted
        rows = batch.column("vector").flatten().to_numpy().reshape(-1, collection.dim)
        vectors[done : done + len(rows)] = rows
        done += len(rows)
        parts.append(pa.Table.from_batches([batch.select(names)]))
    return Rows(pa.concat_tables(parts), vectors[:done])


def mean_cosine(vectors: Vectors) -> float:
    """The mean cosine similarity of two different rows, from their sum: no pair is looked at."""
    n = len(vectors)
    total = float(np.square(vectors.sum(axis=0, dtype=np.float64)).sum())
    return (total - n) / (n * (n - 1)) if n > 1 else 0.0


def read_hits(collection: Collection, ids: Iterable[str]) -> dict[str, Hit]:
    """By its id, each item that is still there, with all its columns; its score is to be replaced."""
    names = [name for name in collection.to_arrow(where="false").schema.names if name != "vector"]
    found = {}
    for page in batched(ids, _PAGE_OF_HITS):
        for row in collection.to_arrow(columns=names, where=id_in(page)).to_pylist():
            hit = Hit(row.pop("id"), row.pop("uri"), row.pop("kind"), row.pop("text"), 1.0, row)
            found[hit.id] = hit
    return found

"""What is nearest by meaning and what fits by its words, brought into one order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import pyarrow as pa

from clipkit.filters import all_of, any_of, goes_by
from clipkit.fusion import fused, ranks
from clipkit.lance import Words
from clipkit.query import Query
from clipkit.store import Store

WINDOW = 200  # candidates of each side at least, beyond the hits wanted: some are good by both


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items that one of the two sides found, in no order.

    `rows` have their columns and `score`; `by_words` has the full-text scores by id, also of items that are
    no candidates; `exact` are the ids of those that the query names, or that hold its phrases.
    """

    rows: pa.Table
    by_words: Mapping[str, float]
    exact: Set[str]

    def ordered(self, standing: Iterable[float]) -> pa.Table:
        """The rows, best first: what is exact, then by reciprocal rank fusion; ties by id.

        `standing` is how near each row is by meaning, higher is nearer.
        """
        ids = self.rows["id"].to_pylist()
        places = fused(ranks(dict(zip(ids, standing, strict=True))), ranks(self.by_words))
        best = sorted(range(len(ids)), key=lambda at: (ids[at] not in self.exact, -places[ids[at]], ids[at]))
        return self.rows.take(pa.array(best, pa.int64()))

    def worded(self, rows: pa.Table) -> pa.Array:
        """Whether each of `rows` was found by its words or name."""
        names = rows["id"].to_pylist()
        return pa.array([name in self.by_words or name in self.exact for name in names], pa.bool_())


def words_of(query: Query) -> list[Words]:
    """The texts of a query as full text takes them; none if it has no text of positive weight."""
    texts = [Words(part.value, part.weight, part.phrase) for part in query.parts if part.what == "text"]
    return texts if any(text.weight > 0 for text in texts) else []


def candidates(
    store: Store,
    words: Sequence[Words],
    scored: Callable[..., pa.Table],
    *,
    near: Sequence[str],
    where: str | None,
) -> Candidates:
    """The items `near` by meaning, as many that fit by their words, and all that the query names.

    `scored` is `VectorColumn.scored` for the query.
    """
    limit = max(len(near), WINDOW)
    found = store.words.scores(words, near=near, limit=limit, where=where)
    exact = _named(store, words, where)
    if any(text.phrase and text.weight > 0 for text in words):
        exact |= found.keys()
    best = sorted(found, key=lambda identity: (-found[identity], identity))[:limit]
    columns = [name for name in store.columns() if name != "vector"]
    rows = scored({*near, *best, *exact}, columns=columns)
    return Candidates(rows, found, exact)


def _named(store: Store, words: Sequence[Words], where: str | None) -> set[str]:
    """The items whose id or path is one of the texts, or ends with it, with or without its suffix."""
    names = [text.text.strip() for text in words if text.weight > 0]
    rows = store.items.read(["id", "uri"], all_of(where, any_of(*map(goes_by, names))))
    return {
        row["id"]
        for row in rows.to_pylist()
        if any(_goes_by(path, name) for path in (row["id"], row["uri"]) for name in names if path)
    }


def _goes_by(path: str, name: str) -> bool:
    path, name = (f"/{value.lower().lstrip('/')}" for value in (path, name))
    return path.endswith(name) or os.path.splitext(path)[0].endswith(name)

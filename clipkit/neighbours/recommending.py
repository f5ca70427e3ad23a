"""More like these, less like those: a direction from examples, and hits that are not all the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from numbers import Real
from operator import add

import numpy as np
from numpy.typing import NDArray

from clipkit.collection import Collection
from clipkit.columns import at_least_1
from clipkit.encoder import Vectors
from clipkit.errors import InvalidInput
from clipkit.filters import id_in
from clipkit.hits import Hits, Kind
from clipkit.query import Query
from clipkit.refining import moved

_CANDIDATES = 10  # hits for each one wanted, to choose different ones from
_FEWEST = 100


def recommend(
    collection: Collection,
    liked: Sequence[str | Query],
    *,
    disliked: Sequence[str | Query] = (),
    k: int = 10,
    diversity: float = 0.3,
    kind: Kind | None = None,
) -> Hits:
    """Up to `k` items like the ones liked, unlike those disliked, and not all alike; never the given ones.

    What is liked and disliked are ids or Queries, of which each counts the same. They make one direction, by
    the relevance feedback of `refining`: 0.75 times the mean of the liked less 0.15 times that of the
    disliked. Among the items nearest to it, one after the other is taken that is near to it and far from
    those taken before, by maximal marginal relevance (J. Carbonell, J. Goldstein, SIGIR 1998): `diversity`
    is the share of the second, 0 for the nearest as they come, 1 for the most different. The score is the
    cosine similarity to the direction. Raises InvalidInput if nothing is liked or an id is not there.
    """
    wanted = at_least_1(k, "k, the number of hits wanted,")
    if isinstance(diversity, bool) or not isinstance(diversity, Real) or not 0.0 <= diversity <= 1.0:
        raise InvalidInput(f"diversity is a number from 0 to 1, not {diversity!r}")
    query = moved(None, _mean(liked, "liked"), _mean(disliked, "disliked"))
    hits = collection.search(query, k=max(_FEWEST, _CANDIDATES * wanted) if diversity else wanted, kind=kind)
    if not diversity or len(hits) < 2:
        return hits
    ids = [hit.id for hit in hits]
    stored = collection.to_arrow(columns=["id", "vector"], where=id_in(ids))
    stored = stored.filter(stored["vector"].is_valid())
    place = {identity: at for at, identity in enumerate(stored["id"].to_pylist())}
    there = [at for at, identity in enumerate(ids) if identity in place]
    vectors = np.stack(stored["vector"].to_numpy())[[place[ids[at]] for at in there]]
    scores = np.array([hits[at].score for at in there], np.float32)
    return hits.taken([there[at] for at in varied(scores, vectors, wanted, diversity)])


def varied(scores: NDArray[np.float32], vectors: Vectors, k: int, diversity: float) -> list[int]:
    """The places of up to `k` rows, chosen one by one: of high score, and unlike those chosen before.

    Scores and the cosines between rows are each spread over [0, 1] first: else the cosines of a text to
    pictures, which hardly differ, would not count beside those between pictures.
    """
    alike = vectors @ vectors.T
    between = alike[~np.eye(len(alike), dtype=bool)]
    relevance = _spread(scores, scores)
    likeness = _spread(alike, between)
    chosen: list[int] = []
    nearest = np.zeros(len(scores), np.float32)  # likeness to the most alike of those chosen
    left = np.ones(len(scores), bool)
    for _ in range(min(k, len(scores))):
        worth = (1 - diversity) * relevance - diversity * nearest if chosen else relevance
        best = int(np.argmax(np.where(left, worth, -np.inf)))
        chosen.append(best)
        left[best] = False
        nearest = likeness[best] if len(chosen) == 1 else np.maximum(nearest, likeness[best])
    return chosen


def _spread(values: NDArray[np.float32], over: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = float(over.min()), float(over.max())
    return np.asarray((values - low) / max(high - low, 1e-6), np.float32)


def _mean(given: Sequence[str | Query], what: str) -> Query | None:
    """The mean of what is given, each of one weight; None if nothing is disliked."""
    if isinstance(given, str | Query):
        raise InvalidInput(f"{what} is a list of ids or queries, not one of them: put it into a list")
    if not given and what == "liked":
        raise InvalidInput("nothing is liked: name at least one item, or a Query")
    queries = [one if isinstance(one, Query) else Query.item(one) for one in given]
    return reduce(add, [query / len(queries) / _weight(query) for query in queries]) if queries else None


def _weight(query: Query) -> float:
    return sum(abs(part.weight) for part in query.parts) or 1.0

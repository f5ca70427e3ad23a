"""Relevance feedback: a query moved towards what was found good, and away from what was found bad.

The method is J. J. Rocchio's, "Relevance feedback in information retrieval" (in G. Salton, The SMART
Retrieval System, 1971): the query, plus a share of the mean of the good items, less a share of the mean of
the bad ones. The shares are those of C. D. Manning, P. Raghavan and H. Schütze, Introduction to Information
Retrieval (2008), 9.1.1: what is good tells more than what is bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from clipkit.columns import strings
from clipkit.encoder import Vectors
from clipkit.errors import InvalidInput
from clipkit.query import Query

if TYPE_CHECKING:
    from clipkit.collection import Collection

QUERY, GOOD, BAD = 1.0, 0.75, 0.15  # the shares
_NO_DIRECTION = 1e-6  # a mean that is no longer is rounding noise of float32 rows


def refined(
    collection: Collection,
    query: str | Query | None = None,
    *,
    good: Sequence[str] = (),
    bad: Sequence[str] = (),
) -> Query:
    """The query of unit length, plus 0.75 times the mean vector of the items `good`, less 0.15 times that of
    `bad`; without either, `query` as it is.

    The means are vectors, of the collection's current model: a query to search by at once, and none to keep
    (`albums` keeps what it is made from). So the good items stay among the hits, which those that an `id:`
    part names do not. Without a query, None or blank, the good items are the query. Raises QueryError, and
    InvalidInput for an id that is not there, or is both good and bad, and where there is nothing to look for.
    """
    parsed = query if isinstance(query, Query) else Query.parse(query) if query and query.strip() else None
    good, bad = distinct(good, bad)
    if parsed is None and not good:
        raise InvalidInput("there is nothing to look for: give a query, or name at least one good item")
    if parsed is not None and not good and not bad:
        return parsed
    return moved(parsed and _unit(collection, parsed), _mean(collection, good), _mean(collection, bad))


def moved(query: Query | None, good: Query | None, bad: Query | None) -> Query:
    """Rocchio's sum of the three, each of them a mean of unit vectors, or the one unit vector."""
    shares = ((query, QUERY), (good, GOOD), (bad, -BAD))
    terms = [term * share for term, share in shares if term is not None]
    if not terms:
        raise InvalidInput("the good items cancel each other, so no direction is left: name fewer of them")
    return reduce(add, terms)


def distinct(good: Sequence[str], bad: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both, each id once. Raises InvalidInput for one that is in both, or cannot be an id."""
    kept, kept_out = (tuple(dict.fromkeys(strings(ids, "an id"))) for ids in (good, bad))
    both = set(kept) & set(kept_out)
    if both:
        raise InvalidInput(f"the item {min(both)!r} is both good and bad: choose one")
    return kept, kept_out


def vectors_of(collection: Collection, ids: Sequence[str]) -> Vectors:
    """The stored vectors of these items, (n, dim). Raises InvalidInput for one that is not there, or has no
    vector of the current model yet."""
    items = collection.get(ids)
    for position, item in enumerate(items):
        if not item.vector.size:
            raise InvalidInput(
                f"the item {item.id!r} has no vector of this model yet: finish with reindex",
                position=position,
            )
    return np.stack([item.vector for item in items])


def _mean(collection: Collection, ids: Sequence[str]) -> Query | None:
    """The mean of the vectors of items; None where there are none, or where they cancel."""
    if not ids:
        return None
    mean = vectors_of(collection, ids).mean(axis=0, dtype=np.float64)  # (dim,)
    length = float(np.linalg.norm(mean))
    return Query.vector(mean) * length if length > _NO_DIRECTION else None  # a part has unit length by itself


def _unit(collection: Collection, query: Query) -> Query:
    """`query`, its weights scaled so that the sum of its parts has unit length, as that of the search has."""
    only = query.parts[0]
    if len(query.parts) == 1 and only.weight:
        return query / abs(only.weight)  # known without the model
    query = collection.embedded(query)
    return query / query.length()

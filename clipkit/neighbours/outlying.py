"""Outliers: items far from even their nearest neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipkit.collection import Collection
from clipkit.columns import at_least_1
from clipkit.encoder import Vectors
from clipkit.hits import Hit, Kind
from clipkit.neighbours.nearest import Nearest, exact_scores, nearest
from clipkit.neighbours.rows import read_hits, read_rows
from clipkit.searching import kind_or_main

NEIGHBOURS = 5  # so that an odd picture is still one if it is there twice, or four times
_ROUNDING = 1e-6  # float32 takes less from a cosine
_AT_ONCE = 256  # items compared with all others, to make sure of their scores


def outliers(
    collection: Collection,
    n: int = 10,
    *,
    kind: Kind | None = None,
    where: str | None = None,
    neighbours: int = NEIGHBOURS,
) -> tuple[Hit, ...]:
    """The `n` items least like any others of their kind, the oddest first.

    The score of each is its mean cosine similarity to its nearest `neighbours`; after F. Angiulli,
    C. Pizzuti: Fast outlier detection in high dimensional spaces, PKDD 2002, who take the mean where
    S. Ramaswamy, R. Rastogi, K. Shim, SIGMOD 2000, take the last of them. A single item has none. The result
    is exact. Without `kind` they are pictures, or texts where there are no pictures. Raises InvalidInput, or
    FilterError for a bad filter.
    """
    wanted = at_least_1(n, "n, the number of outliers wanted,")
    k = at_least_1(neighbours, "neighbours")
    rows = read_rows(collection, kind_or_main(kind, collection.count), where)
    if len(rows) < 2:
        return ()
    near = nearest(rows.vectors, k)
    means = near.scores.mean(axis=1) if near.exact else _exact_means(rows.vectors, near, wanted)
    ids = rows.ids
    oddest = sorted(np.flatnonzero(np.isfinite(means)).tolist(), key=lambda place: (means[place], ids[place]))
    found = read_hits(collection, [ids[place] for place in oddest[:wanted]])
    scores = {ids[place]: float(means[place]) for place in oddest[:wanted]}
    return tuple(replace(found[identity], score=scores[identity]) for identity in scores if identity in found)


def _exact_means(vectors: Vectors, near: Nearest, wanted: int) -> NDArray[np.float32]:
    """The mean of each row's nearest cosines among all; NaN where it cannot be among the `wanted` lowest.

    What was found among some is at most what there is among all. So rows are compared with all in the order
    of what was found, from the lowest on, until no row left can be as low as the last of those wanted: the
    pruning of S. D. Bay, M. Schwabacher, KDD 2003.
    """
    bounds = near.scores.mean(axis=1)
    means = np.full(len(vectors), np.nan, np.float32)
    order = np.argsort(bounds, kind="stable")
    for start in range(0, len(order), _AT_ONCE):
        known = np.sort(means[order[:start]])
        if start >= wanted and bounds[order[start]] > known[wanted - 1] + _ROUNDING:
            break
        some = order[start : start + _AT_ONCE]
        means[some] = exact_scores(vectors, some, near.scores.shape[1]).mean(axis=1)
    return means

"""The k nearest rows of every row, without comparing all with all.

Up to `EXACT_UP_TO` rows all cosines are computed, block by block. Beyond, rows are divided around centres,
about 2 sqrt(n) of them, and each is compared with those of its `PROBED` nearest parts: an inverted file, as
in J. Sivic, A. Zisserman: Video Google, ICCV 2003. The cost grows as n sqrt(n), the memory as n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import Vectors
from clipkit.neighbours import kmeans
from clipkit.neighbours.kmeans import Ints

EXACT_UP_TO = 20_000  # rows: 400 million cosines, some seconds
PROBED = 8
_LARGEST = 4  # times the usual size of a part: a larger one is cut up, or it would be compared with itself
_BLOCK = 1 << 23  # cosines held at once: 32 MB
_NONE = -2.0  # below every cosine: no neighbour


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each row the places of its nearest others and their cosines, both (n, k), nearest first.

    Where there are fewer than k, the place is -1. `exact` tells whether all rows were compared.
    """

    places: NDArray[np.int32]
    scores: NDArray[np.float32]
    exact: bool

    def pairs(self) -> Ints:
        """Each pair of a row and a neighbour once, (p, 2), the lower place first, in their order."""
        rows = np.repeat(np.arange(len(self.places)), self.places.shape[1])
        both = np.stack([rows, self.places.ravel().astype(np.int64)], axis=1)
        return np.unique(np.sort(both[both[:, 1] >= 0], axis=1), axis=0)


def nearest(vectors: Vectors, k: int, *, exact_up_to: int = EXACT_UP_TO) -> Nearest:
    """The up to `k` nearest others of each row."""
    best = _Best(len(vectors), min(k, max(1, len(vectors) - 1)))
    everyone = np.arange(len(vectors))
    if len(vectors) <= exact_up_to:
        best.compare(vectors, everyone, everyone)
        return best.sorted(exact=True)
    parts = _parts(vectors)
    middles = np.stack([kmeans.means(vectors[part], np.zeros(len(part), np.int64), 1)[0] for part in parts])
    for part, near in zip(parts, _probing(vectors, middles), strict=True):
        best.compare(vectors, near, part)
    return best.sorted(exact=False)


def exact_scores(vectors: Vectors, rows: Ints, k: int) -> NDArray[np.float32]:
    """The cosines of the `k` nearest others of each of `rows`, among all, (rows, k), nearest first."""
    found = np.empty((len(rows), k), np.float32)
    step = max(1, _BLOCK // len(vectors))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        scores = vectors[some] @ vectors.T
        scores[np.arange(len(some)), some] = _NONE
        found[start : start + step] = -np.sort(np.partition(-scores, k - 1, axis=1)[:, :k], axis=1)
    return found


class _Best:
    """The best k found so far for each row."""

    def __init__(self, n: int, k: int) -> None:
        self._places = np.full((n, k), -1, np.int32)
        self._scores = np.full((n, k), _NONE, np.float32)

    def compare(self, vectors: Vectors, rows: Ints, others: Ints) -> None:
        """Let `others` compete for places beside `rows`; a row does not compete beside itself."""
        k = self._places.shape[1]
        step = max(1, _BLOCK // max(1, len(others)))
        theirs = vectors[others]
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            scores = vectors[some] @ theirs.T  # (some, others)
            scores[some[:, None] == others[None, :]] = _NONE
            if len(others) > k:
                at = np.argpartition(-scores, k - 1, axis=1)[:, :k]
                places, scores = others[at].astype(np.int32), np.take_along_axis(scores, at, axis=1)
            else:
                places = np.broadcast_to(others.astype(np.int32), scores.shape)
            self._merge(some, places, scores)

    def _merge(self, rows: Ints, places: NDArray[np.int32], scores: NDArray[np.float32]) -> None:
        k = self._places.shape[1]
        places = np.concatenate([self._places[rows], places], axis=1)
        scores = np.concatenate([self._scores[rows], scores], axis=1)
        at = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        self._places[rows] = np.take_along_axis(places, at, axis=1)
        self._scores[rows] = np.take_along_axis(scores, at, axis=1)

    def sorted(self, *, exact: bool) -> Nearest:
        order = np.argsort(-self._scores, axis=1, kind="stable")
        places = np.take_along_axis(self._places, order, axis=1)
        scores = np.take_along_axis(self._scores, order, axis=1)
        places[scores == _NONE] = -1  # a row that competed beside itself
        return Nearest(places, np.clip(scores, -1.0, 1.0), exact)


def _parts(vectors: Vectors) -> list[Ints]:
    """The rows around each centre; large parts in pieces."""
    found = kmeans.centres(vectors, round(2 * len(vectors) ** 0.5), rounds=8)
    part = kmeans.nearest_centre(vectors, found)
    order = np.argsort(part, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(part, minlength=len(found)))[:-1])
    largest = _LARGEST * -(-len(vectors) // len(found))
    return [piece for group in groups if len(group) for piece in _pieces(vectors, group, largest)]


def _pieces(vectors: Vectors, group: Ints, largest: int) -> list[Ints]:
    """`group` in pieces of at most `largest`, cut across the line from its middle to its farthest row."""
    if len(group) <= largest:
        return [group]
    middle = vectors[group].mean(axis=0)
    farthest = vectors[group[np.argmin(vectors[group] @ middle)]]
    along = group[np.argsort(vectors[group] @ (farthest - middle), kind="stable")]
    return np.array_split(along, -(-len(group) // largest))


def _probing(vectors: Vectors, middles: Vectors) -> list[Ints]:
    """For each part the rows that have it among their nearest."""
    probed = min(PROBED, len(middles))
    near = np.empty((len(vectors), probed), np.int64)
    step = max(1, _BLOCK // len(middles))
    for start in range(0, len(vectors), step):
        scores = vectors[start : start + step] @ middles.T
        near[start : start + step] = np.argpartition(-scores, probed - 1, axis=1)[:, :probed]
    order = np.argsort(near.ravel(), kind="stable")
    sizes = np.bincount(near.ravel(), minlength=len(middles))
    return np.split(order // probed, np.cumsum(sizes)[:-1])

"""Unit vectors in k parts around centres: spherical k-means.

I. S. Dhillon, D. S. Modha: Concept decompositions for large sparse text data using clustering, Machine
Learning 42 (2001); begun as in D. Arthur, S. Vassilvitskii: k-means++, SODA 2007. A few lines of NumPy, so
that it costs no dependency: cosines need nothing of what scikit-learn's for Euclidean space adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import Vectors

Ints: TypeAlias = NDArray[np.int64]

ROUNDS = 25  # at most; most collections settle in fewer
PER_CENTRE = 256  # rows that a centre is found from: more moves it little, and a million rows cost the same
_SPREAD_UP_TO = 128  # k-means++ reads all rows once a centre; with more centres, random rows do as well
_TRIED = 5  # rows that each new start is the best of
_BLOCK = 1 << 23  # cosines held at once: 32 MB


def centres(vectors: Vectors, k: int, *, seed: int = 0, rounds: int = ROUNDS) -> Vectors:
    """Up to `k` centres, unit rows (k, dim), of at least one row each; the same for the same input."""
    random = np.random.default_rng(seed)
    if len(vectors) > k * PER_CENTRE:
        vectors = vectors[np.sort(random.choice(len(vectors), k * PER_CENTRE, replace=False))]
    found = _begun(vectors, min(k, len(vectors)), random)
    before = None
    for _ in range(rounds):
        part = nearest_centre(vectors, found)
        if before is not None and np.array_equal(part, before):
            break
        before = part
        found = means(vectors, part, len(found))
    return found


def nearest_centre(vectors: Vectors, centres: Vectors) -> Ints:
    """The place of the centre nearest to each row, (n,)."""
    part = np.empty(len(vectors), np.int64)
    step = max(1, _BLOCK // max(1, len(centres)))
    for start in range(0, len(vectors), step):
        part[start : start + step] = np.argmax(vectors[start : start + step] @ centres.T, axis=1)
    return part


def means(vectors: Vectors, part: Ints, k: int) -> Vectors:
    """The direction of each part's mean, unit rows; parts that are empty are left out."""
    order = np.argsort(part, kind="stable")
    sizes = np.bincount(part, minlength=k)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1][sizes > 0]
    sums = [
        vectors[order[start : start + size]].sum(axis=0, dtype=np.float64)
        for start, size in zip(starts, sizes[sizes > 0], strict=True)
    ]
    totals = np.array(sums)
    lengths = np.linalg.norm(totals, axis=1, keepdims=True)
    unit: Vectors = (totals / np.maximum(lengths, 1e-12)).astype(np.float32)  # zero where opposites cancel
    return unit


def _begun(vectors: Vectors, k: int, random: np.random.Generator) -> Vectors:
    """Rows to start from: far apart where that is cheap, by the squared distance to those chosen before."""
    if k > _SPREAD_UP_TO:
        return vectors[np.sort(random.choice(len(vectors), k, replace=False))]
    chosen = [int(random.integers(len(vectors)))]
    far = _squared_distances(vectors, chosen)[:, 0]
    while len(chosen) < k and far.sum() > 0:
        tried = random.choice(len(vectors), _TRIED, p=far / far.sum())
        left = np.minimum(far[:, None], _squared_distances(vectors, tried))  # (n, tried)
        best = int(left.sum(axis=0).argmin())
        chosen.append(int(tried[best]))
        far = left[:, best]
    return vectors[chosen]


def _squared_distances(vectors: Vectors, places: Sequence[int] | Ints) -> NDArray[np.float64]:
    """Of all rows to those at `places`, (n, places)."""
    distances: NDArray[np.float64] = np.clip(2 - 2 * (vectors @ vectors[places].T), 0, None).astype(
        np.float64
    )
    return distances

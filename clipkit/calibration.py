"""What scores mean for one query: how the items of each kind score that have nothing to do with it.

Cosines shift from model to model, from query to query, and between texts and images (the modality gap: Liang
et al., Mind the gap, NeurIPS 2022). What does not shift is that few items are what a query asks for. So the
scores of all items of a kind, or of `SAMPLE` random ones, show its *background* for this query, and an item
counts by how far it stands above that. Two things are made of it: the order of images and texts in one
search (`Scale.standard`), and the cut-off of `min_score="auto"` (`cutoff`).

The background is taken to be normal, with the median of the scores and their interquartile range for mean and
standard deviation: an empirical null, which right items hardly move while they are few (Efron, Large-scale
simultaneous hypothesis testing: the choice of a null hypothesis, JASA 2004). Where they are many, the scores
fall into two heaps, and the lower one is the background. The cut-off is where Benjamini and Hochberg's
procedure puts it (Controlling the false discovery rate, JRSS B 1995): the lowest score above which at most
`FALSE_SHARE` of what is found would be expected of the background alone. So one right item in 10,000 has to
stand out by 4.4 standard deviations, five hundred by 2.8, and of a query with no answer nothing does.

Limits. Things that are like the wanted ones, wolves for "a dog", stand above the background as well: the cut
parts what fits from what does not, but not right from nearly right, so that more than `FALSE_SHARE` of what
is kept may be wrong. Where a model hardly tells the right items from others, nothing stands out, and little
or nothing is kept. The same happens where nearly all items are right, for then there is no background.

`tests/bench/cutoff.py` measures it on photos and drawn scenes. Its mean of F1 and of rightly empty answers
was 0.51; the best fixed threshold, chosen on the same data, had 0.39, four spreads above the middle 0.49,
peaks over threshold (a generalised Pareto tail) 0.26, the largest gap 0.14, and the first 50 0.16.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import Vectors
from clipkit.filters import all_of, id_in, is_in
from clipkit.hits import Kind
from clipkit.lance import VectorColumn, products
from clipkit.store import Store

Scores: TypeAlias = NDArray[np.float64]

KINDS: tuple[Kind, ...] = ("image", "text")
SAMPLE = 10_000  # rows: median and quartiles to 0.02 of a spread; 20 MB and 2 ms at 512 dimensions
FEWEST = 20  # items of a kind; the quartiles of fewer say little
HEAPS_FROM = 50  # items; fewer fall into two heaps by chance
APART = (
    2.0  # of two heaps' medians, in the sum of their spreads: one heap of real scores, split, is below 1.5
)
LEAST_SPREAD = 1e-3  # scores closer than that are alike: models in half precision do not repeat better
FALSE_SHARE = 0.05  # the usual level; 0.1 and 0.02 keep more and less, see tests/bench/cutoff.py
TOP = 1_000  # best scores looked at where the sample is not all: a sample may hold none of a few right items
CHANGED = 0.1  # share by which the items of a kind may grow or shrink before a new sample is drawn

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Scale:
    """The background of one query: the middle of its scores and their spread, as a standard deviation."""

    middle: float
    spread: float

    def standard(self, scores: NDArray[Any]) -> Scores:
        """How many spreads each score lies above the middle."""
        return (np.asarray(scores, np.float64) - self.middle) / self.spread

    def score(self, standard: float) -> float:
        """The score that lies so many spreads above the middle; 1 if no cosine does."""
        return min(self.middle + standard * self.spread, 1.0)


def scale_of(scores: Scores) -> Scale:
    """The background of the scores (n,), n > 0, ascending, of all items or a random sample of them."""
    whole = _robust(scores)
    if len(scores) < HEAPS_FROM:
        return whole
    split = _split(scores)
    lower, upper = _robust(scores[:split]), _robust(scores[split:])
    return lower if upper.middle - lower.middle > APART * (lower.spread + upper.spread) else whole


def _robust(scores: Scores) -> Scale:
    """Median, and the standard deviation of the normal distribution with these quartiles; as ascending."""
    lower, middle, upper = np.percentile(scores, [25, 50, 75])
    return Scale(float(middle), max(float(upper - lower) / 1.349, LEAST_SPREAD))


def _split(scores: Scores) -> int:
    """How many of the ascending scores are below Otsu's threshold, which parts the two means the most.

    Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 1979.
    """
    n = len(scores)
    below = np.arange(1, n)
    surplus = np.cumsum(scores - scores.mean())[:-1]  # (n - 1,)
    return int(np.argmax(surplus**2 / (below * (n - below)))) + 1


def cutoff(scores: Scores, *, total: int, top: Scores | None = None) -> float:
    """The score from which on an item is unlikely to be background, in [-1, 1].

    `scores` (n,), ascending, are those of all `total` items of a kind, or of a random sample; `top` then are
    the best of all, also ascending. It is a value between the last item that is kept and the next; where
    none is, what an item would have to reach.
    """
    scale = scale_of(scores)
    share = max(_found(scale, scores, len(scores)) / len(scores), 1 / total)
    if top is not None:
        share = max(share, _found(scale, top, total) / total)
    return max(scale.score(_limit(share)), -1.0)


def _found(scale: Scale, best: Scores, total: int) -> int:
    """How many of the best of `total` scores, ascending, Benjamini and Hochberg's procedure would keep."""
    limits = _limits(total)
    standard = scale.standard(best[::-1][: len(limits)])
    passed = np.flatnonzero(standard >= limits[: len(standard)])
    return int(passed[-1]) + 1 if passed.size else 0


@lru_cache(maxsize=8)
def _limits(total: int) -> Scores:
    """What the i-th best of `total` scores has to reach, as a standard score, for i from 1 up to `SAMPLE`."""
    return np.array([_limit(rank / total) for rank in range(1, min(total, SAMPLE) + 1)])


def _limit(share: float) -> float:
    """The standard score that so many of the background pass as are `FALSE_SHARE` of `share` of all items."""
    return -_NORMAL.inv_cdf(FALSE_SHARE * share)


@dataclass(frozen=True, slots=True)
class Background:
    """Items of one kind: all `total`, or a sample of them. `places` are the rows of `vectors` by id."""

    total: int
    places: Mapping[str, int]
    vectors: Vectors

    @property
    def whole(self) -> bool:
        return len(self.vectors) == self.total

    def scores(self, vector: NDArray[np.float32], without: Sequence[str]) -> Scores:
        """The scores of the items but for those `without`, ascending."""
        scores = products(self.vectors, vector).astype(np.float64)
        named = [self.places[identity] for identity in without if identity in self.places]
        return np.sort(np.delete(scores, named) if named else scores)


class Backgrounds:
    """What queries to one collection are calibrated on: each model's on its own vectors."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_column: dict[str, ColumnBackgrounds] = {}

    def of(self, vectors: VectorColumn) -> ColumnBackgrounds:
        """Those of the queries to one column of vectors."""
        return self._by_column.setdefault(vectors.column, ColumnBackgrounds(self._store, vectors))


class ColumnBackgrounds:
    """The items that queries to one column are calibrated on: read when first needed, and kept.

    Up to `SAMPLE` items of a kind are read whenever the collection has changed. Of more a sample is drawn,
    the same for the same ids, and drawn again when their number has changed by a tenth.
    """

    def __init__(self, store: Store, vectors: VectorColumn) -> None:
        self._store = store
        self._vectors = vectors
        self._version = -1
        self._counts: dict[Kind, int] = {}
        self._read: dict[Kind, Background] = {}
        self._lock = threading.Lock()

    def scales(self, vector: NDArray[np.float32], without: Sequence[str]) -> dict[Kind, Scale]:
        """The backgrounds of a unit vector, where both kinds have one; else none.

        Items `without` are left out of account.
        """
        if self._kinds() != KINDS:
            return {}
        every = {kind: self._of(kind).scores(vector, without) for kind in KINDS}
        few = any(len(scores) < FEWEST for scores in every.values())
        return {} if few else {kind: scale_of(scores) for kind, scores in every.items()}

    def cutoffs(
        self, vector: NDArray[np.float32], kind: Kind | None, without: Sequence[str]
    ) -> dict[Kind, float]:
        """The cut-off of a unit vector in `kind`, or in each; items `without` are left out of account.

        A kind that has no background has no cut-off, and is not among the keys.
        """
        found: dict[Kind, float] = {}
        for each in (each for each in self._kinds() if kind in (None, each)):
            background = self._of(each)
            scores = background.scores(vector, without)
            if len(scores) >= FEWEST:
                top = None if background.whole else self._top(vector, each, without)
                found[each] = cutoff(scores, total=background.total, top=top)
        return found

    def _top(self, vector: NDArray[np.float32], kind: Kind, without: Sequence[str]) -> Scores:
        others = f"NOT ({id_in(without)})" if without else None
        where = all_of(is_in("kind", [kind]), others)
        best = self._vectors.nearest(vector, TOP, where=where, columns=["id"])["score"]
        return np.asarray(best.to_numpy()[::-1], np.float64)

    def _kinds(self) -> tuple[Kind, ...]:
        """The kinds with enough items to have a background, as the collection is now."""
        with self._lock:
            self._refresh()
            return tuple(kind for kind in KINDS if self._counts[kind] >= FEWEST)

    def _of(self, kind: Kind) -> Background:
        with self._lock:
            if kind not in self._read:
                self._read[kind] = _drawn(self._store, self._vectors, kind)
            return self._read[kind]

    def _refresh(self) -> None:
        """Count anew if the collection has changed, and forget what has changed too much."""
        version = self._store.items.version
        if version == self._version:
            return
        counted = {kind: _of_kind(self._store, self._vectors, kind) for kind in KINDS}
        self._counts = {kind: self._store.items.count(where) for kind, where in counted.items()}
        self._read = {kind: old for kind, old in self._read.items() if not self._is_stale(kind, old)}
        self._version = version

    def _is_stale(self, kind: Kind, old: Background) -> bool:
        return old.whole or abs(self._counts[kind] - old.total) > CHANGED * old.total


def _of_kind(store: Store, vectors: VectorColumn, kind: Kind) -> str | None:
    return all_of(is_in("kind", [kind]), store.has_vector(vectors.column))


def _drawn(store: Store, column: VectorColumn, kind: Kind) -> Background:
    where = _of_kind(store, column, kind)
    total = store.items.count(where)
    if total > SAMPLE:
        ids = sorted(store.items.read(["id"], where)["id"].to_pylist())
        total = len(ids)
        chosen = np.random.default_rng(0).choice(total, min(SAMPLE, total), replace=False)
        where = all_of(where, id_in(ids[place] for place in chosen))
    ids, vectors = column.read(where)
    return Background(max(total, len(ids)), {identity: row for row, identity in enumerate(ids)}, vectors)

"""How good vectors are at finding and naming: recall@k, MRR, accuracy, precision@k, each with its interval.

Scores are cosines rounded to seven decimals, which is what float32 rows can tell apart. Ties are counted
pessimistically: of equal scores the wrong ones come first. So a model that scores everything alike gets
nothing, and the order in which numbers were added up decides nothing.

Each measure is a mean. Its interval is the 95% percentile bootstrap (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 13): the mean is taken again over `RESAMPLES` samples of as many units, drawn
with replacement, and the middle 95% of those means is the interval. It tells how much the figure owes to the
pictures or queries that happen to be in the data; where every unit scores the same it has no width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.encoder import Vectors
from clipkit.errors import InvalidInput

RESAMPLES = 2000  # moves the ends of an interval by a fiftieth of its width or so
_TICKS = 1e7  # scores are whole numbers of ten-millionths, so that equal ones are equal
_BLOCK = 1 << 22  # scores held at once: 32 MiB, and twice as much while they are made
_PAIRS_AT_ONCE = 1 << 12  # whose rows are gathered: 32 MiB at 2,048 dimensions
_UNIT = 1e-3  # how far from 1 a row's length may be: bf16 models round coarsely

_NONE = np.iinfo(np.int64).min + 1  # below every score

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """A mean over `n` queries or pictures, with the ends of its 95% bootstrap interval; all in [0, 1]."""

    name: str
    value: float
    low: float
    high: float
    n: int
    definition: str


@dataclass(frozen=True, slots=True)
class Column:
    """A value for each query or picture, (q,), of which a Measure is the mean."""

    name: str
    definition: str
    values: NDArray[np.bool_] | Floats


def retrieval(
    images: Vectors, texts: Vectors, pairs: ArrayLike, *, ks: Sequence[int] = (1, 5, 10), seed: int = 0
) -> tuple[Measure, ...]:
    """Recall@k for each of `ks` and MRR, from texts to images and then from images to texts.

    `images` (n, dim) and `texts` (m, dim) are unit rows. `pairs` (p, 2) says which image, by its row, has
    which text. An image may have several texts; a text that several images have is right for each of them,
    so give equal captions one row. Rows without a pair are candidates, never queries.

    Recall@k is the share of queries with a right candidate among the first k: "R@K" in Karpathy and Fei-Fei,
    Deep visual-semantic alignments, CVPR 2015, and in the literature on CLIP since. With k at or above the
    number of candidates it is 1. MRR is the mean of 1 / rank of the first right candidate (Voorhees, TREC-8,
    1999). From texts to images each pair is a query, from images to texts each image; what is drawn again
    for the intervals is images, with all their texts, for texts of one image fail together.

    Raises InvalidInput for rows that are none or not unit vectors, pairs that are none or point past the
    rows, and a k below 1.
    """
    _check_rows(images=images, texts=texts)
    linked = _checked_pairs(pairs, len(images), len(texts))
    checked_ks = [_checked_k(k) for k in ks]
    to_image = _ranks(texts, images, linked[:, ::-1])  # (m,)
    to_text = _ranks(images, texts, linked)  # (n,)
    asked, units = np.unique(linked[:, 0], return_inverse=True)
    return (
        *_rank_measures("text", "image", to_image[linked[:, 1]], units, checked_ks, seed),
        *_rank_measures("image", "text", to_text[asked], np.arange(len(asked)), checked_ks, seed),
    )


def zero_shot(
    images: Vectors, labels: ArrayLike, classes: Vectors, *, ks: Sequence[int] = (1, 5), seed: int = 0
) -> tuple[Measure, ...]:
    """Top-k accuracy for each of `ks`: the share of images whose class is among the k nearest class vectors.

    `images` (n, dim) and `classes` (c, dim) are unit rows, `labels` (n,) the rows of the true classes; see
    `ensemble` for vectors of classes. As in Radford et al., Learning transferable visual models from natural
    language supervision, 2021, section 3.1. With k at or above the number of classes it is 1.

    Raises InvalidInput as `retrieval` does.
    """
    _check_rows(images=images, classes=classes)
    truth = _checked_labels(labels, len(images))
    if truth.max() >= len(classes):
        raise InvalidInput(f"a label is {truth.max()}, but there are {len(classes)} classes, counted from 0")
    every = np.arange(len(images))
    ranks = _ranks(images, classes, np.column_stack([every, truth]))
    columns = [
        Column(f"zero-shot top-{k}", f"images whose class is {_among(k, 'nearest')}", ranks <= k)
        for k in map(_checked_k, ks)
    ]
    return _measured(columns, every, seed)


def precision(
    queries: Vectors,
    images: Vectors,
    *,
    labels: ArrayLike,
    wanted: Sequence[Collection[int]],
    k: int,
    seed: int = 0,
) -> Measure:
    """Precision@k: the share of right images among the first k, as a mean over the queries.

    An image is right for `queries[i]` if its label is in `wanted[i]`. The share is of k even where fewer
    images are right or there, as trec_eval counts it (Manning, Raghavan and Schütze, Introduction to
    Information Retrieval, 2008, section 8.4). Queries are what is drawn again for the interval.

    Raises InvalidInput as `retrieval` does, and for a query that no image is right for.
    """
    _check_rows(queries=queries, images=images)
    truth = _checked_labels(labels, len(images))
    checked_k = _checked_k(k)
    if len(wanted) != len(queries):
        raise InvalidInput(f"there are {len(queries)} queries, but {len(wanted)} sets of wanted labels")
    present = set(truth.tolist())
    for position, labels_of_query in enumerate(wanted):
        if present.isdisjoint(labels_of_query):
            raise InvalidInput("no image is right for this query", position=position)
    shares = _precisions(queries, images, truth, wanted, checked_k)
    column = Column(f"P@{k}", f"right images among the first {k}, mean over the queries", shares)
    return _measured([column], np.arange(len(queries)), seed)[0]


def ensemble(rows: Vectors) -> Vectors:
    """The unit vector, (1, dim), of the mean of unit rows (n, dim): one class from several prompts.

    Raises InvalidInput if the rows cancel each other.
    """
    _check_rows(rows=rows)
    mean = rows.mean(axis=0, dtype=np.float64, keepdims=True)
    length = np.linalg.norm(mean)
    if length < 1e-6:
        raise InvalidInput("the prompts of a class cancel each other: their mean has no direction")
    return np.asarray(mean / length, np.float32)


# --- ranks and precisions, in blocks


def _ranks(queries: Vectors, candidates: Vectors, pairs: Ints) -> Ints:
    """For each query, (q,), the rank from 1 of its best right candidate, behind wrong ones of equal score.

    `pairs` (p, 2) are (query, right candidate); a query without any gets the rank 0.
    """
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    best = np.full(len(queries), _NONE)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        query, candidate = pairs[start : start + _PAIRS_AT_ONCE].T
        products = np.einsum("ij,ij->i", queries[query], candidates[candidate], dtype=np.float64)
        np.maximum.at(best, query, _ticks(products))
    ranks = np.ones(len(queries), np.int64)
    for start, stop, at, scores in _blocks(queries, candidates):
        query, candidate = _inside(pairs, start, stop, at, scores.shape[1])
        scores[query, candidate] = _NONE - 1  # right ones do not stand in each other's way
        ranks[start:stop] += (scores >= best[start:stop, None]).sum(axis=1)
    ranks[best == _NONE] = 0
    return ranks


def _inside(pairs: Ints, start: int, stop: int, at: int, width: int) -> tuple[Ints, Ints]:
    """Row and column, within a block of scores, of the pairs that lie in it; `pairs` in order of queries."""
    first, last = np.searchsorted(pairs[:, 0], [start, stop])
    query, candidate = pairs[first:last].T
    here = (candidate >= at) & (candidate < at + width)
    return query[here] - start, candidate[here] - at


def _precisions(
    queries: Vectors, images: Vectors, labels: Ints, wanted: Sequence[Collection[int]], k: int
) -> Floats:
    """Precision@k of each query, (q,)."""
    shares = np.zeros(len(queries))
    kept = np.empty((0, 0), np.int64)  # the best so far of the queries in hand
    for start, stop, at, scores in _blocks(queries, images):
        here = labels[at : at + scores.shape[1]]
        right = np.stack([np.isin(here, list(wanted[i])) for i in range(start, stop)])  # (rows, width)
        # The last bit of a key says wrong, so of equal scores the wrong ones are larger and come first.
        keys = 2 * scores + ~right
        keys = keys if at == 0 else np.concatenate([kept, keys], axis=1)
        size = min(k, keys.shape[1])
        kept = np.partition(keys, -size, axis=1)[:, -size:]
        shares[start:stop] = (kept % 2 == 0).sum(axis=1) / k
    return shares


def _blocks(queries: Vectors, candidates: Vectors) -> Iterator[tuple[int, int, int, Ints]]:
    """(start, stop, at, scores) for all scores: those of queries[start:stop] with candidates[at:at + width].

    The blocks of some queries come one after the other, in the order of the candidates.
    """
    width = min(len(candidates), _BLOCK // 64)
    height = max(1, _BLOCK // width)
    for start in range(0, len(queries), height):
        rows = queries[start : start + height].astype(np.float64)
        for at in range(0, len(candidates), width):
            columns = candidates[at : at + width].astype(np.float64)
            yield start, start + len(rows), at, _ticks(rows @ columns.T)


def _ticks(products: Floats) -> Ints:
    return np.rint(products * _TICKS).astype(np.int64)


# --- means and their intervals


def _rank_measures(
    asked: str, sought: str, ranks: Ints, units: Ints, ks: Sequence[int], seed: int
) -> tuple[Measure, ...]:
    way = f"{asked}→{sought}"
    columns = [
        Column(f"{way} R@{k}", f"{asked}s for which a right {sought} is {_among(k, 'first')}", ranks <= k)
        for k in ks
    ]
    columns.append(Column(f"{way} MRR", f"1 / rank of the first right {sought}", 1.0 / ranks))
    return _measured(columns, units, seed)


def _among(k: int, which: str) -> str:
    return f"among the {which} {k}" if k > 1 else f"the {which}"


def _measured(columns: Sequence[Column], units: Ints, seed: int) -> tuple[Measure, ...]:
    """The mean of each column with its interval; `units` (q,) says whose the values are."""
    each = [np.asarray(column.values, np.float64) for column in columns]
    values = np.column_stack([*each, np.ones(len(units))])  # (q, columns + 1)
    sums = np.zeros((int(units.max()) + 1, values.shape[1]))
    np.add.at(sums, units, values)
    ends = _interval(sums, seed)  # (2, columns)
    return tuple(
        Measure(column.name, float(own.mean()), float(low), float(high), len(units), column.definition)
        for column, own, low, high in zip(columns, each, *ends, strict=True)
    )


def _interval(sums: Floats, seed: int) -> Floats:
    """The ends, (2, columns), of the 95% percentile bootstrap of each column's sum over the last column's.

    `sums` (units, columns + 1). How often each *different* row is drawn is multinomial, which is the same as
    drawing units one by one, and much faster: most units score like many others.
    """
    rows, counts = np.unique(sums, axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // len(rows))
    means = []
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        drawn = random.multinomial(counts.sum(), counts / counts.sum(), size=size) @ rows
        means.append(drawn[:, :-1] / drawn[:, -1:])
    ends: Floats = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return ends


# --- what is passed in


def _check_rows(**named: Vectors) -> None:
    dims = {rows.shape[1] for rows in named.values() if rows.ndim == 2}
    for name, rows in named.items():
        if rows.ndim != 2 or not len(rows):
            raise InvalidInput(
                f"{name} should be one unit vector a row, at least one, not shape {rows.shape}"
            )
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        bad = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT))  # so that NaN is bad
        if bad.size:
            raise InvalidInput(f"row {bad[0]} of {name} has the length {lengths[bad[0]]:g}, not 1")
    if len(dims) > 1:
        raise InvalidInput(f"{' and '.join(named)} have different dimensions: {sorted(dims)}")


def _checked_pairs(pairs: ArrayLike, images: int, texts: int) -> Ints:
    given = np.asarray(pairs)
    if given.ndim != 2 or given.shape[1] != 2 or not len(given) or given.dtype.kind not in "iu":
        raise InvalidInput(f"pairs are rows of (image, text), at least one, not {given.dtype} {given.shape}")
    linked = np.unique(given.astype(np.int64), axis=0)
    for column, rows, what in ((0, images, "an image"), (1, texts, "a text")):
        if linked[:, column].min() < 0 or linked[:, column].max() >= rows:
            raise InvalidInput(f"a pair names {what} that is not there: the rows go from 0 to {rows - 1}")
    return linked


def _checked_labels(labels: ArrayLike, n: int) -> Ints:
    given = np.asarray(labels)
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise InvalidInput(
            f"labels are {n} whole numbers, one for each image, not {given.dtype} {given.shape}"
        )
    if given.min() < 0:
        raise InvalidInput("a label is negative", position=int(np.argmin(given)))
    return given.astype(np.int64)


def _checked_k(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InvalidInput(f"k is a whole number of at least 1, not {k!r}")
    return int(k)

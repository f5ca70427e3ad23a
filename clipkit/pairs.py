"""Pairs that mean the same, mined from two sets of texts: translations, or one thing said twice.

A cosine alone does not tell a translation: some texts are near to everything, others far even from their
own translation. So the cosine of two texts is divided by what is usual around them: the ratio margin of
M. Artetxe, H. Schwenk, Margin-based parallel corpus mining with multilingual sentence embeddings, ACL 2019.

    margin(x, y) = cos(x, y) / (m(x) / 2 + m(y) / 2)

m(x) is the mean cosine of x to its k nearest on the other side, and m(y) that of y. A cosine below 0 counts
as 0, so that a margin is always from 0 to 2k. It is above 1 where two texts are nearer to each other than to
their other neighbours. Candidates are, for each text of either side, the one of highest margin among its k
nearest ("max", the best of the four ways that the authors tried). They are taken from the highest margin
down, each text once.

Two languages have to share a space. Models of sentences in many languages have one. Word vectors of two
languages, trained apart, get one by `alignment`, from words whose translation is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from clipkit.collection import Collection
from clipkit.columns import at_least_1
from clipkit.encoder import Encoder, Vectors, unit_rows
from clipkit.errors import CollectionMismatch, InvalidInput
from clipkit.hits import Hit
from clipkit.neighbours.rows import Rows, read_hits, read_rows
from clipkit.reports import Progress

NEIGHBOURS = 4  # the k of Artetxe and Schwenk
THRESHOLD = 1.06  # as Schwenk et al., CCMatrix (ACL 2021); tests/bench/pairs.py measures it
_ROWS, _COLUMNS = 2048, 4096  # of a block of cosines: 34 MB
_TEXTS = 4096  # embedded at once: enough for batches of texts of one length
_NONE = -np.inf  # below every cosine: no neighbour yet

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pair:
    """The places of two that belong together, counted from 0. `score` is the margin, not a cosine."""

    left: int
    right: int
    score: float
    cosine: float


@dataclass(frozen=True, slots=True)
class ItemPair:
    """Two stored texts that belong together. `score` is the margin, that of the hits the cosine."""

    left: Hit
    right: Hit
    score: float


def pair_texts(
    encoder: Encoder,
    left: Sequence[str],
    right: Sequence[str],
    *,
    threshold: float = THRESHOLD,
    neighbours: int = NEIGHBOURS,
) -> tuple[Pair, ...]:
    """The pairs of a text of `left` and one of `right` that mean the same, the surest first.

    Each text is in one pair at most; one that is there several times counts once, at its first place. All
    else is as in `pair_rows`. Raises InvalidInput, with its position, for a text that cannot be embedded.
    """
    firsts = _firsts(left), _firsts(right)
    vectors = _rows_of(encoder, left, firsts[0], "left"), _rows_of(encoder, right, firsts[1], "right")
    found = pair_rows(vectors[0], vectors[1], threshold=threshold, neighbours=neighbours)
    return tuple(replace(pair, left=firsts[0][pair.left], right=firsts[1][pair.right]) for pair in found)


def pair_items(
    left: Collection,
    right: Collection,
    *,
    left_where: str | None = None,
    right_where: str | None = None,
    threshold: float = THRESHOLD,
    neighbours: int = NEIGHBOURS,
) -> tuple[ItemPair, ...]:
    """The same for the texts of two collections of one model, or of one collection filtered twice.

    Nothing is embedded. Of equal texts the first by id counts. An item that passes both filters is found to
    mean the same as itself. Raises CollectionMismatch for collections of different models, FilterError for a
    bad filter, and InvalidInput.
    """
    if left.encoder_name != right.encoder_name:
        raise CollectionMismatch(
            f"vectors of {left.encoder_name} in {left.name!r} cannot be compared with those of "
            f"{right.encoder_name} in {right.name!r}: reindex one of them"
        )
    sides = _texts_of(left, left_where), _texts_of(right, right_where)
    found = pair_rows(sides[0].vectors, sides[1].vectors, threshold=threshold, neighbours=neighbours)
    ids = sides[0].ids, sides[1].ids
    lefts = read_hits(left, [ids[0][pair.left] for pair in found])
    rights = read_hits(right, [ids[1][pair.right] for pair in found])
    return tuple(
        ItemPair(
            replace(lefts[one], score=pair.cosine), replace(rights[other], score=pair.cosine), pair.score
        )
        for pair in found
        for one, other in [(ids[0][pair.left], ids[1][pair.right])]
        if one in lefts and other in rights  # none that was deleted meanwhile
    )


def pair_rows(
    left: Vectors, right: Vectors, *, threshold: float = THRESHOLD, neighbours: int = NEIGHBOURS
) -> tuple[Pair, ...]:
    """The pairs of a row of `left` and one of `right`, (n, dim) and (m, dim), the highest margin first.

    Each row is in one pair at most, and pairs have a margin of at least `threshold`: 1 for all that are
    nearer than usual. Equal margins go by place. `neighbours` is the k of the margin; where a side has fewer
    rows, it is their number. So a side of few rows tells little: one row beside one has a margin of 1,
    whatever they are. All cosines are computed, block by block: beside the vectors some 100 MB are held, and
    12 bytes for each row and neighbour. Raises InvalidInput for rows of different lengths.
    """
    k = at_least_1(neighbours, "neighbours")
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or math.isnan(threshold):
        raise InvalidInput(
            f"threshold, the least margin of a pair, is a number such as {THRESHOLD}, not {threshold!r}"
        )
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise InvalidInput(
            f"the rows of both sides have one length, but they have the shapes {left.shape} and {right.shape}"
        )
    if not len(left) or not len(right):
        return ()
    of_left, of_right = _nearest(left, right, k)
    means = of_left.means(), of_right.means()
    forward = _best(of_left, *means)
    backward = _best(of_right, means[1], means[0]).turned()
    return tuple(_one_to_one(forward, backward, threshold))


def embedded(
    encoder: Encoder, texts: Sequence[str], *, progress: Callable[[Progress], None] = lambda _: None
) -> Vectors:
    """The vectors of many texts, (n, dim), part by part. Positions in errors count from the first."""
    rows = np.empty((len(texts), encoder.dim), np.float32)
    for start in range(0, len(texts), _TEXTS):
        part = texts[start : start + _TEXTS]
        try:
            rows[start : start + len(part)] = encoder.encode_texts(part)
        except InvalidInput as error:
            at = error.position
            raise InvalidInput(error.reason, position=None if at is None else start + at) from error
        progress(Progress(start + len(part), len(texts), 0))
    return rows


def alignment(left: Vectors, right: Vectors) -> NDArray[np.float32]:
    """The rotation (dim, dim) that brings the rows of `left` nearest to those of `right`: `rows @ rotation`.

    Row i of both means the same: the vectors of words and of their translations, as many as there are
    dimensions or more. Being orthogonal it leaves cosines within a language as they are: S. L. Smith,
    D. H. P. Turban, S. Hamblin, N. Y. Hammerla, Offline bilingual word vectors, orthogonal transformations
    and the inverted softmax, ICLR 2017, after P. H. Schönemann, Psychometrika 31 (1966). Raises InvalidInput.
    """
    if left.ndim != 2 or left.shape != right.shape or not len(left):
        raise InvalidInput(f"an alignment takes as many rows of both sides: {left.shape} and {right.shape}")
    sides = [unit_rows(rows, *rows.shape).astype(np.float64) for rows in (left, right)]
    u, _, v = np.linalg.svd(sides[0].T @ sides[1])
    return np.asarray(u @ v, np.float32)


class _Nearest:
    """The k nearest others found so far for each row, nearest first; of equal ones the lower place first."""

    def __init__(self, n: int, k: int) -> None:
        self.places = np.full((n, k), -1, np.int64)
        self.cosines = np.full((n, k), _NONE, np.float32)

    def means(self) -> Floats:
        """The mean cosine of each row to its nearest, (n,)."""
        means: Floats = np.clip(self.cosines.astype(np.float64), 0.0, None).mean(axis=1)
        return means

    def offer(self, rows: Ints, others: Ints, cosines: NDArray[np.float32]) -> None:
        """Let `others` compete for places beside `rows`, pair by pair."""
        if not len(rows):
            return
        k = self.places.shape[1]
        touched = np.unique(rows)
        rows = np.concatenate([np.repeat(touched, k), rows])
        others = np.concatenate([self.places[touched].ravel(), others])
        cosines = np.concatenate([self.cosines[touched].ravel(), cosines])
        order = np.lexsort((others, -cosines, rows))
        best = order[np.searchsorted(rows[order], touched)[:, None] + np.arange(k)]  # (touched, k)
        self.places[touched] = others[best]
        self.cosines[touched] = cosines[best]


def _nearest(left: Vectors, right: Vectors, k: int) -> tuple[_Nearest, _Nearest]:
    """The nearest of each row on the other side, from each cosine computed once.

    Places come in order, so a later one has to be nearer than the last of those found to count. Of the first
    block there is none: its own k-th nearest stands for it.
    """
    of_left = _Nearest(len(left), min(k, len(right)))
    of_right = _Nearest(len(right), min(k, len(left)))
    for top in range(0, len(left), _ROWS):
        rows = slice(top, min(top + _ROWS, len(left)))
        for first in range(0, len(right), _COLUMNS):
            columns = slice(first, min(first + _COLUMNS, len(right)))
            cosines = left[rows] @ right[columns].T  # (rows, columns)
            worth = _above(cosines, of_left.cosines[rows, -1], axis=1, k=of_left.places.shape[1])
            of_left.offer(worth[0] + top, worth[1] + first, cosines[worth])
            worth = _above(cosines, of_right.cosines[columns, -1], axis=0, k=of_right.places.shape[1])
            of_right.offer(worth[1] + first, worth[0] + top, cosines[worth])
    return of_left, of_right


def _above(
    cosines: NDArray[np.float32], least: NDArray[np.float32], *, axis: int, k: int
) -> tuple[Ints, Ints]:
    """Where cosines can be among the k highest along `axis`, given the lowest of those known."""
    if np.isneginf(least).any() and cosines.shape[axis] >= k:
        own = np.partition(cosines, -k, axis=axis).take(-k, axis=axis)
        least = np.maximum(least, np.nextafter(own, np.float32(_NONE)))
    worth = np.flatnonzero(cosines > np.expand_dims(least, axis))
    row, column = np.divmod(worth, cosines.shape[1])
    return row, column


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Pairs of places with their margins and cosines, each (n,)."""

    left: Ints
    right: Ints
    margins: Floats
    cosines: Floats

    def turned(self) -> _Candidates:
        return _Candidates(self.right, self.left, self.margins, self.cosines)


def _best(near: _Nearest, own: Floats, others: Floats) -> _Candidates:
    """For each row the one of its nearest with the highest margin; of equal ones the nearer."""
    cosines = near.cosines.astype(np.float64)
    usual = (own[:, None] + others[near.places]) / 2  # (n, k)
    margins = np.clip(cosines, 0.0, None) / np.where(usual > 0.0, usual, 1.0)
    rows = np.arange(len(margins))
    best = margins.argmax(axis=1)
    return _Candidates(rows, near.places[rows, best], margins[rows, best], cosines[rows, best])


def _one_to_one(forward: _Candidates, backward: _Candidates, threshold: float) -> Iterator[Pair]:
    """The candidates of both directions from the highest margin down, leaving out what is paired already."""
    left, right, margins, cosines = (
        np.concatenate([getattr(forward, name), getattr(backward, name)])
        for name in ("left", "right", "margins", "cosines")
    )
    paired: tuple[set[int], set[int]] = (set(), set())
    for at in np.lexsort((right, left, -margins)).tolist():
        if margins[at] < threshold:
            return
        one, other = int(left[at]), int(right[at])
        if one not in paired[0] and other not in paired[1]:
            paired[0].add(one)
            paired[1].add(other)
            yield Pair(one, other, float(margins[at]), float(np.clip(cosines[at], -1.0, 1.0)))


def _rows_of(encoder: Encoder, texts: Sequence[str], places: Sequence[int], side: str) -> Vectors:
    try:
        return embedded(encoder, [texts[at] for at in places])
    except InvalidInput as error:
        at = error.position
        raise InvalidInput(
            f"{error.reason} (on the {side})", position=None if at is None else places[at]
        ) from error


def _texts_of(collection: Collection, where: str | None) -> Rows:
    """The different texts that pass the filter, of equal ones the first by id."""
    rows = read_rows(collection, "text", where, ["text"])
    rows = rows.taken(sorted(range(len(rows)), key=rows.ids.__getitem__))
    return rows.taken(_firsts(rows.columns["text"].to_pylist()))


def _firsts(values: Sequence[str]) -> list[int]:
    """The places at which a value stands for the first time."""
    first: dict[str, int] = {}
    for place, value in enumerate(values):
        first.setdefault(value, place)
    return list(first.values())

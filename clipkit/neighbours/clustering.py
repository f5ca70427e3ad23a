"""Clusters: what a collection is about, by parts that look alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clipkit.collection import Collection
from clipkit.columns import at_least_1
from clipkit.encoder import Vectors
from clipkit.hits import Hit, Kind
from clipkit.neighbours import kmeans
from clipkit.neighbours.kmeans import Ints
from clipkit.neighbours.rows import Rows, read_hits, read_rows
from clipkit.searching import kind_or_main
from clipkit.vocabulary import FEW_TEMPLATES, Vocabulary

SHOWN = 5  # items that stand for a cluster
_NAMES = 3
_NUMBERS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40)  # of clusters, to choose from
_LEAST = 5  # items a cluster, on average, where the number is chosen
_SAMPLE = 4_000  # items that the number is chosen on
_RUNS = 3  # k-means may end badly from one start


@dataclass(frozen=True, slots=True)
class Cluster:
    """Items that lie around one direction.

    `items` are those nearest to it, the first the medoid, each with its cosine similarity to it as the score;
    `ids` are all, nearest first. `coherence` is the mean of all these similarities. `names` are the labels
    that say best how the cluster differs from the whole, best first; none without a vocabulary.
    """

    names: tuple[str, ...]
    coherence: float
    items: tuple[Hit, ...]
    ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """The best of the names, or "" where there are none."""
        return self.names[0] if self.names else ""

    @property
    def size(self) -> int:
        return len(self.ids)


def clusters(
    collection: Collection,
    n: int | None = None,
    *,
    vocabulary: Vocabulary | Sequence[str] | None = None,
    kind: Kind | None = None,
    where: str | None = None,
) -> tuple[Cluster, ...]:
    """The items of a kind in `n` clusters, the largest first; every item is in one of them.

    Without `kind` they are pictures, or texts where there are no pictures.

    Without `n` their number is the one, from 2 up to 40 and to a fifth of the items, by which items lie most
    clearly nearer to their own centre than to the next: the simplified silhouette (E. R. Hruschka et al.,
    Evolutionary Computation 17, 2009). A collection that falls into no parts still gets the best of these
    numbers. The same items give the same clusters. They are named from `vocabulary`, by default the built-in
    one, an empty one for no names. Raises InvalidInput, or FilterError for a bad filter.
    """
    wanted = None if n is None else at_least_1(n, "n, the number of clusters,")
    labels = _vocabulary(vocabulary)
    kind = kind_or_main(kind, collection.count)
    rows = read_rows(collection, kind, where)
    if not len(rows):
        return ()
    centres = _centres(rows.vectors, wanted or _number(rows.vectors))
    nearest = kmeans.nearest_centre(rows.vectors, centres)
    kept = np.unique(nearest)
    named: list[tuple[str, ...]] = [()] * len(kept)
    if labels and "text" in collection.encoder.modalities:
        texts = labels.vectors(collection.encoder, FEW_TEMPLATES if kind == "image" else ("{}",))
        best = _best_labels(texts, centres[kept], rows.vectors.mean(axis=0))
        named = [tuple(labels.names[at] for at in row) for row in best.tolist()]
    parts = [
        _part(rows, np.flatnonzero(nearest == place), centres[place], its_names)
        for place, its_names in zip(kept.tolist(), named, strict=True)
    ]
    found = read_hits(collection, [identity for part in parts for identity in part.ids[:SHOWN]])
    return tuple(
        _shown(part, found) for part in sorted(parts, key=lambda part: (-len(part.ids), part.ids[0]))
    )


def _vocabulary(given: Vocabulary | Sequence[str] | None) -> Vocabulary | None:
    if given is None:
        return Vocabulary.everyday()
    return given if isinstance(given, Vocabulary) else Vocabulary.of(given) if given else None


def _number(vectors: Vectors) -> int:
    """The number of clusters that a sample falls into most clearly; 1 for too few items to tell."""
    random = np.random.default_rng(0)
    if len(vectors) > _SAMPLE:
        vectors = vectors[np.sort(random.choice(len(vectors), _SAMPLE, replace=False))]
    numbers = [number for number in _NUMBERS if number <= len(vectors) // _LEAST]
    return max(numbers, key=lambda number: _clarity(vectors, number), default=1)


def _clarity(vectors: Vectors, number: int) -> float:
    """The simplified silhouette: how much nearer, from 0 to 1, items are to their centre than to the next."""
    near = np.sort(1 - vectors @ _centres(vectors, number).T, axis=1)  # distances to all centres
    if near.shape[1] < 2:  # fewer different rows than centres
        return 0.0
    own, next_ = np.clip(near[:, 0], 0, None), near[:, 1]
    return float(np.mean((next_ - own) / np.maximum(next_, 1e-6)))


def _centres(vectors: Vectors, number: int) -> Vectors:
    """The best of a few runs, by how near the rows are to their centres."""
    runs = [kmeans.centres(vectors, number, seed=seed) for seed in range(_RUNS)]
    if number == 1:
        return runs[0]
    return max(runs, key=lambda run: float((vectors[:_SAMPLE] @ run.T).max(axis=1).mean()))


def _best_labels(texts: Vectors, centres: Vectors, mean: Vectors) -> Ints:
    """For each centre the places of the texts that lie most in the direction in which it differs from `mean`.

    Both sides are taken as differences from their means: or all clusters would be named by the few labels
    that lie near everything. With one of either there is no difference, and they are taken as they are.
    """
    if len(texts) > 1 and len(centres) > 1:
        texts, centres = texts - texts.mean(axis=0), centres - mean
    lengths = np.linalg.norm(texts, axis=1)
    scores = centres @ (texts / np.maximum(lengths, 1e-6)[:, None]).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :_NAMES]


@dataclass(frozen=True, slots=True)
class _Part:
    """A cluster whose items have not been read: their ids and scores, nearest to the centre first."""

    names: tuple[str, ...]
    ids: tuple[str, ...]
    scores: tuple[float, ...]


def _part(rows: Rows, members: Ints, centre: Vectors, names: tuple[str, ...]) -> _Part:
    scores = np.clip(rows.vectors[members] @ centre, -1.0, 1.0)
    ids = rows.columns["id"].take(members).to_pylist()
    order = sorted(range(len(ids)), key=lambda at: (-scores[at], ids[at]))
    return _Part(names, tuple(ids[at] for at in order), tuple(float(scores[at]) for at in order))


def _shown(part: _Part, found: Mapping[str, Hit]) -> Cluster:
    first = zip(part.ids[:SHOWN], part.scores, strict=False)
    items = tuple(replace(found[identity], score=score) for identity, score in first if identity in found)
    return Cluster(part.names, float(np.mean(part.scores)), items, part.ids)

"""A collection as a map: items as points in a plane, near what is like them.

`pca` looks at the vectors from where they differ most. It is fast and each distance is what a shadow shows of
the true one, but two directions hold a small part of the differences, so that kinds of things overlap.

`umap` keeps neighbours together (L. McInnes, J. Healy, J. Melville, arXiv:1802.03426, 2018). Groups come
apart, but how far apart, and how dense they are, says little. Neighbours are found here, exactly up to 20,000
items, by the cosine within the 50 principal directions: umap-learn's own search compiles for longer than all
else takes. What else it compiles is kept for the next process, where a folder can be written to: 7 of 8
seconds of a map of 300 items. The layout begins where `pca` puts the items, so that what lies far apart is
not thrown together by chance (D. Kobak, G. C. Linderman, Nature Biotechnology 39, 2021).

`tests/bench/maps.py` measures both. The same items give the same map, in whatever order they came.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from clipkit import importing
from clipkit.collection import Collection
from clipkit.columns import at_least_1
from clipkit.encoder import Vectors, batched
from clipkit.errors import InvalidInput, MissingExtra, did_you_mean
from clipkit.filters import all_of, id_in, self_contained
from clipkit.hits import Kind
from clipkit.importing import Waiting, later, real
from clipkit.neighbours.nearest import nearest
from clipkit.reports import Progress
from clipkit.searching import kind_is, kind_or_main

Method = Literal["pca", "umap"]
Points: TypeAlias = NDArray[np.float32]
"""Places on a map: shape (n, 2), float32, from -1 to 1, y upwards."""

LIMIT = 20_000  # points that a page shows smoothly
NEIGHBOURS = 15  # umap-learn's own: fewer tear groups apart, more blur them
MIN_DIST = 0.1  # umap-learn's own, between points that are much alike, in units of its layout
_DIRECTIONS = 50  # of 256 dimensions of photos they hold 0.9 of the variance, and finding neighbours is cheap
_FEWEST = 5  # items that UMAP makes something of
_PAGE = 8_192  # items read at once: with 1,152 dimensions 75 MB as float64
_EQUAL = 1e-6  # a distance between unit vectors that is rounding of float32
_EDGE = 10.0  # the width of a layout that UMAP begins from
_SEED = 0
_METRIC = "cosine"
_Floats: TypeAlias = NDArray[np.float64]
# What of umap-learn numba would compile anew in each process, as `_layout` uses it.
_COMPILED = (
    ("umap_", "smooth_knn_dist"),
    ("umap_", "compute_membership_strengths"),
    ("layouts", "_nb_optimize_layout_euclidean_single_epoch"),
)

# Where numba has no OpenMP, two callers at once of what it made parallel end the process.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Items, sorted by id, and where they lie: `xy` has the place of each, one scale for both axes.

    `total` counts the items that could be on it: more than there are ids if this is a sample. `method` is how
    it was made, `explained` the share of the variance of the vectors that x and y hold, of `pca` only, and
    `settings` those of UMAP.
    """

    ids: tuple[str, ...]
    xy: Points = field(repr=False)
    method: Method
    total: int
    explained: tuple[float, float] | None = None
    settings: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """The principal directions of vectors, most variance first: unit columns (dim, m), around `mean` (dim,).

    `shares` (m,) are the parts of the variance that they hold, 0 where all vectors are equal. The largest
    entry of each direction is positive.
    """

    mean: _Floats
    directions: _Floats
    shares: _Floats

    def place(self, vectors: Vectors) -> Points:
        """The coordinates of vectors along the directions, (n, m)."""
        return np.asarray((vectors - self.mean) @ self.directions, np.float32)


def project(
    collection: Collection,
    *,
    method: Method = "umap",
    kind: Kind | None = None,
    where: str | None = None,
    limit: int = LIMIT,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Map:
    """The items of a kind that pass the filter on a map: all, or `limit` of them at random.

    Without `kind` they are pictures, or texts where there are no pictures.

    A filter or another limit changes the places of all. Vectors are read a page at a time, twice. Up to four
    items, and items that are all equal, are placed by `pca` whatever the method. Raises InvalidInput,
    FilterError for a bad filter, and MissingExtra for `umap` without umap-learn.
    """
    if method not in get_args(Method):
        raise InvalidInput(f"there is no method {method!r}. {did_you_mean(str(method), get_args(Method))}")
    wanted = at_least_1(limit, "limit, the number of items on a map,")
    umap = _umap() if method == "umap" else None
    passing = all_of(kind_is(kind_or_main(kind, collection.count)), where and self_contained(where))
    ids = np.sort(collection.to_arrow(columns=["id"], where=passing)["id"].to_numpy())
    chosen = ids if len(ids) <= wanted else np.sort(np.random.default_rng(_SEED).choice(ids, wanted, False))
    steps = len(chosen) * (2 if umap is None else 3)
    read = _Reading(collection, chosen.tolist(), steps, progress)
    axes = principal_axes(
        (vectors for _, vectors in read.pages()), collection.dim, 2 if umap is None else _DIRECTIONS
    )
    placed = [(names, axes.place(vectors)) for names, vectors in read.pages()]
    names = tuple(name for page, _ in placed for name in page)
    rows = np.concatenate([np.empty((0, axes.directions.shape[1]), np.float32), *(at for _, at in placed)])
    if umap is None or len(names) < _FEWEST or not axes.shares.any():
        explained = (float(axes.shares[0]), float(axes.shares[1]))
        found = Map(names, _scaled(rows[:, :2]), "pca", len(ids), explained)
    else:
        settings = {"neighbours": min(NEIGHBOURS, len(names) - 1), "min_dist": MIN_DIST}
        found = Map(names, _scaled(_layout(umap, rows)), "umap", len(ids), settings=settings)
    progress(Progress(steps, steps, 0))
    return found


def principal_axes(pages: Iterable[Vectors], dim: int, number: int, *, centred: bool = True) -> Axes:
    """Up to `number` principal directions of the rows of all pages, each (n, dim).

    Unless `centred`, those around the origin, which keep the products of rows best. They are eigenvectors of
    the covariance matrix, which is summed up page by page in float64: so memory does not grow with the number
    of rows. They are the right singular vectors of the centred rows.
    """
    count, total, squares = 0, np.zeros(dim), np.zeros((dim, dim))
    for page in pages:
        rows = page.astype(np.float64)
        count += len(rows)
        total += rows.sum(axis=0)
        squares += rows.T @ rows
    mean = total / max(count, 1) if centred else np.zeros(dim)
    variances, directions = np.linalg.eigh(squares / max(count, 1) - np.outer(mean, mean))  # ascending
    variances, directions = variances[: -number - 1 : -1], directions[:, : -number - 1 : -1]
    whole = float(np.trace(squares)) / max(count, 1) - float(mean @ mean)
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.sign(directions[largest, np.arange(directions.shape[1])])
    shares = np.maximum(variances, 0) / whole if whole > _EQUAL**2 else np.zeros(len(variances))
    return Axes(mean, directions, shares)


class _Reading:
    """The ids and vectors of some items, in pages, as often as they are needed."""

    def __init__(
        self, collection: Collection, ids: Sequence[str], steps: int, progress: Callable[[Progress], None]
    ) -> None:
        self._collection = collection
        self._ids = ids
        self._steps = steps
        self._done = 0
        self._progress = progress

    def pages(self) -> Iterator[tuple[list[str], Vectors]]:
        """Those that are still there and have a vector, in the order of their ids."""
        for page in batched(self._ids, _PAGE):
            stored = self._collection.to_arrow(columns=["id", "vector"], where=id_in(page)).sort_by("id")
            stored = stored.filter(stored["vector"].is_valid())  # a new model may lack some still
            flat = stored["vector"].combine_chunks().flatten().to_numpy()
            yield stored["id"].to_pylist(), flat.reshape(-1, self._collection.dim)
            self._done += len(page)
            self._progress(Progress(self._done, self._steps, 0))


@dataclass(frozen=True)
class _Metrics:
    """The metrics that umap-learn's own search for neighbours knows: asked for ours, it need not be there."""

    module: str
    name: str

    def __contains__(self, metric: object) -> bool:
        return metric == _METRIC or metric in real(self.module, self.name)

    def __getitem__(self, metric: str) -> Any:
        return real(self.module, self.name)[metric]


def _search_later(module: str, name: str) -> Any:
    return _Metrics(module, name) if name.endswith("named_distances") else later(module, name)


# That search takes 20 s to compile, the first time ever that it is imported, and is not made use of.
_SEARCH = {"umap.umap_": [Waiting("pynndescent", _search_later, "pynndescent")]}


def _umap() -> Any:
    importing.put_off(_SEARCH)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that it can do without TensorFlow
            import umap
    except ImportError as error:
        raise MissingExtra("a map by umap (pca does without)", "web") from error
    for module, function in _COMPILED:
        with suppress(AttributeError, RuntimeError):  # another umap-learn; no folder that can be written to
            getattr(getattr(umap, module), function).enable_caching()
    return umap


def _layout(umap: Any, rows: Points) -> Points:
    """Where UMAP puts the rows: centred, (n, m), most variance first."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    others = nearest(rows / np.maximum(lengths, _EQUAL), min(NEIGHBOURS, len(rows) - 1) - 1)
    itself = np.arange(len(rows), dtype=np.int32)[:, None]  # comes first among its neighbours
    places = np.concatenate([itself, others.places], axis=1)
    distances = np.concatenate([np.zeros_like(itself, np.float32), 1 - others.scores], axis=1)
    # UMAP divides by the extent of each axis, and where items are equal by the distance between two
    noise = np.random.default_rng(_SEED).normal(scale=1e-4 * _EDGE, size=(len(rows), 2))
    start = _EDGE * _scaled(rows[:, :2]) + noise.astype(np.float32)
    model = umap.UMAP(
        n_neighbors=places.shape[1],
        min_dist=MIN_DIST,
        metric=_METRIC,
        init=start,
        precomputed_knn=(places, distances, None),
        random_state=_SEED,
        n_jobs=1,  # more would make chance of the seed
    )
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is meant: no new items are placed on the map later
        return np.asarray(model.fit_transform(rows), np.float32)


def _scaled(points: Points) -> Points:
    """The points moved and scaled into the square from -1 to 1, which they fill along the longer side."""
    if not len(points):
        return points
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2
    if half <= _EQUAL:
        return np.zeros_like(points)
    return np.asarray(np.clip((points - (low + high) / 2) / half, -1.0, 1.0), np.float32)

"""Shorter vectors for a collection: principal axes fitted on it, and what any length costs in recall.

The axes are the directions of the largest second moments (a singular value decomposition without centring),
so that the products of shortened vectors are as near to those of the whole ones as any linear map has them
(C. Eckart, G. Young, Psychometrika 1, 1936). Centring would change all scores, and by another amount for
texts than for pictures, which lie apart in CLIP's space. Queries go along the same axes.

What is measured is the share of the ten best hits by the whole vectors that are among the ten best by the
shorter ones, scanning all: not what an index finds. Integers of 8 bits are spread between the least and the
greatest value of each dimension. A bit says whether a number is above the mean of its dimension, after a
random rotation (J. Gao, C. Long, RaBitQ, SIGMOD 2024); hits are the nearest by Hamming distance, or the
best of the 40 nearest by their vectors of that length.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clipkit.collection import Collection
from clipkit.columns import at_least_1
from clipkit.encoder import Vectors, batched
from clipkit.encoders.reduced import Axes, Reduced, along
from clipkit.errors import InvalidInput
from clipkit.filters import id_in
from clipkit.lance import ROUNDING
from clipkit.maps import principal_axes
from clipkit.tuning import FEW, PHRASES, QUERIES

Method = Literal["whole", "axes", "cut"]
Storage = Literal["float32", "int8", "binary", "binary, rescored"]

K = 10  # recall is measured at
RESCORED = 4 * K  # candidates by Hamming distance that are scored again
SAMPLE = 20_000  # rows: 100 queries of each are scored in a second
LEAST = 200  # items, below which recall says little
LEAST_SAMPLE = 50
LENGTHS = (512, 256, 128, 64, 32)
_PAGE = 8_192
_LEVELS = 255  # of 8 bits
_BYTES: Mapping[Storage, float] = {"float32": 4, "int8": 1, "binary": 1 / 8, "binary, rescored": 1 / 8}


@dataclass(frozen=True, slots=True)
class Cost:
    """What it costs to search by vectors of so many `dimensions`, of `size_bytes` each.

    They are made of the whole ones along principal axes, or `cut`, which few models were trained for.
    `recalls` are by kind of query, of ten hits; `recall` is the least of them.
    """

    dimensions: int
    method: Method
    storage: Storage
    size_bytes: int
    recalls: Mapping[str, float]

    @property
    def recall(self) -> float:
        return min(self.recalls.values())


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured on `sampled` items, with so many `queries` of each kind."""

    sampled: int
    queries: Mapping[str, int]
    costs: tuple[Cost, ...]


def fit(collection: Collection, dimensions: int, *, path: str | os.PathLike[str]) -> Reduced:
    """An encoder of so many dimensions: the collection's, along the axes that its vectors spread along most.

    The axes are written to `path`, which has to stay: the encoder's name is reduced:PATH. To have a
    collection use it, pass it to `Collection.reindex`: no picture or text is embedded again. Vectors are
    read a page at a time, all of them. Raises InvalidInput for as many dimensions as there are, or more
    than there are items.
    """
    encoder = collection.encoder
    wanted = at_least_1(dimensions, "the number of dimensions")
    if wanted >= encoder.dim:
        raise InvalidInput(f"{encoder.name} has {encoder.dim} dimensions: ask for fewer, not for {wanted}")
    items = collection.count()
    if items < wanted:
        raise InvalidInput(
            f"{items} items cannot say which {wanted} dimensions matter: index more, or ask for fewer"
        )
    found = principal_axes(_pages(collection), encoder.dim, wanted, centred=False)
    directions = np.ascontiguousarray(found.directions, np.float32)
    axes = Axes(encoder.name, encoder.fingerprint, directions)
    place = os.path.abspath(os.path.expanduser(path))
    axes.save(place)
    return along(axes, encoder, f"reduced:{place}")


def costs(
    collection: Collection,
    *,
    lengths: Sequence[int] = LENGTHS,
    sample: int = SAMPLE,
    texts: Sequence[str] | None = None,
) -> Costs:
    """What shorter vectors of the collection would cost, the longest first; those not shorter are left out.

    Queries are up to 100 stored pictures and as many texts, a quarter of them at most, that are left out of
    the sample; where few texts are stored, `texts`, or searches of every day. Raises InvalidInput
    for fewer than 200 items, and a sample of fewer than 50.
    """
    items = collection.count()
    if items < LEAST:
        raise InvalidInput(f"{items} items say too little of recall: index at least {LEAST}")
    if at_least_1(sample, "sample") < LEAST_SAMPLE:
        raise InvalidInput(f"a sample of {sample} items says too little: take at least {LEAST_SAMPLE}")
    vectors, asked = _drawn(collection, sample, texts)
    dim = vectors.shape[1]
    trial = _Trial(vectors, asked)
    found = list(trial.all_storages(dim, "whole", np.eye(dim, dtype=np.float32)))
    axes = principal_axes([vectors], dim, dim, centred=False).directions.astype(np.float32)
    for length in sorted({at_least_1(n, "a number of dimensions") for n in lengths if n < dim}, reverse=True):
        found += trial.all_storages(length, "axes", axes[:, :length])
        found.append(trial.cost(length, "cut", "float32", np.eye(dim, length, dtype=np.float32)))
    return Costs(len(vectors), {kind: len(rows) for kind, rows in asked.items()}, tuple(found))


class _Trial:
    """A sample (n, dim), queries of each kind (m, dim), and the scores by which the ten best are known."""

    def __init__(self, vectors: Vectors, queries: Mapping[str, Vectors]) -> None:
        self._vectors = vectors
        self._queries = queries
        self._scores = {kind: rows @ vectors.T for kind, rows in queries.items()}
        self._least = {kind: np.sort(scores, axis=1)[:, -K] for kind, scores in self._scores.items()}

    def all_storages(self, dim: int, method: Method, directions: NDArray[np.float32]) -> Iterator[Cost]:
        return (self.cost(dim, method, storage, directions) for storage in get_args(Storage))

    def cost(self, dim: int, method: Method, storage: Storage, directions: NDArray[np.float32]) -> Cost:
        stored = _unit(self._vectors @ directions)
        recalls = {
            kind: self._recall(kind, _found(_unit(rows @ directions), stored, storage))
            for kind, rows in self._queries.items()
        }
        return Cost(dim, method, storage, round(dim * _BYTES[storage]), recalls)

    def _recall(self, kind: str, found: NDArray[np.int64]) -> float:
        """The share of the found, (m, K), that score as high as the true ten."""
        scores = np.take_along_axis(self._scores[kind], found, axis=1)
        return float(np.mean(scores >= self._least[kind][:, None] - ROUNDING))


def _found(queries: Vectors, stored: Vectors, storage: Storage) -> NDArray[np.int64]:
    """The places of the ten best of `stored` (n, d) for each of `queries` (m, d), as it is stored: (m, K)."""
    if storage == "float32":
        return _best(queries @ stored.T, K)
    if storage == "int8":
        return _best(queries @ _eight_bits(stored).T, K)
    turned = _rotation(stored.shape[1])
    mean = (stored @ turned).mean(axis=0)
    signs = [np.where(rows @ turned > mean, 1, -1).astype(np.float32) for rows in (queries, stored)]
    agreeing = signs[0] @ signs[1].T  # (m, n): the dimension less twice the Hamming distance
    if storage == "binary":
        return _best(agreeing, K)
    candidates = _best(agreeing, min(RESCORED, len(stored)))  # (m, c)
    scores = np.einsum("md,mcd->mc", queries, stored[candidates])
    return np.take_along_axis(candidates, _best(scores, K), axis=1)


def _rotation(dim: int) -> NDArray[np.float32]:
    """A random rotation, (dim, dim), always the same: it shares out what the first axes hold."""
    drawn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim)))
    return np.asarray(drawn, np.float32)


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The places of the k highest of each row; of equal ones those that come first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def _eight_bits(rows: Vectors) -> Vectors:
    """Rows as they are after storing each number in 8 bits."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    step = np.maximum(high - low, np.finfo(np.float32).tiny) / _LEVELS
    restored: Vectors = np.round((rows - low) / step) * step + low
    return restored


def _unit(rows: NDArray[np.float32]) -> Vectors:
    """Rows of unit length; one of zeros stays so."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths == 0, 1, lengths), np.float32)


def _drawn(
    collection: Collection, sample: int, texts: Sequence[str] | None
) -> tuple[Vectors, dict[str, Vectors]]:
    """A sample at random (n, dim), and queries of each kind (m, dim), none of which is in it."""
    known = collection.to_arrow(columns=["id", "kind"]).sort_by("id")
    order = np.random.default_rng(0).permutation(known.num_rows)
    ids, kinds = known["id"].to_numpy()[order], known["kind"].to_numpy()[order]
    queries: dict[str, Vectors] = {}
    held = np.zeros(len(ids), bool)
    for kind in ("image", "text"):
        places = np.flatnonzero(kinds == kind)
        places = places[: min(QUERIES, len(places) // 4)]
        if len(places) >= FEW:
            held[places] = True
            queries[kind] = _vectors(collection, ids[places])
    encoder = collection.encoder
    if "text" in encoder.modalities and (texts or "text" not in queries):
        queries["text"] = encoder.encode_queries(texts or PHRASES)
    return _vectors(collection, ids[~held][:sample]), queries


def _vectors(collection: Collection, ids: NDArray[np.object_]) -> Vectors:
    """Those of these items that have one, (n, dim)."""
    pages = [
        _rows(collection.to_arrow(columns=["vector"], where=id_in(page))) for page in batched(ids, _PAGE)
    ]
    return np.concatenate([np.empty((0, collection.dim), np.float32), *pages])


def _pages(collection: Collection) -> Iterator[Vectors]:
    for batch in collection.batches(columns=["vector"], batch_size=_PAGE):
        yield _rows(batch)


def _rows(table: Any) -> Vectors:
    """The vectors of an Arrow table or batch, (n, dim), without those that a new model lacks still."""
    column = table.filter(table["vector"].is_valid())["vector"]
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    flat: Vectors = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), column.type.list_size)

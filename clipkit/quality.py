"""How good a collection's searches are, measured on what it holds: nothing is changed.

Two things can go wrong, and have figures of their own. An index may miss some of the nearest items: its
recall is that of `Collection.search` against a scan of all vectors. And what lies nearest to a text may not
show what it says: captions tell how often it does, since it is known which pictures they describe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from clipkit import measures
from clipkit.collection import Collection
from clipkit.columns import at_least_1
from clipkit.encoder import Vectors
from clipkit.errors import InvalidInput
from clipkit.filters import id_in, is_in
from clipkit.hits import Kind
from clipkit.lance import ROUNDING
from clipkit.measures import Measure
from clipkit.neighbours import read_rows
from clipkit.query import Query
from clipkit.reports import Progress
from clipkit.searching import kind_is, kind_or_main
from clipkit.tuning import PHRASES, K

QUERIES = 100  # of each kind: the recall of so many is right to about 0.01
CAPTIONED = 5_000  # pictures, as many as in the test set of COCO, by which models are compared
_PAGE = 16_384  # items read at once: with 512 dimensions 34 MB


@dataclass(frozen=True, slots=True)
class IndexQuality:
    """What searches for ten items of one kind reach. `recalls` has the mean recall@10 by kind of query, and
    `queries` how many of each there were; `recall` is the least of them.

    `p50_ms` and `p95_ms` are of the time that a search took, from a vector to the hits with their metadata.
    """

    recall: float
    recalls: Mapping[str, float]
    queries: Mapping[str, int]
    p50_ms: float
    p95_ms: float


def index_quality(
    collection: Collection,
    *,
    kind: Kind | None = None,
    queries: int = QUERIES,
    progress: Callable[[Progress], None] = lambda _: None,
) -> IndexQuality:
    """The recall@10 and the latency of searches for items of `kind`, by default pictures, or texts where
    there are no pictures, as the collection is now.

    Queries are up to `queries` of its pictures and of its texts, each without itself among the hits; without
    texts, searches of every day. The truth is a scan of all vectors, read page by page. An item that scores
    as much as the tenth is as right as that. Raises InvalidInput if there are no two items of that kind.
    """
    kind = kind_or_main(kind, collection.count)
    items = collection.count(kind=kind)
    if items < 2:
        raise InvalidInput(f"{collection.name!r} has {items} items of the kind {kind}: index more first")
    asked = _asked(collection, at_least_1(queries, "queries"))
    truth = iter(_best(collection, kind, asked))
    total = sum(len(each.ids) for each in asked)
    seconds: list[float] = []
    recalls: dict[str, float] = {}
    for each in asked:
        right = there = 0
        for vector, itself in zip(each.vectors, each.ids, strict=True):
            best = next(truth)
            began = time.perf_counter()
            hits = collection.search(Query.vector(vector), k=K + 1, kind=kind)
            seconds.append(time.perf_counter() - began)
            others = [hit for hit in hits if hit.id != itself][:K]
            right += sum(hit.score >= best.min() - ROUNDING for hit in others)
            there += len(best)
            progress(Progress(len(seconds), total, 0))
        recalls[each.kind] = right / there
    p50, p95 = (1000 * float(value) for value in np.percentile(seconds, (50, 95)))
    counts: dict[str, int] = {each.kind: len(each.ids) for each in asked}
    return IndexQuality(min(recalls.values()), recalls, counts, p50, p95)


def caption_quality(collection: Collection, *, sample: int = CAPTIONED, seed: int = 0) -> tuple[Measure, ...]:
    """Recall@1, @5, @10 and MRR from captions to their pictures and back: `measures.retrieval`.

    Captions are texts whose `image_id` names a picture. Of more than `sample` pictures that have some, so
    many are drawn by `seed`. The figures fall as pictures become more, so compare only what is of one size.
    Empty if there are no captions.
    """
    linked = collection.to_arrow(columns=["image_id"], where="kind = 'text' AND image_id IS NOT NULL")
    described = sorted(set(linked["image_id"].to_pylist()))
    order = np.random.default_rng(seed).permutation(len(described))[: at_least_1(sample, "sample")]
    images = read_rows(collection, "image", id_in(described[at] for at in order))
    place = {identity: row for row, identity in enumerate(images.ids)}
    captions = read_rows(collection, "text", is_in("image_id", place), ("image_id", "text"))
    texts: dict[str, int] = {}  # equal captions are one text, right for all the pictures that have it
    firsts: list[int] = []
    pairs: list[tuple[int, int]] = []
    for at, row in enumerate(captions.columns.to_pylist()):
        if row["text"] not in texts:
            texts[row["text"]] = len(firsts)
            firsts.append(at)
        pairs.append((place[row["image_id"]], texts[row["text"]]))
    return measures.retrieval(images.vectors, captions.vectors[firsts], pairs, seed=seed) if pairs else ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """Queries of one kind, (m, dim), and the ids of the items that they are; "" for what is not stored."""

    kind: Kind
    vectors: Vectors
    ids: list[str]


def _asked(collection: Collection, most: int) -> list[_Asked]:
    asked = [_of_kind(collection, kind, most) for kind in ("image", "text")]
    asked = [each for each in asked if each.ids]
    if all(each.kind != "text" for each in asked) and "text" in collection.encoder.modalities:
        texts = PHRASES[:most]
        asked.append(_Asked("text", collection.encoder.encode_queries(texts), [""] * len(texts)))
    return asked


def _of_kind(collection: Collection, kind: Kind, most: int) -> _Asked:
    ids = sorted(collection.to_arrow(columns=["id"], where=kind_is(kind))["id"].to_pylist())
    order = np.random.default_rng(0).permutation(len(ids))[:most]
    rows = read_rows(collection, kind, id_in(ids[at] for at in order))
    return _Asked(kind, rows.vectors, rows.ids)


def _best(collection: Collection, kind: Kind, asked: list[_Asked]) -> Iterator[Vectors]:
    """For each of all queries, in order, the scores of its ten best items of that kind, or of all."""
    queries = np.concatenate([each.vectors for each in asked])  # (q, dim)
    own = {identity: at for at, identity in enumerate(id for each in asked for id in each.ids) if identity}
    best = np.empty((len(queries), 0), np.float32)
    for batch in collection.batches(columns=["id", "vector"], where=kind_is(kind), batch_size=_PAGE):
        batch = batch.filter(batch["vector"].is_valid())  # a new model may lack some still
        rows = batch["vector"].flatten().to_numpy().reshape(-1, collection.dim)
        scores = queries @ rows.T  # (q, n)
        for column, identity in enumerate(batch["id"].to_pylist()):
            if identity in own:
                scores[own[identity], column] = -np.inf  # it does not count as near to itself
        best = np.concatenate([best, scores], axis=1)
        best = np.partition(best, -min(K, best.shape[1]), axis=1)[:, -K:]
    return (row[np.isfinite(row)] for row in best)

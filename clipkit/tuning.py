"""What is behind `Collection.tune`: choices of an index tried on a sample, against exact search.

A sample of the collection goes into a table of its own in a temporary folder, so that no search of the
collection sees what is tried. Queries are vectors held out of the sample, and texts: in CLIP's space texts
lie apart from pictures, so an index that finds a picture's neighbours may still miss a text's. The recall
of a choice is the lower of the two.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from clipkit.columns import at_least_1, strings
from clipkit.encoder import Encoder, Vectors, batched
from clipkit.errors import InvalidInput, StorageError
from clipkit.lance import ROUNDING, Built, Database, Kind, Plan, VectorColumn, index_pays_from, with_vectors
from clipkit.reports import Progress
from clipkit.store import Store

K = 10  # recall is measured at
QUERIES = 100  # of each kind: the recall of so many is right to about 0.01
SAMPLE = 100_000  # rows: 200 MB with 512 dimensions, in a temporary folder
LEAST_SAMPLE = 1_000
FEW = 30  # items of a kind among the sample, below which they are no queries
TIMED = 10  # exact searches of each kind that are timed
WIDER = 1.5
WRITTEN_AT_ONCE = 20_000
MUCH_ALIKE = 1.1  # times the latency of the fastest: then the smaller index is taken
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # of the partitions, tried until the recall is reached
KINDS: tuple[tuple[Kind, int], ...] = (  # and what is refined
    ("sq", 2),
    ("sq", 5),
    ("rq4", 5),
    ("rq4", 10),
    ("rq1", 10),
    ("rq1", 30),
    ("flat", 1),
)

_WHO = ("a dog", "a cat", "children", "an old man", "people dancing", "a car", "a boat", "flowers", "food")
_WHERE = ("on the beach", "in the snow", "in a city at night", "in a garden", "at home", "in the mountains")
PHRASES = tuple(f"{who} {where}" for who in _WHO for where in _WHERE)
"""Searches of every day, for collections that hold no texts."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a plan reached on the sample: `recalls` by kind of query, and `recall`, the least of them.

    `p50_ms` and `p95_ms` are of the latency of a search, `size_bytes` and `build_seconds` the index's own.
    """

    plan: Plan
    recall: float
    recalls: Mapping[str, float]
    p50_ms: float
    p95_ms: float
    size_bytes: int = 0
    build_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `Collection.tune` tried and chose.

    Without `trials` the collection, of `rows`, is too small for an index, and nothing was changed. Otherwise
    `trials` are those on a sample of `sampled` rows with so many `queries` of each kind, exact search first;
    `chosen` is what the collection has now, with what it reaches there.
    """

    target: float
    rows: int
    pays_from: int
    sampled: int = 0
    queries: Mapping[str, int] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    chosen: Trial | None = None


@dataclass(frozen=True, slots=True)
class _Draw:
    """A sample of the collection, (n, dim), and queries of each kind, (m, dim), none of which is in it."""

    vectors: Vectors
    queries: Mapping[str, Vectors]
    stored: frozenset[str]  # the kinds of query that are rows of the collection


@dataclass(frozen=True, slots=True)
class _Asked:
    """Queries of one kind, (m, dim), each with the score of its last true hit. With `k` hits, of which all
    but K are the query itself."""

    kind: str
    vectors: Vectors
    k: int
    least: Vectors

    @classmethod
    def of(cls, column: VectorColumn, kind: str, vectors: Vectors, *, stored: bool) -> _Asked:
        k = K + 1 if stored else K
        found = column.nearest_to_each(vectors, k)
        least = np.full(len(vectors), 2.0, np.float32)
        np.minimum.at(least, found["query_index"].to_numpy(), found["score"].to_numpy())
        return cls(kind, vectors, k, least)


def tune(
    store: Store,
    encoder: Callable[[], Encoder],
    *,
    recall: float,
    sample: int,
    texts: Sequence[str] | None,
    progress: Callable[[Progress], None],
) -> Tuning:
    """The report of `Collection.tune`, which says what the arguments mean."""
    if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1:
        raise InvalidInput(f"a recall is a number above 0 and up to 1, not {recall!r}")
    if at_least_1(sample, "sample") < LEAST_SAMPLE:
        raise InvalidInput(f"a sample of {sample} rows says too little: take at least {LEAST_SAMPLE}")
    given = None if texts is None else strings(texts, "a text")
    report = Tuning(recall, store.items.count(), index_pays_from())
    if report.rows < report.pays_from:
        return report
    draw = _drawn(store, encoder, sample, given)
    tried = tuple(trials(draw.vectors, draw.queries, recall=recall, progress=progress))
    return replace(
        report,
        sampled=len(draw.vectors),
        queries={kind: len(vectors) for kind, vectors in draw.queries.items()},
        trials=tried,
        chosen=_adopted(store, _cheapest(tried, recall), draw, recall),
    )


def trials(
    vectors: Vectors,
    queries: Mapping[str, Vectors],
    *,
    recall: float,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Trial]:
    """Exact search of unit `vectors` (n, dim), then each kind of index, with ever more partitions read until
    `recall` is reached. `queries` are unit vectors (m, dim) by what they are."""
    with _column_of(vectors) as column:
        asked = [_Asked.of(column, kind, given, stored=False) for kind, given in queries.items()]
        yield from _tried(column, len(vectors), asked, recall, progress)


def _drawn(store: Store, encoder: Callable[[], Encoder], sample: int, texts: Sequence[str] | None) -> _Draw:
    name = store.vectors.column
    rows = with_vectors(store.items.sample(["kind", name], sample + 2 * QUERIES), name)
    column = rows[name].combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
    kinds = rows["kind"].to_numpy()
    held = {kind: np.flatnonzero(kinds == kind)[:QUERIES] for kind in ("image", "text")}
    queries = {kind: vectors[places] for kind, places in held.items() if len(places) >= FEW}
    stored = frozenset(queries)
    if texts or ("text" not in queries and "text" in encoder().modalities):
        queries["text"] = encoder().encode_queries(texts or PHRASES)
        stored -= {"text"}
    rest = np.delete(vectors, np.concatenate(list(held.values())), axis=0)
    return _Draw(rest[:sample], queries, stored)


@contextmanager
def _column_of(vectors: Vectors) -> Iterator[VectorColumn]:
    """A table of these vectors alone, which is gone afterwards."""
    dim = vectors.shape[1]
    schema = pa.schema({"id": pa.string(), "vector": pa.list_(pa.float32(), dim)})
    with tempfile.TemporaryDirectory(prefix="clipkit-tune-") as folder:
        table = Database(folder).create("sample", schema)
        if table is None:
            raise StorageError(f"{folder} is not empty, as a new folder should be")
        for page in batched(range(len(vectors)), WRITTEN_AT_ONCE):
            values = pa.array(vectors[page].reshape(-1))
            arrays = [pa.array(map(str, page), pa.string()), pa.FixedSizeListArray.from_arrays(values, dim)]
            table.upsert(pa.Table.from_arrays(arrays, schema=schema))
        yield VectorColumn(table)


def _tried(
    column: VectorColumn,
    rows: int,
    asked: Sequence[_Asked],
    target: float,
    progress: Callable[[Progress], None],
) -> Iterator[Trial]:
    """Exact search, then for each kind of index as many partitions as reach `target`."""
    exact = _measured(column, Plan("exact"), [_few(each) for each in asked])
    yield exact
    built, seconds = None, 0.0
    for done, (kind, refine) in enumerate(KINDS):
        progress(Progress(done, len(KINDS), 0))
        if kind != built:
            began = time.perf_counter()
            column.index.adopt(Built(Plan.of(kind, rows, share=1.0, refine=1), rows))
            built, seconds = kind, time.perf_counter() - began
            column.index.warm()
        plans = dict.fromkeys(Plan.of(kind, rows, share=share, refine=refine) for share in SHARES)
        for plan in plans:
            trial = replace(_measured(column, plan, asked), build_seconds=seconds)
            yield trial
            if trial.recall >= target or trial.p50_ms > exact.p50_ms:
                break
    progress(Progress(len(KINDS), len(KINDS), 0))


def _few(asked: _Asked) -> _Asked:
    """The first queries, where the truth is known before and only the time is wanted."""
    return replace(asked, vectors=asked.vectors[:TIMED], least=asked.least[:TIMED])


def _measured(column: VectorColumn, plan: Plan, asked: Sequence[_Asked]) -> Trial:
    seconds: list[float] = []
    recalls = {}
    for each in asked:
        itself = each.k - K
        right = 0
        for vector, least in zip(each.vectors, each.least, strict=True):
            began = time.perf_counter()
            found = column.nearest_by(plan, vector, each.k)
            seconds.append(time.perf_counter() - began)
            right += max(0, int(np.sum(found["score"].to_numpy() >= least - ROUNDING)) - itself)
        recalls[each.kind] = min(1.0, right / (K * len(each.vectors)))
    there = None if plan.kind == "exact" else column.index.status()
    p50, p95 = (1000 * float(value) for value in np.percentile(seconds, (50, 95)))
    return Trial(plan, min(recalls.values()), recalls, p50, p95, there.size_bytes if there else 0)


def _cheapest(trials: Sequence[Trial], target: float) -> Trial:
    """The fastest that reach `target`, and of those much alike the smallest. Exact search always does."""
    good = [trial for trial in trials if trial.recall >= target]
    fastest = min(trial.p50_ms for trial in good)
    alike = [trial for trial in good if trial.p50_ms <= MUCH_ALIKE * fastest]
    return min(alike, key=lambda trial: (trial.size_bytes, trial.p50_ms))


def _adopted(store: Store, best: Trial, draw: _Draw, target: float) -> Trial:
    """What the collection reaches with the plan of `best`, which it has from now on.

    What was enough for a sample may be too little for all: then more is read, until it is enough.
    """
    column = store.vectors
    rows = store.items.count()
    plan = best.plan.scaled(rows)
    began = time.perf_counter()
    column.index.adopt(Built(plan, rows, best.recall))
    seconds = time.perf_counter() - began
    asked = [
        _Asked.of(column, kind, vectors, stored=kind in draw.stored) for kind, vectors in draw.queries.items()
    ]
    if plan.kind == "exact":
        return _measured(column, plan, [_few(each) for each in asked])
    reached = _measured(column, plan, asked)
    while reached.recall < target and plan.probes < plan.partitions:
        wider = math.ceil(WIDER * plan.probes)
        plan = replace(plan, probes=min(plan.partitions, wider), refine=math.ceil(WIDER * plan.refine))
        reached = _measured(column, plan, asked)
    column.index.note(Built(plan, rows, reached.recall))
    return replace(reached, build_seconds=seconds)

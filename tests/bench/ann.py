"""Exact search against indexes: python -m tests.bench.ann [--rows N ...] [--dim D] [--adding]

For each number of rows: exact search, then each kind of index with ever more partitions read, until it
finds 0.95 of the ten best. A line is rows, kind, partitions, partitions read, refine; recall@10 of queries
drawn as the rows are, and of queries that lie apart from them as texts do; p50 and p95 in ms; build time in
s; size in MB. With --adding: p50 and p95 of searches of a collection with its index, alone and while another
process adds 10,000 rows to it.

The vectors are synthetic: 50 topics, in each things of 200 rows on average, of 64 dimensions with falling
weights, turned into D. Real ones differ; `clipkit tune` measures on one's own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

import numpy as np
from numpy.typing import NDArray

from clipkit import Collection
from clipkit.schema import ItemRow
from clipkit.testing import FakeEncoder
from clipkit.tuning import trials

LATENT = 64
QUERIES = 100
ADDED = 10_000
ADDED_AT_ONCE = 500

Vectors = NDArray[np.float32]


def clustered(n: int, dim: int, seed: int = 0) -> Vectors:
    """(n, dim), rows of unit length. Equal seeds and dims share their topics and things."""
    noise = np.random.default_rng(seed)
    weights = np.arange(1, LATENT + 1, dtype=np.float32) ** -0.3
    topics = noise.standard_normal((50, LATENT), np.float32)
    things = topics[noise.integers(0, 50, 2_000)] + 0.8 * noise.standard_normal((2_000, LATENT), np.float32)
    turn = np.linalg.qr(noise.standard_normal((dim, LATENT)))[0].T.astype(np.float32)
    own = np.random.default_rng((seed, n))
    latent = things[own.integers(0, len(things), n)] + 0.8 * own.standard_normal((n, LATENT), np.float32)
    return unit((latent * weights) @ turn + 0.02 * own.standard_normal((n, dim), np.float32))


def apart(vectors: Vectors, seed: int = 1) -> Vectors:
    """Vectors that lie apart from these, as texts do from pictures in CLIP's space, (n, dim)."""
    noise = np.random.default_rng(seed)
    aside = unit(noise.standard_normal((1, vectors.shape[1]), np.float32))
    return unit(0.5 * vectors + 0.7 * aside + 0.4 * unit(noise.standard_normal(vectors.shape, np.float32)))


def unit(rows: Vectors) -> Vectors:
    scaled: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def compare(rows: int, dim: int) -> None:
    vectors = clustered(rows + QUERIES, dim)
    near = vectors[rows:]
    for trial in trials(vectors[:rows], {"image": near, "text": apart(near)}, recall=0.95):
        plan = trial.plan
        print(
            f"{rows:>7} {plan.name:<13}{plan.partitions:>5}{plan.probes:>5}{plan.refine:>4}"
            f"{trial.recalls['image']:>7.3f}{trial.recalls['text']:>7.3f}{trial.p50_ms:>8.1f}"
            f"{trial.p95_ms:>8.1f}{trial.build_seconds:>7.1f}{trial.size_bytes / 1e6:>7.1f}",
            flush=True,
        )


def beside_a_writer(rows: int, dim: int) -> None:
    with tempfile.TemporaryDirectory() as db:
        collection = Collection.create(db=db, encoder=FakeEncoder(dim))
        began = time.perf_counter()
        write(collection, clustered(rows, dim), "first", at_once=4096)
        print(f"{rows} rows written in {time.perf_counter() - began:.0f} s; {collection.status().index}")
        queries = unit(clustered(QUERIES, dim))
        print("alone:", searched(collection, queries, 3))
        command = [sys.executable, "-m", "tests.bench.ann", "--dim", str(dim), "--add-to", db]
        writer = subprocess.Popen(command)
        times: list[float] = []
        while writer.poll() is None:
            times += timed(collection, queries[:10])
        print(f"while {ADDED} rows are added:", summary(times), collection.status().index)
        print("afterwards:", searched(collection, queries, 3))


def write(collection: Collection, vectors: Vectors, name: str, *, at_once: int) -> None:
    for start in range(0, len(vectors), at_once):
        page = vectors[start : start + at_once]
        ids = [f"{name}{i}" for i in range(start, start + len(page))]
        rows = [ItemRow(id=identity, kind="image") for identity in ids]
        collection._store.write(rows, page, made_by=collection.encoder)


def searched(collection: Collection, queries: Vectors, times: int) -> str:
    timed(collection, queries)  # warms up
    return summary([seconds for _ in range(times) for seconds in timed(collection, queries)])


def timed(collection: Collection, queries: Vectors) -> list[float]:
    taken = []
    for query in queries:
        began = time.perf_counter()
        collection._store.vectors.nearest(query, 10, where=None, columns=["id", "uri", "kind"])
        taken.append(time.perf_counter() - began)
    return taken


def summary(seconds: list[float]) -> str:
    p50, p95 = 1000 * np.percentile(seconds, (50, 95))
    return f"{len(seconds)} searches, p50 {p50:.1f} ms, p95 {p95:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 30_000, 50_000, 100_000, 200_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--adding", action="store_true")
    parser.add_argument("--add-to", metavar="DB", help="be the process that adds rows")
    given = parser.parse_args()
    if given.add_to:
        collection = Collection.open(db=given.add_to, encoder=FakeEncoder(given.dim))
        write(collection, clustered(ADDED, given.dim), "added", at_once=ADDED_AT_ONCE)
    elif given.adding:
        beside_a_writer(max(given.rows), given.dim)
    else:
        for rows in given.rows:
            compare(rows, given.dim)


if __name__ == "__main__":
    main()

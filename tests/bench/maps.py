"""How long maps take, and what of the neighbourhoods of vectors is left on them.

    python -m tests.bench.maps tiny-imagenet-val.parquet

The photos are embedded with `bundled`. Beside each map are the share of the 15 nearest of a photo by vectors
that are among its 15 nearest on the map; trustworthiness (J. Venna, S. Kaski, 2001), which counts how far by
vectors those are that are near on the map, from 1 for no error to 0.5 by chance; and the share of the 15
nearest that are of the photo's class, of 200. "umap-learn alone" is given the vectors, and finds neighbours
and a place to begin from by itself. Seconds are of the CPU, of a second map in a process; the first one takes
so much more. Then maps of synthetic vectors of 512 dimensions, each made by a process of its own, with the
most memory that it held: first small ones, before anything is compiled and after.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit import Collection, load_encoder
from clipkit.embedded import embed
from clipkit.encoder import Vectors
from clipkit.labelled import open_labelled
from clipkit.maps import Points, project
from clipkit.schema import ItemRow
from clipkit.testing import FakeEncoder
from tests.bench.neighbours import bunched, peak_mb

K = 15
SAMPLE = 1_000
BATCH = 10_000


def fill(collection: Collection, vectors: Vectors) -> None:
    for start in range(0, len(vectors), BATCH):
        some = vectors[start : start + BATCH]
        rows = [ItemRow(f"{start + at:07}", "image") for at in range(len(some))]
        collection._store.write(rows, some, made_by=collection.encoder)


def nearest_of(distances: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of all others, nearest first."""
    distances[np.arange(len(rows)), rows] = np.inf
    return np.argsort(distances, axis=1, kind="stable")


def kept(vectors: Vectors, xy: Points, classes: NDArray[np.str_]) -> str:
    rows = np.random.default_rng(0).choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)
    true = nearest_of(-(vectors[rows] @ vectors.T), rows)
    ranks = np.empty_like(true)
    np.put_along_axis(ranks, true, np.broadcast_to(np.arange(true.shape[1]), true.shape), axis=1)
    shown = nearest_of(np.square(xy[rows, None] - xy[None]).sum(axis=2), rows)[:, :K]
    theirs = np.take_along_axis(ranks, shown, axis=1)  # the ranks by vectors of those near on the map
    n = len(vectors)
    trust = 1 - 2 * np.maximum(0, theirs + 1 - K).sum() / (len(rows) * K * (2 * n - 3 * K - 1))
    alike = (classes[shown] == classes[rows, None]).mean()
    return (
        f"{(theirs < K).mean():.3f} of neighbours kept, trustworthiness {trust:.3f}, {alike:.3f} of a class"
    )


def timed(make: Callable[[], Points]) -> tuple[Points, float, float]:
    """What `make` makes, the seconds of CPU of a second time, and how many more the first took."""
    began = time.process_time()
    make()
    middle = time.process_time()
    made = make()
    again = time.process_time() - middle
    return made, again, middle - began - again


def alone(vectors: Vectors) -> Points:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        model = umap.UMAP(n_neighbors=K, metric="cosine", random_state=0, n_jobs=1)
        return np.asarray(model.fit_transform(vectors), np.float32)


def photos(data: Path) -> None:
    encoder = load_encoder("bundled")
    found = embed(encoder, open_labelled(data), lambda _: None)
    classes = np.array([truth.label for truth in found.truths])
    rows = np.random.default_rng(0).choice(len(classes), min(SAMPLE, len(classes)), replace=False)
    near = nearest_of(-(found.vectors[rows] @ found.vectors.T), rows)[:, :K]
    print(
        f"the vectors themselves: {(classes[near] == classes[rows, None]).mean():.3f} of a class", flush=True
    )
    with tempfile.TemporaryDirectory() as place:
        collection = Collection.create(db=place, encoder=encoder)
        fill(collection, found.vectors)
        ways: dict[str, Callable[[], Points]] = {
            "pca": lambda: project(collection, method="pca").xy,
            "umap": lambda: project(collection).xy,
            "umap-learn alone": lambda: alone(found.vectors),
        }
        for name, make in ways.items():
            xy, seconds, first = timed(make)
            print(
                f"{name}: {seconds:.1f} s, first +{first:.1f} s, {kept(found.vectors, xy, classes)}",
                flush=True,
            )


def synthetic(place: str, method: str, limit: int) -> None:
    """Prints the seconds that a process of its own takes."""
    collection = Collection.open(db=place)
    began, cpu = time.monotonic(), time.process_time()
    found = project(collection, method=method, limit=limit)  # type: ignore[arg-type]
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    print(
        f"{method}: {len(found)} of {found.total} in {seconds:.1f} s, {cpu:.1f} s of CPU, {peak_mb():.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "data", type=Path, nargs="?", help="labelled pictures; none for synthetic vectors only"
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--run", nargs=3, metavar=("DB", "METHOD", "LIMIT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        synthetic(options.run[0], options.run[1], int(options.run[2]))
        return
    if options.data:
        photos(options.data)
    with tempfile.TemporaryDirectory() as place:
        vectors = bunched(options.rows)
        fill(Collection.create(db=place, encoder=FakeEncoder(vectors.shape[1])), vectors)
        with tempfile.TemporaryDirectory() as compiled:
            environment = {**os.environ, "NUMBA_CACHE_DIR": compiled}
            for method, limit in (
                *[("umap", 300)] * 2,
                ("pca", 20_000),
                ("umap", 20_000),
                ("pca", options.rows),
            ):
                command = [sys.executable, "-m", "tests.bench.maps", "--run", place, method, str(limit)]
                subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()

"""Time and memory of what `clipkit.neighbours` does on many items.

    python -m tests.bench.neighbours --rows 100000

Synthetic unit vectors of 512 dimensions (bunches of about 20 rows; two in a hundred rows nearly repeat
another) are written straight into a store, with thumbnails of a few hundred drawn scenes. Each function then
runs in a process of its own, which prints its seconds and the most memory it held, imports included.
`recall` is the share of the ten nearest that are found by parts, of a sample of rows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from clipkit import Collection, sketch
from clipkit.encoder import Vectors
from clipkit.neighbours import clusters, duplicates, outliers, recommend
from clipkit.neighbours.nearest import exact_scores, nearest
from clipkit.neighbours.rows import read_rows
from clipkit.resizing import thumbnail
from clipkit.schema import ItemRow
from clipkit.testing import FakeEncoder

DIM = 512
SCENES = 300
BATCH = 10_000
SAMPLE = 500


def bunched(rows: int, seed: int = 0) -> Vectors:
    """Rows (rows, 512) in bunches around 2,000 to a common direction; neighbours' cosines are about 0.8."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(max(1, rows // 20), DIM)) + 0.7 * random.normal(size=DIM)
    vectors = middles[random.integers(len(middles), size=rows)] + 0.5 * random.normal(size=(rows, DIM))
    copies = random.choice(rows, rows // 50, replace=False)
    sources = random.integers(rows, size=len(copies))
    vectors[copies] = vectors[sources] + 0.1 * random.normal(size=(len(copies), DIM))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def fill(db: Path, rows: int) -> None:
    collection = Collection.create(db=db, encoder=FakeEncoder(DIM))
    vectors = bunched(rows)
    pictures = [thumbnail(sketch.draw(sketch.scene(seed), size=256)) for seed in range(SCENES)]
    for start in range(0, rows, BATCH):
        items = [
            ItemRow(
                f"{at:07}",
                "image",
                content_hash=f"{at:064x}",
                width=640,
                height=480,
                size_bytes=at,
                thumbnail=pictures[at * 7919 % SCENES],
            )
            for at in range(start, min(start + BATCH, rows))
        ]
        collection._store.write(items, vectors[start : start + BATCH], made_by=collection.encoder)


def run(db: str, what: str) -> None:
    collection = Collection.open(db=db)
    began = time.monotonic()
    cpu = time.process_time()
    if what == "clusters":
        found = f"{len(clusters(collection))} clusters"
    elif what == "outliers":
        found = f"lowest mean cosine {outliers(collection, 10)[0].score:.3f}"
    elif what == "recommend":
        found = f"{len(recommend(collection, ['0000001'], disliked=['0000002']))} items"
    elif what == "recall":
        found = f"recall@10 {recall(collection):.4f}"
    else:
        found = f"{len(duplicates(collection, what).groups)} groups"  # type: ignore[arg-type]
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    print(f"{what}\t{seconds:.1f} s\t{cpu:.1f} s of CPU\t{peak_mb():.0f} MB\t{found}", flush=True)


def peak_mb() -> float:
    """The most memory that this process held; `getrusage` would count what its parent held before."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def recall(collection: Collection, k: int = 10) -> float:
    """The share of the k nearest that are found by parts, of a sample of rows."""
    vectors = read_rows(collection, "image", None).vectors
    found = nearest(vectors, k)
    rows = np.random.default_rng(0).choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)
    least = exact_scores(vectors, rows, k)[:, -1:]
    return float((found.scores[rows] >= least - 1e-6).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument(
        "--only",
        nargs="+",
        default=["exact", "resaved", "edited", "clusters", "outliers", "recommend", "recall"],
    )
    parser.add_argument("--run", nargs=2, metavar=("DB", "WHAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(*options.run)
        return
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place), options.rows)
        for what in options.only:
            command = [sys.executable, "-m", "tests.bench.neighbours", "--run", place, what]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

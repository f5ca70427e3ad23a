"""How long a second look at a folder takes in which nothing has changed:

    python -m tests.bench.unchanged FOLDER [--files 100000] [--runs 5]

FOLDER is filled with hard links to one small picture, a thousand to a folder, and its collection with their
rows and vectors made up for `bundled`: nothing is embedded. Then `clipkit index` is run on it, each time as
a process of its own, from its start to its exit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from clipkit import Collection, load_encoder
from clipkit.folders import FoundFile, walk
from clipkit.resizing import thumbnail
from clipkit.schema import ItemRow
from clipkit.sketch import draw, scene
from tests.bench.ann import clustered

PER_FOLDER = 1_000
LINKS = 30_000  # to one file: ext4 allows 65,000
AT_ONCE = 10_000


def linked(folder: Path, files: int) -> None:
    jpeg = thumbnail(draw(scene(1)))
    for number in range(files):
        path = folder / f"{number // PER_FOLDER:04}" / f"{number:07}.jpg"
        if number % PER_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            continue
        if number % LINKS == 0:
            path.write_bytes(jpeg)
        else:
            first = number // LINKS * LINKS
            os.link(folder / f"{first // PER_FOLDER:04}" / f"{first:07}.jpg", path)


def known(db: Path, found: list[FoundFile]) -> None:
    encoder = load_encoder("bundled")
    collection = Collection.create(db=db, encoder=encoder)
    vectors = clustered(len(found), encoder.dim)
    jpeg = thumbnail(draw(scene(1)), edge=32)
    for start in range(0, len(found), AT_ONCE):
        rows = [
            ItemRow(
                file.id,
                "image",
                uri=file.id,
                content_hash=f"{start + number:064x}",
                width=256,
                height=256,
                size_bytes=file.size_bytes,
                mtime_ns=file.mtime_ns,
                thumbnail=jpeg,
            )
            for number, file in enumerate(found[start : start + AT_ONCE])
        ]
        collection._store.write(rows, vectors[start : start + AT_ONCE], made_by=encoder)
    collection.optimize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    pictures, db = arguments.folder / "pictures", arguments.folder / "db"
    linked(pictures, arguments.files)
    if not db.exists():
        known(db, walk([pictures]).files)
    command = [sys.executable, "-m", "clipkit", "index", str(pictures), "--db", str(db)]
    taken = []
    for _ in range(arguments.runs):
        began = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        taken.append(time.perf_counter() - began)
        print(f"{taken[-1]:6.2f} s  {done.stdout.strip()}", flush=True)
    print(f"{statistics.median(taken):6.2f} s  median of {arguments.runs}")


if __name__ == "__main__":
    main()

"""What many small writes leave on disk: python -m tests.bench.one_row_adds [COUNT [DB]]

Adds COUNT texts one by one, each a commit of its own, then prints the time, and for each table its data
files, its versions and its size.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from clipkit import Collection
from clipkit.testing import FakeEncoder

DIM = 512  # as wide as CLIP's


def main(count: int, db: Path) -> None:
    collection = Collection.create(db=db, encoder=FakeEncoder(DIM))
    began = time.monotonic()
    cpu = time.process_time()
    for i in range(count):
        collection.add_texts([f"word{i}"])
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    each = f"{1000 * seconds / count:.1f} ms each, {1000 * cpu / count:.1f} ms of CPU time"
    print(f"{count} adds: {seconds:.1f} s, {each}")
    began = time.monotonic()
    found = len(collection.search("word1", k=10))
    print(f"{collection.count()} rows, a search for {found}: {1000 * (time.monotonic() - began):.1f} ms")
    for table in sorted(db.glob("*.lance")):
        sizes = [path.stat().st_size for path in table.rglob("*") if path.is_file()]
        files = {kind: len(list((table / kind).glob("*"))) for kind in ("data", "_versions", "_deletions")}
        print(f"{table.name}: {files}, {sum(sizes) / 1e6:.1f} MB")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        main(int(arguments[0]) if arguments else 10_000, Path(arguments[1] if arguments[1:] else folder))

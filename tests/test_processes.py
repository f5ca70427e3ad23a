"""Indexing under fire: killed at any moment, beside other indexers, while others search."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from clipkit import Collection
from clipkit.stamps import Stamp
from clipkit.testing import FakeEncoder
from tests.pictures import draw, draw_folder

KILLS = 30

INDEXER = """
import sys
import clipkit.pipeline
import clipkit.writing
from clipkit import Collection
from clipkit.testing import FakeEncoder

clipkit.writing.COMMIT_SECONDS = float(sys.argv[3])
clipkit.pipeline.ENCODE_BATCH = 8
collection = Collection.open(db=sys.argv[1], encoder=FakeEncoder())
print("ready", flush=True)
sys.stdin.readline()
report = collection.index(sys.argv[2], prune=True)  # many are gone where no run before came to its end
print("added", report.added, flush=True)
"""

SEARCHER = """
import sys
from clipkit import Collection
from clipkit.testing import COLOURS, FakeEncoder

collection = Collection.open(db=sys.argv[1], encoder=FakeEncoder())
print("ready", flush=True)
sys.stdin.readline()
searches, complete = 0, False
while not complete:
    complete = collection.count() == int(sys.argv[4])
    for colour in COLOURS:
        hits = collection.search(colour, k=20)
        assert all(a.score >= b.score for a, b in zip(hits, hits[1:]))
        assert len({hit.id for hit in hits}) == len(hits)
        searches += 1
print("searches", searches, flush=True)
"""


# A child whose parent was killed would search for ever, for nobody. And none needs all that lancedb imports.
PRELUDE = """
import os, threading, time
from clipkit.cli.sparing import spare

def leave_with_the_parent(parent):
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

threading.Thread(target=leave_with_the_parent, args=(os.getppid(),), daemon=True).start()
spare()
"""

started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _leave_no_child_behind() -> Iterator[None]:
    yield
    while started:
        with started.pop() as child:
            child.kill()


def start(scripts: Sequence[str], *arguments: object) -> list[subprocess.Popen[str]]:
    """A process for each script, all of them set off together once every one is ready.

    None says more before that: what follows "ready" would be read with it, and be lost to `finish`.
    """
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for script in scripts
    ]
    started.extend(children)
    for child in children:
        assert child.stdout is not None
        line = child.stdout.readline()
        if line != "ready\n":
            pytest.fail(f"a child said {line!r}: {child.communicate()[1]}")
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return children


def finish(child: subprocess.Popen[str], *, timeout: float = 240) -> str:
    out, err = child.communicate(timeout=timeout)
    assert child.returncode == 0, err
    return out


def contents(collection: Collection) -> dict[str, tuple[object, ...]]:
    """Every item with all its columns, its vector's bytes and its thumbnail, by id; no id twice."""
    rows = collection.to_arrow().to_pylist()
    pictures = collection.thumbnails([row["id"] for row in rows])
    found: dict[str, tuple[object, ...]] = {
        row["id"]: (
            np.asarray(row.pop("vector"), np.float32).tobytes(),
            pictures.get(row["id"]),
            tuple(sorted(row.items(), key=lambda pair: pair[0])),
        )
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def disturb(folder: Path, dice: random.Random, round_: int) -> None:
    """Add, change, move and delete some files, as people do between two runs."""
    files = sorted(folder.rglob("*.jpg"))
    for path in dice.sample(files, 6):
        path.rename(path.with_name(f"moved-{round_}-{path.name}"))
    files = sorted(folder.rglob("*.jpg"))
    for path in dice.sample(files, 4):
        draw(path, seed=dice.randrange(10**6, 10**9))
        os.utime(path, ns=(round_ + 1, round_ + 1))  # a clock may be too coarse to tell two writes apart
    for path in dice.sample(files, 3):
        path.unlink(missing_ok=True)
    draw_folder(folder / "new", 25, first=1000 * (round_ + 1))


def test_killed_at_thirty_moments_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    dice = random.Random(2)
    folder = tmp_path / "photos"
    draw_folder(folder, 60)
    killed = Collection.create(db=tmp_path / "killed", encoder=FakeEncoder())
    died_at_work, span = 0, 0.5
    for round_ in range(KILLS):
        disturb(folder, dice, round_)
        (child,) = start([INDEXER], killed.db, folder, 0.01)
        time.sleep(dice.uniform(0.0, span))
        at_work = child.poll() is None
        died_at_work += at_work
        span *= 1.1 if at_work else 0.7  # so that most are, however fast the machine is
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert killed.count() == len({*killed.to_arrow(columns=["id"])["id"].to_pylist()})

    (child,) = start([INDEXER], killed.db, folder, 0.01)
    finish(child)
    undisturbed = Collection.create(db=tmp_path / "undisturbed", encoder=FakeEncoder())
    undisturbed.index(folder)
    assert died_at_work >= KILLS // 2
    assert contents(killed) == contents(undisturbed)
    assert killed.index(folder).unchanged == undisturbed.count() > 300


def test_two_indexers_and_two_searchers_lose_and_double_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    draw_folder(folder, 2000)
    shared = Collection.create(db=tmp_path / "shared", encoder=FakeEncoder())
    for child in start([INDEXER, INDEXER, SEARCHER, SEARCHER], shared.db, folder, 0.2, 2000):
        what, how_many = finish(child).split()
        assert (what in ("added", "searches"), int(how_many) > 0) == (True, True)

    alone = Collection.create(db=tmp_path / "alone", encoder=FakeEncoder())
    alone.index(folder)
    assert contents(shared) == contents(alone)
    assert shared.count() == 2000


# --- a change of model

REINDEXER = """
import sys
import time
import clipkit.reindexing
from clipkit import Collection
from clipkit.testing import FakeEncoder

class Slow(FakeEncoder):
    def encode_pixels(self, pixels):
        global left
        left -= 1
        time.sleep(0.02 if left > 0 else 1e6)  # the end of its time: it is killed before it is done
        return super().encode_pixels(pixels)

left = float(sys.argv[2])
clipkit.reindexing.COMMIT_SECONDS = 0.01
clipkit.reindexing.COMMIT_SHARE = 1e9  # after every batch: what it waits for at its end is stored
clipkit.reindexing.ENCODE_BATCH = 8
collection = Collection.open(db=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
report = collection.reindex(Slow(48), sample=5)
print("embedded", report.embedded, flush=True)
"""

FOLLOWER = """
import sys
from clipkit import Collection
from clipkit.testing import COLOURS

collection = Collection.open(db=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
searches, after = 0, 0
while after < 3:
    for colour in list(COLOURS)[:4]:
        hits = collection.search(colour, k=20, kind="image")
        # a picture of the colour scores 0.970 by either model, another one 0: across models neither would
        assert hits and all(abs(hit.score - 0.970143) < 1e-4 or abs(hit.score) < 1e-4 for hit in hits)
        assert hits[0].score > 0.9
        searches += 1
    after += collection.encoder_name == "fake:48"
print("searches", searches, flush=True)
"""

WRITER = """
import sys
import time
from clipkit import Collection
from clipkit.errors import CollectionMismatch

collection = Collection.open(db=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
writes = 0
while collection.encoder_name == "fake":
    texts = [f"red {writes}", f"blue {writes}"]
    try:
        collection.add_texts(texts, ids=["a", "b"])
    except CollectionMismatch as error:  # the switch came between their encoding and their writing
        assert "Run the same again" in str(error)
        collection.add_texts(texts, ids=["a", "b"])
    writes += 1
    time.sleep(0.05)
print("writes", writes, flush=True)
"""


def lacking(collection: Collection) -> int:
    """How many pictures have no vector of the new model yet."""
    column = Stamp.of(FakeEncoder(48)).column
    store = collection._store
    if column not in store.stamps.by_column:
        return store.items.count("kind = 'image'")
    return len(store.lacking("kind = 'image'", column))


@pytest.mark.timeout(600)  # six processes
def test_a_reindex_killed_three_times_fails_no_search_and_ends_right(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    draw_folder(folder, 240)
    collection = Collection.create(db=tmp_path / "db", encoder="fake")
    collection.index(folder)
    collection.add_texts(["red", "blue"], ids=["a", "b"])
    searcher, writer = start([FOLLOWER, WRITER], collection.db)
    left = [lacking(collection)]
    for _ in range(3):
        (child,) = start([REINDEXER], collection.db, 8)  # of the 30 batches
        while lacking(collection) > left[-1] - 24:
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        left.append(lacking(collection))
    assert left == sorted(set(left), reverse=True)
    assert left[-1] > 0
    assert collection.encoder_name == "fake"
    (child,) = start([REINDEXER], collection.db, "inf")
    finish(child)
    for process in (searcher, writer):
        what, how_many = finish(process).split()
        assert (what in ("searches", "writes"), int(how_many) > 0) == (True, True)

    collection.reindex("fake:48", sample=0)  # what the writer may have added in the moment of the switch
    undisturbed = Collection.create(db=tmp_path / "undisturbed", encoder="fake:48")
    undisturbed.index(folder)
    texts = collection.to_arrow(where="kind = 'text'").sort_by("id")["text"].to_pylist()
    undisturbed.add_texts(texts, ids=["a", "b"])
    assert collection.encoder_name == "fake:48"
    assert contents(collection) == contents(undisturbed)

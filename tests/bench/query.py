"""What a query costs: python -m tests.bench.query [--rows N] [--rounds N]

Seconds of the whole process of `clipkit search`, cold (no resident) and next (answered by the resident that a
search has left), and of `python -c "import torch, open_clip"` in the same rounds, as a yardstick of the
machine; then ms of `Collection.search` in a process that has searched before. Medians of all rounds.

The models are `bundled` and a ViT-B-32 of random weights, which take as long as trained ones; the rows are
synthetic (`ann.clustered`). Cold means that nothing of clipkit runs, not that the disk's cache is empty.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import open_clip

from clipkit import Collection, load_encoder
from clipkit.resident.meeting import private_folder
from clipkit.resizing import thumbnail
from clipkit.schema import ItemRow
from clipkit.sketch import draw, scene
from tests.bench.ann import clustered
from tests.models import model_folder

CLIPKIT = [sys.executable, "-m", "clipkit"]
YARDSTICK = [sys.executable, "-c", "import torch, open_clip"]
WARM_QUERIES = 100
STARTS_S = 60.0

_numbers = itertools.count()


def text() -> str:
    """A text that nobody has asked for yet."""
    return f"a dog at sea {next(_numbers)}"


def fill(db: str, name: str, spec: str, rows: int) -> None:
    encoder = load_encoder(spec)
    collection = Collection.create(name, db=db, encoder=encoder)
    jpeg = thumbnail(draw(scene(1)))
    paths = [f"/photos/{number // 1000}/{number}.jpg" for number in range(rows)]
    items = [ItemRow(path, "image", uri=path, width=4000, height=3000, thumbnail=jpeg) for path in paths]
    collection._store.write(items, clustered(rows, encoder.dim), made_by=encoder)
    collection.optimize()


def seconds(command: list[str], resident: str) -> float:
    environment = {**os.environ, "CLIPKIT_RESIDENT": resident}
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


@contextmanager
def resident(command: Callable[[], list[str]]) -> Iterator[None]:
    """A resident that has answered, and that leaves within seconds after the last question."""
    with tempfile.TemporaryDirectory(prefix="ck") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        seconds(command(), "10")
        own = private_folder()
        assert own is not None
        deadline = time.monotonic() + STARTS_S
        while not list(own.glob("*.sock")):
            assert time.monotonic() < deadline, "no resident has come"
            time.sleep(0.05)
        yield
        while list(own.glob("*.sock")):
            time.sleep(0.2)


def measure(db: str, name: str, rounds: int) -> dict[str, list[float]]:
    def command() -> list[str]:
        return [*CLIPKIT, "search", text(), "--db", db, "--name", name]

    seconds(command(), "off")  # so that all finds the disk's cache as full
    taken: dict[str, list[float]] = {"cold": [], "next": [], "import torch, open_clip": []}
    for _ in range(rounds):
        taken["cold"].append(seconds(command(), "off"))
        taken["import torch, open_clip"].append(seconds(YARDSTICK, "off"))
        with resident(command):
            taken["next"] += [seconds(command(), "10") for _ in range(3)]
    return taken


def warm(db: str, name: str) -> list[float]:
    collection = Collection.open(name, db=db)
    collection.search(text())
    taken = []
    for _ in range(WARM_QUERIES):
        asked = text()
        began = time.perf_counter()
        collection.search(asked)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CLIPKIT_CACHE"] = f"{folder}/cache"
        vit = model_folder(Path(folder, "ViT-B-32"), open_clip.get_model_config("ViT-B-32"))
        models = {"bundled": "bundled", "ViT-B-32": f"local-dir:{vit}"}
        for name, spec in models.items():
            fill(folder, name, spec, arguments.rows)
        print(f"{'model':<10}{'what':<26}{'median':>9}{'min':>9}{'max':>9}")
        for name in models:
            taken = measure(folder, name, arguments.rounds)
            told = [(what, "s", times) for what, times in taken.items()]
            for what, unit, times in [*told, ("warm, in Python", "ms", warm(folder, name))]:
                numbers = "".join(
                    f"{each:9.2f}" for each in (statistics.median(times), min(times), max(times))
                )
                print(f"{name:<10}{f'{what}, {unit}':<26}{numbers}", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()

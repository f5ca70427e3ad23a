"""clipkit beside its peers: one folder, one model, one table.

    python -m tests.bench.speed --images FOLDER --work DIR [--rounds 3]
        [--peers-script run_peers.py --peers rclip,sentence_transformers]

300 JPEGs from FOLDER and forty of 12 megapixels made from them are indexed by clipkit, by the loop of
open_clip's README in fp32 and in bf16, and by the peers, each as a process of its own, one after the other in
each round; then each is asked. The model is ViT-B-32 with random weights from a seed, or those that
the peers' script has made. The peers' script is one that takes --images, --work, --rounds and --peers, and
appends its results to DIR/peers/results.jsonl.

All raw results are appended to DIR/speed.jsonl; --table prints the table of the last run from there alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.speed.inputs import Inputs, enlarge, gather
from tests.bench.speed.plain import QUERY
from tests.bench.speed.processes import Failed, environment, measured, wait_for_quiet
from tests.bench.speed.table import BASELINE, BY_HAND, MUCH, OURS, Row, table

PLAIN: dict[str, list[str]] = {BASELINE: [], BY_HAND[0]: ["--precision", "pure_bf16", "--batch", "64"]}
FOLDERS = ("photos", "big")
WARM = 30
RESIDENT_S = 10.0  # how long whoever answers the next query may take to be ready


class Bench:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work: Path = arguments.work.absolute()
        self.results = self.work / "speed.jsonl"
        self.run = time.strftime("%Y-%m-%d %H:%M:%S")
        self.peers_work = self.work / "peers"
        self.inputs = Inputs(self.peers_work / "inputs" if arguments.peers_script else self.work / "inputs")
        self.stores = self.work / "stores"
        for folder in (self.work, self.stores, self.work / "logs"):
            folder.mkdir(parents=True, exist_ok=True)

    # --- inputs

    def prepare(self) -> None:
        """The pictures and weights; where there is a peers' script, those that it makes from the photos."""
        given = self.work / "photos"
        gather(self.arguments.images, given, self.arguments.count)
        if self.arguments.peers_script:
            (self.peers_work).mkdir(exist_ok=True)
            (self.peers_work / "results.jsonl").touch()
            sizes = ["--n", str(self.arguments.count), "--big", str(self.arguments.big)]
            self._peers("--rounds", "0", "--ceilings-only", "--images", str(given), *sizes)
        else:
            self.inputs.folder.mkdir(exist_ok=True)
            gather(given, self.inputs.photos, self.arguments.count)
            enlarge(self.inputs.photos, self.inputs.big, self.arguments.big)
        command = [sys.executable, "-m", "tests.bench.speed.inputs", str(self.inputs.folder)]
        subprocess.run(command, check=True, env=environment())

    # --- one round

    def round(self, number: int) -> None:
        for folder in FOLDERS:
            images = self.inputs.photos if folder == "photos" else self.inputs.big
            for name, options in PLAIN.items():
                store = self.stores / f"{name.replace(' ', '-')}.{folder}"
                shutil.rmtree(store, ignore_errors=True)
                child = [*self._python("plain"), "index", self.inputs.weights, store, images, *options]
                self._record(child, what="index", who=name, folder=folder, round=number)
                if folder == "photos":
                    self._ask_plain(name, store, options, number)
            self._clipkit(folder, images, number)
            spent = str(self.arguments.seconds)
            child = [*self._python("inside"), "ceilings", self.inputs.spec, images, spent]
            self._record(child, what="ceilings", who=OURS, folder=folder, round=number)
        if self.arguments.peers_script:
            self._round_of_peers(number)
        self._agreement(number)

    def _ask_plain(self, name: str, store: Path, options: list[str], number: int) -> None:
        child = [*self._python("plain"), "query", self.inputs.weights, store, *options]
        tags: Row = {"who": name, "folder": "photos", "round": number}
        self._record([*child, "--warm", str(WARM)], what="warm", **tags)
        self._record(child, what="cold", **tags)

    def _clipkit(self, folder: str, images: Path, number: int) -> None:
        db = self.stores / f"clipkit.{folder}"
        shutil.rmtree(db, ignore_errors=True)
        tags: Row = {"who": OURS, "folder": folder, "round": number}
        program = [sys.executable, "-m", "clipkit"]
        index = [*program, "index", images, "--db", db, "--model", self.inputs.spec, "--json"]
        self._record(index, what="index", **tags)
        if folder != "photos":
            return
        self._record(index, what="again", **tags)
        self._record([*self._python("inside"), "warm", db, str(WARM)], what="warm", **tags)
        search = [*program, "search", QUERY, "--db", db, "--json"]
        with _alone() as (env, ready):
            self._record(search, what="cold", env=env, **tags)
            ready()
            self._record(search, what="next", env=env, quiet=False, **tags)

    def _round_of_peers(self, number: int) -> None:
        """One round of the peers, their results in our words."""
        theirs = self.peers_work / "results.jsonl"
        before = theirs.stat().st_size
        options = ["--rounds", "1", "--no-ceilings", "--peers", self.arguments.peers]
        self._peers(*options, *self.arguments.peers_option)
        with open(theirs, encoding="utf-8") as file:
            file.seek(before)
            for line in file:
                row = json.loads(line)
                if "peer" in row:
                    own = {"who": row["peer"], "round": number}
                    if row["what"] == "index":
                        own["loaded_s"] = row.get("steady_s", row["index_s"])  # some load and warm up within
                    self._keep({**row, **own})

    def _agreement(self, number: int) -> None:
        """The least cosine of each one's vectors to those of the baseline, photo by photo."""
        names = sorted(path.name for path in self.inputs.photos.glob("*.jpg"))
        stores = {name: self.stores / f"{name.replace(' ', '-')}.photos" / "vectors.npy" for name in PLAIN}
        if not stores[BASELINE].exists():
            return
        base = np.load(stores[BASELINE])
        found = {name: (names, np.load(file)) for name, file in stores.items() if file.exists()}
        files = {OURS: self.work / "clipkit.npz"}
        child = [*self._python("inside"), "vectors", self.stores / "clipkit.photos", files[OURS]]
        try:
            measured(child, self.work / "logs" / "vectors.log", environment())
        except Failed as error:
            print(error, file=sys.stderr)
            del files[OURS]
        if self.arguments.peers_script:
            files |= {name: self.peers_work / f"{name}.npz" for name in self.arguments.peers.split(",")}
        for name, file in files.items():
            if file.exists():
                stored = np.load(file)
                found[name] = (stored["names"].tolist(), _unit(stored["vectors"]))
        for name, (theirs, vectors) in found.items():
            if name != BASELINE and theirs == names and vectors.shape == base.shape:
                cosines = np.sum(base * vectors, axis=1)
                figures = {"least": float(cosines.min()), "mean": float(cosines.mean())}
                self._keep({"what": "cosine", "who": name, "folder": "photos", "round": number, **figures})

    # --- processes

    def _python(self, module: str) -> list[str]:
        return [sys.executable, "-m", f"tests.bench.speed.{module}"]

    def _peers(self, *options: str) -> None:
        command = [
            sys.executable,
            str(self.arguments.peers_script.absolute()),
            "--work",
            str(self.peers_work),
        ]
        env = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
        with open(self.work / "logs" / "peers.log", "a", encoding="utf-8") as log:
            done = subprocess.run([*command, *options], stdout=log, stderr=log, env=env, check=False)
        if done.returncode:
            print(f"the peers' script ended with {done.returncode}; see {log.name}", file=sys.stderr)

    def _record(
        self, command: list[Any], *, env: dict[str, str] | None = None, quiet: bool = True, **tags: Any
    ) -> None:
        if quiet:
            wait_for_quiet(MUCH, self.arguments.wait)
        label = f"{tags['what']} {tags['who']} {tags['folder']}"
        try:
            row = measured(command, self.work / "logs" / f"{label.replace(' ', '-')}.log", environment(env))
        except Failed as error:
            print(f"{label}: {error}", file=sys.stderr, flush=True)
            return
        if isinstance(row.get("warm_ms"), list):
            row["warm_ms"] = statistics.median(row["warm_ms"]) if row["warm_ms"] else None
        if tags["what"] == "index" and tags["who"] == OURS:
            row = {**row, "rows": row["added"], "loaded_s": row.pop("seconds")}
        row.pop("hits", None)
        self._keep({**row, **tags})

    def _keep(self, row: Row) -> None:
        with open(self.results, "a", encoding="utf-8") as file:
            file.write(json.dumps({"run": self.run, **row}) + "\n")
        shown = {key: round(value, 3) for key, value in row.items() if isinstance(value, float)}
        print(
            f"{row['round']} {row['what']} {row['who']} {row['folder']}  {shown}", file=sys.stderr, flush=True
        )

    def rows(self) -> list[Row]:
        """Those of the last run."""
        with open(self.results, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return [row for row in rows if row["run"] == rows[-1]["run"]]


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@contextlib.contextmanager
def _alone() -> Iterator[tuple[dict[str, str], Callable[[], None]]]:
    """An environment in which no process waits for questions yet, and what waits until one does, if any will.

    Whoever was started to wait there is ended in the end.
    """
    with tempfile.TemporaryDirectory(prefix="ck") as folder:

        def ready() -> None:
            until = time.monotonic() + RESIDENT_S
            while time.monotonic() < until and not list(Path(folder).rglob("*.sock")):
                time.sleep(0.1)
            time.sleep(0.5)

        yield {"XDG_RUNTIME_DIR": folder}, ready
        for lock in Path(folder).rglob("*.lock"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(lock.read_text()), signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="a folder of JPEGs")
    parser.add_argument(
        "--work", type=Path, required=True, help="where everything goes; inputs are kept there"
    )
    parser.add_argument("--rounds", type=int, default=3, help="0 makes the inputs only")
    parser.add_argument("--count", type=int, default=300, help="small photos")
    parser.add_argument("--big", type=int, default=40, help="photos of 12 megapixels")
    parser.add_argument("--seconds", type=float, default=6, help="for each ceiling")
    parser.add_argument(
        "--wait", type=float, default=30, help="seconds to wait for a quiet machine, each time"
    )
    parser.add_argument("--peers-script", type=Path)
    parser.add_argument("--peers", default="rclip,sentence_transformers")
    parser.add_argument("--peers-option", action="append", default=[], help="handed on to the peers' script")
    parser.add_argument(
        "--table", action="store_true", help="print the table of the last run, and run nothing"
    )
    arguments = parser.parse_args()
    bench = Bench(arguments)
    if not arguments.table:
        if arguments.images is None:
            parser.error("--images is missing")
        bench.prepare()
        for number in range(arguments.rounds):
            bench.round(number)
    if arguments.table or arguments.rounds:
        print(table(bench.rows()))


if __name__ == "__main__":
    main()

"""Where the time of indexing goes: a flame graph, and what costs most.

    python -m tests.bench.flames IMAGES OUT.svg [--model bundled] [--py-spy PATH]

`clipkit index` is run twice on the images, each time into a new collection, with py-spy (pip install py-spy)
looking on: once for the picture, once for the table. Only threads that compute are counted. The table has
each sample under the innermost function of clipkit that it was in; imports are a row of their own.
"""

from __future__ import annotations

import argparse
import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.speed.processes import environment

RATE = 200  # samples a second
SHOWN = 16
FRAME = re.compile(r"(.+?) \((.+?)(?::\d+)?\)$")  # function (file:line)
IMPORTS = "imports"


def record(py_spy: str, images: Path, out: Path, model: str, *, kind: str) -> None:
    with tempfile.TemporaryDirectory() as db:
        index = [sys.executable, "-m", "clipkit", "index", str(images), "--db", db, "--model", model]
        watch = [
            py_spy,
            "record",
            "--format",
            kind,
            "--rate",
            str(RATE),
            "--output",
            str(out),
            "--nonblocking",
        ]
        done = subprocess.run(
            [*watch, "--", *index], env=environment(), capture_output=True, text=True, check=False
        )
    if done.returncode or not out.exists():
        raise SystemExit(f"py-spy failed:\n{done.stderr[-2000:]}")


def costs(folded: str) -> collections.Counter[str]:
    """Samples by the innermost function of clipkit; lines are as `a (x.py:1);b (y.py:2) 17`."""
    found: collections.Counter[str] = collections.Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        found[_owner(stack.split(";"))] += int(count)
    return found


def _owner(stack: list[str]) -> str:
    if any("importlib" in frame for frame in stack):
        return IMPORTS
    for frame in reversed(stack):
        parts = FRAME.match(frame)
        if parts and re.search(r"(?:^|/)clipkit/", parts[2]):
            return f"{re.split(r'(?:^|/)clipkit/', parts[2])[-1]}  {parts[1]}"
    return "outside of clipkit"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--py-spy", default="py-spy")
    arguments = parser.parse_args()
    record(arguments.py_spy, arguments.images, arguments.out, arguments.model, kind="flamegraph")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        record(arguments.py_spy, arguments.images, raw, arguments.model, kind="raw")
        found = costs(raw.read_text(encoding="utf-8"))
    total = found.total()
    print(f"{total / RATE:.1f} thread-seconds\n\n| share | where |\n|---|---|")
    for where, count in found.most_common(SHOWN):
        print(f"| {count / total:.1%} | {where} |")


if __name__ == "__main__":
    main()

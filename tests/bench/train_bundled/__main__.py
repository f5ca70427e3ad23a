"""Trains the model that ships with clipkit, on Tiny ImageNet and on drawn scenes.

    python -m tests.bench.train_bundled --photos tiny-imagenet-train.parquet --val tiny-imagenet-val.parquet \
        --work ~/clipkit-train --minutes 100

It lives among the benchmarks, not the examples: an example is short and is run by the tests, this takes
hours and two data files that do not ship. Run it again after an interruption and it goes on; give it more
minutes and it trains longer. `draw` renders scenes (at low priority, beside the training or before it),
`export` writes the shipped files and measures them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .ranks import start
from .train import Options, work


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="caches, checkpoint and log")
    parser.add_argument("--scenes", type=Path, help="folder that `draw` renders into")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--minutes", type=float, default=100.0, help="training time, over all starts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="as many as cores, without a GPU")
    parser.add_argument("--watch-minutes", type=float, default=5.0)
    given = vars(parser.parse_args())
    processes = given.pop("processes")
    given["work"].mkdir(parents=True, exist_ok=True)
    start(work, processes, given["work"], Options(**given))


if __name__ == "__main__":
    main()

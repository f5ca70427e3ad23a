"""Size, loading time and speed of the bundled model: the rows that `clipkit evaluate` does not measure.

    python -m tests.bench.bundled --photos ~/Pictures

Loading is timed in processes of its own, after torch and open_clip have been imported. Speed is from JPEG
files whose longer edge is 500 pixels, made of the given photos or else of drawn scenes, to stored vectors
(`Collection.index`, with thumbnails) and to vectors only (`evaluate`'s way), each the best of three runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clipkit import Collection, load_encoder, sketch
from clipkit.encoder import Encoder
from clipkit.encoders.sources import BUNDLED
from clipkit.evaluate import evaluate
from clipkit.folders import walk
from clipkit.images import open_image
from clipkit.labelled import Labelled, Row, Truth

EDGE = 500
RUNS = 3
LOAD = """
import time, torch, open_clip
from clipkit import load_encoder
began = time.perf_counter()
load_encoder("bundled")
print(time.perf_counter() - began)
"""


def load_seconds(processes: int = 5) -> list[float]:
    """Sorted times of fresh processes."""
    command = [sys.executable, "-c", LOAD]
    return sorted(float(subprocess.check_output(command, text=True)) for _ in range(processes))


def write_jpegs(folder: Path, n: int, photos: Path | None) -> None:
    """n different JPEG files; a picture is used again with a little of it cut off."""
    folder.mkdir()
    sources = [Path(file.path) for file in walk([photos]).files] if photos else []
    for number in range(n):
        if sources:
            image = open_image(sources[number % len(sources)])
        else:
            image = sketch.draw(sketch.scene(number % 50), size=EDGE)
        cut = 2 * (number // (len(sources) or 50))
        image = image.crop((cut, cut, image.width, image.height))
        image.thumbnail((EDGE, EDGE))
        image.save(folder / f"{number:05}.jpg", quality=90)


def index_seconds(encoder: Encoder, folder: Path, scratch: Path) -> float:
    collection = Collection.create(f"run-{time.monotonic_ns()}", db=scratch, encoder=encoder)
    began = time.perf_counter()
    collection.index(folder)
    return time.perf_counter() - began


def embed_seconds(encoder: Encoder, folder: Path) -> float:
    paths = sorted(str(path) for path in folder.glob("*.jpg"))
    rows = [Row(path, lambda path=path: path, Truth("x")) for path in paths]  # type: ignore[misc]
    return evaluate(encoder, Labelled("jpegs", len(rows), lambda: iter(rows), {"x": ("x",)})).seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--photos", type=Path, help="make the JPEGs of these, not of drawn scenes")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    loads = load_seconds()
    encoder = load_encoder("bundled")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "jpegs")
        write_jpegs(folder, options.n, options.photos)
        embed_seconds(encoder, folder)  # warm: files in the page cache, kernels chosen
        embedded = min(embed_seconds(encoder, folder) for _ in range(RUNS))
        indexed = min(index_seconds(encoder, folder, Path(place, "db")) for _ in range(RUNS))
    found = {
        "weights_mb": round(sum(path.stat().st_size for path in BUNDLED.glob("*.safetensors")) / 1e6, 2),
        "load_seconds_median": round(statistics.median(loads), 3),
        "load_seconds_range": [round(loads[0], 3), round(loads[-1], 3)],
        "images_per_second_indexed": round(options.n / indexed),
        "images_per_second_embedded": round(options.n / embedded),
        "jpegs": options.n,
        "made_of": "photos" if options.photos else "drawn scenes",
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(
        json.dumps(found)
        if options.json
        else "\n".join(f"{name:28} {value}" for name, value in found.items())
    )


if __name__ == "__main__":
    main()

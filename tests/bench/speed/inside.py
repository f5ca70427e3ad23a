"""What can only be measured within a process of clipkit's: warm queries, stored vectors, and the ceilings.

python -m tests.bench.speed.inside warm DB TIMES
python -m tests.bench.speed.inside vectors DB OUT.npz
python -m tests.bench.speed.inside ceilings MODEL IMAGES SECONDS
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from clipkit import Collection, load_encoder
from clipkit.encoder import Pixels
from clipkit.images import read_picture
from clipkit.reading import size_needed
from tests.bench.speed.plain import QUERY, timed
from tests.bench.speed.processes import RESULT

EDGE = 224
T = TypeVar("T")

AT_ONCE = 256  # pictures handed to the encoder: several batches, for every lane that it has


def warm(db: str, times: str) -> dict[str, object]:
    collection = Collection.open(db=db)
    collection.search(QUERY)
    asked = (f"{QUERY} number {number}" for number in range(int(times)))
    return {"warm_ms": [timed(collection.search, text) for text in asked]}


def vectors(db: str, out: str) -> dict[str, object]:
    table = Collection.open(db=db).to_arrow(columns=["id", "vector"]).sort_by("id")
    names = [Path(identity).name for identity in table["id"].to_pylist()]
    stored = np.array(table["vector"].to_pylist(), np.float32)
    np.savez(out, names=np.array(names), vectors=stored)
    return {"rows": len(names)}


def ceilings(model: str, images: str, seconds: str) -> dict[str, object]:
    """Images a second that decoding alone, and the model alone, do on all cores.

    `decode` is the least that has to be done: the file to 224 x 224 uint8, the JPEG scaled while it is
    decoded. `read` is clipkit's own way from the file to what the encoder wants, with the picture that the
    thumbnail is made from. The model gets what `read` made.
    """
    paths = sorted(str(path) for path in Path(images).glob("*.jpg"))
    for path in paths:
        Path(path).read_bytes()  # into the page cache
    encoder = load_encoder(model)

    def read(path: str) -> Pixels:
        picture = read_picture(
            Path(path).read_bytes(), upright=encoder.upright, reduce_to=size_needed(encoder)
        )
        return encoder.preprocess(picture.image)

    pixels = [read(path) for path in paths[:AT_ONCE]]
    pixels = list(itertools.islice(itertools.cycle(pixels), AT_ONCE))
    encoder.encode_pixels(pixels)
    spent = float(seconds)
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def through(work: Callable[[str], object]) -> Callable[[Sequence[str]], object]:
            return lambda batch: list(pool.map(work, batch))

        found = {
            "decode_per_s": rate(through(_least), paths, spent),
            "read_per_s": rate(through(read), paths, spent),
            "model_per_s": rate(encoder.encode_pixels, pixels, spent),
        }
    return {**found, "precision": str(getattr(encoder, "precision", ""))}


def rate(work: Callable[[Sequence[T]], object], items: Sequence[T], seconds: float) -> float:
    """Items a second: the median of the passes that so many seconds have room for, two at least."""
    rates: list[float] = []
    until = time.perf_counter() + seconds
    while len(rates) < 2 or time.perf_counter() < until:
        began = time.perf_counter()
        work(items)
        rates.append(len(items) / (time.perf_counter() - began))
    return statistics.median(rates)


def _least(path: str) -> object:
    with Image.open(path) as image:
        scale = EDGE / min(image.size)
        image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        scale = EDGE / min(rgb.size)
        edges = (max(EDGE, round(rgb.width * scale)), max(EDGE, round(rgb.height * scale)))
        small = rgb.resize(edges, Image.Resampling.BICUBIC)
        left, top = (small.width - EDGE) // 2, (small.height - EDGE) // 2
        return np.asarray(small.crop((left, top, left + EDGE, top + EDGE)))


if __name__ == "__main__":
    commands: dict[str, Any] = {"warm": warm, "vectors": vectors, "ceilings": ceilings}
    print(RESULT + json.dumps(commands[sys.argv[1]](*sys.argv[2:])))

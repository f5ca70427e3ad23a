"""Renders scenes ahead of training, at low priority beside it: a chunk file as soon as a chunk is done.

    nice python -m tests.bench.train_bundled.draw --to ~/clipkit-train/scenes --chunks 50

Scenes come in pairs that differ in one thing said (a colour, a kind, a count, the relation, the setting), so
that every batch holds captions that are nearly right. Seeds below a million are never drawn: tests use them.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from clipkit.sketch.picture import draw
from clipkit.sketch.scenes import (
    COLOURS,
    HELD_OUT_PAIRS,
    KINDS,
    RELATIONS,
    SIZES,
    Scene,
    scene,
)
from clipkit.sketch.settings import SETTINGS

FIRST_SEED = 1_000_000
PAIRS = 1024  # in a chunk
SIZE = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=50)
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    for chunk in range(options.chunks):
        path = options.to / f"chunk-{chunk:04}.npy"
        if not path.exists():
            draw_chunk(path, FIRST_SEED + chunk * PAIRS)


def draw_chunk(path: Path, first_seed: int) -> None:
    """Writes `path` (2 * PAIRS, SIZE, SIZE, 3) and, before it, what the pictures show as JSON beside it."""
    pixels = np.empty((2 * PAIRS, SIZE, SIZE, 3), np.uint8)
    said: list[Any] = []
    for i in range(PAIRS):
        base = scene(first_seed + i)
        rng = Random(first_seed + i)
        for row, drawn in ((2 * i, base), (2 * i + 1, sibling(base, rng))):
            pixels[row] = picture(drawn, rng)
            things = [[t.kind, t.colour, t.size, t.count] for t in drawn.things]
            said.append([drawn.seed, drawn.setting, things, drawn.relation])
    path.with_suffix(".json").write_text(json.dumps(said))
    np.save(path.with_suffix(".new.npy"), pixels)
    os.replace(path.with_suffix(".new.npy"), path)


def picture(shown: Scene, rng: Random) -> np.ndarray[Any, Any]:
    """At SIZE; now and then drawn larger or smaller and resized, as a user's pictures would be."""
    size = rng.choices((SIZE, 160, 64), weights=(8, 1, 1))[0]
    image = draw(shown, size=size)
    if size != SIZE:
        image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(image)


def sibling(base: Scene, rng: Random) -> Scene:
    """The scene with one thing changed, and nothing in it that is held out."""
    while True:
        try:
            other = _changed(base, rng)
        except ValueError:  # no such scene can be drawn
            continue
        pairs = {(t.colour, t.kind) for t in other.things}
        kinds = {t.kind for t in other.things}
        if other != base and not pairs & HELD_OUT_PAIRS and len(kinds) == len(other.things):
            return other


def _changed(base: Scene, rng: Random) -> Scene:
    what = rng.choice(("colour", "colour", "kind", "count", "setting", "relation", "size", "swap"))
    at = rng.randrange(len(base.things))
    thing = base.things[at]
    if what == "setting":
        return replace(base, setting=rng.choice(SETTINGS))
    if what == "relation" and base.relation in RELATIONS[:4]:
        return replace(base, relation=rng.choice(RELATIONS[:4]))
    if what == "swap" and len(base.things) == 2:  # the colours change places: "red cup, blue hat"
        a, b = base.things
        return replace(base, things=(replace(a, colour=b.colour), replace(b, colour=a.colour)))
    if base.relation == "inside" and at == 1 and what != "colour":
        return base  # what holds other things must stay what it is
    if what == "kind":
        thing = replace(thing, kind=rng.choice(KINDS))
    elif what == "count":
        thing = replace(thing, count=rng.randint(1, 4))
    elif what == "size":
        thing = replace(thing, size=rng.choice(SIZES))
    else:
        thing = replace(thing, colour=rng.choice(COLOURS))
    return replace(base, things=(*base.things[:at], thing, *base.things[at + 1 :]))


if __name__ == "__main__":
    main()

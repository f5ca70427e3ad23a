"""Scenes of the drawn world: sketch:1000, sketch-held-out:1000."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from clipkit.errors import InvalidInput
from clipkit.labelled.rows import Labelled, Row, Truth

SIZE = 256  # pixels: a model that reduces photos has something to reduce here, too
_SPEC = re.compile(r"sketch(-held-out)?:(\d+)")


def is_drawn(name: str) -> bool:
    """Whether `name` stands for drawn scenes, well written or not."""
    return name.startswith(("sketch:", "sketch-held-out:"))


def open_drawn(name: str) -> Labelled:
    """The scenes of the seeds from 0, each with its one full caption."""
    spec = _SPEC.fullmatch(name)
    if spec is None or not int(spec[2]):
        raise InvalidInput(f"{name!r} should be sketch:N or sketch-held-out:N, with N scenes, at least one")
    return Labelled(name, int(spec[2]), partial(_rows, int(spec[2]), bool(spec[1])), captioned=True)


def _rows(n: int, held_out: bool) -> Iterator[Row]:
    from clipkit import sketch  # a world of modules, which whoever indexes a folder has no use for

    for seed in range(n):
        scene = sketch.scene(seed, held_out=held_out)
        truth = Truth(captions=(sketch.caption(scene),))
        yield Row(f"scene {seed}", partial(sketch.draw, scene, size=SIZE), truth)

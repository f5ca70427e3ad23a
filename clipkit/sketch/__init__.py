"""The drawn world: seeded, endless, captioned scenes with exact ground truth."""

from clipkit.sketch.captions import caption, captions
from clipkit.sketch.picture import draw
from clipkit.sketch.scenes import (
    COLOURS,
    HELD_OUT_PAIRS,
    KINDS,
    RELATIONS,
    Scene,
    Thing,
    matches,
    scene,
)
from clipkit.sketch.settings import SETTINGS

__all__ = [
    "COLOURS",
    "HELD_OUT_PAIRS",
    "KINDS",
    "RELATIONS",
    "SETTINGS",
    "Scene",
    "Thing",
    "caption",
    "captions",
    "draw",
    "matches",
    "scene",
]

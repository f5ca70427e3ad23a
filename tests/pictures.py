"""Small picture files for tests, each with content of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from clipkit.testing import COLOURS


def draw(path: Path, seed: int, *, edge: int = 24, colour: str | None = None) -> Path:
    """A file of noise around a colour; the same seed gives the same pixels."""
    noise = np.random.default_rng(seed)
    base = np.array(COLOURS[colour or list(COLOURS)[seed % len(COLOURS)]])
    pixels = np.clip(base + noise.integers(-12, 13, (edge, edge, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def draw_folder(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    return [draw(folder / f"{seed % 7}" / f"{seed:05}.jpg", seed) for seed in range(first, first + count)]

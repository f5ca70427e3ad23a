"""Pictures at another size, and thumbnails: Pillow's, or in a third of the time torch's, if it is there."""

from __future__ import annotations

import io
import sys
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image, Resampling, fromarray

from clipkit.colours import rgb
from clipkit.errors import InvalidInput

THUMBNAIL_EDGE = 256  # pixels; sharp in a grid of results on a dense screen, about 15 kB
THUMBNAIL_QUALITY = 80

Filter: TypeAlias = Literal["bilinear", "bicubic"]
FILTERS: dict[str, Resampling] = {"bilinear": Resampling.BILINEAR, "bicubic": Resampling.BICUBIC}


def resized(image: Image, width: int, height: int, by: Filter) -> NDArray[np.uint8]:
    """An RGB picture at another size: (height, width, 3).

    What torch makes of it is what Pillow does to within 2 levels of 255 and 0.004 on average, or to within 3
    where an edge has less than 8 pixels.
    """
    if not vectorised():
        return np.array(image.resize((width, height), FILTERS[by]))
    import torch

    with torch.inference_mode():
        batch = torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2)  # channels last, as the result is
        scaled = torch.nn.functional.interpolate(batch, size=(height, width), mode=by, antialias=True)
        pixels: NDArray[np.uint8] = scaled[0].permute(1, 2, 0).numpy()
    return pixels


def within(width: int, height: int, edge: int) -> tuple[int, int]:
    """Width and height of a picture of that shape with no edge above `edge` pixels; never enlarged."""
    scale = min(1.0, edge / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def thumbnail(image: Image, *, edge: int = THUMBNAIL_EDGE, quality: int = THUMBNAIL_QUALITY) -> bytes:
    """JPEG bytes of `image` with no edge above `edge` pixels, never enlarged, without metadata."""
    if edge < 1:
        raise InvalidInput(f"a thumbnail's edge is at least 1 pixel, not {edge}")
    small = rgb(image)
    if (size := within(*small.size, edge)) != small.size:
        small = fromarray(resized(small, *size, "bicubic"))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=quality)
    return out.getvalue()


def vectorised() -> bool:
    """Whether torch is loaded and resizes bytes with vector instructions here; without, Pillow is as fast."""
    if "torch" not in sys.modules:
        return False
    import torch  # waits where another thread is still loading it

    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")

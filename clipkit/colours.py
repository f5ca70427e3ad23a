"""Any Pillow mode and any array as 8-bit RGB.

ICC profiles are ignored, as every CLIP tool ignores them, so that vectors agree with theirs. Transparent
parts are shown on white. Levels of more than 8 bits are scaled, never clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageError

_STRIP_PIXELS = 1 << 20  # conversion goes strip by strip, so that its temporaries stay at a few MB


def rgb(image: Image.Image, *, factor: int = 1) -> Image.Image:
    """A new RGB picture, `factor` times smaller by averaging, without metadata; `image` stays as it is."""
    width, height = image.size
    to_rgb = _converter(image)
    if factor == 1 and width * height <= _STRIP_PIXELS:
        whole = to_rgb(image)
        whole.info = {}
        return whole
    out = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top, strip in _strips(image, factor):
        part = to_rgb(strip)
        out.paste(part.reduce(factor) if factor > 1 else part, (0, top // factor))
    return out


def from_array(array: NDArray[Any]) -> Image.Image:
    """A Pillow image (L, RGB or RGBA) of an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4).

    Its dtype is uint8, uint16, bool or a float in [0, 1]. Raises ImageError with the value for any other.
    """
    shape = array.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        hint = "; put channels last: array.transpose(1, 2, 0)" if shape[0:1] in ((1,), (3,), (4,)) else ""
        raise ImageError(f"has shape {shape}, but (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) is needed{hint}")
    if not array.size:
        raise ImageError(f"has no pixels (shape {shape})")
    levels = _eight_bits(array)
    return Image.fromarray(levels[:, :, 0] if levels.ndim == 3 and levels.shape[2] == 1 else levels)


def _eight_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return np.rint(array / 257.0).astype(np.uint8)  # 257 = 65535 / 255
    if array.dtype.kind != "f":
        raise ImageError(f"has dtype {array.dtype}, but uint8, uint16, bool or floats in [0, 1] are needed")
    least, greatest = float(array.min()), float(array.max())  # both NaN if there is any
    if not (least >= 0.0 and greatest <= 1.0):
        raise ImageError(f"has floats from {least} to {greatest}, but 0 to 1 is needed: scale or clip them")
    return np.rint(array.astype(np.float64) * 255.0).astype(np.uint8)


def _strips(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Strips of full width and a height divisible by `factor` (but for the last), each with its top row."""
    width, height = image.size
    pixels = min(_STRIP_PIXELS, Image.MAX_IMAGE_PIXELS or _STRIP_PIXELS)  # crop, too, asks Pillow's limit
    rows = max(1, pixels // (width * factor)) * factor
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """How strips of `image` become RGB."""
    if image.mode[0] in "IF":  # I, I;16, I;16B, F
        black, white = _black_and_white(image)
        return lambda strip: _scaled(strip, black, white)
    return _on_white if image.has_transparency_data else lambda strip: strip.convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    rgba = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
    white = Image.new("RGB", strip.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _black_and_white(image: Image.Image) -> tuple[float, float]:
    """The values shown as black and as white.

    Integers up to 65535 span 16 bits, floats 0..1 or 0..255. Beyond that they are measurements without an
    agreed black and white, and are stretched from the least to the greatest.
    """
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    least, greatest = np.inf, -np.inf
    for _, strip in _strips(image):
        values = np.asarray(strip)
        if (finite := values[np.isfinite(values)]).size:
            least, greatest = min(least, float(finite.min())), max(greatest, float(finite.max()))
    if least > greatest:
        raise ImageError("has no pixel with a finite value")
    for white in (65535.0,) if image.mode == "I" else (1.0, 255.0):
        if least >= 0.0 and greatest <= white:
            return 0.0, white
    return least, greatest


def _scaled(strip: Image.Image, black: float, white: float) -> Image.Image:
    values = np.asarray(strip).astype(np.float64)  # (h, w)
    shown = (np.nan_to_num(values, nan=black, posinf=white, neginf=black) - black) / (white - black or 1.0)
    levels = np.rint(np.clip(shown, 0.0, 1.0) * 255.0).astype(np.uint8)
    if isinstance(clear := strip.info.get("transparency"), int):
        levels[values == clear] = 255
    return Image.fromarray(levels).convert("RGB")

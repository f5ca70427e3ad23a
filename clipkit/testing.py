"""Public test doubles: an encoder that needs no model, no torch and no download."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import BaseEncoder, Pixels, Places, unit_places
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "orange": (255, 165, 0),
    "yellow": (255, 255, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "brown": (139, 69, 19),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "turquoise": (64, 224, 208),
}
"""The words that the fake encoder knows in both texts and images, with their CSS values."""

OWN_SHARE = 0.25
"""Length of what is particular to a picture, beside the unit length of its colour."""


class FakeEncoder(BaseEncoder):
    """A deterministic encoder of `dim` >= 16 dimensions that understands colours and equality, nothing else.

    Axis i stands for the i-th of `COLOURS`. A text is the sum of its words: a colour is its axis, another
    word a fixed random direction in the remaining axes, so texts with equal words are equal. A picture is
    the axis of the colour nearest to its mean, plus `OWN_SHARE` times a direction of its own. So the text
    "red" scores 1 / sqrt(1 + OWN_SHARE**2) = 0.970 against every picture that is red on the whole, and 0
    against any other. Texts are cut at 77 words, like CLIP's at 77 tokens.
    """

    modalities = frozenset({"text", "image"})
    image_size = 8
    context_length = 77

    def __init__(self, dim: int = 32, *, upright: bool = True) -> None:
        if dim < len(COLOURS) + 4:
            raise InvalidInput(f"FakeEncoder needs at least {len(COLOURS) + 4} dimensions, not {dim}")
        self.dim = dim
        self.upright = upright
        self.name = "fake" if dim == 32 else f"fake:{dim}"
        self.fingerprint = f"fake-1-{dim}" + ("" if upright else "-as-stored")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many words each text has."""
        return [len(_words(text)) for text in texts]

    def preprocess(self, image: Image) -> Pixels:
        """The picture averaged down to (8, 8, 3) uint8."""
        from PIL.Image import Resampling

        return np.asarray(image.resize((8, 8), Resampling.BOX))

    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        return np.stack([self._text(text) for text in texts])

    def _pixel_batch(self, pixels: list[Pixels]) -> NDArray[Any]:
        return np.stack([self._picture(picture) for picture in pixels])

    def _places(self, image: Image) -> Places:
        """An 8 x 8 grid over all of the picture, each place the axis of the colour nearest to its own."""
        pixels = self.preprocess(image)
        raw = np.stack([[self._axis(_nearest(pixel)) for pixel in row] for row in pixels])
        return Places(unit_places(raw), (0.0, 0.0, 1.0, 1.0), "colours", "clipkit.testing")

    def _overlong(self, texts: list[str]) -> list[int]:
        return [i for i, text in enumerate(texts) if len(_words(text)) > self.context_length]

    def _text(self, text: str) -> NDArray[Any]:
        words = _words(text)[: self.context_length] or [""]
        total: NDArray[Any] = np.sum([self._word(word) for word in words], axis=0)
        return total

    def _word(self, word: str) -> NDArray[Any]:
        if word in COLOURS:
            return self._axis(list(COLOURS).index(word))
        return self._direction(word.encode())

    def _picture(self, pixels: Pixels) -> NDArray[Any]:
        mean = pixels.reshape(-1, 3).mean(axis=0)  # (3,)
        return self._axis(_nearest(mean)) + OWN_SHARE * self._direction(pixels.tobytes())

    def _axis(self, i: int) -> NDArray[Any]:
        axis: NDArray[Any] = np.eye(self.dim)[i]
        return axis

    def _direction(self, seed: bytes) -> NDArray[Any]:
        """A fixed random unit vector in the axes that no colour uses."""
        digest = int.from_bytes(hashlib.sha256(seed).digest()[:8], "big")
        free = np.random.default_rng(digest).normal(size=self.dim - len(COLOURS))
        return np.concatenate([np.zeros(len(COLOURS)), free / np.linalg.norm(free)])


def _nearest(colour: NDArray[Any]) -> int:
    """Which of COLOURS is nearest to (red, green, blue)."""
    return int(np.argmin(np.linalg.norm(np.array(list(COLOURS.values())) - colour, axis=1)))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())

"""JPEGs decoded, resized and cropped where the model runs: by nvJPEG, through torchvision.

On an H200 with 16 cores beside it, the card decodes 13,000 JPEGs of 500 x 375 pixels a second, and the cores
1,600 (thumbnails included; 2026-11-26).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.encoders.pixels import Preprocessing
from clipkit.resizing import THUMBNAIL_EDGE, THUMBNAIL_QUALITY, within

if TYPE_CHECKING:
    import torch


class JpegDecoder:
    """Decodes JPEGs on `device` for what `preprocessing` is made for."""

    def __init__(self, device: str, preprocessing: Preprocessing, *, upright: bool) -> None:
        self.preprocessing = preprocessing
        self.upright = upright
        self._device = device

    def works(self) -> bool:
        """Whether torchvision can decode on this device here, and the preprocessing be done there."""
        from PIL import Image

        if not self.preprocessing.portable:
            return False
        sample = io.BytesIO()
        Image.new("RGB", (32, 32)).save(sample, "JPEG")
        try:
            self.decode([bytearray(sample.getvalue())], [1])
        except (ImportError, RuntimeError):  # no torchvision, or one that was built without nvJPEG
            return False
        return True

    def decode(
        self, jpegs: Sequence[bytearray | memoryview], orientations: Sequence[int]
    ) -> list[tuple[NDArray[np.uint8], bytes]]:
        """Of each JPEG what the model sees, as `Preprocessing.resized` gives it, and a thumbnail.

        `orientations` are EXIF's, 1..8. Raises RuntimeError if one of the files cannot be decoded, or memory
        does not suffice.
        """
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

        files = [torch.frombuffer(jpeg, dtype=torch.uint8) for jpeg in jpegs]
        with torch.inference_mode(), self._own_stream():
            images = decode_jpeg(files, mode=ImageReadMode.RGB, device=self._device)
            seen = torch.empty((len(images), 3, *self.preprocessing.size), device=self._device)
            small: list[Any] = [None] * len(images)
            for places in _alike(images, orientations):
                whole = torch.stack([images[at] for at in places])
                if self.upright:
                    whole = _turned(whole, orientations[places[0]])
                whole = whole.float()
                seen[places] = self.preprocessing.cropped(whole)
                for at, picture in zip(places, _rounded(_within(whole, THUMBNAIL_EDGE)), strict=True):
                    small[at] = picture
            thumbnails = encode_jpeg(small, quality=THUMBNAIL_QUALITY)
            pixels = _rounded(seen.permute(0, 2, 3, 1)).contiguous().cpu().numpy()
            flat = torch.cat(thumbnails).cpu()  # at once: each copy waits for the device
        ends = accumulate(len(thumbnail) for thumbnail in thumbnails)
        written = flat.numpy().tobytes()
        parts = [written[end - len(part) : end] for part, end in zip(thumbnails, ends, strict=True)]
        return list(zip(pixels, parts, strict=True))

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        """Lets what a thread does on a GPU wait for no other thread."""
        import torch

        if not self._device.startswith("cuda"):
            yield
            return
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            yield


def _alike(images: Sequence[torch.Tensor], orientations: Sequence[int]) -> list[list[int]]:
    """The places of pictures that can be stacked, and turned together."""
    places: dict[tuple[int, ...], list[int]] = {}
    for at, (image, orientation) in enumerate(zip(images, orientations, strict=True)):
        places.setdefault((*image.shape, orientation), []).append(at)
    return list(places.values())


def _turned(images: torch.Tensor, orientation: int) -> torch.Tensor:
    """Pictures (n, 3, h, w) upright."""
    if orientation in (5, 6, 7, 8):
        images = images.transpose(2, 3)
    flips = {2: [3], 3: [2, 3], 4: [2], 6: [3], 7: [2, 3], 8: [2]}.get(orientation)
    return images.flip(flips) if flips else images


def _within(images: torch.Tensor, edge: int) -> torch.Tensor:
    """Pictures (n, 3, h, w) with no edge above `edge`, never enlarged."""
    import torch

    height, width = images.shape[-2:]
    size = within(width, height, edge)
    if size == (width, height):
        return images
    smaller: torch.Tensor = torch.nn.functional.interpolate(
        images, size=size[::-1], mode="bilinear", antialias=True
    )
    return smaller


def _rounded(values: Any) -> Any:
    import torch

    return values.round_().clamp_(0, 255).to(torch.uint8)

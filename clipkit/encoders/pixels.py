"""open_clip's preprocessing in two halves: the geometry picture by picture, the arithmetic batch by batch.

Between them a picture is uint8, a quarter of what open_clip's own transform makes of it, and what is done to
the numbers is done where the model runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.images import full_size
from clipkit.resizing import FILTERS, resized

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


class Preprocessing:
    """What open_clip's `transform` for a `preprocess_cfg` does to a picture.

    `size` is the (height, width) in pixels that the model sees.
    """

    def __init__(self, cfg: dict[str, Any], transform: Any) -> None:
        size = cfg["size"]
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)
        self._mode = cfg["resize_mode"]
        self._filter = cfg["interpolation"]
        self._geometry = transform.transforms[:-2]  # then come ToTensor and Normalize
        self._mean, self._std = cfg["mean"], cfg["std"]
        square = self.size[0] == self.size[1]
        known = self._mode == "squash" or (self._mode == "shortest" and square)
        self.portable = known and self._filter in FILTERS  # torch can do it, on any device

    def resized(self, image: Image) -> NDArray[np.uint8]:
        """The part of an RGB picture that the model sees, as it sees it: (height, width, 3)."""
        if not self.portable:
            return self._by_their_own(image)
        height, width = self._whole(*full_size(image))
        pixels = resized(image, width, height, self._filter)
        rows, columns = self._middle(height, width)
        return np.ascontiguousarray(pixels[rows, columns])

    def cropped(self, pictures: torch.Tensor) -> torch.Tensor:
        """The same, not rounded, of pictures of one size on any device: (n, 3, h, w), float32, 0 to 255."""
        import torch

        height, width = self._whole(pictures.shape[-1], pictures.shape[-2])
        scaled = torch.nn.functional.interpolate(
            pictures, size=(height, width), mode=self._filter, antialias=True
        )
        rows, columns = self._middle(height, width)
        return scaled[..., rows, columns]

    def normalised(self, pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """A batch of `resized`, (n, height, width, 3) uint8 on any device, as (n, 3, height, width)."""
        import torch

        n, height, width, channels = pixels.shape
        # Whole lines, since rows of three numbers are too short for a processor's vectors.
        mean, std = (
            torch.tensor(values, device=pixels.device).repeat(width) for values in (self._mean, self._std)
        )
        lines = pixels.reshape(n, height, width * channels).to(torch.float32)
        scaled = lines.mul_(1 / (255 * std)).sub_(mean / std).to(dtype).view(n, height, width, channels)
        return scaled.permute(0, 3, 1, 2)  # channels stay last in memory, as convolutions like them

    def _whole(self, width: int, height: int) -> tuple[int, int]:
        """Height and width to resize to before the middle is cut out, as torchvision's Resize has them."""
        if self._mode == "squash":
            return self.size
        edge = self.size[0]
        if width <= height:
            return int(edge * height / width), edge
        return edge, int(edge * width / height)

    def _middle(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and columns that the model sees, as torchvision's CenterCrop has them."""
        top, left = (round((edge - seen) / 2) for edge, seen in zip((height, width), self.size, strict=True))
        return slice(top, top + self.size[0]), slice(left, left + self.size[1])

    def __getstate__(self) -> dict[str, Any]:
        """For a process that only reads files: without torch, whose import takes longer than all else."""
        return {**vars(self), "_geometry": []} if self.portable else vars(self)

    def _by_their_own(self, image: Image) -> NDArray[np.uint8]:
        least = -(-max(image.size) // min(self.size))
        if self._mode == "longest" and min(image.size) < least:  # else nothing would be left of that edge
            width, height = (max(edge, least) for edge in image.size)
            image = image.resize((width, height))
        for step in self._geometry:
            image = step(image)
        return np.array(image)

"""Pictures as training sees them: decoded once into memory-mapped arrays, cut and recoloured per batch."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

MEAN = (0.480, 0.448, 0.398)  # of Tiny ImageNet's training pixels, in [0, 1]; also in open_clip_config.json
STD = (0.277, 0.269, 0.282)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Photos:
    """`pixels` (n, 64, 64, 3), `targets` (n,) indices into `wnids`, and each class's label as given."""

    pixels: Bytes
    targets: NDArray[np.int64]
    wnids: list[str]
    labels: dict[str, str]


def load_photos(parquet: Path, cache: Path) -> Photos:
    """The Parquet file's photos; decoded on the first call, mapped from `cache` after that."""
    pixels_file, meta_file = cache / f"{parquet.stem}.npy", cache / f"{parquet.stem}.json"
    if not meta_file.exists():
        table = pq.read_table(parquet)
        wnids, labels = table["wnid"].to_pylist(), table["label"].to_pylist()
        pixels = np.lib.format.open_memmap(pixels_file, "w+", np.uint8, (len(wnids), 64, 64, 3))
        for row, jpeg in enumerate(table["jpeg"]):
            pixels[row] = np.asarray(Image.open(io.BytesIO(jpeg.as_py())).convert("RGB"))
        pixels.flush()
        meta_file.write_text(json.dumps({"wnids": wnids, "labels": dict(zip(wnids, labels, strict=True))}))
    meta = json.loads(meta_file.read_text())
    classes = sorted(meta["labels"])
    index = {wnid: i for i, wnid in enumerate(classes)}
    targets = np.array([index[wnid] for wnid in meta["wnids"]], np.int64)
    return Photos(np.load(pixels_file, mmap_mode="r"), targets, classes, meta["labels"])


class Shuffle:
    """Endless row numbers in epochs, each row once an epoch; the state is two numbers."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed, self.epoch, self.at = n, seed, 0, 0
        self._order: NDArray[np.int64] | None = None

    def take(self, k: int) -> NDArray[np.int64]:
        if self._order is None or self.at + k > self.n:
            if self._order is not None:
                self.epoch, self.at = self.epoch + 1, 0
            self._order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        rows = self._order[self.at : self.at + k]
        self.at += k
        return np.sort(rows)

    def state(self) -> tuple[int, int]:
        return self.epoch, self.at

    def restore(self, state: tuple[int, int]) -> None:
        self.epoch, self.at = state
        self._order = None
        self._order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)


@dataclass(frozen=True)
class Augment:
    """How far a picture is changed. Photos take strong changes; drawn scenes, whose captions speak of
    colour, place and count, only slight ones (and no mirror image: "left of" would turn false)."""

    area: tuple[float, float]  # of the crop, as a share of the picture; above 1 it is zoomed out
    aspect: float  # width to height of the crop is within [1/aspect, aspect]
    flip: bool
    jitter: float  # brightness, contrast, saturation each by up to this share
    blur: float  # probability
    grey: float  # probability


PHOTO = Augment(area=(0.40, 1.20), aspect=4 / 3, flip=True, jitter=0.25, blur=0.08, grey=0.02)
SCENE = Augment(area=(0.90, 1.05), aspect=1.05, flip=False, jitter=0.08, blur=0.05, grey=0.0)


def augmented(pixels: Bytes, size: int, how: Augment) -> Tensor:
    """Pixels (n, h, w, 3) of any size as a normalised batch (n, 3, size, size), float32, channels last."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    n = len(x)
    if how.blur > 0:
        soft = torch.rand(n) < how.blur
        if bool(soft.any()):
            half = functional.avg_pool2d(x[soft], 2)
            x[soft] = functional.interpolate(half, x.shape[2:], mode="bilinear", align_corners=False)
    grid = functional.affine_grid(_crops(n, how), [n, 3, size, size], align_corners=False)
    x = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return _recoloured(x, how).contiguous(memory_format=torch.channels_last)


def _crops(n: int, how: Augment) -> Tensor:
    """Affine maps (n, 2, 3) from the output square to the part of the picture it shows."""
    area = torch.empty(n).uniform_(*how.area)
    aspect = torch.exp(torch.empty(n).uniform_(-math.log(how.aspect), math.log(how.aspect)))
    width, height = (area * aspect).sqrt(), (area / aspect).sqrt()
    theta = torch.zeros(n, 2, 3)
    mirror = torch.where(torch.rand(n) < 0.5, -1.0, 1.0) if how.flip else 1.0
    theta[:, 0, 0], theta[:, 1, 1] = width * mirror, height
    theta[:, 0, 2] = (torch.rand(n) * 2 - 1) * (1 - width).clamp(min=0)
    theta[:, 1, 2] = (torch.rand(n) * 2 - 1) * (1 - height).clamp(min=0)
    return theta


def _recoloured(x: Tensor, how: Augment) -> Tensor:
    """Brightness, contrast, saturation and normalisation, all in one 3x3 matrix and an offset per picture."""
    n = len(x)

    def around_one() -> Tensor:
        return 1 + (torch.rand(n, 1, 1) * 2 - 1) * how.jitter

    luma = torch.tensor([0.299, 0.587, 0.114]).expand(3, 3)  # every row gives the grey value
    saturation = around_one()
    saturation = torch.where(torch.rand(n, 1, 1) < how.grey, torch.zeros(()), saturation)
    colour = saturation * torch.eye(3) + (1 - saturation) * luma  # (n, 3, 3)
    contrast, brightness = around_one(), around_one()
    mean, std = torch.tensor(MEAN).view(3, 1), torch.tensor(STD).view(3, 1)
    middle = x.mean((1, 2, 3)).view(n, 1, 1) / 255 * brightness
    matrix = colour * contrast * brightness / 255 / std
    offset = ((1 - contrast) * middle - mean) / std  # (n, 3, 1)
    return torch.baddbmm(offset, matrix, x.flatten(2)).view_as(x)


def plain(pixels: Bytes, size: int) -> Tensor:
    """Pixels (n, h, w, 3) as the shipped model's preprocessing gives them, near enough to watch progress."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    if x.shape[-1] != size:
        x = functional.interpolate(x, (size, size), mode="bicubic", align_corners=False, antialias=True)
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return ((x.clamp(0, 255) / 255 - mean) / std).contiguous(memory_format=torch.channels_last)

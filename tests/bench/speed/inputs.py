"""What everyone is given: small pictures, large ones made from them, and one set of random weights."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".jpg", ".jpeg")
LARGE = (4032, 3024)  # 12 megapixels, as phones take them
NOISE = 12  # a grain that keeps the large files at the 3 MB of real ones
MODEL = "ViT-B-32"


@dataclass(frozen=True)
class Inputs:
    """`photos` and `big` are folders of JPEGs of equal names for equal pictures."""

    folder: Path

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def big(self) -> Path:
        return self.folder / "big"

    @property
    def weights(self) -> Path:
        """A state dict of open_clip, as torch saves it."""
        return self.folder / "vitb32.pt"

    @property
    def safetensors(self) -> Path:
        """The same weights, as the hub has them."""
        return self.folder / "vitb32.safetensors"

    @property
    def spec(self) -> str:
        """The model in clipkit's words."""
        return f"{MODEL}@{self.safetensors}"


def gather(source: Path, folder: Path, count: int) -> None:
    """Fill `folder` with `count` of the JPEGs below `source`; where they are fewer, mirrored ones follow."""
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SystemExit(f"no JPEG in {source}")
    picked = [found[i * len(found) // count] for i in range(count)] if len(found) > count else found
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        if path.exists():
            continue
        part = path.with_suffix(".part")
        if number < len(picked):
            shutil.copy(picked[number], part)
        else:
            _mirror(picked[number % len(picked)], part, turned=number // len(picked) > 1)
        os.replace(part, path)


def _mirror(source: Path, target: Path, *, turned: bool) -> None:
    with Image.open(source) as image:
        mirrored = ImageOps.mirror(image.convert("RGB"))
    (ImageOps.flip(mirrored) if turned else mirrored).save(target, "JPEG", quality=92)


def enlarge(photos: Path, folder: Path, count: int) -> None:
    """Fill `folder` with 12-megapixel JPEGs: photos scaled up, with noise, quality 90."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in photos.glob("*.jpg"))
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        if path.exists():
            continue
        with Image.open(photos / names[number % len(names)]) as image:
            large = image.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        pixels = np.asarray(large, np.int16)
        grain = np.random.default_rng(number).integers(-NOISE, NOISE + 1, pixels.shape, np.int16)
        part = path.with_suffix(".part")
        grained = np.clip(pixels + grain, 0, 255).astype(np.uint8)
        Image.fromarray(grained).save(part, "JPEG", quality=90)
        os.replace(part, path)


def weigh(inputs: Inputs) -> None:
    """Write the weights, random ones from a seed unless they are there, in both formats."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    if not inputs.weights.exists():
        torch.manual_seed(0)
        torch.save(open_clip.create_model(MODEL).state_dict(), inputs.weights)
    if not inputs.safetensors.exists():
        state = torch.load(inputs.weights, weights_only=True, map_location="cpu")
        save_file({name: value.contiguous().clone() for name, value in state.items()}, inputs.safetensors)


if __name__ == "__main__":  # in a process of its own: torch would stay in the memory of the driver
    import sys

    weigh(Inputs(Path(sys.argv[1])))

"""How near the rows of an index come to those of plain open_clip in fp32, for the same weights.

    python -m tests.bench.fidelity --photos FOLDER_OF_JPEGS --work SCRATCH_FOLDER [--precision int8]

Prints a table, by family of models and kind of photo: the mean and least cosine between the rows that
indexing makes (decoded no larger than needed, resized by torch, in the given precision, or the one that
clipkit chooses here) and those of open_clip's own preprocessing of the whole picture, with the model in fp32.
The photos are taken as they are, and scaled up to 12 megapixels with noise, at quality 90. `bundled` is
trained; the weights of the others are random, with all scales such that signals get through. As a yardstick,
it gives the mean cosine between different photos.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from clipkit import load_encoder
from clipkit.ahead import read_ahead
from clipkit.encoder import Encoder, Vectors, batched
from clipkit.encoders.openclip import OpenClipEncoder
from clipkit.encoders.sources import BUNDLED
from clipkit.folders import FoundFile
from clipkit.images import MAX_PIXELS
from clipkit.reading import Decoded, read_file
from tests import models

FAMILIES = {
    "ViT-B-32": "ViT-B-32",
    "SigLIP2-B": "ViT-B-32-SigLIP2-256",
    "CoCa": "coca_ViT-B-32",
    "ConvNeXt-B": "convnext_base",
    "MobileCLIP2-S0": "MobileCLIP2-S0",
}
SIZE = (4032, 3024)


def enlarged(photos: list[Path], folder: Path) -> list[Path]:
    """12-megapixel JPEGs made of the photos, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, photo in enumerate(photos):
        path = folder / f"{number:05d}.jpg"
        if path.exists():
            continue
        noise = np.random.default_rng(number)
        with Image.open(photo) as image:
            large = np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC), np.int16)
        noisy = large + noise.integers(-12, 13, large.shape, np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return sorted(folder.glob("*.jpg"))[: len(photos)]


def indexed(encoder: Encoder, photos: list[Path]) -> Vectors:
    """Rows (n, dim) as `Collection.index` makes them."""
    files = [FoundFile(str(photo), 0, 0) for photo in photos]
    read = partial(read_file, encoder=lambda: encoder, known=None, max_pixels=MAX_PIXELS)
    return encoder.encode_pixels([_decoded(result).pixels for result in read_ahead(files, read, 64)])


def _decoded(result: Any) -> Decoded:
    if not isinstance(result, Decoded):
        raise SystemExit(f"{result.file.id} {result.reason}")
    return result


def plain(model: Any, transform: Any, photos: list[Path]) -> Vectors:
    """Rows (n, dim) by the loop of open_clip's README."""
    rows = []
    for batch in batched(photos, 16):
        pixels = torch.stack([transform(Image.open(photo).convert("RGB")) for photo in batch])
        with torch.no_grad():
            rows.append(model.encode_image(pixels, normalize=True).numpy())
    return np.concatenate(rows)


def made(arch: str, work: Path) -> tuple[str, str, str | None]:
    """(clipkit's spec, open_clip's architecture, its weights file) of a model with random weights."""
    if "hf_tokenizer_name" in open_clip.get_model_config(arch)["text_cfg"]:  # not at hand; a small one is
        config, how = models.shrunk(arch, vocab_size=300), models.SIGLIP_PREPROCESS
        folder = models.model_folder(work / "model", config, preprocess=how, dtype=torch.float16)
        return f"local-dir:{folder}", f"local-dir:{folder}", None
    path = models.save_random(arch, work / "weights.safetensors", dtype=torch.float16)
    return f"{arch}@{path}", arch, str(path)


def pairs(
    work: Path, names: list[str], precision: str | None
) -> Iterator[tuple[str, OpenClipEncoder, Any, Any]]:
    """(family, clipkit's encoder, open_clip's model in fp32, its transform)"""
    for name in names:
        if name == "bundled":
            spec, arch, weights = "bundled", f"local-dir:{BUNDLED}", None
        else:
            spec, arch, weights = made(FAMILIES[name], work)
        model, transform = open_clip.create_model_from_pretrained(arch, weights)
        encoder = load_encoder(spec, device="cpu", precision=precision)
        assert isinstance(encoder, OpenClipEncoder)
        yield name, encoder, model.eval(), transform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--small", type=int, default=200, help="how many photos as they are")
    parser.add_argument("--large", type=int, default=40, help="how many of 12 megapixels")
    parser.add_argument("--families", nargs="+", default=["bundled", *FAMILIES])
    parser.add_argument("--precision")
    args = parser.parse_args()
    found = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    kinds = {"as they are": found[: args.small], "12 MP": enlarged(found[: args.large], args.work / "large")}
    print("| family | precision | photos | n | mean cosine | least | between photos |")
    print("|---|---|---|---|---|---|---|")
    for name, encoder, model, transform in pairs(args.work, args.families, args.precision):
        for kind, photos in kinds.items():
            theirs = plain(model, transform, photos)
            cosines = np.sum(indexed(encoder, photos) * theirs, axis=1)
            others = (theirs @ theirs.T)[~np.eye(len(theirs), dtype=bool)].mean()
            numbers = f"{cosines.mean():.5f} | {cosines.min():.5f} | {others:.3f}"
            print(f"| {name} | {encoder.precision} | {kind} | {len(photos)} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()

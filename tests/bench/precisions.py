"""Pictures a second by precision, in turn: python -m tests.bench.precisions --photos FOLDER [--rounds 3]

An index of the folder's JPEGs, from the loaded model to stored vectors, and the model alone on as many of
their pixels; medians of the rounds, and the least cosine of each precision's rows to those of fp32. The model
is a ViT-B-32 with random weights, or what --model names. For a processor that is not at hand, let this one do
without what that one has not:

    ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI python -m tests.bench.precisions --precisions fp32 int8 --photos ...
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import open_clip
import torch

from clipkit import Collection, load_encoder
from clipkit.encoder import Encoder, Pixels
from clipkit.images import open_image
from tests.models import model_folder


def seconds_to_index(encoder: Encoder, folder: Path) -> float:
    with tempfile.TemporaryDirectory() as db:
        collection = Collection.create("bench", db=db, encoder=encoder)
        began = time.perf_counter()
        collection.index(folder)
        return time.perf_counter() - began


def seconds_to_encode(encoder: Encoder, pixels: list[Pixels]) -> float:
    began = time.perf_counter()
    encoder.encode_pixels(pixels)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    photos = sorted(path for path in arguments.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    torch.set_num_threads(os.cpu_count() or 1)  # tests.models leaves it one
    with tempfile.TemporaryDirectory() as folder:
        config = open_clip.get_model_config("ViT-B-32")
        spec = arguments.model or f"local-dir:{model_folder(Path(folder, 'ViT-B-32'), config)}"
        encoders = {name: load_encoder(spec, device="cpu", precision=name) for name in arguments.precisions}
        plain = load_encoder(spec, device="cpu", precision="fp32")
        pixels = [plain.preprocess(open_image(photo)) for photo in photos]
        expected = plain.encode_pixels(pixels)
        cosines = {
            name: (encoder.encode_pixels(pixels) * expected).sum(axis=1).min()
            for name, encoder in encoders.items()
        }
        indexed: dict[str, list[float]] = {name: [] for name in encoders}
        encoded: dict[str, list[float]] = {name: [] for name in encoders}
        for _ in range(arguments.rounds):
            for name, encoder in encoders.items():
                indexed[name].append(len(photos) / seconds_to_index(encoder, arguments.photos))
                encoded[name].append(len(photos) / seconds_to_encode(encoder, pixels))
    print("| precision | index, images/s | model alone | least cosine to fp32 |")
    print("|---|---|---|---|")
    for name in encoders:
        rates = " | ".join(f"{statistics.median(each[name]):.1f}" for each in (indexed, encoded))
        print(f"| {name} | {rates} | {cosines[name]:.5f} |", flush=True)


if __name__ == "__main__":
    main()

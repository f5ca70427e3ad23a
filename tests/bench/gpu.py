"""What a GPU makes of a folder of JPEGs: python -m tests.bench.gpu --images FOLDER --work DIR [--files 20000]

Prints a table of images a second with ViT-B-32 (random weights from a seed, in the precision that clipkit
chooses), each the median of three rounds:

- model alone: the tower on pixels that are on the card, in batches as clipkit makes them;
- decoded pixels: `encode_pixels` of arrays in memory, and its share of the model alone;
- JPEGs on the card: `JpegDecoder`, thumbnails included, one thread with chunks of 256;
- files to vectors: what `Collection.index` does before it writes; and in threads alone, as on a CPU;
- index: `Collection.index` as a whole, with what is written, where lancedb is installed.

Last comes the cosine of rows by the card's decoder to rows by Pillow and open_clip's own preprocessing, of
the model in fp32: of the photos as they are. The files are copies of the JPEGs in FOLDER, told apart by a
comment in their header.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from clipkit import bulk
from clipkit.ahead import read_ahead
from clipkit.encoder import batched
from clipkit.encoders import load_encoder
from clipkit.encoders.jpegs import JpegDecoder
from clipkit.encoders.openclip import OpenClipEncoder
from clipkit.folders import FoundFile
from clipkit.images import MAX_PIXELS
from clipkit.reading import Decoded, read_file
from tests import models

ARCH = "ViT-B-32"


def multiplied(source: Path, folder: Path, count: int) -> list[FoundFile]:
    """So many JPEGs in `folder`, of different content but the pictures of `source` in turn."""
    pictures = [p.read_bytes() for p in sorted(source.iterdir()) if p.suffix.lower() in (".jpg", ".jpeg")]
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(count):
        path = folder / f"{number:06}.jpg"
        data = pictures[number % len(pictures)]
        comment = b"%08d" % number
        path.write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:])
        files.append(FoundFile(str(path), path.stat().st_size, path.stat().st_mtime_ns))
    return files


def rate(work: Callable[[], int], rounds: int = 3) -> float:
    """Images a second: the median over rounds, after one that does not count."""
    work()
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        done = work()
        torch.cuda.synchronize()
        rates.append(done / (time.perf_counter() - began))
    return median(rates)


def alone(encoder: OpenClipEncoder, batches: int = 40) -> float:
    size = encoder.batch_size
    shape = (size, encoder.image_size, encoder.image_size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device="cuda")
    dtype = encoder._placement.dtype

    def work() -> int:
        with torch.inference_mode():
            for _ in range(batches):
                encoder._model.encode_image(encoder._preprocessing.normalised(pixels, dtype))
        return batches * size

    return rate(work)


def from_arrays(encoder: OpenClipEncoder, count: int = 20_480) -> float:
    shape = (2048, encoder.image_size, encoder.image_size, 3)
    some = list(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    pixels = some * (count // len(some))
    return rate(lambda: len(encoder.encode_pixels(pixels)))


def jpegs(decoder: JpegDecoder, files: list[FoundFile]) -> float:
    chunks = [[bytearray(Path(file.id).read_bytes()) for file in chunk] for chunk in batched(files, 256)]

    def work() -> int:
        return sum(len(decoder.decode(chunk, [1] * len(chunk))) for chunk in chunks)

    return rate(work)


def to_vectors(encoder: OpenClipEncoder, read: Callable[[], Iterable[Any]]) -> int:
    done = 0
    for batch in batched(read(), 1024):
        done += len(encoder.encode_pixels([item.pixels for item in batch if isinstance(item, Decoded)]))
    return done


def index(spec: str, folder: Path, work: Path) -> float:
    """Images a second of one run, from nothing to a collection."""
    from clipkit.collection import Collection

    collection = Collection.create(f"gpu{time.monotonic_ns()}", db=work / "db", encoder=spec)
    collection.encoder  # noqa: B018 - loads the model, which is not what is measured
    began = time.perf_counter()
    report = collection.index(folder)
    return report.added / (time.perf_counter() - began)


def fidelity(encoder: OpenClipEncoder, decoder: JpegDecoder, photos: list[Path], spec: str) -> str:
    weights = spec.partition("@")[2]
    model, _, transform = open_clip.create_model_and_transforms(ARCH, weights, device="cuda")
    done = decoder.decode([bytearray(photo.read_bytes()) for photo in photos], [1] * len(photos))
    ours = encoder.encode_pixels([pixels for pixels, _ in done])
    with torch.inference_mode():
        whole = torch.stack([transform(Image.open(photo).convert("RGB")) for photo in photos])
        theirs = model.eval().encode_image(whole.cuda(), normalize=True).cpu().numpy()
    cosines = np.sum(ours * theirs, axis=1)
    numbers = f"mean {cosines.mean():.5f}, least {cosines.min():.5f}"
    return f"cosine to open_clip in fp32, {len(photos)} photos: {numbers}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--files", type=int, default=20_000)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    files = multiplied(args.images, args.work / "files", args.files)
    spec = f"{ARCH}@{models.save_random(ARCH, args.work / 'weights.safetensors', dtype=torch.float16)}"
    encoder = load_encoder(spec, device="cuda:0")
    assert isinstance(encoder, OpenClipEncoder)
    print(f"{torch.cuda.get_device_name()}, {encoder.precision}, batches of {encoder.batch_size}", flush=True)

    def line(what: str, value: float, more: str = "") -> None:
        print(f"{what:26} {value:8,.0f} images/s {more}", flush=True)

    model = alone(encoder)
    line("model alone", model)
    arrays = from_arrays(encoder)
    line("decoded pixels", arrays, f"{arrays / model:.2f} of the model alone")
    usual = partial(read_file, encoder=lambda: encoder, known=None, max_pixels=MAX_PIXELS)
    few = files[:2000]
    line("files, in threads alone", rate(lambda: to_vectors(encoder, lambda: read_ahead(few, usual, 512)), 1))
    decoder = encoder.jpeg_decoder()
    if decoder is None:
        raise SystemExit("torchvision cannot decode JPEGs on this device")
    line("JPEGs on the card", jpegs(decoder, files[:4000]))
    task = bulk.Task(encoder, decoder.preprocessing, None, MAX_PIXELS)
    line("files to vectors", rate(lambda: to_vectors(encoder, lambda: bulk.read_many(files, task, decoder))))
    if find_spec("lancedb"):
        line("index", median(index(spec, args.work / "files", args.work) for _ in range(2)))
    photos = sorted(p for p in args.images.iterdir() if p.suffix.lower() in (".jpg", ".jpeg"))
    print(fidelity(encoder, decoder, photos, spec))


if __name__ == "__main__":
    main()

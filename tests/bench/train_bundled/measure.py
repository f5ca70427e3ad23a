"""Measures the shipped files, loaded by open_clip alone, against what the project asks of them.

    python -m tests.bench.train_bundled.measure --model clipkit/bundled --val tiny-imagenet-val.parquet

Every line is one measure with its 95% bootstrap interval (1,000 resamples of the queries).
"""

from __future__ import annotations

import argparse
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from clipkit import sketch

from .captions import concepts, prompt
from .model import MERGES_FILE
from .wordnet import WordNet

Rows = NDArray[np.float32]

PROMPTS = ("a photo of {a}", "{a}", "a picture of {a}", "a close-up photo of {a}", "a photo of the {bare}")
HYPERNYMS = (
    "dog", "cat", "bird", "insect", "vehicle", "food", "fruit", "furniture", "clothing", "boat", "bridge",
    "spider", "frog", "bottle", "car", "musical instrument", "butterfly", "vegetable", "ball", "monument",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    clip: Any
    transform: Any
    tokenize: Any

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Rows:
        rows = [
            self.clip.encode_text(self.tokenize(texts[i : i + 256]), normalize=True)
            for i in range(0, len(texts), 256)
        ]
        return np.concatenate([r.float().numpy() for r in rows])

    @torch.inference_mode()
    def images(self, images: list[Image.Image]) -> Rows:
        rows = []
        for i in range(0, len(images), 128):
            pixels = torch.stack([self.transform(image) for image in images[i : i + 128]])
            rows.append(self.clip.encode_image(pixels, normalize=True).float().numpy())
        return np.concatenate(rows)


def load(folder: Path) -> Model:
    clip, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}", bpe_path=str(folder / MERGES_FILE))
    return Model(clip.eval(), transform, tokenize)


def interval(values: NDArray[Any]) -> str:
    rng = np.random.default_rng(0)
    values = values.astype(np.float64)
    means = values[rng.integers(0, len(values), (1000, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{values.mean():.3f}  [{low:.3f}, {high:.3f}]"


def photos(model: Model, val: Path, wordnet: Path) -> dict[str, str]:
    table = pq.read_table(val)
    labels = dict(zip(table["wnid"].to_pylist(), table["label"].to_pylist(), strict=True))
    wnids = sorted(labels)
    truth = np.array([wnids.index(wnid) for wnid in table["wnid"].to_pylist()])
    images = model.images([Image.open(io.BytesIO(jpeg.as_py())).convert("RGB") for jpeg in table["jpeg"]])
    names = [labels[wnid].split(",")[0].strip() for wnid in wnids]
    each = np.stack([model.texts([prompt(name, template) for name in names]) for template in PROMPTS])
    classes = each.mean(0)
    ranked = np.argsort(-(images @ classes.T), axis=1)[:, :5]
    nearest = np.argsort(-(each[0] @ images.T), axis=1)[:, :10]
    found = concepts(WordNet(wordnet), wnids, labels)
    member = {name: c.classes for c in reversed(found) for name in c.names}
    wide = np.argsort(-(model.texts([prompt(name, "{a}") for name in HYPERNYMS]) @ images.T), axis=1)[:, :20]
    hypernym = np.array(
        [np.isin(truth[row], list(member[name])).mean() for name, row in zip(HYPERNYMS, wide, strict=True)]
    )
    for name, value in zip(HYPERNYMS, hypernym, strict=True):
        print(f"    {name:20} {value:.2f}")
    return {
        "zero-shot top-1": interval(ranked[:, 0] == truth),
        "zero-shot top-5": interval((ranked == truth[:, None]).any(1)),
        "class-name query, precision@10": interval(
            (truth[nearest] == np.arange(len(wnids))[:, None]).mean(1)
        ),
        "hypernym query, precision@20": interval(hypernym),
    }


def scenes(model: Model, n: int, *, held_out: bool, size: int) -> dict[str, str]:
    drawn = [sketch.scene(seed, held_out=held_out) for seed in range(n)]
    images = model.images([sketch.draw(scene, size=size) for scene in drawn])
    texts = model.texts([sketch.caption(scene) for scene in drawn])
    scores = texts @ images.T
    name = f"{'held-out pairs' if held_out else 'unseen scenes'} drawn at {size} px, R@1 of {n}"
    return {
        f"{name}, text to image": interval(scores.argmax(1) == np.arange(n)),
        f"{name}, image to text": interval(scores.argmax(0) == np.arange(n)),
    }


def speed(model: Model, n: int = 400) -> dict[str, str]:
    """Images a second from 500 px JPEGs in memory: decode, preprocess, encode, all in this process."""
    buffer = io.BytesIO()
    sketch.draw(sketch.scene(1), size=500).save(buffer, "JPEG", quality=90)
    jpegs = [buffer.getvalue()] * n
    started = time.perf_counter()
    images = []
    for jpeg in jpegs:
        image = Image.open(io.BytesIO(jpeg))
        image.draft("RGB", (250, 250))  # decode at the least size that is still twice what the model sees
        images.append(image.convert("RGB"))
    model.images(images)
    return {"images/s from 500 px JPEGs": f"{n / (time.perf_counter() - started):.0f}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="also write the lines here")
    options = parser.parse_args()
    started = time.perf_counter()
    model = load(options.model)
    found = {"load after imports, s": f"{time.perf_counter() - started:.2f}"}
    found |= photos(model, options.val, options.wordnet)
    for size in (96, 224):
        for held_out in (False, True):
            found |= scenes(model, options.scenes, held_out=held_out, size=size)
    found |= speed(model)
    for name, value in found.items():
        print(f"{name:60} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

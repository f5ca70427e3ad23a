"""Precision and recall of zero-shot tags on Tiny ImageNet, beside top-1 and a fixed threshold.

    python -m tests.bench.labels tiny-imagenet-val.parquet

The vocabulary is the names of the 200 classes and 20 hypernyms such as "a dog" (tiny_imagenet_queries.json):
so a picture has one tag or several. What holds is counted over all pictures and labels together. "calibrated"
is `labels.Tagger` after `calibrate`, at several thresholds. "fixed" is one cosine for all labels, the one of
highest F1: it was chosen by looking at the truth, which a user cannot. "top-1" gives each picture one tag,
and "softmax" all labels of a probability of at least 0.5 at the model's usual temperature of 100.

Each is measured on all pictures, on those of 20 classes while all labels stay (most do not occur), on 100
pictures, with 30 of the labels only, and with labels that are nearer to all pictures than others, as they are
in many models. `bundled` has none, so they are made: each label gets an offset, normal and half as wide as
the scores are, by one more dimension.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit import load_encoder
from clipkit.embedded import embed
from clipkit.encoder import Vectors
from clipkit.labelled import open_labelled
from clipkit.labels import THRESHOLD, Tagger
from clipkit.prompts import TEMPLATES
from clipkit.vocabulary import Vocabulary

QUERIES = Path(__file__).with_name("tiny_imagenet_queries.json")
THRESHOLDS = (2.5, 3.0, THRESHOLD, 4.0, 4.5)
TEMPERATURE = 100.0

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]


def shares(kept: Mask, truth: Mask) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    right, said, wanted = (kept & truth).sum(), kept.sum(), truth.sum()
    return right / max(said, 1), right / wanted, 2 * right / (said + wanted)


def best_fixed(scores: Matrix, truth: Mask) -> float:
    cuts = np.quantile(scores, np.linspace(0.9, 0.9999, 400))
    return float(max(cuts, key=lambda cut: shares(scores >= cut, truth)[2]))


def one_each(scores: Matrix) -> Mask:
    return np.asarray(scores == scores.max(axis=1, keepdims=True))


def softmax(scores: Matrix) -> Matrix:
    raised = np.exp(TEMPERATURE * (scores - scores.max(axis=1, keepdims=True)))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def line(name: str, kept: Mask, truth: Mask) -> str:
    precision, recall, f1 = shares(kept, truth)
    each = kept.sum() / len(kept)
    return f"  {name:24} {precision:9.3f} {recall:6.3f} {f1:6.3f} {each:9.2f}"


def leaning(tagger: Tagger, pictures: Vectors) -> Vectors:
    """Gives each label of `tagger` an offset; the pictures that have it."""
    random = np.random.default_rng(0)
    for labels in ("_labels", "_cohort"):
        rows = getattr(tagger, labels)
        spread = 0.5 * (pictures @ rows).std()
        offsets = random.normal(0, spread, (1, rows.shape[1]))
        setattr(tagger, labels, np.concatenate([rows, offsets]).astype(np.float32))
    return np.concatenate([pictures, np.ones((len(pictures), 1), np.float32)], axis=1)


def measure(name: str, tagger: Tagger, pictures: Vectors, truth: Mask, columns: Sequence[int]) -> None:
    tagger.calibrate(pictures)
    scores = (pictures @ tagger._labels)[:, columns].astype(np.float64)
    strengths = tagger.strengths(pictures)[:, columns]
    print(
        f"{name}: {len(truth)} pictures, {len(columns)} labels, {truth.sum() / len(truth):.2f} true a picture"
    )
    print(f"  {'':24} precision recall     F1 tags each")
    for threshold in THRESHOLDS:
        print(line(f"calibrated, {threshold}", strengths >= threshold, truth))
    cut = best_fixed(scores, truth)
    print(line(f"fixed, the best: {cut:.3f}", scores >= cut, truth))
    print(line("top-1", one_each(scores), truth))
    print(line("softmax", softmax(scores) >= 0.5, truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--templates", type=int, default=len(TEMPLATES), help="how many of the templates")
    options = parser.parse_args()
    encoder, data = load_encoder(options.model), open_labelled(options.data)
    queries = json.loads(QUERIES.read_text(encoding="utf-8"))
    keys = list(data.classes)
    names = [own[0] for own in data.classes.values()] + [
        query.removeprefix("a ").removeprefix("an ") for query in queries
    ]
    found = embed(encoder, data, lambda _: None)
    labels = np.array([keys.index(truth.label or "") for truth in found.truths])
    right = [{place} for place in range(len(keys))] + [set(map(keys.index, own)) for own in queries.values()]
    truth = np.stack([np.isin(labels, list(own)) for own in right], axis=1)
    tagger = Tagger(encoder, Vocabulary.of(names), templates=TEMPLATES[: options.templates])
    random, every = np.random.default_rng(0), list(range(len(right)))
    of_few, some = np.isin(labels, range(0, 200, 10)), random.permutation(len(labels))[:100]
    columns = sorted(random.permutation(len(right))[:30].tolist())
    measure("all", tagger, found.vectors, truth, every)
    measure("20 classes of 200", tagger, found.vectors[of_few], truth[of_few], every)
    measure("100 pictures", tagger, found.vectors[some], truth[some], every)
    measure("30 labels", tagger, found.vectors, truth[:, columns], columns)
    measure("labels with offsets", tagger, leaning(tagger, found.vectors), truth, every)


if __name__ == "__main__":
    main()

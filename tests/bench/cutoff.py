"""What the automatic cut-off keeps, beside fixed thresholds, the first k and other methods.

    python -m tests.bench.cutoff tiny-imagenet-val.parquet [--work FOLDER]

Photos of Tiny ImageNet and drawn scenes, each a collection, are asked for what they show and for what they do
not, with the bundled model. A cell has precision, recall and F1 of what is kept, as means over its queries,
where something is right (precision is 0 where nothing is kept), and the share of queries for which nothing is
kept, with the mean number kept, where nothing is. The last column is the mean over the columns of F1 and of
the shares. "Best fixed" is the one threshold with the highest such mean on these very data. --work keeps the
vectors for another run.

The second table is of searches among the photos and the names of their classes at once: the right ones among
the first 20, and how many of them are photos, in the order of cosines and of standard scores.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipkit import calibration, load_encoder, sketch
from clipkit.calibration import cutoff, scale_of
from clipkit.encoder import Encoder, Vectors, batched
from clipkit.evaluate import read_queries
from clipkit.labelled import open_labelled
from clipkit.sketch.words import ADJECTIVES, NAMES, SETTING_WORDS, plural

Scores: TypeAlias = NDArray[np.float64]
Method: TypeAlias = Callable[[Scores], float]

WIDER = Path(__file__).with_name("tiny_imagenet_queries.json")
TYPICAL = 0.3
STRANGE = """
a volcano erupting, a birthday cake, a wedding, a snowman, a dinosaur, a violin, a chess board, a submarine
a passport, a tattoo, a waterfall, a rainbow, a newborn baby, a helicopter, a rocket, a castle, a giraffe
a toothbrush, a football match, a piano, a map of Europe, a microscope, a whale, an octopus, a zebra, a rose
a dentist, a stained glass window, a hot air balloon, a screenshot of code, handwriting, fireworks, a skeleton
a horse, a cactus, a tennis player, a moon landing, a swimming pool, a robot, a ship in a bottle
"""
"""What none of the 200 classes is."""


@dataclass(frozen=True)
class Group:
    """Queries of one sort: their scores, ascending, and for each score whether the item is right."""

    name: str
    scores: list[Scores]
    right: list[NDArray[np.bool_]]

    @property
    def answered(self) -> bool:
        return any(right.any() for right in self.right)


def group(name: str, queries: Mapping[str, NDArray[np.bool_]], encoder: Encoder, items: Vectors) -> Group:
    scores: Scores = encoder.encode_texts(list(queries)).astype(np.float64) @ items.T.astype(np.float64)
    orders = np.argsort(scores, axis=1)
    rights = [right[order] for right, order in zip(queries.values(), orders, strict=True)]
    return Group(name, [own[order] for own, order in zip(scores, orders, strict=True)], rights)


def kept(vectors: Callable[[], Vectors], path: Path) -> Vectors:
    """The vectors at `path`, made and saved if they are not there."""
    if not path.exists():
        np.save(path, vectors())
    return np.asarray(np.load(path), np.float32)


def encoded(encoder: Encoder, images: Iterable[Any]) -> Vectors:
    return np.concatenate([encoder.encode_images(batch) for batch in batched(images, 256)])


def of_photos(path: str, encoder: Encoder, work: Path) -> list[Group]:
    data = open_labelled(path)
    labels = np.array([row.truth.label for row in data.rows()])
    items = kept(lambda: encoded(encoder, (row.read() for row in data.rows())), work / "photos.npy")
    named: dict[str, list[str]] = {}
    for key, names in data.classes.items():
        named.setdefault(names[0], []).append(key)

    def asked(queries: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.bool_]]:
        return {query: np.isin(labels, list(keys)) for query, keys in queries.items()}

    strange = [words.strip() for line in STRANGE.split("\n") for words in line.split(",") if words.strip()]
    return [
        group("photos: class", asked(named), encoder, items),
        group("photos: wider", asked(read_queries(WIDER)), encoder, items),
        group("photos: not there", asked(dict.fromkeys(strange, ())), encoder, items),
    ]


def of_scenes(count: int, strange: Iterable[str], encoder: Encoder, work: Path) -> list[Group]:
    scenes = [sketch.scene(seed) for seed in range(count)]
    drawn = (sketch.draw(scene, size=128) for scene in scenes)
    items = kept(lambda: encoded(encoder, drawn), work / f"scenes-{count}.npy")

    def asked(**wanted: str) -> NDArray[np.bool_]:
        return np.array([sketch.matches(scene, **wanted) for scene in scenes])  # type: ignore[arg-type]

    settings = {SETTING_WORDS[setting][0]: asked(setting=setting) for setting in sketch.SETTINGS}
    kinds = {plural(NAMES[kind][0]): asked(kind=kind) for kind in sketch.KINDS}
    pairs = list(itertools.product(sketch.KINDS, sketch.COLOURS))[::7]
    coloured = {
        f"{ADJECTIVES[colour][0]} {plural(NAMES[kind][0])}": asked(kind=kind, colour=colour)
        for kind, colour in pairs
    }
    captions = {sketch.caption(scene): np.arange(count) == place for place, scene in enumerate(scenes[:200])}
    nothing = np.zeros(count, bool)
    return [
        group("scenes: setting", settings, encoder, items),
        group("scenes: kind", kinds, encoder, items),
        group(
            "scenes: colour and kind", {q: own for q, own in coloured.items() if own.any()}, encoder, items
        ),
        group("scenes: full caption", captions, encoder, items),
        group("scenes: not there", dict.fromkeys(strange, nothing), encoder, items),
    ]


# --- methods


def auto(share: float) -> Method:
    def least(scores: Scores) -> float:
        usual = calibration.FALSE_SHARE
        calibration.FALSE_SHARE = share
        calibration._limits.cache_clear()
        try:
            return cutoff(scores, total=len(scores))
        finally:
            calibration.FALSE_SHARE = usual
            calibration._limits.cache_clear()

    return least


def spreads(n: float) -> Method:
    """So many spreads above the middle, however many items there are."""
    return lambda scores: scale_of(scores).score(n)


def peaks_over_threshold(scores: Scores) -> float:
    """What the highest twentieth, as a generalised Pareto distribution, would have exceeded 0.05 times.

    By probability-weighted moments: Hosking and Wallis, Technometrics 1987.
    """
    start = scores[int(0.95 * len(scores))]
    excess = scores[scores > start] - start
    n = len(excess)
    first = excess.mean()
    second = float((excess * (n - np.arange(1, n + 1)) / max(n - 1, 1)).mean())
    shape = 2 - first / (first - 2 * second)
    scale = 2 * first * second / (first - 2 * second)
    chance = 0.05 / n
    return float(
        start + (scale * -np.log(chance) if abs(shape) < 1e-6 else scale / shape * (chance**-shape - 1))
    )


def largest_gap(scores: Scores) -> float:
    """The middle of the largest gap between neighbours among the best 1,000."""
    best = scores[-1000:]
    place = int(np.argmax(np.diff(best)))
    return float(best[place] + best[place + 1]) / 2


def first(k: int) -> Method:
    return lambda scores: float(scores[-k])


def fixed(least: float) -> Method:
    return lambda _: least


# --- figures


def figures(method: Method, found: Group) -> tuple[float, float, float]:
    """Precision, recall and F1; or, where nothing is right, share without hits, hits, and the share again."""
    rows = []
    for scores, right in zip(found.scores, found.right, strict=True):
        hits = scores >= method(scores)
        true, n, wanted = int((hits & right).sum()), int(hits.sum()), int(right.sum())
        if found.answered:
            rows.append(
                (true / n if n else 0.0, true / wanted if wanted else 1.0, 2 * true / (n + wanted or 1))
            )
        else:
            rows.append((float(n == 0), float(n), float(n == 0)))
    means = np.mean(rows, axis=0)
    return float(means[0]), float(means[1]), float(means[2])


def mean(method: Method, groups: Sequence[Group]) -> float:
    return float(np.mean([figures(method, each)[2] for each in groups]))


def row(name: str, method: Method, groups: Sequence[Group]) -> str:
    cells = []
    for each in groups:
        one, two, three = figures(method, each)
        cells.append(f"{one:.2f} {two:.2f} {three:.2f}" if each.answered else f"{one:.2f} ({two:.1f})")
    return f"| {name} | {' | '.join(cells)} | {mean(method, groups):.3f} |"


# --- both kinds at once


def print_kinds(path: str, encoder: Encoder, work: Path) -> None:
    data = open_labelled(path)
    photos = np.asarray(np.load(work / "photos.npy"), np.float32)
    labels = np.array([row.truth.label for row in data.rows()])
    names = [(key, name) for key, own in data.classes.items() for name in own]
    texts = encoder.encode_texts([name for _, name in names])
    keys = np.concatenate([labels, [key for key, _ in names]])
    wider = read_queries(WIDER)
    some = np.random.default_rng(0).choice(len(photos), 200, replace=False)
    asked: dict[str, tuple[Vectors, Sequence[Sequence[str]], NDArray[np.int64]]] = {
        "wider names": (encoder.encode_texts(list(wider)), list(wider.values()), np.full(len(wider), -1)),
        "200 of the photos": (photos[some], [[str(key)] for key in labels[some]], some),
    }
    print("\n| first 20 for | by cosine: right, photos | by standard score: right, photos |\n|---|---|---|")
    for what, (queries, wanted, own) in asked.items():
        found = [
            (_first_20(query, photos, texts, place, apart=apart), right)
            for apart in (False, True)
            for query, right, place in zip(queries, wanted, own, strict=True)
        ]
        cells = []
        for half in (found[: len(queries)], found[len(queries) :]):
            right = np.mean([np.isin(keys[places], list(right)).mean() for places, right in half])
            cells.append(f"{right:.2f}, {np.mean([(places < len(photos)).mean() for places, _ in half]):.2f}")
        print(f"| {what} | {' | '.join(cells)} |")


def _first_20(
    query: Vectors, photos: Vectors, texts: Vectors, without: int, *, apart: bool
) -> NDArray[np.intp]:
    of_both = [(items @ query).astype(np.float64) for items in (photos, texts)]
    if apart:
        of_both = [scale_of(np.sort(scores)).standard(scores) for scores in of_both]
    order: NDArray[np.intp] = np.argsort(-np.concatenate(of_both), kind="stable")
    best: NDArray[np.intp] = order[order != without][:20]
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("photos", help="Tiny ImageNet's validation photos, as Parquet")
    parser.add_argument("--scenes", type=int, default=4000)
    parser.add_argument("--work", type=Path, help="a folder that keeps the vectors")
    options = parser.parse_args()
    encoder = load_encoder("bundled")
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        strange = [names[0] for names in open_labelled(options.photos).classes.values()]
        groups = of_photos(options.photos, encoder, work)
        groups += of_scenes(options.scenes, strange, encoder, work)
        print_table(groups)
        print_kinds(options.photos, encoder, work)


def print_table(groups: Sequence[Group]) -> None:
    best = max(np.arange(0.1, 0.8, 0.01).round(2).tolist(), key=lambda least: mean(fixed(least), groups))
    print(f"| | {' | '.join(each.name for each in groups)} | mean |")
    print("|---" * (len(groups) + 2) + "|")
    methods = {
        "auto": auto(calibration.FALSE_SHARE),
        "auto at 0.02": auto(0.02),
        "auto at 0.1": auto(0.1),
        f"best fixed, {best}": fixed(best),
        f"fixed, {TYPICAL}": fixed(TYPICAL),
        "first 10": first(10),
        "first 50": first(50),
        "3 spreads": spreads(3),
        "4 spreads": spreads(4),
        "peaks over threshold": peaks_over_threshold,
        "largest gap": largest_gap,
    }
    for name, method in methods.items():
        print(row(name, method, groups))


if __name__ == "__main__":
    main()

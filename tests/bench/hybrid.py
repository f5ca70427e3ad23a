"""Hybrid search against either side alone: python -m tests.bench.hybrid [SCENES [MODEL]]

Draws SCENES captioned scenes (1,000) as files IMG_0000.jpg and so on, each with a caption in a column, in
words of its own. A tenth have a made-up name in it that no other has; a fifth share theirs with four others.
Then recall@1 of MODEL (bundled) for three kinds of queries, each about one picture:

    meaning   the canonical caption of the scene, mostly in other words than the stored one
    name      half of them file names, half names that only one caption has
    mixed     a name that five pictures share, and the canonical caption of one of them

by meaning only, by words only, by both, and by both with the rule for common words switched off. Names
only in the text tell nothing to a model of pictures, so `words` and `both` are about what people do look for,
not about a good model. The last column is the median time of a query, all kinds together.

With 500 scenes and the bundled model, which was trained on such scenes and captions:

    recall@1, %                   meaning     name    mixed
    meaning only                    100.0      0.0     99.0
    words only                       57.0    100.0     89.0
    both                             83.0    100.0     99.0
    both, every word counts          67.0    100.0     93.0

So where the model knows all that a query says, words cost: captions that share more of them with the query
overtake the right picture. Ranking the words by BM25, as a first version did, gave 80% for meaning.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean, median

from clipkit import Collection, sketch
from clipkit.lance import Words, fulltext

EDGE = 96  # pixels; the bundled model looks at 64
SHARED_BY = 5  # pictures that have one name


@dataclass(frozen=True)
class Picture:
    """One scene: its file, the caption that is stored, the canonical one, and its name, perhaps shared."""

    path: str
    stored: str
    canonical: str
    name: str


def names(rng: Random) -> Iterator[str]:
    """Names that no language has, each once."""
    given: set[str] = set()
    while True:
        syllables = (rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(4))
        name = "".join(syllables).capitalize()
        if name not in given:
            given.add(name)
            yield name


def drawn(folder: Path, scenes: int) -> list[Picture]:
    rng = Random(0)
    fresh = names(rng)
    tenth = scenes // 10
    shared = [name for name in (next(fresh) for _ in range(2 * tenth // SHARED_BY)) for _ in range(SHARED_BY)]
    given = [next(fresh) for _ in range(tenth)] + shared
    pictures = []
    for seed in range(scenes):
        scene = sketch.scene(seed)
        path = folder / f"IMG_{seed:04}.jpg"
        sketch.draw(scene, size=EDGE).save(path, "JPEG", quality=90)
        name = given[seed] if seed < len(given) else ""
        caption = sketch.captions(scene, 1, seed=1)[0]
        pictures.append(
            Picture(str(path), f"{caption}, {name}" if name else caption, sketch.caption(scene), name)
        )
    return pictures


def queries(pictures: list[Picture]) -> dict[str, list[tuple[str, str]]]:
    """By kind: (query, the path of the picture it is about)."""
    tenth = len(pictures) // 10
    own, shared = pictures[:tenth], [picture for picture in pictures[tenth:] if picture.name]
    others = pictures[-tenth:]
    return {
        "meaning": [(picture.canonical, picture.path) for picture in pictures[-2 * tenth :]],
        "name": [(picture.name, picture.path) for picture in own]
        + [(Path(picture.path).name, picture.path) for picture in others],
        "mixed": [(f"{picture.name}, {picture.canonical}", picture.path) for picture in shared],
    }


@contextmanager
def every_word_counts() -> Iterator[None]:
    before = fulltext.RARE_ROWS
    fulltext.RARE_ROWS = (1 << 30, 1 << 30)
    try:
        yield
    finally:
        fulltext.RARE_ROWS = before


def main(scenes: int, model: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pictures = drawn(Path(folder), scenes)
        collection = Collection.create(db=Path(folder, "db"), encoder=model, columns={"caption": str})
        captions = [{"caption": picture.stored} for picture in pictures]
        collection.add_images([picture.path for picture in pictures], metadata=captions)
        asked = queries(pictures)

        def by_meaning(query: str) -> str:
            return collection.search(query, k=1)[0].id

        def by_words(query: str) -> str:
            found = collection._store.words.scores([Words(query)], near=[], limit=200, where=None)
            return min(found, key=lambda name: (-found[name], name), default="")

        def by_both(query: str) -> str:
            return collection.search(query, k=1, hybrid=True)[0].id

        by_both("warm")
        print(
            f"{scenes} scenes, {model}; queries: {', '.join(f'{len(q)} {kind}' for kind, q in asked.items())}"
        )
        print(f"{'recall@1, %':28}{''.join(f'{kind:>9}' for kind in asked)}{'ms':>9}")
        report("meaning only", by_meaning, asked)
        report("words only", by_words, asked)
        report("both", by_both, asked)
        with every_word_counts():
            report("both, every word counts", by_both, asked)


def report(what: str, best: Callable[[str], str], asked: dict[str, list[tuple[str, str]]]) -> None:
    times, cells = [], []
    for pairs in asked.values():
        right = []
        for query, path in pairs:
            began = time.perf_counter()
            right.append(best(query) == path)
            times.append(time.perf_counter() - began)
        cells.append(f"{100 * mean(right):9.1f}")
    print(f"{what:28}{''.join(cells)}{1000 * median(times):9.1f}", flush=True)


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["1000"])[0]), (sys.argv[2:] or ["bundled"])[0])

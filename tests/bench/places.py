"""Whether heat maps lie on the thing that the query names, of drawn scenes of two things.

    python -m tests.bench.places --scenes 120 --model bundled

Prints for how many things the mean cosine over their own places is above that over the other thing's: plain,
and less what each place scores for everyday labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from clipkit import load_encoder, sketch
from clipkit.encoder import PlaceEncoder, Vectors
from clipkit.sketch import Scene
from clipkit.sketch.picture import Place, layout
from clipkit.vocabulary import Vocabulary

Map = NDArray[np.floating]


def scenes_of_two() -> Iterator[Scene]:
    """Scenes of two things, neither in the other, by their seeds from 0, which no training has seen."""
    scenes = map(sketch.scene, count())
    return (scene for scene in scenes if len(scene.things) == 2 and scene.relation != "inside")


def warmer(encoder: PlaceEncoder, scene: Scene, usual: Vectors) -> list[tuple[bool, bool]]:
    """For each of the two things, whether the map for its name is warmer on it than on the other.

    First of the plain map, then of the one less what each place scores on average for the labels `usual`.
    """
    vectors = encoder.encode_places(sketch.draw(scene, size=256)).vectors  # (rows, cols, dim)
    names = encoder.encode_texts([f"a {thing.colour} {thing.kind}" for thing in scene.things])
    places = layout(scene)
    covered = [cover([p for p in places if p.group == group], vectors.shape[0]) for group in (0, 1)]

    def is_warmer(heat: Map, group: int) -> bool:
        on = [float(np.average(heat, weights=weights)) for weights in covered]
        return on[group] > on[1 - group]

    return [
        (is_warmer(vectors @ name, group), is_warmer(vectors @ (name - usual.mean(axis=0)), group))
        for group, name in enumerate(names)
    ]


def cover(boxes: list[Place], cells: int) -> NDArray[np.float64]:
    """How much of each cell of a square picture the boxes cover, (cells, cells)."""
    edges = np.arange(cells + 1) / cells
    covered = np.zeros((cells, cells))
    for box in boxes:
        down, across = (
            np.clip(np.minimum(edges[1:], start + box.side) - np.maximum(edges[:-1], start), 0, None)
            for start in (box.y, box.x)
        )
        covered += np.outer(down, across)
    return covered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--model", default="bundled")
    given = parser.parse_args()
    encoder = load_encoder(given.model)
    if not isinstance(encoder, PlaceEncoder):
        parser.error(f"{given.model} tells no places")
    usual = Vocabulary.everyday().vectors(encoder, ["a photo of {a}"])  # (labels, dim)
    scenes = islice(scenes_of_two(), given.scenes)
    found = [pair for scene in scenes for pair in warmer(encoder, scene, usual)]
    plain, less = (sum(column) for column in zip(*found, strict=True))
    print(f"warmer on the thing named, of {len(found)}: plain {plain}, less the usual {less}")


if __name__ == "__main__":
    main()

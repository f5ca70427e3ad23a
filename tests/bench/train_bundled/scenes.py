"""Drawn scenes for training: pairs of pictures with tokens of their captions, and facts to read off them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer

from clipkit import sketch
from clipkit.sketch.scenes import COLOURS, KINDS, RELATIONS, SIZES, Scene, Thing
from clipkit.sketch.settings import SETTINGS

from .data import Bytes
from .draw import SIZE

CAPTIONS_EACH = 6
# What the image vector is asked about a scene. Which colour goes with which kind is not among it (it would
# teach that held-out pairs do not exist), except through the thing that is named first.
FACTS: dict[tuple[str, object], int] = {
    fact: i
    for i, fact in enumerate(
        [("kind", k) for k in KINDS]
        + [("colour", c) for c in COLOURS]
        + [("setting", s) for s in SETTINGS]
        + [("relation", r) for r in (*RELATIONS, None)]
        + [("count", n) for n in range(1, 5)]
        + [("size", s) for s in SIZES]
        + [("groups", n) for n in range(1, 4)]
        + [("first kind", k) for k in KINDS]
        + [("first colour", c) for c in COLOURS]
        + [("first count", n) for n in range(1, 5)]
    )
}
N_ATTRIBUTES = 512  # room for more facts without a change of the checkpoint


@dataclass(frozen=True)
class Drawn:
    pixels: Bytes  # (n, SIZE, SIZE, 3)
    tokens: NDArray[np.int16]  # (n, context)
    exact: NDArray[np.bool_]  # (n,) the caption says all there is, so it is false of every other scene
    attributes: NDArray[np.uint8]  # (n, facts)


class SceneChunks:
    """The chunks of a folder, taken up one by one as they are finished."""

    def __init__(self, folder: Path, tokenizer: SimpleTokenizer) -> None:
        self.folder, self.tokenizer = folder, tokenizer
        self.pixels: list[Bytes] = []
        self.tokens: list[NDArray[np.int16]] = []
        self.attributes: list[NDArray[np.uint8]] = []
        self._names: set[str] = set()
        self._unseen: Drawn | None = None

    def look(self) -> None:
        """Takes up one finished chunk, if there is a new one."""
        for path in sorted(self.folder.glob("chunk-????.npy")):
            if path.name not in self._names:
                self._names.add(path.name)
                scenes = [_scene(said) for said in json.loads(path.with_suffix(".json").read_text())]
                self.pixels.append(np.load(path, mmap_mode="r"))
                self.tokens.append(self._captions(scenes))
                self.attributes.append(np.stack([facts(scene) for scene in scenes]))
                return

    def ready(self) -> bool:
        return bool(self.pixels)

    def take(self, n: int, rng: np.random.Generator) -> Drawn:
        """n scenes: n/2 pairs, each from some chunk; half of the pairs with their full captions."""
        pixels, tokens, attributes, exact = [], [], [], []
        for _ in range(n // 2):
            chunk = int(rng.integers(len(self.pixels)))
            pair = int(rng.integers(len(self.pixels[chunk]) // 2))
            full = bool(rng.random() < 0.5)
            for row in (2 * pair, 2 * pair + 1):
                way = 0 if full else int(rng.integers(1, CAPTIONS_EACH))
                pixels.append(self.pixels[chunk][row])
                tokens.append(self.tokens[chunk][row, way])
                attributes.append(self.attributes[chunk][row])
                exact.append(full)
        return Drawn(np.stack(pixels), np.stack(tokens), np.array(exact), np.stack(attributes))

    def unseen(self, n: int = 500) -> Drawn:
        """Scenes of the test seeds with their full captions."""
        if self._unseen is None:
            scenes = [sketch.scene(seed) for seed in range(n)]
            pixels = np.stack([np.asarray(sketch.draw(scene, size=SIZE)) for scene in scenes])
            tokens = self.tokenizer([sketch.caption(scene) for scene in scenes]).numpy().astype(np.int16)
            truth = np.stack([facts(scene) for scene in scenes])
            self._unseen = Drawn(pixels, tokens, np.ones(n, bool), truth)
        return self._unseen

    def _captions(self, scenes: list[Scene]) -> NDArray[np.int16]:
        """(scenes, CAPTIONS_EACH, context): the full caption first, then others."""
        texts = [
            text
            for scene in scenes
            for text in (sketch.caption(scene), *sketch.captions(scene, CAPTIONS_EACH - 1, seed=scene.seed))
        ]
        tokens: NDArray[np.int16] = self.tokenizer(texts).numpy().astype(np.int16)
        return tokens.reshape(len(scenes), CAPTIONS_EACH, -1)


def _scene(said: Any) -> Scene:
    seed, setting, things, relation = said
    return Scene(seed, setting, tuple(Thing(*thing) for thing in things), relation)


def facts(scene: Scene) -> NDArray[np.uint8]:
    """Which of FACTS hold."""
    first = scene.things[0]
    true: list[tuple[str, object]] = [
        ("setting", scene.setting),
        ("relation", scene.relation),
        ("groups", len(scene.things)),
        *((name, value) for t in scene.things for name, value in
          (("kind", t.kind), ("colour", t.colour), ("count", t.count), ("size", t.size))),
        *((("first kind", first.kind), ("first colour", first.colour), ("first count", first.count))
          if scene.relation else ()),
    ]  # fmt: skip
    found = np.zeros(len(FACTS), np.uint8)
    found[[FACTS[fact] for fact in true]] = 1
    return found

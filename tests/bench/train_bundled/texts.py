"""Every text of training as tokens: prompts of the concepts, common nouns and their teacher vectors."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from clipkit import sketch
from clipkit.sketch.words import NAMES, plural

from .captions import TEMPLATES, Concept, common_nouns, concepts, prompt, random_prompt
from .model import CONTEXT, MERGES_FILE
from .teacher import teacher_vectors
from .tokens import clip_words, full_tokenizer, merges_for, write_merges
from .wordnet import WordNet

PROMPTS_EACH = 60  # of a concept; more templates x names than a batch meets in an epoch of prompts
# Words of queries that name nothing in WordNet's hierarchy of things.
OTHER_WORDS = """
    photo photos picture image photograph snapshot close-up cropped blurry bright dark good low resolution
    outdoors outside indoors inside day night sunny sunset sunrise snowy rainy summer winter spring autumn
    standing sitting lying flying swimming running playing eating sleeping old young new beautiful cute dirty
    empty full open closed wild domestic many several some few huge little people not without no it its
    magenta violet beige gold golden silver navy crimson scarlet cyan colourful colorful striped wooden metal
"""


def scene_words() -> set[str]:
    """Every word that captions of drawn scenes are made of."""
    texts = [text for seed in range(400) for text in sketch.captions(sketch.scene(1_000_000 + seed), 6)]
    names = [name for names in NAMES.values() for name in names]
    return {word for text in (*texts, *names, *map(plural, names)) for word in text.split()}


@dataclass(frozen=True)
class Texts:
    """What the text side learns from.

    `prompts` (concepts, PROMPTS_EACH, CONTEXT) and `nouns` (n, 3, CONTEXT) are tokens; each noun comes bare,
    in the plural, and in a prompt. `noun_vectors` and `concept_vectors` are the teacher's; `groups`
    (concepts - classes, classes) says which class is in which wider concept.
    """

    concepts: list[Concept]
    prompts: NDArray[np.int64]
    nouns: NDArray[np.int64]
    noun_vectors: Tensor
    concept_vectors: Tensor
    groups: Tensor


def build_tokenizer(wordnet: WordNet, labels: dict[str, str], folder: Path) -> SimpleTokenizer:
    """The small vocabulary, written to `folder` where it is not there yet."""
    path = folder / MERGES_FILE
    if not path.exists():
        full = full_tokenizer()
        found = concepts(wordnet, sorted(labels), labels)
        names = [name for concept in found for name in concept.names]
        words = {word for name in names for text in (name, plural(name)) for word in text.split()}
        words |= set(common_nouns(wordnet, clip_words(full))) | set(OTHER_WORDS.split()) | scene_words()
        folder.mkdir(parents=True, exist_ok=True)
        write_merges(merges_for(words, full), path)
    return SimpleTokenizer(str(path), context_length=CONTEXT)


def build_texts(wordnet: WordNet, labels: dict[str, str], tokenizer: SimpleTokenizer, cache: Path) -> Texts:
    found = concepts(wordnet, sorted(labels), labels)
    rng = random.Random(7)
    prompts = [random_prompt(c.names, rng) if i else prompt(c.names[0], TEMPLATES[0])
               for c in found for i in range(PROMPTS_EACH)]  # fmt: skip
    nouns = common_nouns(wordnet, clip_words(full_tokenizer()))
    noun_texts = [
        text for noun in nouns for text in (noun, plural(noun), prompt(noun, rng.choice(TEMPLATES)))
    ]
    named = [name for c in found for name in c.names[:3]]
    vectors = teacher_vectors([*nouns, *named], cache / "teacher.npz")
    return Texts(
        found,
        tokenizer(prompts).numpy().reshape(len(found), PROMPTS_EACH, CONTEXT),
        tokenizer(noun_texts).numpy().reshape(len(nouns), 3, CONTEXT),
        vectors[: len(nouns)],
        _mean_by_concept(vectors[len(nouns) :], found),
        _membership(found, len(labels)),
    )


def _mean_by_concept(vectors: Tensor, found: list[Concept]) -> Tensor:
    """The teacher's view of a concept: the mean over its first three names, the first counting twice."""
    rows, at = [], 0
    for concept in found:
        n = min(len(concept.names), 3)
        part = vectors[at : at + n]
        rows.append(torch.nn.functional.normalize(part.sum(0) + part[0], dim=0))
        at += n
    return torch.stack(rows)


def _membership(found: list[Concept], n_classes: int) -> Tensor:
    groups = torch.zeros(len(found) - n_classes, n_classes)
    for row, concept in enumerate(found[n_classes:]):
        groups[row, list(concept.classes)] = 1
    return groups

"""What is true of a photo, in words: class names, their synonyms, and what they are a kind of.

A concept is a set of classes with every noun that names exactly this set. The first 200 concepts are the
classes themselves; the others come from WordNet's hierarchy ("dog" names all classes that are dogs). So a
photo has many true captions, and two photos of different dogs share the true caption "a dog".
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

from clipkit.sketch.words import plural

from .wordnet import WordNet

# Words of the hierarchy that nobody would search by: true of nearly everything, or jargon of the lexicon.
ABSTRACT = {
    "entity", "physical entity", "object", "physical object", "whole", "unit", "matter", "abstraction",
    "abstract entity", "psychological feature", "attribute", "relation", "causal agent", "cause",
    "causal agency", "substance", "instrumentality", "instrumentation", "artefact", "measure", "quantity",
    "amount", "part", "portion", "component part", "component", "constituent", "way", "thing", "section",
    "segment", "natural object", "unit of measurement", "content", "cognitive content", "mental object",
    "communication", "creation", "product", "production", "cognition", "knowledge", "noesis", "event",
    "process", "physical process", "state", "group", "grouping", "social group", "kind", "sort", "form",
}  # fmt: skip

# Everyday groups that WordNet lacks or names otherwise: name -> words of its hierarchy to unite.
EVERYDAY = {
    "pet": ("domestic dog", "domestic cat", "guinea pig", "goldfish"),
    "farm animal": ("hog", "ox", "goose"),
    "bug": ("insect", "arachnid", "centipede"),
    "sea creature": ("jellyfish", "sea slug", "lobster", "dugong", "sea cucumber", "coral"),
    "wild animal": ("big cat", "bear", "elephant", "ape", "monkey", "gazelle", "bison", "koala"),
    "toy": ("teddy",),
    "sports equipment": ("ball", "dumbbell", "punching bag", "snorkel"),
    "kitchenware": ("frying pan", "wok", "wooden spoon", "teapot", "plate"),
    "swimwear": ("bikini", "swimming trunks"),
    "landscape": ("alp", "cliff", "lakeside", "seashore", "coral reef"),
    "electronics": ("iPod", "CD player", "remote control", "computer keyboard"),
    "shop": ("butcher shop", "barbershop", "confectionery"),
}

TEMPLATES = (
    "a photo of {a}", "{a}", "{bare}", "a picture of {a}", "an image of {a}", "a close-up photo of {a}",
    "a photo of the {bare}", "the {bare}", "a small photo of {a}", "a cropped photo of {a}",
    "a blurry photo of {a}", "a bright photo of {a}", "a dark photo of {a}", "a good photo of {a}",
    "a photograph of {a}", "this is {a}", "there is {a} in the picture", "a photo of one {bare}",
    "a low resolution photo of {a}", "{bare} photo", "a snapshot of {a}", "photo of {bare}",
    "a photo of {many}", "{many}", "photos of {many}",
)  # fmt: skip

UNCOUNTED = {
    "food", "furniture", "clothing", "fruit", "seashore", "guacamole", "mashed potato", "ice cream",
    "cauliflower", "spider web", "lakeside", "coral", "jewelry", "footwear", "headgear", "equipment",
    "electronics", "kitchenware", "swimwear", "sports equipment", "transport", "produce", "nutrient",
    "foodstuff", "livestock", "stock", "apparel", "garb", "attire", "meat", "candy", "wear", "dessert",
    "meat loaf", "thatch", "espresso", "coffee", "sunglasses", "binoculars", "swimming trunks", "brass",
}  # fmt: skip


@dataclass(frozen=True)
class Concept:
    """Nouns that all name the same set of classes (indices into the sorted class list)."""

    names: tuple[str, ...]
    classes: frozenset[int]


def concepts(wordnet: WordNet, wnids: list[str], labels: dict[str, str]) -> list[Concept]:
    """The classes in the order of `wnids`, then every group of two or more that has a name."""
    own = [_class_names(labels[wnid]) for wnid in wnids]
    groups: dict[str, set[int]] = defaultdict(set)
    for index, wnid in enumerate(wnids):
        for offset in wordnet.above(int(wnid[1:])):
            for word in wordnet.synsets[offset].words:
                if word not in ABSTRACT:
                    groups[word].add(index)
    for name, parts in EVERYDAY.items():
        groups[name] |= {i for m in parts for i in groups.get(m, set())}
        groups[name] |= {i for i, names in enumerate(own) if set(names) & set(parts)}
    by_classes: dict[frozenset[int], list[str]] = defaultdict(list)
    for word, members in groups.items():
        by_classes[frozenset(members)].append(word)
    singles = [
        Concept((*names, *_commonest(by_classes.get(frozenset({i}), []), names, wordnet)), frozenset({i}))
        for i, names in enumerate(own)
    ]
    wide = [
        Concept(tuple(_commonest(names, (), wordnet)), members)
        for members, names in by_classes.items()
        if 2 <= len(members) < len(wnids) - 10
    ]
    return singles + sorted(wide, key=lambda c: (-len(c.classes), c.names))


def _commonest(words: list[str], taken: tuple[str, ...], wordnet: WordNet) -> list[str]:
    """What else names only this class ("fish" for the goldfish), the four commonest words of it."""
    ranked = sorted(words, key=lambda w: (-wordnet.tagged[w.lower()], w))
    return [w for w in ranked if w not in taken][:4]


def _class_names(label: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in label.split(","))


def article(noun: str) -> str:
    """The noun with "a" or "an", or bare where English has none."""
    if noun.lower() in UNCOUNTED:
        return noun
    return (
        f"an {noun}"
        if noun[0].lower() in "aeiou" and not noun.startswith(("one", "uni", "eu"))
        else f"a {noun}"
    )


def prompt(noun: str, template: str) -> str:
    return template.format(
        a=article(noun), bare=noun, many=noun if noun.lower() in UNCOUNTED else plural(noun)
    )


def random_prompt(names: tuple[str, ...], rng: random.Random) -> str:
    """One of the names (the first is the commonest, so it comes half of the time) in some template."""
    name = names[0] if rng.random() < 0.5 else rng.choice(names)
    return prompt(name, rng.choice(TEMPLATES))


def common_nouns(wordnet: WordNet, known: set[str]) -> list[str]:
    """Nouns of everyday English for things one can see, for the text side to learn from its teacher.

    `known` holds the words that CLIP's tokenizer has whole: a noun counts as common where it is one of them
    and also occurs in WordNet's tagged texts, or is known and names an animal, a food or an artifact.
    """
    tagged = _words_below(wordnet, {"physical entity"})
    close = _words_below(wordnet, {"animal", "food", "artifact", "geological formation", "plant", "vehicle"})
    return sorted(
        {
            w
            for w in tagged
            if w.lower() in known and wordnet.tagged[w.lower()] > 0 and w.islower() and len(w) > 2
        }
        | {w for w in close if w in known and w.islower() and len(w) > 2}
        | {
            w
            for w in close
            if " " in w and wordnet.tagged[w] > 0 and w.islower() and w.replace(" ", "").isalpha()
        }
    )


def _words_below(wordnet: WordNet, names: set[str]) -> set[str]:
    roots = [offset for offset, synset in wordnet.synsets.items() if names & set(synset.words)]
    return {word for root in roots for below in wordnet.below(root) for word in wordnet.synsets[below].words}

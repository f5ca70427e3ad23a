"""Vocabularies: labels to tag pictures and texts with, from a list or a file, or the built-in ones.

    # a file of labels, UTF-8: one a line
    [animals]                    a group; labels above the first heading are in none
    dog                          a label
    cat: house cat, kitten       a label, and other words for it

JSON works as well: a list of labels, or an object from labels to lists of other words, or to objects
{"synonyms": [...], "prompts": [...], "group": "..."}, where prompts are said as they stand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clipkit.encoder import Encoder, Vectors
from clipkit.errors import InvalidInput, did_you_mean
from clipkit.labelled import parse_json, read_text
from clipkit.prompts import TEMPLATES, class_vectors, prompts_of

FEW_TEMPLATES = TEMPLATES[:3]  # more change no figure of tests/bench/labels.py, and cost a text a name each
TEXT_TEMPLATES = ("{}", "a text about {}", "This is about {}.")  # of labels for texts
EVERYDAY = Path(__file__).parent / "vocabularies" / "everyday.txt"


@dataclass(frozen=True, slots=True)
class Label:
    """A tag for pictures and texts. `synonyms` are other words for it; `prompts`, where there are any, are
    said in place of the templates. `group` may be empty."""

    name: str
    synonyms: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Labels that are told apart: at least one, none blank, no two the same but for case and blanks.

    Make one with `of`, `read` or `everyday`. Raises InvalidInput for one that is not so.
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        _check((f"label {number}", label) for number, label in enumerate(self.labels, 1))

    @classmethod
    def of(cls, names: Iterable[str]) -> Vocabulary:
        """The vocabulary of some names."""
        if isinstance(names, str):
            raise InvalidInput(f"a list of labels is wanted, not one string: [{names!r}]")
        return cls(tuple(_label(name, "") for name in names))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """The vocabulary of a file, in one of the forms that the module's docstring shows.

        Raises InvalidInput, naming the lines, for labels that are the same or blank, and for a file that has
        none.
        """
        text = read_text(path)
        try:
            if Path(path).suffix.lower() == ".json":
                return cls(tuple(_from_json(text, path)))
            return cls.parse(text)
        except InvalidInput as error:
            named = str(error).startswith(os.fspath(path))
            raise error if named else InvalidInput(f"{os.fspath(path)}, {error}") from None

    @classmethod
    def parse(cls, text: str) -> Vocabulary:
        """The vocabulary that lines of text say, as a file of labels has them. Raises InvalidInput."""
        lines = [(f"line {number}", label) for number, label in _from_lines(text)]
        _check(lines)
        return cls(tuple(label for _, label in lines))

    @classmethod
    def everyday(cls) -> Vocabulary:
        """The built-in one: some 500 tags for everyday photos, in groups such as animals and places."""
        return _everyday()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups in their order, without the empty one."""
        return tuple(dict.fromkeys(label.group for label in self.labels if label.group))

    def only(self, groups: Sequence[str]) -> Vocabulary:
        """The labels of these groups. Raises InvalidInput for a group that there is none of."""
        for group in groups:
            if group not in self.groups:
                raise InvalidInput(f"there is no group {group!r}. {did_you_mean(group, self.groups)}")
        return Vocabulary(tuple(label for label in self.labels if label.group in groups))

    def vectors(self, encoder: Encoder, templates: Sequence[str] = FEW_TEMPLATES) -> Vectors:
        """A unit vector for each label, (labels, dim): the mean over its prompts."""
        return class_vectors(
            encoder,
            [label.prompts or prompts_of((label.name, *label.synonyms), templates) for label in self.labels],
        )

    def __len__(self) -> int:
        return len(self.labels)


@cache
def _everyday() -> Vocabulary:
    return Vocabulary.read(EVERYDAY)


def _label(name: str, group: str, synonyms: Iterable[str] = (), prompts: Iterable[str] = ()) -> Label:
    if not isinstance(name, str):
        raise InvalidInput(f"a label is a string, not {name!r}")
    return Label(" ".join(name.split()), _words(name, synonyms), _words(name, prompts), group)


def _words(name: str, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(word, str) for word in given):
        raise InvalidInput(f"the other words for {name!r} are a list of strings, not {given!r}")
    return tuple(dict.fromkeys(word.strip() for word in given if word.strip()))


def _check(labels: Iterable[tuple[str, Label]]) -> None:
    """Raise InvalidInput unless there are labels, none blank or said twice; each comes with its place."""
    first: dict[str, tuple[str, str]] = {}
    for place, label in labels:
        if not label.name.strip():
            raise InvalidInput(f"{place} is blank: a label needs a name")
        before, name = first.setdefault(label.name.casefold(), (place, label.name))
        if before != place:
            raise InvalidInput(
                f"{before} and {place} are the same label, {name!r} and {label.name!r}: keep one of them"
            )
    if not first:
        raise InvalidInput("the vocabulary is empty: give at least one label")


def _from_lines(text: str) -> Iterator[tuple[int, Label]]:
    group = ""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.startswith("[") and stripped.endswith("]"):
            group = stripped[1:-1].strip()
            continue
        name, _, others = stripped.partition(":")
        yield number, _label(name, group, others.split(","))


def _from_json(text: str, path: str | os.PathLike[str]) -> Iterator[Label]:
    if text.lstrip().startswith("["):
        try:
            yield from Vocabulary.of(json.loads(text)).labels
        except json.JSONDecodeError as error:
            raise InvalidInput(f"{os.fspath(path)} is not JSON: {error}") from error
        return
    for name, value in parse_json(text, path).items():
        told: Mapping[str, Any] = value if isinstance(value, dict) else {"synonyms": value}
        if unknown := set(told) - {"synonyms", "prompts", "group"}:
            raise InvalidInput(
                f"{name!r} has {sorted(unknown)[0]!r}: a label takes synonyms, prompts and group"
            )
        yield _label(name, str(told.get("group", "")), told.get("synonyms", ()), told.get("prompts", ()))

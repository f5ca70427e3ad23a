"""How well a model finds and names the pictures of a data set: `evaluate(load_encoder("fast"), data)`.

What is measured is defined in `measures`; where the data comes from, in `labelled`. Classes give zero-shot
accuracy, and precision@10 of searches for their names; captions give recall and MRR, both ways; a file of
queries such as "a dog" -> the classes that are dogs gives precision@20.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit import measures
from clipkit.embedded import Embedded, embed
from clipkit.encoder import Encoder, Vectors
from clipkit.errors import InvalidInput, did_you_mean
from clipkit.labelled import Labelled, Names, parse_json, read_text
from clipkit.measures import Measure
from clipkit.prompts import TEMPLATES, class_vectors, prompts_of
from clipkit.reports import Failure, Progress

CLASS_NAME_K = 10
QUERY_K = 20


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model reached on some data: `images` pictures, embedded in `seconds`, reading included.

    `failures` are the rows that could not be used, and why. `queries` has the precision@20 of each query.
    """

    model: str
    data: str
    images: int
    seconds: float
    measures: tuple[Measure, ...]
    queries: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


def evaluate(
    encoder: Encoder,
    data: Labelled,
    *,
    queries: Mapping[str, Sequence[str]] | None = None,
    templates: Sequence[str] = TEMPLATES,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Evaluation:
    """The measures of `encoder` on all of `data`, with intervals drawn from `seed`.

    `queries` are texts to search for, each with the classes whose pictures are right, by key or by name; see
    `read_queries`. `templates` make the prompts of a class from its first name, and the mean of their unit
    vectors is the class (`prompts.class_vectors`). Pictures are read ahead in threads, and only
    vectors are kept.

    Raises InvalidInput for an encoder that does not embed both texts and images, a class of a query that the
    data does not have, a template without a place for the name, and data of which nothing can be used.
    """
    for modality in ("text", "image"):
        if modality not in encoder.modalities:
            raise InvalidInput(f"{encoder.name} does not embed {modality}s: choose a model that does")
    wanted = _resolved(queries or {}, data.classes)
    prompts = [prompts_of(names[:1], templates) for names in data.classes.values()]
    embedded = embed(encoder, data, progress)
    found: list[Measure] = []
    by_query: dict[str, float] = {}
    if data.classes:
        classified = _Classified.of(embedded, data.classes, encoder, seed)
        found += classified.zero_shot(prompts)
        found.append(classified.search("class-name queries", classified.class_names(), CLASS_NAME_K))
        if wanted:
            found.append(classified.search("queries of the file", wanted, QUERY_K))
            by_query = {
                query: classified.search("", {query: wanted[query]}, QUERY_K).value for query in wanted
            }
    if data.captioned:
        found += _of_captions(embedded, encoder, seed)
    return Evaluation(
        model=encoder.name,
        data=data.name,
        images=len(embedded.vectors),
        seconds=embedded.seconds,
        measures=tuple(found),
        queries=by_query,
        failures=(*data.failures, *embedded.failures),
    )


def read_queries(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Texts to search for, each with the classes whose pictures are right.

    JSON: {"a dog": ["n02085620", "golden retriever"]}. CSV: a query and a class a line, and further classes
    behind; a first line that begins with "query" is a header. Raises InvalidInput for a file that is neither.
    """
    text = read_text(path)
    found: dict[str, tuple[str, ...]] = {}
    if Path(path).suffix.lower() == ".json":
        for query, classes in parse_json(text, path).items():
            if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
                raise InvalidInput(f"{os.fspath(path)}: {query!r} should have a list of classes")
            found[query] = tuple(classes)
    else:
        for number, line in enumerate(csv.reader(text.splitlines()), 1):
            cells = [cell.strip() for cell in line if cell.strip()]
            if cells and not (number == 1 and cells[0].lower() == "query"):
                found[cells[0]] = (*found.get(cells[0], ()), *cells[1:])
    empty = [query for query, classes in found.items() if not classes or not query.strip()]
    if empty or not found:
        wrong = f"has no classes for {empty[0]!r}" if found else "holds no queries"
        raise InvalidInput(f"{os.fspath(path)} {wrong}")
    return found


# --- measures


@dataclass(frozen=True, slots=True)
class _Classified:
    """The pictures that have a class, (n, dim), and the places of their classes among `names`, (n,)."""

    images: Vectors
    labels: NDArray[np.int64]
    names: list[str]
    encoder: Encoder
    seed: int

    @classmethod
    def of(cls, embedded: Embedded, classes: Names, encoder: Encoder, seed: int) -> _Classified:
        places = {key: place for place, key in enumerate(classes)}
        rows = [row for row, truth in enumerate(embedded.truths) if truth.label is not None]
        if not rows:
            raise InvalidInput("no picture that can be read has a class")
        labels = np.array([places[embedded.truths[row].label or ""] for row in rows], np.int64)
        return cls(embedded.vectors[rows], labels, [own[0] for own in classes.values()], encoder, seed)

    def zero_shot(self, prompts: Sequence[Sequence[str]]) -> tuple[Measure, ...]:
        classes = class_vectors(self.encoder, prompts)
        return measures.zero_shot(self.images, self.labels, classes, seed=self.seed)

    def class_names(self) -> dict[str, set[int]]:
        """Classes that there are pictures of, by name; a name that several have stands for all of them."""
        found: dict[str, set[int]] = {}
        for place in np.unique(self.labels).tolist():
            found.setdefault(self.names[place], set()).add(place)
        return found

    def search(self, what: str, wanted: Mapping[str, set[int]], k: int) -> Measure:
        """Precision@k of searches for the keys of `wanted`, for which the classes in the values are right."""
        present = set(self.labels.tolist())
        for query, classes in wanted.items():
            if present.isdisjoint(classes):
                raise InvalidInput(f"no picture that can be read is right for the query {query!r}")
        texts, right = self.encoder.encode_queries(list(wanted)), list(wanted.values())
        found = measures.precision(texts, self.images, labels=self.labels, wanted=right, k=k, seed=self.seed)
        return replace(found, name=f"{what} {found.name}")


def _of_captions(embedded: Embedded, encoder: Encoder, seed: int) -> tuple[Measure, ...]:
    rows: dict[str, int] = {}  # equal captions are one text, right for all the pictures that have it
    pairs = [
        (image, rows.setdefault(caption, len(rows)))
        for image, truth in enumerate(embedded.truths)
        for caption in truth.captions
    ]
    if not pairs:
        raise InvalidInput("no picture that can be read has a caption")
    return measures.retrieval(embedded.vectors, encoder.encode_queries(list(rows)), pairs, seed=seed)


# --- queries


def _resolved(queries: Mapping[str, Sequence[str]], names: Names) -> dict[str, set[int]]:
    """For each query the numbers of the classes that are right for it."""
    if queries and not names:
        raise InvalidInput("queries are answered by classes, but the data has captions only")
    known: dict[str, set[int]] = {}
    for number, (key, own) in enumerate(names.items()):
        for name in (key, ", ".join(own), *own):
            known.setdefault(name.casefold(), set()).add(number)
    found: dict[str, set[int]] = {}
    for query, classes in queries.items():
        for name in classes:
            numbers = known.get(name.strip().casefold(), set())
            if len(numbers) != 1:
                wrong = f"stands for {len(numbers)}: use a key" if numbers else "is none"
                hint = "" if numbers else did_you_mean(name, known)[:200]
                raise InvalidInput(
                    f"the query {query!r} names the class {name!r}, but that {wrong}. {hint}".strip()
                )
            found.setdefault(query, set()).update(numbers)
    return found

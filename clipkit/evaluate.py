"""How well a model finds and names the pictures of a data set: `evaluate(load_encoder("fast"), data)`.

What is measured is defined in `measures`; where the data comes from, in `labelled`. Classes give zero-shot
accuracy, and precision@10 of searches for their names; captions give recall and MRR, both ways; a file of
queries such as "a dog" -> the classes that are dogs gives precision@20.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit import measures
from clipkit.encoder import Encoder, Pixels, Vectors
from clipkit.errors import ImageError, InvalidInput, MissingExtra, did_you_mean
from clipkit.images import open_image
from clipkit.labelled import Labelled, Names, Row, Truth, parse_json, read_text
from clipkit.measures import Measure
from clipkit.reports import Failure, Progress
from clipkit.stages import read_ahead

TEMPLATES = (
    "a photo of {a}",
    "{a}",
    "{}",
    "a picture of {a}",
    "a close-up photo of {a}",
    "a photo of the {}",
)
"""What is said of a class in zero-shot accuracy; {} is its name, {a} its name with "a" or "an"."""

CLASS_NAME_K = 10
QUERY_K = 20
_BATCH = 64  # pictures handed to the encoder at once; it splits them further as it likes


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


@dataclass(frozen=True, slots=True)
class _Picture:
    """A row that has been read; `pixels` are what the encoder's `preprocess` makes."""

    name: str
    truth: Truth
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class _Embedded:
    """The pictures that can be used, (n, dim), what is true of each, and the others."""

    vectors: Vectors
    truths: list[Truth]
    failures: list[Failure]
    seconds: float


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
    vectors is the class (`measures.ensemble`). Pictures are read ahead in threads, and only vectors are kept.

    Raises InvalidInput for an encoder that does not embed both texts and images, a class of a query that the
    data does not have, a template without a place for the name, and data of which nothing can be used.
    """
    for modality in ("text", "image"):
        if modality not in encoder.modalities:
            raise InvalidInput(f"{encoder.name} does not embed {modality}s: choose a model that does")
    wanted = _resolved(queries or {}, data.classes)
    prompts = [_prompts(names[0], templates) for names in data.classes.values()]
    embedded = _embed(encoder, data, progress)
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


# --- pictures


def _embed(encoder: Encoder, data: Labelled, progress: Callable[[Progress], None]) -> _Embedded:
    began = time.monotonic()
    vectors: list[Vectors] = []
    truths: list[Truth] = []
    failures: list[Failure] = []
    waiting: list[_Picture] = []
    with closing(read_ahead(data.rows(), partial(_read, encoder), 2 * _BATCH)) as results:
        for done, result in enumerate(results, 1):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                waiting.append(result)
            if len(waiting) == _BATCH:
                vectors.append(_encode(encoder, waiting, failures))
                truths += [picture.truth for picture in waiting]
                waiting = []
            progress(Progress(done, data.total, len(failures)))
    vectors.append(_encode(encoder, waiting, failures))
    truths += [picture.truth for picture in waiting]
    if not truths:
        first = f"{failures[0].id} {failures[0].reason}" if failures else "it holds no rows"
        raise InvalidInput(f"nothing in {data.name} can be used: {first}")
    return _Embedded(np.concatenate(vectors), truths, failures, time.monotonic() - began)


def _read(encoder: Encoder, row: Row) -> _Picture | Failure:
    if row.truth == Truth():
        return Failure(row.name, "has neither a class nor a caption")
    try:
        image = open_image(row.read(), upright=encoder.upright, reduce_to=encoder.image_size)
        return _Picture(row.name, row.truth, encoder.preprocess(image))
    except (ImageError, MissingExtra) as error:
        return Failure(row.name, str(error))


def _encode(encoder: Encoder, pictures: list[_Picture], failures: list[Failure]) -> Vectors:
    """The vectors of the pictures; those that the encoder cannot take move over to the failures."""
    while pictures:
        try:
            return encoder.encode_pixels([picture.pixels for picture in pictures])
        except InvalidInput as error:
            if error.position is None:
                raise
            failures.append(Failure(pictures.pop(error.position).name, error.reason))
    return np.empty((0, encoder.dim), np.float32)


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
    def of(cls, embedded: _Embedded, classes: Names, encoder: Encoder, seed: int) -> _Classified:
        places = {key: place for place, key in enumerate(classes)}
        rows = [row for row, truth in enumerate(embedded.truths) if truth.label is not None]
        if not rows:
            raise InvalidInput("no picture that can be read has a class")
        labels = np.array([places[embedded.truths[row].label or ""] for row in rows], np.int64)
        return cls(embedded.vectors[rows], labels, [own[0] for own in classes.values()], encoder, seed)

    def zero_shot(self, prompts: Sequence[Sequence[str]]) -> tuple[Measure, ...]:
        texts = self.encoder.encode_texts([prompt for own in prompts for prompt in own])
        ends = np.cumsum([len(own) for own in prompts])[:-1]
        classes = np.concatenate([measures.ensemble(rows) for rows in np.split(texts, ends)])
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
        texts, right = self.encoder.encode_texts(list(wanted)), list(wanted.values())
        found = measures.precision(texts, self.images, labels=self.labels, wanted=right, k=k, seed=self.seed)
        return replace(found, name=f"{what} {found.name}")


def _of_captions(embedded: _Embedded, encoder: Encoder, seed: int) -> tuple[Measure, ...]:
    rows: dict[str, int] = {}  # equal captions are one text, right for all the pictures that have it
    pairs = [
        (image, rows.setdefault(caption, len(rows)))
        for image, truth in enumerate(embedded.truths)
        for caption in truth.captions
    ]
    if not pairs:
        raise InvalidInput("no picture that can be read has a caption")
    return measures.retrieval(embedded.vectors, encoder.encode_texts(list(rows)), pairs, seed=seed)


# --- prompts and queries


def _prompts(name: str, templates: Sequence[str]) -> list[str]:
    if not templates or isinstance(templates, str):
        raise InvalidInput("templates are a list of at least one text such as 'a photo of {a}'")
    for template in templates:
        if "{}" not in template and "{a}" not in template:
            raise InvalidInput(
                f"the template {template!r} has no place for the name: {{}}, or {{a}} for 'a name'"
            )
    return [template.replace("{a}", _with_article(name)).replace("{}", name) for template in templates]


def _with_article(name: str) -> str:
    """By its spelling: right for most names, and CLIP does not mind the others."""
    an = name[0].lower() in "aeiou" and not name.lower().startswith(("one", "uni", "eu"))
    return f"an {name}" if an else f"a {name}"


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

"""A first look at what clipkit does: a collection of drawn scenes, or of your photos, and six searches of it.

The scenes come with captions, which are stored beside them as texts. Photos get `WORDS` to be described by.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit import __version__
from clipkit.encoders import canonical_name
from clipkit.errors import CollectionMismatch, InvalidInput
from clipkit.folders import path_to_id
from clipkit.gallery import Drawing
from clipkit.places import database_uri
from clipkit.query import Query
from clipkit.reports import Progress

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.encoder import Encoder
    from clipkit.hits import Hit, Kind

MODEL = "bundled"
SCENES = 500
HITS = 4  # shown of each search
_ANSWERS = "answers.json"

_WORDS = """
a dog, a cat, a bird, a fish, an insect, a butterfly, a spider, a snake, a frog, a horse, a cow, a bear
a monkey, an elephant, a flower, a tree, a mushroom, a mountain, a beach, a lake, the sea, a cliff, a bridge
a tower, a house, a church, a street, a shop, a car, a bus, a train, a bicycle, a boat, an aeroplane, food
a pizza, fruit, an ice cream, a cup of coffee, a bottle, a table, a chair, a sofa, a bed, a computer, a phone
a book, a clock, a lamp, clothing, a dress, a hat, shoes, a ball, a child, people, a crowd, a drawing
"""
WORDS = tuple(word for line in _WORDS.strip().splitlines() for word in line.split(", "))
"""What photos are described by in the demo."""


@dataclass(frozen=True, slots=True)
class Search:
    """One search to be shown: what it is an example of, the query, and whether pictures or texts answer."""

    about: str
    query: Query
    kind: Kind


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found: (score, what it is), best first. `query` is in its one-line form."""

    about: str
    query: str
    kind: Kind
    hits: tuple[tuple[float, str], ...]


def gallery_folder() -> Path:
    """Where the demo's pictures are drawn: beside the collections.

    Raises InvalidInput where these live in an object store, for pictures are files.
    """
    place = database_uri()
    if "://" in place:
        raise InvalidInput(f"the demo draws its pictures into $CLIPKIT_HOME, which is no folder: {place}")
    return Path(os.path.realpath(place), "demo-pictures")


def collection_name(folder: Path | None) -> str:
    """The demo's collection: "demo", or for a folder of photos a name that tells which."""
    if folder is None:
        return "demo"
    words = re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-")[:30]
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:6]
    return "-".join(filter(None, ("demo", words, digest)))


def open_demo(name: str, encoder: Encoder) -> Collection:
    """The collection of that name: a new one, or as the last demo left it.

    Where it is another model's, the one with -2 behind its name, and so on: nothing is ever deleted.
    """
    from clipkit.collection import Collection

    taken = Collection.names()
    for number in itertools.count(1):
        candidate = name if number == 1 else f"{name}-{number}"
        if candidate not in taken:
            return Collection.create(candidate, encoder=encoder)
        with suppress(CollectionMismatch):
            return Collection.open(candidate, encoder=encoder)
    raise AssertionError("there is no last number")


def fill(
    collection: Collection,
    folder: Path,
    texts: Mapping[str, str],
    *,
    progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Brings the collection in line with the pictures of `folder` and with `texts`, by their ids.

    Only what is missing or has changed is embedded. Raises InvalidInput if the folder holds no pictures.
    """
    collection.index(folder, prune=True, progress=progress)
    if not collection.count(kind="image"):
        raise InvalidInput(f"no picture in {folder} could be indexed")
    stored = collection.to_arrow(columns=["id", "text"], where="kind = 'text'")
    there = dict(zip(stored["id"].to_pylist(), stored["text"].to_pylist(), strict=True))
    missing = {identity: text for identity, text in texts.items() if there.get(identity) != text}
    collection.add_texts(list(missing.values()), ids=list(missing))
    collection.delete([identity for identity in there if identity not in texts])


def captions(drawings: Sequence[Drawing]) -> dict[str, str]:
    """The captions of a gallery as texts for `fill`."""
    return {f"caption:{drawing.seed}": drawing.caption for drawing in drawings}


def words() -> dict[str, str]:
    """`WORDS` as texts for `fill`."""
    return {f"word:{word}": word for word in WORDS}


def searches_of_gallery(drawings: Sequence[Drawing]) -> tuple[Search, ...]:
    """Six searches of the drawn scenes, of six kinds."""
    submarine, guitar, flower = (
        Query.item(path_to_id(drawings[seed % len(drawings)].path)) for seed in (328, 162, 29)
    )
    return (
        Search("words, for pictures", Query.text("carrots in a meadow"), "image"),
        Search("words that count and colour", Query.text("two yellow fish at sea"), "image"),
        Search("a minus", Query.text("a tent") - Query.text("snow"), "image"),
        Search("a picture, for pictures like it", submarine, "image"),
        Search("a picture, for its caption", guitar, "text"),
        Search("a picture and words, weighted", 0.5 * flower + 0.5 * Query.text("at sea"), "image"),
    )


def searches_of_photos(collection: Collection) -> tuple[Search, ...]:
    """Six searches of anyone's photos, of six kinds; the picture in them is the first by its path."""
    ids = collection.to_arrow(columns=["id"], where="kind = 'image'")["id"].to_pylist()
    first = Query.item(min(ids))
    return (
        Search("words, for pictures", Query.text("an animal"), "image"),
        Search("words with a colour", Query.text("a red car"), "image"),
        Search("a minus", Query.text("an animal") - Query.text("a dog"), "image"),
        Search("a picture, for pictures like it", first, "image"),
        Search("a picture, for words", first, "text"),
        Search("a picture and words, weighted", 0.6 * first + 0.4 * Query.text("food"), "image"),
    )


def ask(collection: Collection, search: Search, label: Callable[[Hit], str]) -> Answer:
    """What the collection answers; `label` says what a found picture is."""
    hits = collection.search(search.query, k=HITS, kind=search.kind)
    found = tuple((hit.score, hit.text or label(hit)) for hit in hits)
    return Answer(search.about, str(search.query), search.kind, found)


# --- the answers of the last time


def remember(folder: Path, collection: Collection, answers: Sequence[Answer]) -> None:
    """Writes the answers down, for `recall` while the collection stays as it is."""
    state = _state(collection.encoder_name, collection.name)
    document = {**state, "answers": [asdict(answer) for answer in answers]}
    part = folder / f".{_ANSWERS}.{os.getpid()}.part"
    part.write_text(json.dumps(document), encoding="utf-8")
    part.replace(folder / _ANSWERS)


def recall(folder: Path, model: str) -> tuple[str, tuple[Answer, ...]] | None:
    """The collection's name and the answers of the last demo in `folder`; opens neither collection nor model.

    None if there was none, or another model was asked for, or the collection has been written to since.
    """
    try:
        document = json.loads((folder / _ANSWERS).read_text(encoding="utf-8"))
        name, found = str(document["collection"]), document.pop("answers")
        answers = tuple(Answer(**{**answer, "hits": tuple(map(tuple, answer["hits"]))}) for answer in found)
        return (name, answers) if document == _state(canonical_name(model), name) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _state(model: str, name: str) -> dict[str, object]:
    """What the answers hang on. Lance writes a new file into `_versions` with every change of a table."""
    table = Path(database_uri(), f"{name}.lance")
    versions = sorted(os.listdir(table / "_versions"))
    return {"clipkit": __version__, "model": model, "collection": name, "versions": versions}

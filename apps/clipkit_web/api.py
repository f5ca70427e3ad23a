"""The page's functions by name, for gradio_client and curl, and with `--mcp` as tools of assistants.

What a docstring says here is what callers see: one line for each argument, which is all that Gradio reads.
No answer has a key `path`, which gradio_client would take for a file to be downloaded.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict
from urllib.parse import quote

import gradio as gr
from gradio.utils import get_upload_folder

from clipkit import Collection, albums
from clipkit.encoder import Vectors
from clipkit.errors import ClipkitError, InvalidInput, MissingExtra
from clipkit.folders import id_to_path
from clipkit.hits import Hit, Item, Kind
from clipkit_web import asking
from clipkit_web.describer import Describer
from clipkit_web.form import MOST, Form, Weighted
from clipkit_web.site import Site

Wanted: TypeAlias = Literal["image", "text", ""]

_FIRST = ("width", "height", "taken_at")  # metadata that every answer has by itself
_NAMES = {str: "text", int: "a whole number", bool: "true or false"}


class Found(TypedDict):
    """An item of a collection as an answer has it. `thumbnail` is an address relative to the page's."""

    id: str
    kind: str
    score: float | None
    file: str | None
    text: str | None
    taken: str | None
    width: int | None
    height: int | None
    thumbnail: str | None


class Said(TypedDict):
    """A text or label that fits a picture. `strength`, of tags, is in standard deviations above others."""

    text: str
    score: float
    strength: float | None


class Described(TypedDict):
    texts: list[Said]
    tags: list[Said]


class Stored(TypedDict):
    """A collection. `index` is the kind of its index, or None where searches are exact."""

    name: str
    images: int
    texts: int
    model: str
    size_bytes: int
    index: str | None
    default: bool


class Value(TypedDict):
    column: str
    value: Any


class Full(Found):
    """An item with all its columns."""

    columns: list[Value]


class Named(TypedDict):
    """An album: a search with a name."""

    name: str
    query: str | None
    good: int
    bad: int
    where: str | None
    kind: str | None
    created: str


def check_mcp() -> None:
    """Raises MissingExtra if there are no packages to speak MCP with; Gradio would only print that."""
    if importlib.util.find_spec("mcp") is None:
        raise MissingExtra("--mcp", "mcp")


def register(site: Site, describer: Describer) -> None:
    """Adds the functions to the page that is being built.

    They do not queue: a queued tool would call its own page over HTTP, and be asked for a password there.
    """
    api = Api(site, describer)
    functions: dict[str, Callable[..., Any]] = {
        "search": api.search,
        "similar": api.similar,
        "describe": api.describe,
        "tag": api.tag,
        "item": api.item,
        "collections": api.collections,
        "albums": api.albums,
        "album": api.album,
    }
    for name, function in functions.items():
        gr.api(_told(function), api_name=name, queue=False)


class Api:
    """The functions. An empty `collection` is the one that the page was started with."""

    def __init__(self, site: Site, describer: Describer) -> None:
        self._site = site
        self._describer = describer

    def search(
        self,
        query: str,
        k: int = 10,
        kind: Wanted = "image",
        where: str = "",
        min_score: str = "",
        collection: str = "",
        hybrid: bool = False,
    ) -> list[Found]:
        """Find the pictures or texts of a collection that are nearest to a query in meaning, best first.

        A query is plain words, or parts with weights: "beach + 0.5*sunset - people", "id:ID" for an item.

        Args:
            query: what to look for, such as "a dog on a beach" or "a dog - people".
            k: how many hits, from 1 to 5000.
            kind: "image", "text", or empty for both.
            where: an SQL filter over columns: taken_at, camera, width, height, latitude, longitude, text.
            min_score: the least cosine similarity of a hit, as a number; "auto" keeps only what stands out.
            collection: the name of a collection; empty for the default one.
            hybrid: whether to look for the words themselves, too, in captions and names of files.

        Returns:
            a list of hits with id, kind, score (-1 to 1), file, text, taken, width, height and thumbnail.
        """
        form = Form(
            collection=collection,
            q=query,
            kind=kind,
            where=where,
            cut=min_score,
            words=hybrid,
            k=_bounded(k),
        )
        return self._found(form)

    def similar(self, id: str, k: int = 10, kind: Wanted = "image", collection: str = "") -> list[Found]:
        """Find the items that are most like an item of the collection, best first, without itself.

        Args:
            id: the id of a picture or text, as search gives it.
            k: how many hits, from 1 to 5000.
            kind: "image", "text", or empty for both.
            collection: the name of a collection; empty for the default one.

        Returns:
            a list of hits with id, kind, score (-1 to 1), file, text, taken, width, height and thumbnail.
        """
        return self._found(Form(collection=collection, item=(Weighted(id),), kind=kind, k=_bounded(k)))

    def describe(
        self, image: str | dict[str, Any] = "", id: str = "", collection: str = "", vocabulary: str = ""
    ) -> Described:
        """Say what a picture shows: the texts of the collection that fit it best, and tags.

        Args:
            image: an uploaded file (handle_file in Python), or a picture's bytes: data:image/jpeg;base64,...
            id: in place of a picture, the id of one in the collection.
            collection: the name of a collection; empty for the default one.
            vocabulary: labels to choose tags from, one a line; empty for some 500 everyday ones.

        Returns:
            texts with their scores, best first, and tags with score and strength, strongest first.
        """
        found = self._describer.description(collection, self._vector(collection, image, id), vocabulary)
        return {
            "texts": [
                {"text": hit.text or "", "score": round(hit.score, 4), "strength": None}
                for hit in found.texts
            ],
            "tags": [_tag(tag) for tag in found.tags],
        }

    def tag(
        self, image: str | dict[str, Any] = "", id: str = "", collection: str = "", vocabulary: str = ""
    ) -> list[Said]:
        """Choose the labels of a vocabulary that hold for a picture.

        Args:
            image: an uploaded file (handle_file in Python), or a picture's bytes: data:image/jpeg;base64,...
            id: in place of a picture, the id of one in the collection.
            collection: the name of a collection; empty for the default one.
            vocabulary: the labels, one a line; empty for some 500 everyday ones.

        Returns:
            tags with score (-1 to 1) and strength (standard deviations above other labels), strongest first.
        """
        vector = self._vector(collection, image, id)
        return [_tag(tag) for tag in self._describer.tags(collection, vector, vocabulary)]

    def item(self, id: str, collection: str = "") -> Full:
        """Show all that is known of an item: file, text, date, size, camera, place, and the user's columns.

        Args:
            id: the id of a picture or text, as search gives it.
            collection: the name of a collection; empty for the default one.

        Returns:
            the item, with a list of columns that have a value.
        """
        opened = self._site.collection(collection)
        (item,) = opened.get([id])
        rest = {name: value for name, value in item.metadata.items() if name not in _FIRST}
        values = [
            Value(column=name, value=_plain(value)) for name, value in rest.items() if value is not None
        ]
        return {**_found(opened, item, None), "columns": values}

    def collections(self) -> list[Stored]:
        """List the collections that can be searched, with how much each holds and by which model.

        Returns:
            a list of collections with name, images, texts, model, size_bytes, index and default.
        """
        found: list[Stored] = []
        for name in self._site.names():
            status = self._site.collection(name).status()
            found.append(
                {
                    "name": name,
                    "images": status.images,
                    "texts": status.texts,
                    "model": status.encoder,
                    "size_bytes": status.size_bytes,
                    "index": status.index.kind if status.index else None,
                    "default": name == self._site.options.name,
                }
            )
        return found

    def albums(self, collection: str = "") -> list[Named]:
        """List the albums of a collection: searches that were saved under a name.

        Args:
            collection: the name of a collection; empty for the default one.

        Returns:
            a list of albums with name, query, how many items were marked good and bad, where, kind, created.
        """
        return [
            {
                "name": album.name,
                "query": None if album.query is None else str(album.query),
                "good": len(album.good),
                "bad": len(album.bad),
                "where": album.where,
                "kind": album.kind,
                "created": album.created.isoformat(),
            }
            for album in albums.albums(self._site.collection(collection))
        ]

    def album(self, name: str, k: int = 100, collection: str = "") -> list[Found]:
        """Show what is in an album now: what its search finds, new pictures among it.

        Args:
            name: the name of an album.
            k: how many hits, from 1 to 5000.
            collection: the name of a collection; empty for the default one.

        Returns:
            a list of hits with id, kind, score (-1 to 1), file, text, taken, width, height and thumbnail.
        """
        opened = self._site.collection(collection)
        found = albums.hits(opened, albums.named(opened, name), k=_bounded(k))
        return [_found(opened, hit, hit.score) for hit in found]

    # --- what they share

    def _found(self, form: Form) -> list[Found]:
        opened = self._site.collection(form.collection)
        asked = asking.question(self._site, opened, form)
        if asked is None:
            raise InvalidInput("the query is empty: say what to look for, such as a dog on a beach")
        hits = opened.search(
            asked,
            k=form.k,
            kind=form.wanted,
            where=asking.condition(self._site, opened, form),
            min_score=form.least,
            hybrid=form.words,
        )
        return [_found(opened, hit, hit.score) for hit in hits]

    def _vector(self, collection: str, image: str | dict[str, Any], identity: str) -> Vectors:
        if bool(image) == bool(identity):
            raise InvalidInput("give a picture or the id of one, and not both")
        if image:
            return self._describer.vector(collection, _uploaded(image))
        (item,) = self._site.collection(collection).get([identity])
        if not item.vector.size:
            raise InvalidInput(f"{identity!r} has no vector of the new model yet: try again later")
        return item.vector


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with its arguments checked, and its errors as Gradio passes them on to callers."""
    signature = inspect.signature(function, eval_str=True)

    @wraps(function)
    def told(*given: Any) -> Any:
        try:
            for name, value in signature.bind(*given).arguments.items():
                _check(name, value, signature.parameters[name].annotation)
            return function(*given)
        except ClipkitError as error:
            raise gr.Error(str(error), print_exception=False) from None

    told.__signature__ = signature  # type: ignore[attr-defined]  # Gradio does not evaluate annotations
    return told


def _check(name: str, value: Any, hint: Any) -> None:
    if hint in _NAMES and type(value) is not hint:
        raise InvalidInput(f"{name} is {_NAMES[hint]}, not {value!r:.80}")


def _bounded(k: int) -> int:
    if not 1 <= k <= MOST:
        raise InvalidInput(f"k is a number of hits from 1 to {MOST:,}, not {k}")
    return k


def _uploaded(image: str | dict[str, Any]) -> bytes:
    """The bytes of a picture that came with the request; files of the server are never opened."""
    if isinstance(image, str):
        head, comma, data = image.partition(",")
        if not comma or not head.startswith("data:") or not head.endswith(";base64"):
            raise InvalidInput(
                "a picture is an uploaded file or a text data:image/jpeg;base64,... of its bytes"
            )
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error:
            raise InvalidInput("the picture is no base64: encode its bytes anew") from None
    try:
        file = Path(str(image.get("path") if isinstance(image, Mapping) else image)).resolve()
        if not file.is_relative_to(Path(get_upload_folder()).resolve()):
            raise InvalidInput("the picture is no file that was uploaded here: upload it first (handle_file)")
        data_of_file = file.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput("the picture is not there any more: upload it again") from None
    with suppress(OSError):
        file.unlink()
    return data_of_file


def _found(collection: Collection, item: Hit | Item, score: float | None) -> Found:
    kind: Kind = item.kind
    taken = item.metadata.get("taken_at")
    return {
        "id": item.id,
        "kind": kind,
        "score": None if score is None else round(score, 4),
        "file": id_to_path(item.uri) if item.uri else None,
        "text": item.text,
        "taken": taken.isoformat() if taken else None,
        "width": item.metadata.get("width"),
        "height": item.metadata.get("height"),
        "thumbnail": f"pictures/{quote(collection.name)}/thumbnail?id={quote(item.id, safe='')}"
        if kind == "image"
        else None,
    }


def _tag(tag: Any) -> Said:
    return {"text": tag.label, "score": round(tag.score, 4), "strength": round(tag.strength, 2)}


def _plain(value: Any) -> Any:
    """A value of a column as JSON has it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value

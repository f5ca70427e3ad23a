"""The page's functions by name, for gradio_client and curl, and with `--mcp` as tools of assistants.

What a docstring says here is what callers see: one line for each argument, which is all that Gradio reads.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeAlias

import gradio as gr

from clipkit import albums
from clipkit.encoder import Vectors
from clipkit.errors import ClipkitError, InvalidInput, MissingExtra
from clipkit_web import asking
from clipkit_web.answers import Described, Found, Full, Named, Said, Stored, found, full, said, uploaded
from clipkit_web.describer import Describer
from clipkit_web.form import MOST, Form, Weighted
from clipkit_web.site import Site

Wanted: TypeAlias = Literal["image", "text", ""]

_NAMES = {str: "text", int: "a whole number", bool: "true or false"}


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
        vector = self._vector(collection, image, id)
        description = self._describer.description(collection, vector, vocabulary)
        return {
            "texts": [
                {"text": hit.text or "", "score": round(hit.score, 4), "strength": None}
                for hit in description.texts
            ],
            "tags": [said(tag) for tag in description.tags],
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
        return [said(tag) for tag in self._describer.tags(collection, vector, vocabulary)]

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
        return full(opened, item)

    def collections(self) -> list[Stored]:
        """List the collections that can be searched, with how much each holds and by which model.

        Returns:
            a list of collections with name, images, texts, model, size_bytes, index and default.
        """
        listed: list[Stored] = []
        for name in self._site.names():
            status = self._site.collection(name).status()
            listed.append(
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
        return listed

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
        return [found(opened, hit) for hit in albums.hits(opened, albums.named(opened, name), k=_bounded(k))]

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
        return [found(opened, hit) for hit in hits]

    def _vector(self, collection: str, image: str | dict[str, Any], identity: str) -> Vectors:
        if bool(image) == bool(identity):
            raise InvalidInput("give a picture or the id of one, and not both")
        if image:
            return self._describer.vector(collection, self._describer.kept(uploaded(image)))
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

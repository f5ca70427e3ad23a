"""What the page's functions take and give: pictures in a request, and items as JSON.

No answer has a key `path`, which gradio_client would take for a file to be downloaded.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote

from gradio.utils import get_upload_folder

from clipkit import Collection
from clipkit.errors import InvalidInput
from clipkit.folders import id_to_path
from clipkit.hits import Hit, Item
from clipkit.labels import Tag

_FIRST = ("width", "height", "taken_at")  # metadata that every answer has by itself


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


def uploaded(image: str | dict[str, Any]) -> bytes:
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


def found(collection: Collection, item: Hit | Item) -> Found:
    """A hit, or an item without a score."""
    taken = item.metadata.get("taken_at")
    return {
        "id": item.id,
        "kind": item.kind,
        "score": round(item.score, 4) if isinstance(item, Hit) else None,
        "file": id_to_path(item.uri) if item.uri else None,
        "text": item.text,
        "taken": taken.isoformat() if taken else None,
        "width": item.metadata.get("width"),
        "height": item.metadata.get("height"),
        "thumbnail": f"pictures/{quote(collection.name)}/thumbnail?id={quote(item.id, safe='')}"
        if item.kind == "image"
        else None,
    }


def full(collection: Collection, item: Item) -> Full:
    """An item with those of its columns that have a value."""
    rest = {name: value for name, value in item.metadata.items() if name not in _FIRST}
    values = [Value(column=name, value=_plain(value)) for name, value in rest.items() if value is not None]
    return {**found(collection, item), "columns": values}


def said(tag: Tag) -> Said:
    """A tag, its numbers as exact as they are worth."""
    return {"text": tag.label, "score": round(tag.score, 4), "strength": round(tag.strength, 2)}


def _plain(value: Any) -> Any:
    """A value of a column as JSON has it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value

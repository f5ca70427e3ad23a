"""What the page serves beside Gradio: pictures by the id of their item, uploads by their key, its own files.

No path ever comes from the browser: an id is looked up in the collection, and only what is there is read.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Query, Response

from clipkit.errors import ClipkitError, ImageError, MissingExtra
from clipkit.folders import id_to_path
from clipkit.hits import Item
from clipkit.images import open_image
from clipkit.reading import reopen
from clipkit_web.site import Site

T = TypeVar("T")

LARGE_EDGE = 1_600  # pixels: a screen's width
_LARGE_QUALITY = 88
_LATEST = 64 << 20  # bytes of an original that is served as it is
_STATIC = Path(__file__).parent / "static"
_CACHED = {"Cache-Control": "private, max-age=3600"}


def add_routes(app: FastAPI, site: Site) -> None:
    """The routes of the pictures. Handlers are plain functions, which FastAPI runs in its threads."""

    def thumbnail(name: str, item: str = Query(alias="id", max_length=4_096)) -> Response:
        pictures = _found(lambda: site.collection(name).thumbnails([item]))
        if item not in pictures:
            raise HTTPException(404, "there is no picture of that id")
        return Response(pictures[item], media_type="image/jpeg", headers=_CACHED)

    def large(name: str, item: str = Query(alias="id", max_length=4_096)) -> Response:
        stored = _item(site, name, item)
        try:
            reduced = open_image(_original(stored), reduce_to=LARGE_EDGE)
            reduced.thumbnail((LARGE_EDGE, LARGE_EDGE))
            data = io.BytesIO()
            reduced.save(data, "JPEG", quality=_LARGE_QUALITY)
        except ClipkitError:  # the file has gone: what is stored of it is better than nothing
            return thumbnail(name, item)
        return Response(data.getvalue(), media_type="image/jpeg", headers=_CACHED)

    def file(name: str, item: str = Query(alias="id", max_length=4_096)) -> Response:
        stored = _item(site, name, item)
        data = _found(lambda: _original(stored).read(_LATEST + 1))
        if len(data) > _LATEST:
            raise HTTPException(413, f"the file is over the limit of {_LATEST >> 20} MiB")
        called = quote(PurePosixPath(id_to_path(stored.uri or stored.id)).name)
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{called}"}
        return Response(data, media_type="application/octet-stream", headers=headers)

    def upload(key: str) -> Response:
        return Response(_found(partial(site.uploads.picture, key)), media_type="image/jpeg")

    def plotly() -> Response:
        return Response(_found(plotly_script).read_bytes(), media_type="text/javascript", headers=_CACHED)

    def static(name: str) -> Response:
        known = {path.name: path for path in _STATIC.iterdir()}
        if name not in known:
            raise HTTPException(404, "the page has no such file")
        kind = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
        return Response(known[name].read_bytes(), media_type=kind.get(known[name].suffix, "text/plain"))

    app.add_api_route("/pictures/{name}/thumbnail", thumbnail)
    app.add_api_route("/pictures/{name}/large", large)
    app.add_api_route("/pictures/{name}/file", file)
    app.add_api_route("/uploads/{key}", upload)
    app.add_api_route("/static/plotly.min.js", plotly)  # before the next, which would take it
    app.add_api_route("/static/{name}", static)


def plotly_script() -> Path:
    """Where plotly's script for browsers is. Raises MissingExtra."""
    found = find_spec("plotly")
    if found is None or not found.origin:
        raise MissingExtra("the map", "web")
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def _item(site: Site, name: str, identity: str) -> Item:
    (item,) = _found(lambda: site.collection(name).get([identity]))
    if item.kind != "image":
        raise HTTPException(404, "this item is a text: it has no picture")
    return item


def _original(item: Item) -> BinaryIO:
    """The file that the item was made from. An id is chosen by whoever adds an item: it is no path to open.

    Raises ImageError if it has none, or it cannot be read.
    """
    if item.uri is None:
        raise ImageError("this picture was added without a file")
    return reopen(item.uri)


def _found(look: Callable[[], T]) -> T:
    """What `look` finds; a 404 with its reason if it does not."""
    try:
        return look()
    except ClipkitError as error:
        raise HTTPException(404, str(error)) from None

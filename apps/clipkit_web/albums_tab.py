"""Albums: questions that were given a name. Each is asked anew whenever it is looked at."""

from __future__ import annotations

from typing import Any

import gradio as gr

from clipkit import Collection, Query, albums
from clipkit.albums import Album
from clipkit.errors import ClipkitError, InvalidInput
from clipkit_web import asking
from clipkit_web.components import Gallery, widget
from clipkit_web.form import Form, Weighted
from clipkit_web.site import Site

COVERS = 4  # pictures of each album


def save(site: Site, form: Form, name: str, *, again: bool) -> Album:
    """The album that keeps the form's question under a name; `again` replaces one of that name.

    Raises InvalidInput for a name that is taken or cannot be one, and for a form that asks nothing.
    """
    if form.picked:
        raise InvalidInput("a selection of the map cannot fill itself: take it away, then save the album")
    collection = site.collection(form.collection)
    album = Album(
        name,
        asking.typed(site, form),
        good=form.good,
        bad=form.bad,
        where=form.condition(collection.columns),
        kind=form.wanted,
        min_score=form.least,
        hybrid=form.words,
    )
    return albums.save(collection, album, replace=again)


def opened(site: Site, name: str, album: Album) -> Form:
    """The form that asks what an album asks."""
    parts = _query(album).parts if album.query else ()
    pictures = tuple(Weighted(site.uploads.keep(p.value), p.weight) for p in parts if p.what == "image")
    line = tuple(part for part in parts if part.what != "image")
    return Form(
        collection=name,
        q=str(Query(line)) if line else "",
        picture=pictures,
        good=tuple(album.good),
        bad=tuple(album.bad),
        kind=album.kind or "",
        where=album.where or "",
        cut="" if album.min_score is None else str(album.min_score),
        words=album.hybrid,
    )


class AlbumsTab:
    """The tab. `which` holds the name of the collection."""

    def __init__(self, site: Site, which: gr.Dropdown, gallery: Gallery) -> None:
        self._site = site
        self._gallery = gallery
        self.list = widget("albums", {})
        acting = {"show_progress": "hidden", "api_visibility": "private"}
        self.list.input(self._acted, which, [self.list, *gallery.into], **acting)

    def shown(self, name: str) -> dict[str, Any]:
        """The albums of a collection, as the widget has them."""
        try:
            collection = self._site.collection(name)
            cards = [_card(collection, album) for album in albums.albums(collection)]
        except ClipkitError as error:
            return {"error": str(error)}
        return {"collection": collection.name, "albums": cards}

    def _acted(self, event: gr.EventData, name: str) -> list[Any]:
        data = event._data or {}
        called = str(data.get("name") or "")
        try:
            collection = self._site.collection(name)
            if data.get("action") == "delete":
                albums.delete(collection, called)
                return [self.shown(name), *self._gallery.untouched]
            form = opened(self._site, collection.name, albums.named(collection, called))
            return [gr.skip(), *self._gallery.show(form)]
        except ClipkitError as error:
            return [{**self.shown(name), "error": str(error)}, *self._gallery.untouched]


def _card(collection: Collection, album: Album) -> dict[str, Any]:
    marks = [f"{len(ids)} {mark}" for mark, ids in (("good", album.good), ("bad", album.bad)) if ids]
    line = str(_query(album)) if album.query else ""
    card = {"name": album.name, "about": " · ".join(filter(None, (line, album.where, *marks)))}
    try:
        hits = albums.hits(collection, album, k=COVERS)
    except ClipkitError as error:
        return {**card, "covers": [], "error": str(error)}
    return {**card, "covers": [hit.id for hit in hits if hit.kind == "image"]}


def _query(album: Album) -> Query:
    assert album.query is not None
    return album.query if isinstance(album.query, Query) else Query.parse(album.query)

"""From a form to hits: the query put together, the filters, and what the gallery needs of each hit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow.compute as pc

from clipkit import Collection, Query
from clipkit.errors import InvalidInput
from clipkit.fetching import fetch_picture
from clipkit.filters import all_of, id_in
from clipkit.folders import id_to_path
from clipkit.hiding import visible
from clipkit.hits import Hit, Kind
from clipkit.refining import refined
from clipkit.searching import kind_is
from clipkit_web.form import Form
from clipkit_web.site import Site

_ADDRESSES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a form found. `cards` are hits as the gallery has them; `total` counts what passes the filters."""

    cards: list[dict[str, Any]]
    total: int
    more: bool
    cutoffs: dict[Kind, float]
    seconds: float


def ask(site: Site, form: Form) -> Answer:
    """The first `form.k` hits. Raises what `Collection.search` raises, and InvalidInput."""
    began = time.perf_counter()
    collection = site.collection(form.collection)
    where = condition(site, collection, form)
    asked = question(site, collection, form)
    cutoffs: dict[Kind, float] = {}
    if asked is None:
        hits = _browsed(collection, form, where)
    else:
        asked = collection.embedded(asked)  # once for both
        cutoffs = collection.cutoffs(asked)
        # a cut-off is on the scores of hits that stand in their order, so it cuts the end of them
        hits = list(
            collection.search(
                asked, k=form.k + 1, kind=form.wanted, where=where, min_score=form.least, hybrid=form.words
            )
        )
    cards = [card(hit, cutoffs) for hit in hits[: form.k]]
    total = collection.count(kind=form.wanted, where=where)
    return Answer(cards, total, len(hits) > form.k, cutoffs, time.perf_counter() - began)


def condition(site: Site, collection: Collection, form: Form) -> str | None:
    """The SQL of the form's filters on that collection, and of what was picked."""
    picked = id_in(site.picked(form.picked)) if form.picked else None
    where = all_of(form.condition(collection.columns), picked)
    return where if form.hidden else visible(collection, where)


def question(site: Site, collection: Collection, form: Form) -> Query | None:
    """The query of a form, refined by its marks; None if it only has filters.

    Raises QueryError and InvalidInput.
    """
    asked = typed(site, form)
    if form.good or form.bad:
        return refined(collection, asked, good=form.good, bad=form.bad)
    return asked


def typed(site: Site, form: Form) -> Query | None:
    """The query of a form without its marks; None if there is none. Raises QueryError and InvalidInput."""
    parts = []
    if form.q.strip():
        parts += [_at_hand(site, part) for part in Query.parse(form.q).parts]
    for upload in form.picture:
        parts += (upload.weight * Query.image(site.uploads.picture(upload.name))).parts
    for item in form.item:
        parts += (item.weight * Query.item(item.name)).parts
    return Query(tuple(parts)) if parts else None


def _at_hand(site: Site, part: Any) -> Any:
    """A part of a typed query, its picture fetched if it is an address and that is allowed.

    Nobody opens files of the server by typing their path.
    """
    if part.what != "image":
        return part
    address = str(part.value)
    if not address.lower().startswith(_ADDRESSES):
        raise InvalidInput(f"image:{address} is a path, which the page does not open: drop the picture on it")
    if not site.options.allow_urls:
        raise InvalidInput(
            "this page fetches no pictures by their address: drop the picture on it, or start it with "
            "clipkit ui --allow-urls"
        )
    return replace(part, value=fetch_picture(address))


def _browsed(collection: Collection, form: Form, where: str | None) -> list[Hit]:
    """Without a question: what passes the filters, the latest first."""
    passing = all_of(where, kind_is(form.wanted))
    when = collection.to_arrow(columns=["id", "taken_at", "mtime_ns"], where=passing)
    keys = [("taken_at", "descending"), ("mtime_ns", "descending"), ("id", "ascending")]
    first = pc.sort_indices(when, keys)[: form.k + 1]
    items = collection.get(when["id"].take(first).to_pylist())
    return [Hit(item.id, item.uri, item.kind, item.text, float("nan"), item.metadata) for item in items]


def card(hit: Hit, cutoffs: dict[Kind, float]) -> dict[str, Any]:
    """A hit as the gallery shows it."""
    scored = hit.score == hit.score  # what was browsed has no score
    return {
        "id": hit.id,
        "kind": hit.kind,
        "name": name_of(hit),
        "text": hit.text if hit.kind == "text" else None,
        "score": round(hit.score, 4) if scored else None,
        "below": scored and hit.score < cutoffs.get(hit.kind, -1.0),
        "width": hit.metadata.get("width"),
        "height": hit.metadata.get("height"),
    }


def name_of(hit: Hit) -> str:
    """What to call a hit: its file's name, or the beginning of its text."""
    if hit.uri:
        return PurePosixPath(id_to_path(hit.uri).replace("\\", "/")).name
    return (hit.text or hit.id)[:80]


def explained(answer: Answer, form: Form) -> str:
    """One line on what was found."""
    took = f"{answer.seconds * 1000:,.0f} ms"
    shown = len(answer.cards)
    if not form.asks:
        return f"{answer.total:,} {_things(form, answer.total)}, the latest first · {took}"
    if form.cut:
        found = f"more than {shown:,}" if answer.more else f"{shown:,}"
        kept = shown != 1 or answer.more
        return f"{found} {'hits' if kept else 'hit'} of {answer.total:,} · {took}"
    near = sum(not one["below"] for one in answer.cards)
    stand_out = (
        f" · {near:,}{'+' if near == shown and answer.more else ''} stand out" if answer.cutoffs else ""
    )
    return f"{answer.total:,} {_things(form, answer.total)}, the nearest first{stand_out} · {took}"


def _things(form: Form, count: int) -> str:
    noun = {"image": "picture", "text": "text"}.get(form.kind, "item")
    return noun if count == 1 else f"{noun}s"


def advice(site: Site, collection: Collection, answer: Answer) -> Sequence[str]:
    """What to do where nothing was found: sentences, none if there are hits."""
    if answer.cards:
        return ()
    if not collection.count():
        return (
            "This collection is empty.",
            "Index a folder on the page Manage."
            if site.options.roots
            else f"Index a folder: clipkit index FOLDER --name {collection.name}",
        )
    if not answer.total:
        return ("Nothing passes these filters.", "Take one away, or make a range wider.")
    return ("Nothing stands out for this query.", "Move the cut-off down, or use other words.")

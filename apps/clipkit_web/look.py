"""One item seen closely: what is known of it, which texts fit, and why it was found."""

from __future__ import annotations

import base64
import io
from datetime import datetime
from typing import Any

from clipkit import Collection, Query
from clipkit.errors import ClipkitError
from clipkit.explain import Contribution, contributions, heat
from clipkit.folders import id_to_path
from clipkit.hits import Hit, Item
from clipkit_web.asking import name_of, question
from clipkit_web.form import Form
from clipkit_web.site import Site

TEXTS = 5  # best matching texts that are shown
HEAT_EDGE = 800  # pixels of the picture under the heat map
_PLAIN = ("width", "height", "size_bytes", "mtime_ns", "content_hash", "taken_at", "latitude", "longitude")


def details(site: Site, form: Form, identity: str) -> dict[str, Any]:
    """All that is shown of an item, as JSON. Raises InvalidInput for an id that is not there."""
    collection = site.collection(form.collection)
    (item,) = collection.get([identity])
    return {
        "id": item.id,
        "kind": item.kind,
        "name": name_of(Hit(item.id, item.uri, item.kind, item.text, 0.0)),
        "path": id_to_path(item.uri or item.id),
        "text": item.text,
        "facts": _facts(item),
        "texts": _best_texts(collection, item),
        "parts": _parts(site, collection, form, item),
        "hidden": item.metadata.get("hidden") is True,
        "mark": "good" if identity in form.good else "bad" if identity in form.bad else None,
    }


def _facts(item: Item) -> list[tuple[str, str]]:
    """(what, value) for the columns that say something."""
    known = item.metadata
    facts = [
        ("taken", _date(known.get("taken_at"))),
        ("camera", known.get("camera")),
        ("place", _place(known.get("latitude"), known.get("longitude"))),
        ("size", _size(known)),
        ("describes", known.get("image_id")),
    ]
    own = {name: value for name, value in known.items() if name not in (*_PLAIN, "camera", "image_id")}
    for name, value in own.items():
        facts.append((name, ", ".join(map(str, value)) if isinstance(value, list) else value))
    return [(what, str(value)) for what, value in facts if value not in (None, "", False)]


def _date(taken: datetime | None) -> str | None:
    return f"{taken:%Y-%m-%d %H:%M}" if taken else None


def _place(latitude: float | None, longitude: float | None) -> str | None:
    if latitude is None or longitude is None:
        return None
    north, east = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"{abs(latitude):.4f}° {north}, {abs(longitude):.4f}° {east}"


def _size(known: Any) -> str | None:
    sides = f"{known['width']} × {known['height']}" if known.get("width") else ""
    count = known.get("size_bytes") or 0
    weight = f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB" if count else ""
    return " · ".join(filter(None, (sides, weight))) or None


def _best_texts(collection: Collection, item: Item) -> list[dict[str, Any]]:
    """The stored texts that fit the item best."""
    if not item.vector.size or not collection.count(kind="text"):
        return []
    near = collection.search(Query.vector(item.vector), k=TEXTS + 1, kind="text")
    others = [hit for hit in near if hit.id != item.id]
    return [{"id": hit.id, "text": hit.text, "score": round(hit.score, 4)} for hit in others[:TEXTS]]


def _parts(site: Site, collection: Collection, form: Form, item: Item) -> list[dict[str, Any]]:
    """What each part of the query adds to the item's score, and each word of it."""
    asked = question(site, collection, form)
    if asked is None:
        return []
    return [
        {
            "label": _label(part),
            "weight": round(part.weight, 3),
            "cosine": round(part.cosine, 4),
            "share": round(part.share, 4),
            "words": [{"word": word.text, "share": round(word.effect, 4)} for word in part.words],
        }
        for part in contributions(collection, asked, item.id)
    ]


def _label(part: Contribution) -> str:
    """What to call a part: its words, or what stands for the pictures in it."""
    if part.what == "image":
        return "the picture"
    if part.what == "vector":  # Rocchio's means
        return "what was marked good" if part.weight > 0 else "what was marked bad"
    return f"like {id_to_path(part.part.removeprefix('id:'))}" if part.what == "id" else part.part


def why(site: Site, form: Form, identity: str) -> dict[str, Any]:
    """The picture with the heat of the query over it, as a data: URI, and how it was made.

    Where it cannot be had, `reason` says why.
    """
    collection = site.collection(form.collection)
    asked = question(site, collection, form)
    if asked is None:
        return {"reason": "Ask for something first: the map shows which places of the picture fit the query."}
    try:
        found = heat(collection, asked, identity)
        picture = found.overlay()
    except ClipkitError as error:
        return {"reason": str(error)}
    picture.thumbnail((HEAT_EDGE, HEAT_EDGE))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=88)
    encoded = base64.b64encode(data.getvalue()).decode()
    return {"picture": f"data:image/jpeg;base64,{encoded}", "method": found.method, "source": found.source}

"""`clipkit explain`: why an item matches a query."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.output import note, print_json, print_table
from clipkit.cli.session import Session
from clipkit.errors import ImageError, InvalidInput, PlacesUnavailable

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.explain import Contribution, Heat


def explain(
    session: Session,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A query, as clipkit search takes it.")],
    item: Annotated[str, typer.Argument(metavar="ID_OR_PATH", help="The item: its id, or its file.")],
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the picture with a heat map of where it matches, as PNG."),
    ] = None,
) -> None:
    """Show why an item matches a query: what each part and word of it adds to the score, and where it is.

    The shares of the parts add up to the score. A word's number is how much the score falls without it: below
    0 the word pulls the item down. A heat map needs a picture, and a model of which places can be had.

    Example: clipkit explain 'a dog on the beach - people' holiday/4711.jpg --save why.png
    """
    from clipkit.explain import contributions, heat

    collection = session.open()
    identity = _identity(collection, item)
    parts = contributions(collection, query, identity)
    found, why_none = None, ""
    try:
        found = heat(collection, query, identity)
    except (InvalidInput, PlacesUnavailable) as error:  # of a text, say: its parts can be told all the same
        if save is not None:
            raise
        why_none = error.reason if isinstance(error, ImageError) else str(error)
    if found and save is not None:
        _save(found, save)
    if session.json:
        print_json(
            {
                "id": identity,
                "score": sum(part.share for part in parts),
                "parts": [asdict(part) for part in parts],
                "heat": _heat_document(found) if found else None,
                "why_no_heat": why_none or None,
            }
        )
        return
    _print_parts(parts)
    if not found:
        note(f"no heat map: {why_none}")
        return
    note(f"heat map by {found.method} ({found.source})" + (f": {save}" if save else "; --save FILE draws it"))
    if found.from_thumbnail:
        note("the picture's file is gone or has changed: its thumbnail was looked at")


def _identity(collection: Collection, given: str) -> str:
    """The id of the item that was given by its id or by the path of its file."""
    from clipkit.filters import id_in
    from clipkit.folders import path_to_id, resolved

    path = path_to_id(resolved(given))
    for identity in (given, path):
        if collection.count(where=id_in([identity])):
            return identity
    raise InvalidInput(
        f"{collection.name!r} holds neither an item with the id {given!r} nor the file {path}: "
        "clipkit search --json shows ids"
    )


def _save(heat: Heat, path: Path) -> None:
    from clipkit.files import replaced

    with replaced(path) as part:
        heat.overlay().save(part, "PNG")


def _print_parts(parts: tuple[Contribution, ...]) -> None:
    rows = [
        (
            f"{part.share:+.3f}",
            f"{part.cosine:.3f}",
            f"{part.weight:g}",
            part.part,
            ", ".join(f"{word.text} {word.effect:+.3f}" for word in part.words),
        )
        for part in parts
    ]
    columns = ("share", "cosine", "weight", "part", "words")
    print_table(columns, rows, right=("share", "cosine", "weight"))
    note(f"score {sum(part.share for part in parts):.3f}")


def _heat_document(heat: Heat) -> dict[str, object]:
    return {
        "values": heat.values,
        "box": heat.box,
        "method": heat.method,
        "source": heat.source,
        "from_thumbnail": heat.from_thumbnail,
    }

"""`clipkit album`: searches with a name, which fill themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli import pictures
from clipkit.cli.keeping import known_ids
from clipkit.cli.output import note, one_line, plural, print_json, print_table
from clipkit.cli.searching import (
    Hybrid,
    K,
    KindChoice,
    MinScore,
    Paths,
    Print0,
    Show,
    documents,
    print_hits,
    print_picture_paths,
    score_of,
)
from clipkit.cli.session import Session

if TYPE_CHECKING:
    from clipkit.albums import Album

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of an album.")]


def save(
    session: Session,
    album: Annotated[str, typer.Argument(metavar="NAME", help="What to call it: any text of one line.")],
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUERY", help="What it looks for, as in search. Not needed with --good."),
    ] = None,
    good: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="An item that belongs in it: more like this; may be repeated."),
    ] = None,
    bad: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="An item that does not: less like this; may be repeated."),
    ] = None,
    kind: Annotated[KindChoice | None, typer.Option(help="Only pictures, or only texts.")] = None,
    min_score: MinScore = None,
    hybrid: Hybrid = False,
    replace: Annotated[bool, typer.Option("--replace", help="In place of an album of that name.")] = False,
) -> None:
    """Give a search a name. It is searched anew whenever the album is shown, and so fills itself.

    Items are named by id, or by the path of their file.

    Example: clipkit album save 'By the sea' 'beach - people' --min-score auto
    """
    from clipkit import albums

    collection = session.open()
    saved = albums.save(
        collection,
        albums.Album(
            album,
            " ".join(query) if query else None,
            good=known_ids(collection, good or ()),
            bad=known_ids(collection, bad or ()),
            where=session.where,
            kind=kind.value if kind else None,
            min_score=score_of(min_score),
            hybrid=hybrid,
        ),
        replace=replace,
    )
    if session.json:
        print_json({"collection": collection.name, "album": _document(saved)})
    else:
        print(f"saved {saved.name}")
        note(f"to see it:  {session.again('album show', saved.name)}")


def show(
    session: Session,
    album: _Name,
    k: K = 100,
    paths: Paths = False,
    print0: Print0 = False,
    show: Show = False,
) -> None:
    """Print what is in an album now: the good items first, then what its search finds.

    Example: clipkit album show 'By the sea' --print0
    """
    shown = pictures.are_wanted(show and not (session.json or paths or print0))
    collection = session.open()
    from clipkit import albums

    found = albums.named(collection, album)
    hits = albums.hits(collection, found, k=k)
    gone = albums.missing(collection, found)
    if session.json:
        print_json({"album": _document(found), "missing": gone, **documents(hits)})
    elif paths or print0:
        print_picture_paths(hits, print0=print0)
    else:
        print_hits(hits, collection.thumbnails([hit.id for hit in hits]) if shown else None)
    if gone:
        names = one_line(", ".join(gone))
        note(f"{plural(len(gone), 'item')} that it names cannot be found any more: {names}")


def list_(session: Session) -> None:
    """List the albums of a collection, the oldest first.

    Example: clipkit album list
    """
    from clipkit import albums

    found = albums.albums(session.open())
    if session.json:
        print_json({"albums": [_document(each) for each in found]})
        return
    print_table(
        ("album", "created", "looks for"),
        [(each.name, f"{each.created.astimezone():%Y-%m-%d %H:%M}", _looked_for(each)) for each in found],
    )
    if not found:
        note(f"there is none; to save one:  {session.again('album save')} NAME QUERY")


def delete(session: Session, album: _Name) -> None:
    """Give up an album. What is in it stays in the collection.

    Example: clipkit album delete 'By the sea'
    """
    from clipkit import albums

    collection = session.open()
    albums.delete(collection, album)
    if session.json:
        print_json({"collection": collection.name, "deleted": album})
    else:
        print(f"deleted the album {album}")


def _document(album: Album) -> dict[str, object]:
    return {
        "name": album.name,
        "query": None if album.query is None else str(album.query),
        "good": album.good,
        "bad": album.bad,
        "where": album.where,
        "kind": album.kind,
        "min_score": album.min_score,
        "hybrid": album.hybrid,
        "created": album.created,
    }


def _looked_for(album: Album) -> str:
    """The query, and how many items refine it."""
    counts = ", ".join(
        f"{len(ids)} {what}" for what, ids in (("good", album.good), ("bad", album.bad)) if ids
    )
    query = "" if album.query is None else str(album.query)
    return f"{query}  ({counts})" if query and counts else query or counts

"""`clipkit search` and `clipkit describe`: questions to a collection."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipkit.cli import pictures
from clipkit.cli.output import note, print_json, print_paths, print_table
from clipkit.cli.session import Session

if TYPE_CHECKING:
    from clipkit.hits import Hit, Hits
    from clipkit.query import Query


class KindChoice(StrEnum):
    """What can be looked for; a copy of hits.Kind, whose module would load Arrow for --help."""

    image = "image"
    text = "text"


K = Annotated[int, typer.Option("-k", metavar="N", help="Print at most so many hits.")]
MinScore = Annotated[
    str | None,
    typer.Option(
        metavar="SCORE",
        help="Only hits with at least this score, -1 to 1; auto: with what stands out for this query.",
    ),
]
Hybrid = Annotated[
    bool, typer.Option("--hybrid", help="Look for the words in captions, names and your own columns, too.")
]
Show = Annotated[
    bool, typer.Option("--show", help="Show pictures as thumbnails, if this is a terminal that can.")
]
Paths = Annotated[bool, typer.Option("--paths", help="Print the paths of pictures, one per line.")]
Print0 = Annotated[
    bool, typer.Option("--print0", "-0", help="Print paths, each followed by a NUL, for xargs -0.")
]


def search(
    session: Session,
    query: Annotated[
        list[str],
        typer.Argument(
            metavar="QUERY", help="Words, image:PATH or id:ID, with + and - between them and weights."
        ),
    ],
    k: K = 10,
    kind: Annotated[KindChoice | None, typer.Option(help="Only pictures, or only texts.")] = None,
    min_score: MinScore = None,
    hybrid: Hybrid = False,
    paths: Paths = False,
    print0: Print0 = False,
    show: Show = False,
) -> None:
    """Find the pictures and texts that are nearest to a query.

    A query that holds a minus or quotes goes into quotes of the shell. What is hidden (clipkit hide) is left
    out, but --where hidden finds it.

    Example: clipkit search 'beach + 0.5*image:cat.jpg - people' -k 20
    """
    from clipkit.query import Query

    parsed = Query.parse(" ".join(query))
    _note_file_as_text(parsed)
    wanted = KindChoice.image if (paths or print0) and kind is None else kind
    shown = pictures.are_wanted(show and not (session.json or paths or print0))
    collection = session.open()
    from clipkit.hiding import visible  # which imports pyarrow

    hits = collection.search(
        parsed,
        k=k,
        kind=chosen(wanted),
        where=visible(collection, session.where),
        min_score=score_of(min_score),
        hybrid=hybrid,
    )
    if session.json:
        print_json({"query": str(parsed), **documents(hits)})
    elif paths or print0:
        print_picture_paths(hits, print0=print0)
    else:
        print_hits(hits, collection.thumbnails([hit.id for hit in hits]) if shown else None)


def describe(
    session: Session,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture; - reads it from stdin.")],
    k: K = 5,
    min_score: MinScore = None,
    show: Show = False,
) -> None:
    """Find the texts of the collection that fit a picture best.

    The texts come from clipkit add-texts (labels, sentences) and from the captions of indexed pictures.

    Example: clipkit describe cat.jpg -k 3
    """
    from clipkit.hiding import visible
    from clipkit.images import open_image
    from clipkit.query import Query
    from clipkit.resizing import THUMBNAIL_EDGE, thumbnail

    from_file = str(image) != "-"
    shown = pictures.are_wanted(show and from_file and not session.json)
    query = Query.image(image if from_file else sys.stdin.buffer.read())
    collection = session.open()
    where = visible(collection, session.where)
    hits = collection.search(query, k=k, kind="text", where=where, min_score=score_of(min_score))
    if session.json:
        print_json({"image": str(image), **documents(hits)})
        return
    if not hits and not collection.count(kind="text"):
        note(f"the collection has no texts to choose from; add some:\n  {session.again('add-texts')} FILE")
        return
    if shown:
        pictures.print_pictures(
            ("image",), [(str(image),)], [thumbnail(open_image(image, reduce_to=THUMBNAIL_EDGE))]
        )
    print_hits(hits)


def chosen(kind: KindChoice | None) -> Literal["image", "text"] | None:
    """What --kind says, as the library has it."""
    return None if kind is None else kind.value


def score_of(given: str | None) -> float | Literal["auto"] | None:
    """What --min-score says."""
    if given == "auto":
        return "auto"
    try:
        return None if given is None else float(given)
    except ValueError:
        raise typer.BadParameter(
            f"{given!r} is neither a number nor auto", param_hint="'--min-score'"
        ) from None


def print_picture_paths(hits: Hits, *, print0: bool) -> None:
    """The paths of the pictures among the hits, in their order."""
    paths = [hit_path(hit) for hit in hits if hit.uri and hit.kind == "image"]
    print_paths(paths, separator="\0" if print0 else "\n")


def print_hits(hits: Hits, thumbnails: Mapping[str, bytes] | None = None) -> None:
    """A line for each hit: its score and what it is."""
    if not hits:
        least = " and ".join(f"{score:.3f} for {kind}s" for kind, score in hits.cutoffs.items())
        note(f"nothing found above the automatic cut-off, {least}" if least else "nothing found")
        return
    rows = [(f"{hit.score:.3f}", hit_shown(hit)) for hit in hits]
    if thumbnails is None:
        print_table(("score", "what"), rows, right=("score",))
    else:
        shown = [thumbnails.get(hit.id) for hit in hits]
        pictures.print_pictures(("score", "what"), rows, shown, right=("score",))


def documents(hits: Hits) -> dict[str, object]:
    """Hits as JSON has them, with the cut-offs if there are any."""
    documents: dict[str, object] = {"hits": [hit_document(hit) for hit in hits]}
    return {**documents, "cutoffs": hits.cutoffs} if hits.cutoffs else documents


def hit_shown(hit: Hit) -> str:
    """A picture's path; a text, with the path of the picture that it describes if it is a caption."""
    if hit.kind == "image" or not hit.text:
        return hit_path(hit)
    return f"{hit.text}  ({hit_path(hit)})" if hit.metadata.get("image_id") else hit.text


def hit_document(hit: Hit) -> dict[str, object]:
    """A hit as JSON has it."""
    return {
        "id": hit.id,
        "uri": hit.uri,
        "kind": hit.kind,
        "text": hit.text,
        "score": hit.score,
        "metadata": dict(hit.metadata),
    }


def hit_path(hit: Hit) -> str:
    """The path of its file, or else its id."""
    from clipkit.folders import id_to_path

    return id_to_path(hit.uri or hit.id)


def _note_file_as_text(query: Query) -> None:
    """`clipkit search cat.jpg` is taken for words; say so, for it was probably meant otherwise."""
    only = query.parts[0]
    if (
        len(query.parts) == 1
        and only.what == "text"
        and Path(only.value).suffix
        and Path(only.value).is_file()
    ):
        note(
            f"{only.value} is a file here, but was searched for as words; image:{only.value} shows it instead"
        )

"""`clipkit duplicates`, `clusters`, `outliers` and `recommend`: what lies near what in a collection."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.output import note, plural, print_json, print_paths, print_table, progress_bar, size
from clipkit.cli.searching import KindChoice, chosen, hit_document, hit_path, hit_shown
from clipkit.cli.session import Session

if TYPE_CHECKING:
    from clipkit.hits import Hit
    from clipkit.neighbours import Cluster, Group


class StrengthChoice(StrEnum):
    """What counts as a duplicate; a copy of neighbours.STRENGTHS, which would load NumPy for --help."""

    exact = "exact"
    resaved = "resaved"
    edited = "edited"
    similar = "similar"


_Kind = Annotated[
    KindChoice | None,
    typer.Option(help="Among pictures, or among texts. Default: pictures, if there are any."),
]


def duplicates(
    session: Session,
    strength: Annotated[
        StrengthChoice,
        typer.Option(
            help="exact: the same bytes. resaved: saved again, or resized. edited: cropped, mirrored, in "
            "other colours. similar: one scene, taken twice. Of texts: the same; but for case and "
            "punctuation; but for a few words; of nearly one meaning. Each has what the ones before have."
        ),
    ] = StrengthChoice.exact,
    kind: _Kind = None,
    print0: Annotated[
        bool,
        typer.Option(
            "--print0", "-0", help="Print the paths of what could go, each followed by a NUL, for xargs -0."
        ),
    ] = False,
) -> None:
    """Find items that are the same, or nearly. Nothing is deleted.

    Of each group the first is the one to keep: the one of most pixels, of these the largest file, of these
    the oldest; of texts the longest. Look at the groups before you let --print0 speak to another program.

    Example: clipkit duplicates --strength edited
    """
    from clipkit.folders import member_of
    from clipkit.neighbours import duplicates as find

    with progress_bar("comparing") as show:
        found = find(session.open(), strength.value, kind=chosen(kind), where=session.where, progress=show)
    if session.json:
        print_json(
            {
                "strength": found.strength,
                "items": found.items,
                "groups": [
                    {"keep": hit_document(group.keep), "others": [hit_document(hit) for hit in group.others]}
                    for group in found.groups
                ],
                "unseen": found.unseen,
            }
        )
    elif print0:
        others = [hit for group in found.groups for hit in group.others]
        files = [hit_path(hit) for hit in others if hit.uri and not member_of(hit.uri)]
        print_paths(files, separator="\0")  # of what is in an archive there is no file that could go
    else:
        _print_groups(found.groups)
        _note_duplicates(found.groups, found.items, len(found.unseen))


def clusters(
    session: Session,
    n: Annotated[
        int | None,
        typer.Option("-n", metavar="N", help="How many clusters. Default: as many as show clearly."),
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Name them by these labels, one a line. Default: everyday things."),
    ] = None,
    kind: _Kind = None,
) -> None:
    """Show what a collection is about: its items in clusters, each with the items at its middle.

    Coherence is the mean cosine similarity of a cluster's items to its middle.

    Example: clipkit clusters -n 20 --vocabulary things.txt
    """
    from clipkit.neighbours import clusters as find
    from clipkit.vocabulary import Vocabulary

    labels = Vocabulary.read(vocabulary) if vocabulary else None
    found = find(session.open(), n, vocabulary=labels, kind=chosen(kind), where=session.where)
    if session.json:
        print_json({"clusters": [_cluster_document(cluster) for cluster in found]})
    elif not found:
        note("there is nothing to cluster")
    else:
        rows = [
            (str(each.size), f"{each.coherence:.3f}", ", ".join(each.names), hit_shown(each.items[0]))
            for each in found
        ]
        print_table(("items", "coherence", "names", "in the middle"), rows, right=("items", "coherence"))


def outliers(
    session: Session,
    n: Annotated[int, typer.Option("-n", metavar="N", help="How many items.")] = 10,
    kind: _Kind = None,
) -> None:
    """Find the items that are least like any others.

    The score is the mean cosine similarity of an item to the five nearest to it.

    Example: clipkit outliers -n 20
    """
    from clipkit.neighbours import outliers as find

    found = find(session.open(), n, kind=chosen(kind), where=session.where)
    if session.json:
        print_json({"outliers": [hit_document(hit) for hit in found]})
    else:
        _print_scored(found)


def recommend(
    session: Session,
    like: Annotated[list[str], typer.Option(metavar="ID", help="More like this item; may be repeated.")],
    unlike: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Less like this item; may be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", help="Print at most so many items.")] = 10,
    diversity: Annotated[
        float,
        typer.Option(metavar="SHARE", help="How different they are to be: 0 the nearest, 1 anything else."),
    ] = 0.3,
    kind: Annotated[KindChoice | None, typer.Option(help="Only pictures, or only texts.")] = None,
) -> None:
    """Find items like some and unlike others, and not all alike.

    Example: clipkit recommend --like /photos/cat.jpg --like /photos/owl.jpg --unlike /photos/car.jpg
    """
    collection = session.open()
    from clipkit.neighbours import recommend as find

    found = find(
        collection,
        like,
        disliked=unlike or [],
        k=k,
        diversity=diversity,
        kind=chosen(kind),
    )
    if session.json:
        print_json({"liked": like, "disliked": unlike or [], "hits": [hit_document(hit) for hit in found]})
    else:
        _print_scored(found)


def _print_scored(hits: Sequence[Hit]) -> None:
    if not hits:
        note("nothing found")
        return
    print_table(("score", "what"), [(f"{hit.score:.3f}", hit_shown(hit)) for hit in hits], right=("score",))


def _cluster_document(cluster: Cluster) -> dict[str, object]:
    return {
        "names": cluster.names,
        "coherence": cluster.coherence,
        "items": [hit_document(hit) for hit in cluster.items],
        "ids": cluster.ids,
    }


def _print_groups(groups: tuple[Group, ...]) -> None:
    rows = []
    for number, group in enumerate(groups, 1):
        rows.append((str(number), "keep", "", hit_shown(group.keep)))
        rows += [(str(number), "", f"{hit.score:.3f}", hit_shown(hit)) for hit in group.others]
    if rows:
        print_table(("group", "", "score", "what"), rows, right=("group", "score"))


def _note_duplicates(groups: tuple[Group, ...], items: int, unseen: int) -> None:
    others = [hit for group in groups for hit in group.others]
    if not others:
        note(f"no duplicates among {plural(items, 'item')}")
    else:
        could_go = sum(hit.metadata["size_bytes"] or 0 for hit in others)
        freed = f", {size(could_go)}" if could_go else ""  # texts have no files
        note(f"{plural(len(groups), 'group')}; {plural(len(others), 'item')} could go{freed}")
    if unseen:
        note(f"{plural(unseen, 'picture')} without a thumbnail: of these only exact copies are found")

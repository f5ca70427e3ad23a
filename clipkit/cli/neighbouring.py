"""`clipkit duplicates`: what lies near what in a collection."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.output import note, plural, print_json, print_paths, print_table, progress_bar, size
from clipkit.cli.searching import KindChoice, hit_document, hit_path, hit_shown
from clipkit.cli.session import Session

if TYPE_CHECKING:
    from clipkit.neighbours import Group


class StrengthChoice(StrEnum):
    """What counts as a duplicate; a copy of neighbours.STRENGTHS, which would load NumPy for --help."""

    exact = "exact"
    resaved = "resaved"
    edited = "edited"
    similar = "similar"


_Kind = Annotated[KindChoice, typer.Option(help="Among pictures, or among texts.")]


def duplicates(
    session: Session,
    strength: Annotated[
        StrengthChoice,
        typer.Option(
            help="exact: the same bytes. resaved: saved again, or resized. edited: cropped, mirrored, in "
            "other colours. similar: one scene, taken twice. Each has what the ones before have."
        ),
    ] = StrengthChoice.exact,
    kind: _Kind = KindChoice.image,
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
    from clipkit.neighbours import duplicates as find

    with progress_bar("comparing") as show:
        found = find(session.open(), strength.value, kind=kind.value, where=session.where, progress=show)
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
        print_paths([hit_path(hit) for hit in others if hit.uri], separator="\0")
    else:
        _print_groups(found.groups)
        _note_duplicates(found.groups, found.items, len(found.unseen))


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
        note(f"{plural(len(groups), 'group')}; {plural(len(others), 'item')} could go, {size(could_go)}")
    if unseen:
        note(f"{plural(unseen, 'picture')} without a thumbnail: of these only exact copies are found")

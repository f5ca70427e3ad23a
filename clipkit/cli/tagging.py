"""`clipkit tag`: labels for the pictures of a collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.output import note, plural, print_json, print_table, progress_bar
from clipkit.cli.session import Session
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    from clipkit.labels import Tagged

LABELS_SHOWN = 20


class Target(StrEnum):
    """Where tags go."""

    column = "column"
    csv = "csv"


_Vocabulary = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Labels of your own: one a line, as 'cat: house cat, kitten', or JSON. Default: some 500 "
        "built-in ones for everyday photos.",
    ),
]
_To = Annotated[
    Target | None,
    typer.Option(help="Write the tags: into a column, for filters, or as CSV. Default: only show them."),
]
_Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The CSV file. It is replaced if it is there.")
]
_Column = Annotated[str, typer.Option(metavar="NAME", help="The column, made if need be: lists of strings.")]
_Threshold = Annotated[
    float,
    typer.Option(
        metavar="SD",
        help="By how many standard deviations a picture has to be nearer to a label than to others. Higher "
        "is stricter.",
    ),
]
_Top = Annotated[int, typer.Option(metavar="N", help="At most so many tags for a picture.")]
_Where = Annotated[
    str | None, typer.Option(metavar="FILTER", help="Only pictures that pass this SQL filter.")
]


def tag(
    session: Session,
    vocabulary: _Vocabulary = None,
    to: _To = None,
    out: _Out = None,
    column: _Column = "tags",
    threshold: _Threshold = 3.5,
    top: _Top = 5,
    where: _Where = None,
) -> None:
    """Tag the pictures of a collection with the labels of a vocabulary that they stand out for.

    No picture is read again. Tags in a column can be searched: --where "array_has(tags, 'dog')". Those that
    were never tagged are: --where "tags IS NULL".

    Example: clipkit tag --to column --threshold 4
    """
    from clipkit import labels
    from clipkit.vocabulary import Vocabulary

    if (to is Target.csv) != (out is not None):
        raise InvalidInput("--to csv and --out FILE go together: say both or neither")
    words = Vocabulary.read(vocabulary) if vocabulary else Vocabulary.everyday()
    collection = session.open()
    counts: Counter[str] = Counter()
    with progress_bar("tagging") as show:
        tagged = labels.tag(collection, words, where=where, threshold=threshold, top=top, progress=show)
        seen = _counted(tagged, counts)
        if to is Target.column:
            images = labels.to_column(collection, seen, column=column)
        elif out is not None:
            images = labels.to_csv(out, seen)
        else:
            _show(session, collection.name, list(seen))
            return
    if session.json:
        print_json({"collection": collection.name, "images": images, "labels": dict(counts.most_common())})
        return
    print_table(("label", "pictures"), [(label, str(n)) for label, n in counts.most_common(LABELS_SHOWN)])
    note(f"{plural(images, 'picture')} tagged with {plural(len(counts), 'label')}")


def _counted(tagged: Iterable[Tagged], counts: Counter[str]) -> Iterator[Tagged]:
    for one in tagged:
        counts.update(tag.label for tag in one.tags)
        yield one


def _show(session: Session, name: str, tagged: list[Tagged]) -> None:
    from clipkit.folders import id_to_path

    if session.json:
        print_json({"collection": name, "images": [asdict(one) for one in tagged]})
        return
    if not tagged:
        note("the collection has no such pictures")
    rows = [
        (id_to_path(one.uri or one.id), ", ".join(f"{tag.label} {tag.strength:.1f}" for tag in one.tags))
        for one in tagged
    ]
    print_table(("picture", "tags"), rows)

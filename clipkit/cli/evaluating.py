"""`clipkit evaluate`: what a model reaches on pictures whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.machine import complete_model
from clipkit.cli.output import duration, note, plural, print_json, print_table, progress_bar
from clipkit.cli.session import Session

if TYPE_CHECKING:
    from clipkit.evaluate import Evaluation
    from clipkit.reports import Failure

FAILURES_SHOWN = 5

_Model = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="The model: see clipkit models.", autocompletion=complete_model),
]
_Queries = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help='Searches to score, too: JSON {"a dog": ["golden retriever", ...]} or CSV, a query and its '
        "classes a line.",
    ),
]
_Names = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The names of classes that the data has as ids only: JSON, or an id and its names a line. All "
        "of them are possible answers.",
    ),
]
_Template = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT", help="A prompt for the classes, such as 'a photo of {a}'. Repeat it for an ensemble."
    ),
]
_Column = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="That column of a Parquet file, if its name is not a usual one."),
]


def evaluate(
    session: Session,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A Parquet file, a folder, or sketch:N for drawn scenes.")
    ],
    model: _Model = None,
    queries: _Queries = None,
    names: _Names = None,
    template: _Template = None,
    image_column: _Column = None,
    label_column: _Column = None,
    caption_column: _Column = None,
) -> None:
    """Measure a model on pictures whose truth is known: how well it names them, and finds them again.

    DATA is a Parquet file with a picture a row and a class or captions; a folder with a sub-folder a class; a
    folder of pictures with text files of captions beside them; sketch:N, N scenes of the drawn world; or
    sketch-held-out:N, scenes unlike all that bundled was trained with. Intervals are 95% bootstrap ones.

    Example: clipkit evaluate sketch:1000 --model bundled
    """
    from clipkit.encoders import load_encoder
    from clipkit.evaluate import evaluate as measure
    from clipkit.evaluate import read_queries
    from clipkit.labelled import Columns, open_labelled, read_names
    from clipkit.prompts import TEMPLATES

    searches = read_queries(queries) if queries else None
    columns = Columns(image_column, label_column, caption_column)
    known = open_labelled(data, columns=columns, names=read_names(names) if names else None)
    encoder = load_encoder(model, device=session.device, precision=session.precision)
    with progress_bar("embedding") as show:
        found = measure(encoder, known, queries=searches, templates=template or TEMPLATES, progress=show)
    if session.json:
        print_json(asdict(found))
    else:
        _show(found)
    _note_failures(found.failures)


def _show(found: Evaluation) -> None:
    rows = [
        (each.name, f"{each.value:.3f}", f"{each.low:.3f} to {each.high:.3f}", str(each.n), each.definition)
        for each in found.measures
    ]
    print_table(("measure", "figure", "95% interval", "n", "the mean of"), rows, right=("figure", "n"))
    if found.queries:
        print_table(("query", "P@20"), [(query, f"{value:.2f}") for query, value in found.queries.items()])
    rate = found.images / max(found.seconds, 1e-9)
    note(
        f"{found.model} on {found.data}: {plural(found.images, 'picture')} read and embedded in "
        f"{duration(found.seconds)}, {rate:.0f}/s"
    )


def _note_failures(failures: Sequence[Failure]) -> None:
    if not failures:
        return
    note(f"{plural(len(failures), 'picture')} could not be used (rows are counted from 0):")
    for failure in failures[:FAILURES_SHOWN]:
        note(f"  {failure.id}: {failure.reason}")
    if len(failures) > FAILURES_SHOWN:
        note(f"  and {len(failures) - FAILURES_SHOWN} more; --json has all of them")

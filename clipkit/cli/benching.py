"""`clipkit bench`: what this machine does with a model and one's own pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipkit.cli.keeping import checked_suffix
from clipkit.cli.machine import complete_model
from clipkit.cli.output import duration, note, plural, print_json, print_table, progress_bar
from clipkit.cli.session import Session

if TYPE_CHECKING:
    from clipkit.benchmark import Benchmark
    from clipkit.collection import Collection
    from clipkit.folders import FoundFile

SUFFIXES = (".png", ".svg")
SCENES = 96  # enough to keep a few cores busy, and drawn in seconds

_Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="The model: see clipkit models. Default: the collection's.",
        autocompletion=complete_model,
    ),
]


def bench(
    session: Session,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", exists=True, file_okay=False, help="Your photos. Default: drawn scenes."
        ),
    ] = None,
    model: _Model = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Take about so long; a model warms up besides.")
    ] = 45.0,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the figures, too: FILE.png or .svg.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Measure what this machine does: decode, embed, write, search; and say what limits it.

    Beside each figure stands its ceiling: what the parts allow together, or the same work without anything
    around it. Nothing is indexed or changed: what is written goes to a temporary folder. A query is asked of
    the collection if it is of the same model, else of the pictures that were measured.

    Example: clipkit bench ~/Pictures --chart bench.png
    """
    suffix = None if chart is None else checked_suffix(chart, SUFFIXES, force=force)
    from clipkit import benchmark

    with _pictures(folder) as found:
        encoder = session.encoder(model)
        with progress_bar("measuring") as show:
            result = benchmark.measure(
                encoder,
                found,
                collection=_collection_of(session, encoder.fingerprint),
                device=_device(session, encoder.name),
                seconds=seconds,
                progress=show,
            )
    if chart is not None and suffix is not None:
        from clipkit.files import replaced

        with replaced(chart) as part:
            part.write_bytes(benchmark.chart(result, suffix))
    if session.json:
        print_json(_document(result))
    else:
        _show(result)


@contextmanager
def _pictures(folder: Path | None) -> Iterator[list[FoundFile]]:
    """The picture files of a folder; without one, of a folder of drawn scenes that is gone afterwards."""
    from clipkit.folders import Selection, walk

    if folder is not None:
        yield walk([folder], Selection(captions=False)).files
        return
    from clipkit.gallery import draw_gallery, gallery

    with tempfile.TemporaryDirectory(prefix="clipkit-scenes-") as drawn:
        with progress_bar("drawing") as show:
            draw_gallery(gallery(drawn, scenes=SCENES), progress=show)
        yield walk([drawn]).files


def _collection_of(session: Session, fingerprint: str) -> Collection | None:
    """The collection, if it is there, holds something, and is of the model with that fingerprint."""
    from clipkit.collection import Collection

    if session.name not in Collection.names(session.db):
        return None
    collection = session.open()
    return collection if collection.count() and collection.encoder.fingerprint == fingerprint else None


def _device(session: Session, model: str) -> str:
    if model.partition(":")[0] == "fake":  # which has no device, and needs no torch
        return "cpu"
    from clipkit.encoders.devices import place

    return place(session.device, session.precision).device


def _document(result: Benchmark) -> dict[str, Any]:
    figures = {name: {**asdict(figure), "share": figure.share} for name, figure in result.figures.items()}
    return {**asdict(result), "figures": figures}


def _show(result: Benchmark) -> None:
    from clipkit.benchmark import number

    rows = [
        (name, f"{number(one.value)} {one.unit}", number(one.ceiling), f"{one.share:.0%}", one.of)
        for name, one in result.figures.items()
    ]
    columns = ("", "reached", "ceiling", "share", "the ceiling is")
    print_table(columns, rows, right=("reached", "ceiling", "share"))
    print(f"limit: {result.limit}. {result.advice}")
    cores = plural(result.cores, "core")
    note(
        f"{result.model} on {result.device}, {cores}; {plural(result.pictures, 'picture')}, "
        f"{plural(result.searched, 'item')} searched; {duration(result.seconds)}"
    )

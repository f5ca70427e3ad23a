"""`clipkit reduce`: what shorter vectors would cost a collection, and the change to them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.output import note, plural, print_json, print_table, progress_bar
from clipkit.cli.session import Session
from clipkit.cli.tuning import SAYS, lines_of
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.reduction import Costs


def reduce(
    session: Session,
    dimensions: Annotated[
        int | None,
        typer.Option(metavar="N", help="Change to so many. Without it, say only what each length costs."),
    ] = None,
    axes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to keep the axes, which every search needs. Default: beside the collection.",
        ),
    ] = None,
    sample: Annotated[int, typer.Option(metavar="N", help="Measure on so many items at random.")] = 20_000,
    queries: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Searches that you expect, one a line, to be measured with."),
    ] = None,
) -> None:
    """Make the vectors of a collection shorter, along the axes that they spread along most.

    Without --dimensions it prints, for several lengths and for numbers of 32 bits, 8 and 1, the bytes of a
    vector and the recall@10 against whole vectors, and changes nothing. With it, the collection uses
    vectors of that length from then on. Nothing is embedded again; clipkit reindex --back undoes it, and
    --drop-old frees the space of the whole vectors.

    Example: clipkit reduce --dimensions 128
    """
    from clipkit.reduction import costs, fit

    collection = session.open()
    if dimensions is None:
        if axes is not None:
            raise InvalidInput("--axes goes with --dimensions")
        texts = None if queries is None else lines_of(queries)
        found = costs(collection, sample=sample, texts=texts)
        if session.json:
            print_json(asdict(found))
        else:
            _show(found)
        return
    before = collection.dim
    encoder = fit(collection, dimensions, path=axes or _beside(collection, dimensions))
    with progress_bar("reducing") as show:
        report = collection.reindex(encoder, progress=show)
    if session.json:
        print_json({"dimensions": encoder.dim, "before": before, **asdict(report)})
        return
    print(f"{plural(report.embedded, 'vector')} of {before} dimensions made to {encoder.dim}")
    shared = [] if report.comparison is None else [report.comparison.overlap, report.comparison.texts_overlap]
    told = [f"{each:.0%} of the 10 best hits" for each in shared if each is not None]
    if told:
        print(f"searches give {' and '.join(told)} that they gave before")
    note(f"the axes are in {encoder.name.partition(':')[2]}: keep that file where it is")
    note(f"to undo it:  {session.again('reindex --back')}")
    note(f"to free the space of the old vectors:  {session.again('reindex --drop-old')}")


def _beside(collection: Collection, dimensions: int) -> Path:
    if "://" in collection.db:
        raise InvalidInput(f"{collection.db} is no folder of this machine: say with --axes where the axes go")
    return Path(collection.db) / f"{collection.name}-{dimensions}.axes.safetensors"


def _show(found: Costs) -> None:
    kinds = list(found.queries)
    columns = ("dim", "by", "stored as", "bytes", "recall@10", *(SAYS[kind] for kind in kinds))
    rows = [
        (
            str(cost.dimensions),
            cost.method,
            cost.storage,
            str(cost.size_bytes),
            f"{cost.recall:.3f}",
            *(f"{cost.recalls[kind]:.3f}" for kind in kinds),
        )
        for cost in found.costs
    ]
    print_table(columns, rows, right=("dim", *columns[3:]))
    asked = " and ".join(f"{count} {SAYS[kind]}" for kind, count in found.queries.items())
    note(f"measured on {plural(found.sampled, 'item')}, with {asked} as queries; rescored: of the 40 nearest")

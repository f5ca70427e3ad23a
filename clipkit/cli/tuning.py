"""`clipkit tune`: the index that is fast and good enough, found on the collection's own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.output import note, plural, print_json, print_table, progress_bar, size
from clipkit.cli.session import Session
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    from clipkit.tuning import Trial, Tuning

SAYS = {"image": "pictures", "text": "texts"}


def tune(
    session: Session,
    recall: Annotated[
        float, typer.Option(metavar="R", help="The share of the ten true best hits that a search shall find.")
    ] = 0.95,
    sample: Annotated[
        int, typer.Option(metavar="N", help="Try the choices on so many items, drawn at random.")
    ] = 100_000,
    queries: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Searches that you expect, one a line, to be measured with."),
    ] = None,
) -> None:
    """Choose the index of a large collection: try kinds of them against exact search, and keep the best.

    Prints recall@10, latency and size of each choice on a sample. The fastest that reaches the recall both
    for pictures and for texts is built, and kept as the collection grows. Searches go on meanwhile. A small
    collection is searched exactly, and nothing is changed.

    Example: clipkit tune --recall 0.98
    """
    texts = None if queries is None else lines_of(queries)
    collection = session.open()
    with progress_bar("tuning") as show:
        found = collection.tune(recall, sample=sample, texts=texts, progress=show)
    if session.json:
        print_json(asdict(found))
    elif found.chosen is None:
        print(
            f"{plural(found.rows, 'item')}: every search is exact. An index pays from {found.pays_from} on; "
            "nothing was changed"
        )
    else:
        _show(found, found.chosen)


def lines_of(file: Path) -> list[str]:
    """The searches in a text file, one a line. Raises InvalidInput if it is not UTF-8, or holds none."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8: {error}") from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise InvalidInput(f"{file} has no line with a search in it")
    return texts


def _show(found: Tuning, chosen: Trial) -> None:
    kinds = list(found.queries)
    columns = ("index", "partitions", "read", "refine", "recall@10", *(SAYS[kind] for kind in kinds))
    columns += ("p50 ms", "p95 ms", "size", "build s")
    print_table(columns, [_row(trial, kinds) for trial in found.trials], right=columns[1:])
    asked = " and ".join(f"{count} {SAYS[kind]}" for kind, count in found.queries.items())
    note(f"tried on {found.sampled} of {plural(found.rows, 'item')}, with {asked} as queries")
    what = "every search stays exact" if chosen.plan.kind == "exact" else f"chosen: {_name(chosen)}"
    print(f"{what}; recall@10 {chosen.recall:.3f}, p50 {chosen.p50_ms:.1f} ms, {size(chosen.size_bytes)}")


def _row(trial: Trial, kinds: Sequence[str]) -> tuple[str, ...]:
    exact = trial.plan.kind == "exact"
    plan = (str(number) for number in (trial.plan.partitions, trial.plan.probes, trial.plan.refine))
    return (
        trial.plan.name,
        *(("", "", "") if exact else plan),
        f"{trial.recall:.3f}",
        *(f"{trial.recalls[kind]:.3f}" for kind in kinds),
        f"{trial.p50_ms:.1f}",
        f"{trial.p95_ms:.1f}",
        "" if exact else size(trial.size_bytes),
        "" if exact else f"{trial.build_seconds:.1f}",
    )


def _name(trial: Trial) -> str:
    plan = trial.plan
    return f"{plan.name}, {plan.probes} of {plan.partitions} partitions read, refine {plan.refine}"

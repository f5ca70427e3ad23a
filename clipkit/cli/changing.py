"""`clipkit reindex`, a change of the model; `clipkit snapshot` and its kin, versions of a collection."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.keeping import ask
from clipkit.cli.machine import complete_model
from clipkit.cli.output import duration, note, one_line, plural, print_json, print_table, progress_bar
from clipkit.cli.session import Session
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.reports import Comparison, ReindexReport

FAILURES_SHOWN = 5

_Name = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="The name of a snapshot.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def reindex(
    session: Session,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The new model: see clipkit models. Default: the collection's own, for what lacks a vector.",
            autocompletion=complete_model,
        ),
    ] = None,
    no_switch: Annotated[
        bool, typer.Option("--no-switch", help="Only make the vectors, and compare the models.")
    ] = False,
    back: Annotated[bool, typer.Option("--back", help="Undo the last switch.")] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Drop the vectors of other models: frees space, ends --back.")
    ] = False,
    yes: _Yes = False,
) -> None:
    """Change the model of a collection: make its vectors beside the old ones, compare, then switch.

    Searches go on meanwhile. Ctrl-C keeps what is done; the same command goes on. Pictures are read again
    from their files. Before the switch it asks on a terminal; elsewhere --yes is needed.

    Example: clipkit reindex --model best
    """
    if sum((model is not None or no_switch, back, drop_old)) > 1:
        raise InvalidInput("choose one: --model with or without --no-switch, --back, or --drop-old")
    collection = session.open()
    if drop_old:
        _drop_old(session, collection, yes=yes)
    elif back:
        collection.reindex_back()
        _show(session, _run(session, collection, collection.encoder_name, switch=True))
    else:
        _change(
            session, collection, model or collection.encoder_name, ask_first=not yes, switch=not no_switch
        )


def _change(session: Session, collection: Collection, model: str, *, ask_first: bool, switch: bool) -> None:
    asks = ask_first and switch and model != collection.encoder_name
    report = _run(session, collection, model, switch=switch and not asks, sampled=True)
    if asks and report.model != report.before:
        if report.comparison is not None:
            note(_compared(report.comparison))
        ask(f"Use {report.model} from now on, no longer {report.before}? (--back undoes it)")
        switched = _run(session, collection, model, switch=True)
        report = _joined(report, switched)
    _show(session, report)


def _run(
    session: Session, collection: Collection, model: str, *, switch: bool, sampled: bool = False
) -> ReindexReport:
    from clipkit.comparison import COMPARED

    try:
        with progress_bar("reindexing") as show:
            return collection.reindex(model, switch=switch, sample=COMPARED if sampled else 0, progress=show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; what is done is kept. To go on:\n  {session.typed()}"
        ) from None


def _joined(first: ReindexReport, second: ReindexReport) -> ReindexReport:
    from dataclasses import replace

    return replace(
        second,
        embedded=first.embedded + second.embedded,
        from_thumbnails=first.from_thumbnails + second.from_thumbnails,
        comparison=first.comparison,
        failures=tuple({failure.id: failure for failure in first.failures + second.failures}.values()),
        seconds=first.seconds + second.seconds,
    )


def _show(session: Session, report: ReindexReport) -> None:
    if session.json:
        print_json(asdict(report))
    else:
        print(f"embedded {report.embedded} with {report.model} in {duration(report.seconds)}")
        if report.comparison is not None:
            print(_compared(report.comparison))
        print(f"searches use {report.model if report.switched else report.before}")
    if report.from_thumbnails:
        note(
            f"{plural(report.from_thumbnails, 'picture')} no longer in place: embedded from the thumbnail, "
            "which is less exact"
        )
    if report.failures:
        note(f"{plural(len(report.failures), 'item')} could not be embedded, and stay without a vector:")
        for failure in report.failures[:FAILURES_SHOWN]:
            note(f"  {failure.id}: {failure.reason}")
    if not report.switched:
        note(f"to switch:  {session.again('reindex --model')} {report.model}")
    elif report.before != report.model:
        note(f"to undo it:  {session.again('reindex --back')}")
        note(f"to free the space of the old vectors:  {session.again('reindex --drop-old')}")


def _compared(comparison: Comparison) -> str:
    parts = []
    if comparison.overlap is not None:
        parts.append(f"{comparison.overlap:.0%} for {plural(comparison.queries, 'stored picture')}")
    if comparison.texts_overlap is not None:
        parts.append(f"{comparison.texts_overlap:.0%} for {plural(comparison.texts, 'stored text')}")
    if not parts:
        return "there is too little in the collection to compare the two models"
    lines = [f"of the 10 best hits the two models share {', '.join(parts)}"]
    lines += [
        f"  least alike: {one_line(identity)} ({overlap:.0%})" for identity, overlap in comparison.unlike
    ]
    return "\n".join(lines)


def _drop_old(session: Session, collection: Collection, *, yes: bool) -> None:
    if not yes:
        ask(f"Drop all vectors but those of {collection.encoder_name} from {collection.name!r}?")
    dropped = collection.drop_old_vectors()
    if session.json:
        print_json({"collection": collection.name, "dropped": dropped})
    else:
        print(f"dropped the vectors of {', '.join(dropped)}" if dropped else "there are no old vectors")


def snapshot(
    session: Session,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="What to call it.")],
    delete: Annotated[
        bool, typer.Option("--delete", help="Give up that snapshot, and free its space.")
    ] = False,
) -> None:
    """Keep what the collection is now under a name, to see and to restore later.

    It costs the space of what changes afterwards. Pictures are not part of it: they stay where they are.

    Example: clipkit snapshot before-cleanup
    """
    collection = session.open()
    if delete:
        collection.delete_snapshot(snapshot)
        document: dict[str, object] = {"collection": collection.name, "deleted": snapshot}
        line = f"deleted the snapshot {snapshot}"
    else:
        taken = collection.snapshot(snapshot)
        document = asdict(taken)
        line = f"{taken.name} keeps {plural(taken.items, 'item')}"
    if session.json:
        print_json(document)
    else:
        print(line)


def snapshots(session: Session) -> None:
    """List the snapshots of a collection, the oldest first.

    Example: clipkit snapshots
    """
    found = session.open().snapshots()
    if session.json:
        print_json({"snapshots": [asdict(each) for each in found]})
        return
    rows = [(each.name, f"{each.taken_at:%Y-%m-%d %H:%M}", str(each.items)) for each in found]
    print_table(("snapshot", "taken", "items"), rows, right=("items",))
    if not found:
        note(f"there is none; to take one:  {session.again('snapshot')} NAME")


def restore(session: Session, snapshot: _Name, yes: _Yes = False) -> None:
    """Make the collection what it was at a snapshot. Files on disk are not touched.

    What it is now becomes a snapshot first, so that this can be undone. Asks first on a terminal; elsewhere
    --yes is needed.

    Example: clipkit restore before-cleanup --yes
    """
    collection = session.open()
    if not yes:
        ask(f"Make {collection.name!r} what it was at {snapshot!r}?")
    undo = collection.restore(snapshot)
    if session.json:
        print_json({"collection": collection.name, "restored": snapshot, "before": undo})
        return
    print(f"restored {snapshot}: {plural(collection.count(), 'item')}")
    note(f"to undo it:  {session.again('restore')} {undo}")


def changes(
    session: Session,
    before: _Name,
    after: Annotated[
        str | None, typer.Argument(metavar="LATER", help="Another snapshot. Default: what is there now.")
    ] = None,
) -> None:
    """Show what was added, removed and changed since a snapshot, or between two.

    Example: clipkit changes before-cleanup
    """
    collection = session.open()
    found = collection.changes(before, after)
    if session.json:
        print_json(asdict(found))
        return
    for sign, ids in (("+", found.added), ("-", found.removed), ("~", found.changed)):
        for identity in ids:
            print(f"{sign} {one_line(identity)}")
    note(f"{len(found.added)} added, {len(found.removed)} removed, {len(found.changed)} changed")

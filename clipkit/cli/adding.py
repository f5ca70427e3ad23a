"""`clipkit index` and `clipkit add-texts`: what fills a collection."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.machine import complete_model
from clipkit.cli.output import duration, note, plural, print_json, progress_bar
from clipkit.cli.session import Session
from clipkit.errors import InvalidInput
from clipkit.filters import starts_with

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.reports import Failure, IndexReport

FAILURES_SHOWN = 5
TEXTS_AT_ONCE = 1024  # one commit each: an interrupted run has kept all but the last

Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="The model of a new collection: see clipkit models. An existing one keeps its own.",
        autocompletion=complete_model,
    ),
]


def index(
    session: Session,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATHS",
            exists=True,
            help="Folders, with all below them; pictures; tar and Parquet files.",
        ),
    ],
    model: Model = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB", help="Take only files like this: '*.jpg', 'holiday/*'. May be repeated."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave out files and folders like this: 'raw/*'. May be repeated."),
    ] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Take names that start with a dot, too.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop files that are gone even if they are more than a fifth.")
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Skip, and report, pictures with more pixels than this."),
    ] = None,
    no_captions: Annotated[
        bool, typer.Option("--no-captions", help="Take pictures alone, without what describes them.")
    ] = False,
) -> None:
    """Index pictures, or bring the index up to date.

    Captions come from x.txt beside x.jpg, and from metadata.csv, .jsonl or .parquet in a folder. Only what is
    new or has changed is read. Ctrl-C keeps what is done; the same command goes on.

    Example: clipkit index ~/Pictures --exclude 'raw/*'
    """
    from clipkit.folders import Selection
    from clipkit.reports import IndexInterrupted, IndexReport

    try:
        collection = session.open_or_create(model)
        with progress_bar("indexing") as show:
            report = collection.index(
                paths,
                selection=Selection(tuple(pattern or ()), tuple(exclude or ()), hidden, not no_captions),
                prune=prune,
                max_pixels=max_pixels,
                progress=show,
            )
    except KeyboardInterrupt as stopped:
        _show_interrupted(session, stopped.report if isinstance(stopped, IndexInterrupted) else IndexReport())
        raise typer.Exit(1) from None
    _show_report(session, collection.name, report)


def _show_report(session: Session, name: str, report: IndexReport) -> None:
    if session.json:
        print_json({"collection": name, **asdict(report)})
    else:
        print(f"{_counts(report)} in {duration(report.seconds)}")
    _note_failures(session, report.failures)
    if not (report.unchanged or report.added or report.updated or report.moved or report.skipped):
        note("no pictures were found there (by their suffixes; --pattern and --hidden take others)")
    if report.kept_missing:
        note(
            f"{plural(report.kept_missing, 'file')} gone from disk and kept in the collection: so many may "
            f"mean that a disk is missing. If they are gone for good:\n  {session.typed('--prune')}"
        )


def _counts(report: IndexReport) -> str:
    names = ["added", "updated", "moved", "removed", "unchanged", "skipped"]
    names += ["captions"] if report.captions else []
    return ", ".join(f"{name} {getattr(report, name)}" for name in names)


def _show_interrupted(session: Session, report: IndexReport) -> None:
    saved = report.added + report.updated + report.moved
    message = f"interrupted; {plural(saved, 'file')} saved by this run. To go on:\n  {session.typed()}"
    if session.json:
        print_json({"error": {"type": "Interrupted", "message": message}, **asdict(report)})
    note(message)


def _note_failures(session: Session, failures: Sequence[Failure]) -> None:
    if not failures:
        return
    what = f"{plural(len(failures), 'file')} or parts of files"
    note(f"{what} could not be used, and will be tried again after a change:")
    for failure in failures[:FAILURES_SHOWN]:
        note(f"  {failure.id}: {failure.reason}")
    if len(failures) > FAILURES_SHOWN:
        more = len(failures) - FAILURES_SHOWN
        note(f"  and {more} more; all of them:  {session.again('status --failures')}")


def add_texts(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One text per line, in UTF-8; - reads stdin.")],
    model: Model = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What ids start with. Default: the file's absolute path, or stdin."
        ),
    ] = None,
) -> None:
    """Add texts, one per line: captions, labels, sentences that describe can choose from.

    The id of a text is file:line, so a second run updates its texts rather than doubling them, and drops
    those whose lines are gone. Blank lines are passed over.

    Example: printf 'a dog\\na cat\\n' | clipkit add-texts - --source animals
    """
    lines = read_lines(file)
    source = source or ("stdin" if str(file) == "-" else str(file.absolute()))
    texts = {f"{source}:{number}": line for number, line in enumerate(lines, 1) if line.strip()}
    if not texts:
        raise InvalidInput(f"{file} holds no text")
    collection = session.open_or_create(model)
    added, updated, cut = _add(session, collection, texts)
    removed = collection.delete(_stale(collection, source, texts))
    if session.json:
        counts = {"added": added, "updated": updated, "removed": removed, "cut": cut}
        print_json({"collection": collection.name, **counts})
    else:
        print(f"added {added}, updated {updated}, removed {removed}")
    if cut:
        note(f"{plural(cut, 'text')} longer than the model reads, so only the beginning counts")


def read_lines(file: Path) -> list[str]:
    """The lines of a text file, or for - of stdin, blanks around them cut off."""
    if str(file) != "-" and not file.is_file():
        raise InvalidInput(f"there is no file {file}")
    data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{file}, line {line}: not UTF-8. Convert it first:  iconv -f LATIN1 -t UTF-8 {file}"
        ) from error
    return [line.strip() for line in text.split("\n")]  # splitlines() would also split at U+2028 and \f


def _add(session: Session, collection: Collection, texts: dict[str, str]) -> tuple[int, int, int]:
    """(added, updated, cut)"""
    from clipkit.encoder import TextCutWarning, batched
    from clipkit.reports import Progress

    added = updated = cut = 0
    try:
        with progress_bar("adding texts") as show, warnings.catch_warnings():
            warnings.simplefilter("ignore", TextCutWarning)  # counted, and said once for all
            for batch in batched(texts.items(), TEXTS_AT_ONCE):
                report = collection.add_texts([text for _, text in batch], ids=[id for id, _ in batch])
                added, updated, cut = added + report.added, updated + report.updated, cut + report.cut
                show(Progress(added + updated, len(texts), 0))
    except KeyboardInterrupt:
        saved = plural(added + updated, "text")
        raise KeyboardInterrupt(
            f"interrupted; {saved} saved by this run. To go on:\n  {session.typed()}"
        ) from None
    return added, updated, cut


def _stale(collection: Collection, source: str, texts: dict[str, str]) -> list[str]:
    """The ids that an earlier run gave to lines of this source that hold no text now."""
    where = f"kind = 'text' AND {starts_with('id', source + ':')}"
    stored = collection.to_arrow(columns=["id"], where=where)["id"].to_pylist()
    # an id such as labels:2024:7 belongs to the source labels:2024
    return [id for id in stored if id not in texts and id.removeprefix(f"{source}:").isdecimal()]

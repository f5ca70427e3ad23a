"""`clipkit status`, `delete`, `hide` and `export`: see what a collection holds, drop it, hide it, copy it."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipkit.cli.output import note, plural, print_facts, print_json, print_table, size
from clipkit.cli.session import Session
from clipkit.errors import InvalidInput, did_you_mean
from clipkit.filters import id_in

if TYPE_CHECKING:
    import pyarrow as pa

    from clipkit.collection import Collection
    from clipkit.reports import IndexStatus

SUFFIXES = (".parquet", ".arrow", ".feather", ".csv")


def status(
    session: Session,
    failures: Annotated[
        bool, typer.Option("--failures", help="List the files that could not be read, and why.")
    ] = False,
) -> None:
    """Show what a collection holds.

    Example: clipkit status --failures
    """
    from clipkit.collection import Collection

    collection = session.open()
    found = collection.status()
    if session.json:
        failed = {"failed": [asdict(failure) for failure in collection.failures()]} if failures else {}
        print_json({**asdict(found), **failed})
        return
    if failures:
        print_table(("file", "reason"), [(failure.id, failure.reason) for failure in collection.failures()])
        return
    facts = {
        "collection": f"{found.name} in {found.db}",
        "model": f"{found.encoder}, {found.dim} dimensions",
        "images": str(found.images),
        "texts": str(found.texts),
        "unreadable": plural(found.failures, "file") if found.failures else "none",
        "on disk": size(found.size_bytes),
    }
    facts["search"] = "exact" if found.index is None else _index_facts(found.index)
    if found.columns:
        facts["own columns"] = ", ".join(f"{name} ({kind})" for name, kind in found.columns.items())
    others = [name for name in Collection.names(session.db) if name != found.name]
    if others:
        facts["beside it"] = ", ".join(others)
    print_facts(facts)
    if found.failures:
        note(f"which files, and why:  {session.again('status --failures')}")


def _index_facts(index: IndexStatus) -> str:
    rows = f"{index.indexed} items" + (f" and {index.unindexed} not yet in it" if index.unindexed else "")
    tuned = "" if index.recall is None else f", recall@10 {index.recall:.3f} when tuned"
    return (
        f"by {index.kind} of {rows}, {size(index.size_bytes)}; {index.probes} of {index.partitions} "
        f"partitions read, {index.refine} candidates a hit scored again{tuned}"
    )


def delete(
    session: Session,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="IDS", help="Ids, or paths of indexed files.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete items from a collection. Files on disk are not touched.

    Asks first on a terminal; elsewhere --yes is needed. A file that is still there is indexed again by the
    next run of index that finds it.

    Example: clipkit delete --where "width < 200" --yes
    """
    where = session.where
    if bool(ids) == (where is not None):
        raise InvalidInput("name what to delete: either ids, or a filter such as --where or --until")
    collection = session.open()
    found = _stored(collection, ids) if ids else []
    count = len(found) if ids else collection.count(where=where)
    if count and not yes:
        ask(f"Delete {plural(count, 'item')} from {collection.name!r}?")
    deleted = 0
    if count:
        deleted = collection.delete(found) if where is None else collection.delete_where(where)
    if session.json:
        print_json({"collection": collection.name, "deleted": deleted})
    else:
        print(f"deleted {deleted}")


def hide(
    session: Session,
    ids: Annotated[list[str], typer.Argument(metavar="IDS", help="Ids, or paths of indexed files.")],
    undo: Annotated[bool, typer.Option("--undo", help="Show them again.")] = False,
) -> None:
    """Keep items out of searches and albums, with their captions. They stay in the collection.

    The mark is a column of your own, hidden: clipkit search --where hidden finds them.

    Example: clipkit hide /photos/receipt.jpg
    """
    from clipkit.hiding import hide as mark
    from clipkit.hiding import unhide

    collection = session.open()
    marked = (unhide if undo else mark)(collection, _stored(collection, ids))
    if session.json:
        print_json({"collection": collection.name, "shown" if undo else "hidden": marked})
    else:
        print(f"{'shown again' if undo else 'hidden'} {marked}")


def _stored(collection: Collection, given: list[str]) -> list[str]:
    """The ids among `given`, a path standing for the id of its file. Says which are not there."""
    found = _found(collection, given)
    for value in given:
        if value not in found:
            note(f"not in the collection: {value}")
    return sorted(set(found.values()))


def known_ids(collection: Collection, given: Sequence[str]) -> list[str]:
    """`given`, with the id of its file for a path; what is not there stays as it is."""
    found = _found(collection, given)
    return [found.get(value, value) for value in given]


def _found(collection: Collection, given: Sequence[str]) -> dict[str, str]:
    """The id that each of `given` stands for, itself or as the path of a file; without those not there."""
    from clipkit.folders import path_to_id

    forms = {value: (value, path_to_id(os.path.realpath(value))) for value in given}
    anyone = id_in(form for both in forms.values() for form in both)
    there = set(collection.to_arrow(columns=["id"], where=anyone)["id"].to_pylist())
    return {
        value: next(form for form in both if form in there)
        for value, both in forms.items()
        if there.intersection(both)
    }


def ask(question: str) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput("there is no terminal to ask on: say --yes if you are sure")
    typer.confirm(question, abort=True, err=True)


def export(
    session: Session,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to: FILE.parquet, .arrow, .feather or .csv.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write the items to a file: all columns and the vectors; CSV goes without the vectors.

    Example: clipkit export pictures.parquet --where "kind = 'image'"
    """
    suffix = checked_suffix(file, SUFFIXES, force=force)
    collection = session.open()
    if suffix == ".parquet":
        rows = collection.to_parquet(file, where=session.where)
    else:
        rows = _write(collection, file, session.where, as_csv=suffix == ".csv")
    if session.json:
        print_json({"collection": collection.name, "file": str(file.absolute()), "items": rows})
    else:
        print(f"{plural(rows, 'item')} written to {file}")


def checked_suffix(file: Path, known: Sequence[str], *, force: bool) -> str:
    """The suffix of a file that can be written, in lower case. Raises InvalidInput."""
    suffix = file.suffix.lower()
    if suffix not in known:
        raise InvalidInput(f"no format is known for {file.name!r}. {did_you_mean(suffix, known)}")
    if not file.parent.is_dir():
        raise InvalidInput(f"there is no folder {file.parent}")
    if file.exists() and not force:
        raise InvalidInput(f"{file} is there already: --force replaces it")
    return suffix


def _write(collection: Collection, file: Path, where: str | None, *, as_csv: bool) -> int:
    """The number of items written; the file appears only when it is complete."""
    empty = collection.to_arrow(where="false")
    columns = [name for name in empty.schema.names if not (as_csv and name == "vector")]
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.part")
    rows = 0
    try:
        chosen = empty.select(columns)
        with _writer(part, (_flat(chosen) if as_csv else chosen).schema, as_csv) as writer:
            for batch in collection.batches(columns=columns, where=where):
                writer.write_batch(_flat(batch) if as_csv else batch)
                rows += batch.num_rows
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return rows


def _flat(rows: Any) -> Any:
    """`rows`, a table or batch, with lists, for which CSV has no form, as JSON."""
    import pyarrow as pa

    for at, field in enumerate(rows.schema):
        if pa.types.is_list(field.type):
            lists = [
                None if value is None else json.dumps(value, default=str) for value in rows[at].to_pylist()
            ]
            rows = rows.set_column(at, field.name, pa.array(lists, pa.string()))
    return rows


def _writer(file: Path, schema: pa.Schema, as_csv: bool) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    return csv.CSVWriter(file, schema) if as_csv else pa.ipc.new_file(str(file), schema)

"""Named versions of a table. They outlive the cleaning up, and cost what has changed since.

Each is a branch that nobody writes to. Lance keeps the version that a branch began at; with a tag, which
would keep it too, every cleaning up fails.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from clipkit.lance.table import Table

HOLD_S = 60.0  # for a process that is killed while it takes one; else it is let go at once
SETTLE_S = 1.0  # from looking whether a table is held to cleaning it up, a process takes some 10 ms


@contextmanager
def held(tables: Sequence[Table]) -> Iterator[None]:
    """While it lasts, no process drops a version of these tables.

    Whoever looked before the tables were held has begun meanwhile, and drops only what was old then.
    """
    for table in tables:
        table.hold(HOLD_S)
    time.sleep(SETTLE_S)
    try:
        yield
    finally:
        for table in tables:
            table.hold(0)


def take(table: Table, name: str) -> None:
    """Keep the newest version of a table that is `held` under `name`, which no other has."""

    def branch() -> None:
        # told no version, Lance branches off from one that this handle saw before, or even from the first
        table.handle.checkout_latest()
        table.handle.branches.create(name, None, table.handle.version)

    table.write(branch)


def names(table: Table) -> set[str]:
    """The names of the versions that are kept."""
    return set(_versions(table))


def at(table: Table, name: str) -> Table:
    """The version of that name, to read from."""
    return Table(table.patiently(lambda: table.handle.branches.checkout(name)), table.location)


def taken_at(kept: Table) -> datetime:
    """When the version that `at` gave was taken."""
    (only,) = kept.patiently(kept.handle.list_versions)
    taken: datetime = only["timestamp"].astimezone()
    return taken


def restore(table: Table, name: str) -> None:
    """Make the rows and the schema those of the version of that name; a new version like any other.

    One without rows has no files, and Lance lets it go. Then the rows go, and the schema stays as it is.
    """
    if at(table, name).count():
        table.write(partial(table.handle.restore, _versions(table)[name]))
        table.patiently(table.handle.checkout_latest)
    else:
        table.delete("true")


def drop(table: Table, name: str) -> None:
    """Give up the version of that name. Its space is freed when the table is next cleaned up."""
    table.write(partial(table.handle.branches.delete, name))


def _versions(table: Table) -> dict[str, int]:
    found = table.patiently(lambda: table.handle.branches.list())
    return {name: branch["parent_version"] for name, branch in found.items()}

"""Named versions of a table. They outlive the cleaning up, and cost what has changed since.

Each is a branch that nobody writes to. Lance keeps the version that a branch began at; with a tag, which
would keep it too, every cleaning up fails.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from clipkit.lance.table import Table


def take(table: Table, name: str) -> None:
    """Keep the present version under `name`, which no other has."""
    table.write(partial(table.handle.branches.create, name))


def versions(table: Table) -> dict[str, int]:
    """The versions that are kept, by name."""
    return {
        name: found["parent_version"] for name, found in table.patiently(table.handle.branches.list).items()
    }


def written_at(table: Table) -> dict[int, datetime]:
    """When each version that is still there was written."""
    return {
        found["version"]: found["timestamp"].astimezone()
        for found in table.patiently(table.handle.list_versions)
    }


def at(table: Table, name: str) -> Table:
    """The version of that name, to read from."""
    return Table(table.patiently(partial(table.handle.branches.checkout, name)), table.location)


def restore(table: Table, name: str) -> None:
    """Make the rows and the schema those of the version of that name; a new version like any other."""
    version = versions(table)[name]
    table.write(partial(table.handle.restore, version))
    table.patiently(table.handle.checkout_latest)


def drop(table: Table, name: str) -> None:
    """Give up the version of that name. Its space is freed when the table is next cleaned up."""
    table.write(partial(table.handle.branches.delete, name))

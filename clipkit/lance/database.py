"""The tables at a local path or an object-store URI."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pyarrow as pa

from clipkit.errors import CollectionNotFound
from clipkit.lance.failures import storage_error
from clipkit.lance.lightly import lancedb
from clipkit.lance.table import Table

METADATA_CACHE_BYTES = 64 << 20  # the 1 GB that Lance takes fills with dead versions, 0.1 MB a commit


class Database:
    """The tables at a local path or an object-store URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        session = lancedb.Session(metadata_cache_size_bytes=METADATA_CACHE_BYTES)
        # an interval of zero: every read sees what other processes have committed
        connect = partial(lancedb.connect, uri, read_consistency_interval=timedelta(0), session=session)
        self._connection = self._checked(connect, missing=None)

    def names(self) -> list[str]:
        """All tables, sorted."""
        found: list[str] = []
        token = None
        while True:
            page = self._checked(partial(self._connection.list_tables, page_token=token), missing=None)
            found += page.tables
            token = page.page_token
            if not token:
                return sorted(found)

    def create(self, name: str, schema: pa.Schema) -> Table | None:
        """A new, empty table; None if one of that name is there, even if another process made it just now."""
        create = partial(self._connection.create_table, name, schema=schema)
        # the others are what Lance says to whoever comes an instant too late
        there = "already exists|Incompatible transaction|preempted by"
        table = self._checked(create, missing=there, table=name)
        return None if table is None else Table(table, f"{self.uri}/{name}")

    def open(self, name: str) -> Table | None:
        """The table of that name, or None if there is none."""
        table = self._checked(partial(self._connection.open_table, name), missing="was not found", table=name)
        return None if table is None else Table(table, f"{self.uri}/{name}")

    def ensure(self, name: str, schema: pa.Schema) -> Table:
        """The table of that name, made if it is not there yet."""
        table = self.open(name) or self.create(name, schema) or self.open(name)
        if table is None:
            raise CollectionNotFound(f"the table {name!r} in {self.uri} has just been deleted")
        return table

    def _checked(self, operation: Callable[[], Any], *, missing: str | None, table: str = "") -> Any:
        """The result of `operation`; None where its error matches `missing`; our own error for any other."""
        try:
            return operation()
        except Exception as error:  # Lance raises every kind, even one of its own for a panic
            if missing is not None and re.search(missing, str(error)):
                return None
            raise storage_error(error, f"{self.uri}/{table}".removesuffix("/")) from error

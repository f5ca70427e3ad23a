"""What a collection is on disk: the schema, its stamp, and three tables keyed by `id`.

Collection NAME is the table NAME with the items and their vectors, NAME.thumbnails with the small JPEGs
(apart, so that compacting vectors moves no pictures), and NAME.failures with the unreadable files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from clipkit.errors import (
    CollectionExists,
    CollectionMismatch,
    CollectionNotFound,
    InvalidInput,
    did_you_mean,
)
from clipkit.lance import Database, Table

FORMAT_VERSION = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

_KEY = pa.field("id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})
_ITEM_FIELDS = (
    pa.field("kind", pa.string(), nullable=False),  # "image" or "text"
    pa.field("uri", pa.string()),
    pa.field("text", pa.string()),
    pa.field("content_hash", pa.string()),  # SHA-256 of the file, hex
    pa.field("size_bytes", pa.int64()),
    pa.field("mtime_ns", pa.int64()),
    pa.field("width", pa.int32()),  # pixels, of the upright picture
    pa.field("height", pa.int32()),
    pa.field("taken_at", pa.timestamp("us")),  # the camera's local time
    pa.field("latitude", pa.float64()),  # degrees, WGS 84
    pa.field("longitude", pa.float64()),
    pa.field("camera", pa.string()),
)
BUILTIN_COLUMNS = ("id", *(field.name for field in _ITEM_FIELDS), "vector")
_THUMBNAILS = pa.schema([_KEY, pa.field("jpeg", pa.binary(), nullable=False)])
_FAILURES = pa.schema(
    [
        _KEY,
        pa.field("size_bytes", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a collection's vectors are: written into its schema, read back when it is opened."""

    encoder: str
    dim: int
    fingerprint: str
    format_version: int = FORMAT_VERSION

    def to_metadata(self) -> dict[str, str]:
        return {
            "clipkit.format_version": str(self.format_version),
            "clipkit.encoder": self.encoder,
            "clipkit.dim": str(self.dim),
            "clipkit.fingerprint": self.fingerprint,
            "clipkit.normalised": "true",
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None, where: str) -> Stamp:
        found = {key.decode(): value.decode() for key, value in (metadata or {}).items()}
        try:
            version = int(found["clipkit.format_version"])
            stamp = cls(
                found["clipkit.encoder"], int(found["clipkit.dim"]), found["clipkit.fingerprint"], version
            )
        except (KeyError, ValueError):
            raise CollectionMismatch(
                f"{where} is a LanceDB table, but not a clipkit collection: its schema does not say which "
                "model made it. Choose another name, or index into a new collection."
            ) from None
        if version != FORMAT_VERSION:
            raise CollectionMismatch(
                f"{where} has format version {version}; this clipkit reads and writes {FORMAT_VERSION}. "
                f"Open it with the clipkit that made it, or index again into a new collection."
            )
        return stamp


class Store:
    """The three tables of one collection."""

    def __init__(self, database: Database, name: str, items: Table) -> None:
        self.uri = database.uri
        self.name = name
        self.items = items
        self.stamp = Stamp.from_metadata(items.schema.metadata, f"{name!r} in {database.uri}")
        self.thumbnails = _opened(database, f"{name}.thumbnails", _THUMBNAILS)
        self.failures = _opened(database, f"{name}.failures", _FAILURES)

    @classmethod
    def create(cls, uri: str, name: str, stamp: Stamp, columns: Sequence[pa.Field]) -> Store:
        """A new, empty collection. Raises CollectionExists if the name is taken."""
        database = Database(uri)
        vector = pa.field("vector", pa.list_(pa.float32(), stamp.dim), nullable=False)
        schema = pa.schema([_KEY, *_ITEM_FIELDS, *columns, vector], metadata=stamp.to_metadata())
        items = database.create(_checked(name), schema)
        if items is None:
            raise CollectionExists(f"{uri} has a collection {name!r} already: open it, or take another name")
        return cls(database, name, items)

    @classmethod
    def open(cls, uri: str, name: str) -> Store:
        """An existing collection. Raises CollectionNotFound or CollectionMismatch."""
        there = collection_names(uri)
        if _checked(name) not in there:
            hint = did_you_mean(name, there) or "There is none yet: index a folder to make one."
            raise CollectionNotFound(f"{uri} has no collection {name!r}. {hint}")
        database = Database(uri)
        return cls(database, name, _opened(database, name, None))

    def delete(self, where: str) -> int:
        """The number of items deleted, with their thumbnails."""
        ids = self.items.read(["id"], where)["id"].to_pylist()
        deleted = self.items.delete_ids(ids)
        self.thumbnails.delete_ids(ids)
        return deleted

    def optimize(self) -> None:
        for table in (self.items, self.thumbnails, self.failures):
            table.optimize()


def collection_names(uri: str) -> list[str]:
    """The collections in a database, sorted; empty if there is no such place. Nothing is created."""
    if "://" not in uri and not Path(uri).is_dir():
        return []
    return [name for name in Database(uri).names() if NAME.fullmatch(name)]


def _opened(database: Database, name: str, schema: pa.Schema | None) -> Table:
    """The table, made if a schema is given and it is not there yet."""
    table = database.open(name) or (database.create(name, schema) if schema else None) or database.open(name)
    if table is None:
        raise CollectionNotFound(f"the table {name!r} in {database.uri} has just been deleted")
    return table


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot name a collection: it takes letters, digits, '-' and '_', and starts with a "
            "letter or digit"
        )
    return name

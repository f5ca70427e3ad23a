"""What a collection is on disk: the schema, its stamp, and four tables keyed by `id`.

Collection NAME is the table NAME with the items and their vectors, NAME.thumbnails with the small JPEGs
(apart, so that compacting vectors moves no pictures), NAME.failures with the unreadable files, and
NAME.sources with the files that speak of pictures or hold them, as they were when they were last read.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipkit.encoder import Encoder, Vectors, batched
from clipkit.errors import (
    ClipkitError,
    CollectionExists,
    CollectionMismatch,
    CollectionNotFound,
    InvalidInput,
    StorageError,
    did_you_mean,
)
from clipkit.filters import all_of, id_in, is_in
from clipkit.folders import FoundFile
from clipkit.lance import Database, Table, VectorColumn

FORMAT_VERSION = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # with its suffixes, within every file system's limit

_KEY = pa.field("id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})
_ITEM_FIELDS = (
    pa.field("kind", pa.string(), nullable=False),  # "image" or "text"
    pa.field("uri", pa.string()),
    pa.field("text", pa.string()),  # of an image: its captions, one a line
    pa.field("image_id", pa.string()),  # of a text: the image that it describes
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
_SOURCES = pa.schema(
    [
        _KEY,
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("described", pa.bool_(), nullable=False),  # whether its captions were taken, too
    ]
)


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One item to be written, but for its vector. `metadata` are values for the user's own columns."""

    id: str
    kind: Literal["image", "text"]
    uri: str | None = None
    text: str | None = None
    image_id: str | None = None
    content_hash: str | None = None
    size_bytes: int | None = None
    mtime_ns: int | None = None
    width: int | None = None
    height: int | None = None
    taken_at: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None
    thumbnail: bytes | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a collection's vectors are: written into its schema, read back when it is opened."""

    encoder: str
    dim: int
    fingerprint: str
    upright: bool

    def to_metadata(self) -> dict[str, str]:
        return {
            "clipkit.format_version": str(FORMAT_VERSION),
            "clipkit.encoder": self.encoder,
            "clipkit.dim": str(self.dim),
            "clipkit.fingerprint": self.fingerprint,
            "clipkit.upright": str(self.upright).lower(),
            "clipkit.normalised": "true",
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None, where: str) -> Stamp:
        found = {key.decode(): value.decode() for key, value in (metadata or {}).items()}
        version = found.get("clipkit.format_version", "")
        if version not in ("", str(FORMAT_VERSION)):
            raise CollectionMismatch(
                f"{where} has format version {version}; this clipkit reads and writes {FORMAT_VERSION}. "
                "Open it with the clipkit that made it, or index again into a new collection."
            )
        try:
            if not version:
                raise KeyError("clipkit.format_version")
            return cls(
                encoder=found["clipkit.encoder"],
                dim=int(found["clipkit.dim"]),
                fingerprint=found["clipkit.fingerprint"],
                upright=found["clipkit.upright"] == "true",
            )
        except (KeyError, ValueError):
            raise CollectionMismatch(
                f"{where} is a LanceDB table, but not a clipkit collection: its schema does not say which "
                "model made it. Choose another name, or index into a new collection."
            ) from None

    def checked(self, encoder: Encoder, name: str) -> Encoder:
        """`encoder`, if the collection's vectors are its own. Raises CollectionMismatch."""
        if (encoder.fingerprint, encoder.dim) == (self.fingerprint, self.dim):
            return encoder
        if encoder.name == self.encoder:
            raise CollectionMismatch(
                f"the model {self.encoder} is not what it was when collection {name!r} was made: its weights "
                f"or preprocessing have changed (fingerprint {encoder.fingerprint}, not {self.fingerprint}). "
                "Bring the old files back, or index again into a new collection."
            )
        raise CollectionMismatch(
            f"collection {name!r} holds vectors of {self.encoder} ({self.dim} dimensions), which those of "
            f"{encoder.name} ({encoder.dim}) cannot be compared with. Open it without naming a model, or use "
            f"another collection for {encoder.name}."
        )


class Store:
    """The four tables of one collection."""

    def __init__(self, database: Database, name: str, items: Table) -> None:
        self.uri = database.uri
        self.name = name
        self.items = items
        self.vectors = VectorColumn(items)
        self.stamp = Stamp.from_metadata(items.schema.metadata, f"{name!r} in {database.uri}")
        self.thumbnails = _opened(database, f"{name}.thumbnails", _THUMBNAILS)
        self.failures = _opened(database, f"{name}.failures", _FAILURES)
        self.sources = _opened(database, f"{name}.sources", _SOURCES)

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

    def own_fields(self) -> list[pa.Field]:
        """The user's own columns."""
        return [field for field in self.items.schema if field.name not in BUILTIN_COLUMNS]

    def checked(self, where: str | None) -> str | None:
        """A user's filter, if it can be evaluated on the items. Raises FilterError."""
        return None if where is None else self.items.checked(where)

    def write(self, rows: Sequence[ItemRow], vectors: Vectors) -> tuple[int, int]:
        """(inserted, updated) after writing one row per vector; ids are unique within `rows`.

        Thumbnails go first: a crash in between leaves a spare picture, never an item without one. An item
        that is replaced keeps the user's columns that its row does not speak of: so rows that speak of
        different ones are written one after the other.
        """
        self._write_thumbnails((row.id, row.thumbnail) for row in rows if row.thumbnail is not None)
        alike: dict[frozenset[str], list[int]] = {}
        for at, row in enumerate(rows):
            alike.setdefault(frozenset(row.metadata), []).append(at)
        done = [
            self.items.upsert(self._items_table([rows[at] for at in places], vectors[places]))
            for places in alike.values()
        ]
        inserted, updated = (sum(counts) for counts in zip((0, 0), *done, strict=True))
        if updated:  # a picture may have become a text
            self.thumbnails.delete_ids(row.id for row in rows if row.thumbnail is None)
        return inserted, updated

    def _with_captions(self, rows: Sequence[ItemRow]) -> Sequence[ItemRow]:
        images = [row.id for row in rows if row.kind == "image" and row.text is None]
        if not images:
            return rows
        known = all_of("kind = 'image'", "text IS NOT NULL", id_in(images))
        stored = self.items.read(["id", "text"], known)
        texts = dict(zip(stored["id"].to_pylist(), stored["text"].to_pylist(), strict=True))
        return [replace(row, text=texts[row.id]) if row.id in texts else row for row in rows]

    def _write_thumbnails(self, pictures: Iterable[tuple[str, bytes]]) -> None:
        ids, jpegs = [], []
        for identity, jpeg in pictures:
            ids.append(identity)
            jpegs.append(jpeg)
        arrays = [pa.array(ids, pa.string()), pa.array(jpegs, pa.binary())]
        self.thumbnails.upsert(pa.Table.from_arrays(arrays, schema=self.thumbnails.schema))

    def _items_table(self, rows: Sequence[ItemRow], vectors: Vectors) -> pa.Table:
        schema = self.items.schema
        own = list(rows[0].metadata)
        fields = [schema.field(name) for name in (*BUILTIN_COLUMNS[:-1], *own, "vector")]
        arrays = [pa.array([getattr(row, f.name) for row in rows], f.type) for f in fields[: -len(own) - 1]]
        arrays += [pa.array([row.metadata[name] for row in rows], schema.field(name).type) for name in own]
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), self.stamp.dim))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def read_rows(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The items of these ids, in their order. Raises InvalidInput for one that is not there."""
        stored = self.items.read(self.items.schema.names, id_in(set(ids)))
        rows = {row["id"]: row for row in stored.to_pylist()}
        for position, identity in enumerate(ids):
            if identity not in rows:
                raise InvalidInput(f"there is no item {identity!r} in {self.name!r}", position=position)
        return [dict(rows[identity]) for identity in ids]

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """The stored vectors of these ids, in their order, (n, dim). Raises InvalidInput as `read_rows`."""
        return np.asarray([row["vector"] for row in self.read_rows(ids)], np.float32)

    def read_thumbnails(self, ids: Iterable[str]) -> dict[str, bytes]:
        """JPEG bytes by id, for those of `ids` that have any."""
        stored = self.thumbnails.read(["id", "jpeg"], id_in(ids))
        return dict(zip(stored["id"].to_pylist(), stored["jpeg"].to_pylist(), strict=True))

    def copy_thumbnails(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        """Give each of `targets` the thumbnail of the id beside it in `sources`."""
        pictures = self.read_thumbnails(set(sources))
        self._write_thumbnails(
            (t, pictures[s]) for s, t in zip(sources, targets, strict=True) if s in pictures
        )

    def write_failures(self, failures: Sequence[tuple[str, int | None, int | None, str]]) -> None:
        """Remember files that could not be read: (id, size_bytes, mtime_ns, reason), unique by id."""
        columns = zip(*failures, strict=True)
        arrays = [pa.array(column, f.type) for column, f in zip(columns, _FAILURES, strict=True)]
        self.failures.upsert(pa.Table.from_arrays(arrays, schema=self.failures.schema))

    def write_sources(self, files: Iterable[FoundFile], *, described: bool) -> None:
        """Remember that these files were read as they are now."""
        rows = [(file.id, file.size_bytes, file.mtime_ns, described) for file in files]
        columns = zip(*rows, strict=True) if rows else [()] * len(_SOURCES)
        arrays = [pa.array(column, f.type) for column, f in zip(columns, _SOURCES, strict=True)]
        self.sources.upsert(pa.Table.from_arrays(arrays, schema=self.sources.schema))

    def captions_of(self, images: Iterable[str], columns: Sequence[str] = ()) -> pa.Table:
        """The captions of these images: id, image_id, text and the given columns, in their order."""
        captions = all_of("kind = 'text'", is_in("image_id", images)) or ""
        rows = self.items.read(["id", "image_id", "text", *columns], captions)
        return rows.append_column("length", pc.utf8_length(rows["id"])).sort_by(
            [("image_id", "ascending"), ("length", "ascending"), ("id", "ascending")]  # -2 before -10
        )

    def join_captions(self, images: Iterable[str]) -> None:
        """Let the text of each image be its captions, so that whoever looks for words finds the image."""
        for page in batched(images, 4096):
            texts: dict[str, str | None] = dict.fromkeys(page)
            for row in self.captions_of(page).to_pylist():
                before = texts[row["image_id"]]
                texts[row["image_id"]] = row["text"] if before is None else f"{before}\n{row['text']}"
            stored = self.items.read(["id", "text"], all_of("kind = 'image'", id_in(page)))
            there = dict(zip(stored["id"].to_pylist(), stored["text"].to_pylist(), strict=True))
            stale = {id: text for id, text in texts.items() if id in there and there[id] != text}
            fields = [self.items.schema.field(name) for name in ("id", "text")]
            arrays = [pa.array(stale, pa.string()), pa.array(stale.values(), pa.string())]
            self.items.update(pa.Table.from_arrays(arrays, schema=pa.schema(fields)))

    def delete(self, where: str) -> int:
        """The number of items deleted that pass the filter, with their thumbnails.

        The captions of an image go with it, uncounted; an image whose caption goes no longer has its words.
        """
        rows = self.items.read(["id", "image_id"], where)
        ids = rows["id"].to_pylist()
        deleted = self.items.delete_ids(ids)
        self.thumbnails.delete_ids(ids)
        for page in batched(ids, 4096):
            self.items.delete(is_in("image_id", page))
        self.join_captions(set(rows["image_id"].to_pylist()) - {None})
        return deleted

    def to_parquet(self, path: str, where: str | None, batch_rows: int) -> int:
        """The number of items written to a Parquet file, which appears or is replaced only when complete."""
        from pyarrow.parquet import ParquetWriter

        unfinished = os.path.join(os.path.dirname(path), f".clipkit-{uuid.uuid4().hex}.part")
        schema = self.items.schema
        written = 0
        try:
            with ParquetWriter(unfinished, schema) as writer:
                for batch in self.items.batches(schema.names, where, batch_rows):
                    writer.write_batch(batch)
                    written += batch.num_rows
            os.replace(unfinished, path)
        except ClipkitError:
            raise
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise StorageError(f"{path} cannot be written: {why}") from error
        finally:
            with suppress(OSError):
                os.unlink(unfinished)
        return written

    def size_bytes(self) -> int:
        """The data of all tables, in bytes."""
        return sum(table.size_bytes() for table in self._tables)

    @property
    def _tables(self) -> tuple[Table, ...]:
        return self.items, self.thumbnails, self.failures, self.sources

    def tidy(self) -> None:
        """Optimize the tables that need it."""
        for table in self._tables:
            table.tidy()

    def optimize(self) -> None:
        for table in self._tables:
            table.optimize()


def collection_names(uri: str) -> list[str]:
    """The collections in a database, sorted; empty if there is no such place. Nothing is created."""
    if "://" in uri:
        return [name for name in Database(uri).names() if NAME.fullmatch(name)]
    if not os.path.isdir(uri):
        if os.path.lexists(uri):
            raise StorageError(f"{uri} is not a folder: collections live in one")
        return []
    return [name for name in Database(uri).names() if NAME.fullmatch(name) and _is_made(uri, name)]


def _is_made(folder: str, name: str) -> bool:
    """Whether the table has a version: a full disk, or a kill, may leave one that was never committed."""
    try:
        return bool(os.listdir(os.path.join(folder, f"{name}.lance", "_versions")))
    except FileNotFoundError:
        return False


def _opened(database: Database, name: str, schema: pa.Schema | None) -> Table:
    """The table, made if a schema is given and it is not there yet."""
    table = database.open(name) or (database.create(name, schema) if schema else None) or database.open(name)
    if table is None:
        raise CollectionNotFound(f"the table {name!r} in {database.uri} has just been deleted")
    return table


def _checked(name: str) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot name a collection: it takes up to 100 letters, digits, '-' and '_', and starts "
            "with a letter or digit"
        )
    return name

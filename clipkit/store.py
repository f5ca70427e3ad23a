"""What a collection is on disk: the schema, its stamp, and four tables keyed by `id`.

Collection NAME is the table NAME with the items and their vectors, NAME.thumbnails with the small JPEGs
(apart, so that compacting vectors moves no pictures), NAME.failures with the unreadable files, and
NAME.sources with the files that speak of pictures or hold them, as they were when they were last read. Beside
them stands NAME.albums, which is the user's and no part of what the collection holds: `albums` has it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipkit.encoder import Encoder, Vectors, batched
from clipkit.errors import (
    CollectionExists,
    CollectionMismatch,
    CollectionNotFound,
    InvalidInput,
    StorageError,
    did_you_mean,
)
from clipkit.filters import all_of, id_in, is_in
from clipkit.folders import FoundFile
from clipkit.lance import Database, FullText, Table, VectorColumn
from clipkit.parquet import write_parquet
from clipkit.reports import Status
from clipkit.schema import (
    BUILTIN_COLUMNS,
    FAILURES,
    SOURCES,
    THUMBNAILS,
    ItemRow,
    items_schema,
    items_table,
)
from clipkit.stamps import FIRST, Stamp, Stamps, is_vector_column

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # with its suffixes, within every file system's limit


class Store:
    """The four tables of one collection."""

    def __init__(self, database: Database, name: str, items: Table) -> None:
        self.uri = database.uri
        self.name = name
        self.items = items
        current = self.stamps.current  # before a table is made beside one that is none of ours
        self._columns: dict[str, VectorColumn] = {}
        self.words = FullText(items, without=("id", "kind", "image_id", "content_hash", "camera"))
        self.thumbnails = database.ensure(f"{name}.thumbnails", THUMBNAILS)
        self.failures = database.ensure(f"{name}.failures", FAILURES)
        self.sources = database.ensure(f"{name}.sources", SOURCES)
        self.vectors_in(current)  # so that its index is looked after, even if nobody searches

    @classmethod
    def create(cls, uri: str, name: str, stamp: Stamp, columns: Sequence[pa.Field]) -> Store:
        """A new, empty collection. Raises CollectionExists if the name is taken."""
        database = Database(uri)
        items = database.create(_checked(name), items_schema(columns, stamp))
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
        items = database.open(name)
        if items is None:
            raise CollectionNotFound(f"the collection {name!r} in {uri} has just been deleted")
        return cls(database, name, items)

    @property
    def tables(self) -> tuple[Table, ...]:
        """All that a collection is made of, the items first."""
        return self.items, self.thumbnails, self.failures, self.sources

    @property
    def stamps(self) -> Stamps:
        """The vector columns as they are at this moment. Raises CollectionMismatch for no table of ours."""
        return self._stamps_of(self.items.schema)

    def _stamps_of(self, schema: pa.Schema) -> Stamps:
        return Stamps.of(schema, f"{self.name!r} in {self.uri}")

    @property
    def stamp(self) -> Stamp:
        """What the vectors are that the collection uses now."""
        return self.stamps.stamp

    @property
    def vectors(self) -> VectorColumn:
        """The vectors that the collection uses now."""
        return self.vectors_in(self.stamps.current)

    def vectors_in(self, column: str) -> VectorColumn:
        """The vectors in one column. Of all vectors, only the current ones have their index looked after."""
        return self._vectors_in(column, self.stamps.current)

    def _vectors_in(self, column: str, current: str) -> VectorColumn:
        vectors = self._columns.get(column) or VectorColumn(self.items, column)
        self._columns[column] = vectors
        for name, known in self._columns.items():
            if name == current:
                self.items.indexes[name] = known.index
            else:
                self.items.indexes.pop(name, None)
        return vectors

    def vectors_by(self, encoder: Encoder) -> VectorColumn:
        """The vectors that `encoder` made, current or not. Raises CollectionMismatch if there are none."""
        stamps = self.stamps  # once: each look is one at the disk
        column = stamps.column_of(encoder)
        if column is None:
            stamps.stamp.checked(encoder, self.name)
        return self._vectors_in(column or FIRST, stamps.current)

    def known(self, encoder: Encoder) -> Encoder:
        """`encoder`, if there are vectors of it, be they current or not. Raises CollectionMismatch."""
        stamps = self.stamps
        if stamps.column_of(encoder) is not None:
            return encoder
        return stamps.stamp.checked(encoder, self.name)

    def own_fields(self) -> list[pa.Field]:
        """The user's own columns."""
        schema = self.items.schema
        return [f for f in schema if f.name not in BUILTIN_COLUMNS and not is_vector_column(f)]

    def checked(self, where: str | None) -> str | None:
        """A user's filter, if it can be evaluated on the items. Raises FilterError."""
        return None if where is None else self.items.checked(where)

    def write(self, rows: Sequence[ItemRow], vectors: Vectors, *, made_by: Encoder) -> tuple[int, int]:
        """(inserted, updated) after writing one row per vector; ids are unique within `rows`.

        Raises CollectionMismatch unless the vectors are of the model that the collection uses now.

        Thumbnails go first: a crash in between leaves a spare picture, never an item without one. An item
        that is replaced keeps the user's columns that its row does not speak of: so rows that speak of
        different ones are written one after the other. An image keeps its captions.
        """
        column = self._column_to_write(made_by)
        rows = self._with_captions(rows)
        self._write_thumbnails((row.id, row.thumbnail) for row in rows if row.thumbnail is not None)
        alike: dict[frozenset[str], list[int]] = {}
        for at, row in enumerate(rows):
            alike.setdefault(frozenset(row.metadata), []).append(at)
        done = [
            self.upsert(items_table([rows[at] for at in places], vectors[places], column, self.items.schema))
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

    def _column_to_write(self, made_by: Encoder) -> str:
        stamps = self.stamps
        column = stamps.column_of(made_by)
        if column is not None and column != stamps.current:
            raise CollectionMismatch(
                f"collection {self.name!r} has changed its model to {stamps.stamp.encoder} and takes no more "
                f"vectors of {made_by.name}. Run the same again, opening it without naming a model"
            )
        stamps.stamp.checked(made_by, self.name)
        self.vectors_in(stamps.current)
        return stamps.current

    def upsert(self, rows: pa.Table) -> tuple[int, int]:
        """(inserted, updated) items; `rows` have some of the columns of the items table.

        Vectors that they lack become null, also in a column that another process adds meanwhile: what is
        there was made from what the item was before.
        """
        rows = self._without_other_vectors(rows)
        done = self.items.upsert(rows)
        late = self._without_other_vectors(rows)
        if late.num_columns > rows.num_columns:
            self.items.update(late.select(["id", *late.column_names[rows.num_columns :]]))
        return done

    def _without_other_vectors(self, rows: pa.Table) -> pa.Table:
        for column in self.items.schema:
            if is_vector_column(column) and column.name not in rows.column_names:
                rows = rows.append_column(column, pa.nulls(rows.num_rows, column.type))
        return rows

    def columns(self) -> list[str]:
        """The columns of an item as users see them: of the vectors only the current ones, as `vector`."""
        schema = self.items.schema
        stamps = self._stamps_of(schema)
        names = [name for name in schema.names if name not in stamps.others]
        return [FIRST if name == stamps.current else name for name in names]

    def _on_disk(self, columns: Sequence[str]) -> list[str]:
        current = self.stamps.current
        return [current if name == FIRST else name for name in columns]

    def read(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """Those of `columns()`, of all items that pass `where`, as of one moment."""
        return self.items.read(self._on_disk(columns), where).rename_columns(list(columns))

    def batches(self, columns: Sequence[str], where: str | None, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Those of `columns()` in batches, as `Table.batches` has them."""
        for batch in self.items.batches(self._on_disk(columns), where, batch_size):
            yield batch.rename_columns(list(columns))

    def has_vector(self, column: str | None = None) -> str | None:
        """The filter that passes items with a vector in the current or the given column; None if all have."""
        stamps = self.stamps
        column = column or stamps.current
        return f"{column} IS NOT NULL" if column != FIRST or stamps.changed else None

    def lacking(self, where: str | None = None, column: str | None = None) -> list[str]:
        """The ids of the items, among those that pass `where`, that have no vector in that column."""
        has = self.has_vector(column)
        if has is None:
            return []
        ids: list[str] = self.items.read(["id"], all_of(where, f"NOT ({has})"))["id"].to_pylist()
        return ids

    def read_rows(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The items of these ids, in their order. Raises InvalidInput for one that is not there."""
        return self._in_order(ids, self.read(self.columns(), id_in(set(ids))))

    def vectors_of(self, ids: Sequence[str], column: str | None = None) -> Vectors:
        """The vectors of these ids in the current or the given column, in their order, (n, dim).

        Raises InvalidInput for an id that is not there, or has no vector there yet.
        """
        column = column or self.stamps.current
        rows = self._in_order(ids, self.items.read(["id", column], id_in(set(ids))))
        for position, row in enumerate(rows):
            if row[column] is None:
                raise InvalidInput(
                    f"the item {row['id']!r} has no vector of this model yet: finish with reindex",
                    position=position,
                )
        return np.asarray([row[column] for row in rows], np.float32)

    def _in_order(self, ids: Sequence[str], stored: pa.Table) -> list[dict[str, Any]]:
        rows = {row["id"]: row for row in stored.to_pylist()}
        for position, identity in enumerate(ids):
            if identity not in rows:
                raise InvalidInput(f"there is no item {identity!r} in {self.name!r}", position=position)
        return [dict(rows[identity]) for identity in ids]

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
        arrays = [pa.array(column, f.type) for column, f in zip(columns, FAILURES, strict=True)]
        self.failures.upsert(pa.Table.from_arrays(arrays, schema=self.failures.schema))

    def write_sources(self, files: Iterable[FoundFile], *, pictures: int = 0, described: bool = True) -> None:
        """Remember that these files were read as they are now."""
        rows = [(file.id, file.size_bytes, file.mtime_ns, pictures, described) for file in files]
        columns = zip(*rows, strict=True) if rows else [()] * len(SOURCES)
        arrays = [pa.array(column, f.type) for column, f in zip(columns, SOURCES, strict=True)]
        self.sources.upsert(pa.Table.from_arrays(arrays, schema=self.sources.schema))

    def captions_of(self, images: Iterable[str], columns: Sequence[str] = ()) -> pa.Table:
        """The captions of these images: id, image_id, text and the given columns, in their order."""
        names = list(dict.fromkeys(["id", "image_id", "text", *columns]))
        rows = self.items.read(names, all_of("kind = 'text'", is_in("image_id", images)))
        order = [("image_id", "ascending"), ("length", "ascending"), ("id", "ascending")]  # -2 before -10
        return rows.append_column("length", pc.utf8_length(rows["id"])).sort_by(order).select(names)

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
        columns = self.columns()
        schema = self.read(columns, "false").schema
        return write_parquet(path, schema, self.batches(columns, where, batch_rows))

    def status(self) -> Status:
        """What the collection holds."""
        stamp = self.stamp
        return Status(
            name=self.name,
            db=self.uri,
            encoder=stamp.encoder,
            dim=stamp.dim,
            images=self.items.count("kind = 'image'"),
            texts=self.items.count("kind = 'text'"),
            failures=self.failures.count(),
            size_bytes=self.size_bytes(),
            columns={field.name: str(field.type) for field in self.own_fields()},
            index=self.vectors.index.status(),
        )

    def size_bytes(self) -> int:
        """The data of all tables, in bytes."""
        return sum(table.size_bytes() for table in self.tables)

    def tidy(self) -> None:
        """Optimize the tables that need it."""
        for table in self.tables:
            table.tidy()

    def optimize(self) -> None:
        for table in self.tables:
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


def _checked(name: str) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot name a collection: it takes up to 100 letters, digits, '-' and '_', and starts "
            "with a letter or digit"
        )
    return name

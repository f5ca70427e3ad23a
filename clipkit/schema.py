"""The columns of a collection's tables, and the rows that are written to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from clipkit.encoder import Vectors
from clipkit.stamps import FIRST, FORMAT, Stamp

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
BUILTIN_COLUMNS = ("id", *(field.name for field in _ITEM_FIELDS), FIRST)
THUMBNAILS = pa.schema([_KEY, pa.field("jpeg", pa.binary(), nullable=False)])
FAILURES = pa.schema(
    [
        _KEY,
        pa.field("size_bytes", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
SOURCES = pa.schema(
    [
        _KEY,
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("pictures", pa.int64(), nullable=False),  # that came from it, if it is an archive
        pa.field("described", pa.bool_(), nullable=False),  # whether its captions were taken, too
    ]
)
ALBUMS = pa.schema(
    [
        _KEY,  # the name
        pa.field("created", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("query", pa.string()),  # in the one-line form, but for its pictures
        pa.field("pictures", pa.list_(pa.binary()), nullable=False),  # image files
        pa.field("weights", pa.list_(pa.float64()), nullable=False),  # one for each picture
        pa.field("good", pa.list_(pa.string()), nullable=False),  # ids
        pa.field("bad", pa.list_(pa.string()), nullable=False),
        pa.field("condition", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("min_score", pa.string()),  # a number, or "auto"
        pa.field("hybrid", pa.bool_(), nullable=False),
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


def items_schema(own: Sequence[pa.Field], stamp: Stamp) -> pa.Schema:
    """That of a new items table, with the user's own columns, for the vectors of one model."""
    return pa.schema([_KEY, *_ITEM_FIELDS, *own, stamp.field()], metadata=FORMAT)


def items_table(rows: Sequence[ItemRow], vectors: Vectors, column: str, schema: pa.Schema) -> pa.Table:
    """The rows, whose metadata have the same keys, with their vectors in `column`."""
    own = list(rows[0].metadata)
    plain = [schema.field(name) for name in BUILTIN_COLUMNS[:-1]]
    arrays = [pa.array([getattr(row, f.name) for row in rows], f.type) for f in plain]
    arrays += [pa.array([row.metadata[name] for row in rows], schema.field(name).type) for name in own]
    arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]))
    fields = [*plain, *map(schema.field, own), schema.field(column)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

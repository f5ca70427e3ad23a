"""Parquet files: a row a picture, with its bytes and a class or captions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipkit.errors import ImageError, InvalidInput, did_you_mean
from clipkit.labelled.names import UNNAMED, Names, chosen_names, divided
from clipkit.labelled.rows import Columns, Labelled, Row, Truth

IMAGES = ("image", "jpeg", "jpg", "png", "webp", "img", "image_bytes", "bytes")
LABELS = ("label", "labels", "class", "category", "fine_label")
CAPTIONS = ("caption", "captions", "text", "sentences")
KEYS = ("wnid", "synset")  # beside a label: what tells classes apart whose names are alike
_AT_ONCE = 64  # rows read together; their bytes are held


@dataclass(frozen=True, slots=True)
class _Chosen:
    image: str
    label: str | None
    key: str | None
    caption: str | None

    @property
    def all(self) -> list[str]:
        named = (self.image, self.label, self.key, self.caption)
        return list(dict.fromkeys(name for name in named if name is not None))


def open_parquet(name: str, files: Sequence[Path], columns: Columns, names: Names | None) -> Labelled:
    """The rows of the files, one file after the other, counted from 0 over all of them.

    Pictures are bytes, or bytes in a struct as Hugging Face's datasets store them. Labels are text, with the
    names of a class divided by commas, or numbers whose names the file's metadata or `names` tells. Captions
    are texts or lists of texts.
    """
    total, schemas = 0, []
    for file in files:
        with _as_invalid_input(file):
            schemas.append(pq.read_schema(file))
            total += pq.read_metadata(file).num_rows
    chosen = _choose(name, schemas[0], columns)
    for file, schema in zip(files, schemas, strict=True):
        if missing := set(chosen.all) - set(schema.names):
            raise InvalidInput(f"{file} has no column {missing.pop()!r}, but {files[0].name} has")
    if not total:
        raise InvalidInput(f"{name} holds no rows")
    classes = chosen_names(_own_names(files, schemas[0], chosen), names)
    rows = partial(_rows, files, chosen)
    return Labelled(name, total, rows, classes, captioned=chosen.caption is not None)


@contextmanager
def _as_invalid_input(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"{file} is not a whole Parquet file: {error}") from error


def _choose(name: str, schema: pa.Schema, columns: Columns) -> _Chosen:
    image = _pick(name, schema, columns.image, IMAGES)
    label = _pick(name, schema, columns.label, LABELS)
    key = _pick(name, schema, None, KEYS)
    caption = _pick(name, schema, columns.caption, CAPTIONS)
    if image is None or not is_image(schema.field(image).type):
        what = "no column of pictures" if image is None else f"no bytes in its column {image!r}"
        raise InvalidInput(
            f"{name} has {what}; its columns are {', '.join(schema.names)}. Name the right one"
        )
    if label is None and key is None and caption is None:
        raise InvalidInput(
            f"{name} has no column of labels or captions that is known by its name; its columns are "
            f"{', '.join(schema.names)}. Name the right one"
        )
    return _Chosen(image, label or key, key, caption)


def _pick(name: str, schema: pa.Schema, wanted: str | None, usual: Sequence[str]) -> str | None:
    if wanted is not None and wanted not in schema.names:
        raise InvalidInput(f"{name} has no column {wanted!r}. {did_you_mean(wanted, schema.names)}")
    return wanted or next((column for column in usual if column in schema.names), None)


def is_image(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold pictures: bytes, or bytes in a struct as Hugging Face does."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and is_image(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _own_names(files: Sequence[Path], schema: pa.Schema, chosen: _Chosen) -> Names:
    """The classes that occur, by their keys, with what the files call them."""
    if chosen.label is None:
        return {}
    numbered = class_names(schema, chosen.label)
    pairs: dict[str, object] = {}
    for file in files:
        with _as_invalid_input(file):
            table = pq.read_table(file, columns=list({chosen.key or chosen.label: 0, chosen.label: 0}))
        distinct = table.group_by(table.schema.names).aggregate([]).to_pylist()
        for row in distinct:
            label = row[chosen.label]
            if label is not None and row.get(chosen.key or chosen.label) is not None:
                pairs.setdefault(str(row[chosen.key or chosen.label]), label)
    return {
        key: numbered.get(label, UNNAMED) if isinstance(label, int) else divided(str(label))
        for key, label in sorted(pairs.items())
    }


def class_names(schema: pa.Schema, label: str) -> dict[int, tuple[str, ...]]:
    """The names of numbered classes, which the datasets library writes into a file's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {i: (name.replace("_", " "),) for i, name in enumerate(features[label]["names"])}
    except (KeyError, TypeError, ValueError):
        return {}


def _rows(files: Sequence[Path], chosen: _Chosen) -> Iterator[Row]:
    number = 0
    for file in files:
        for record in _records(file, chosen):
            key, caption = record.get(chosen.key or chosen.label or ""), record.get(chosen.caption or "")
            label = str(key) if key is not None and record[chosen.label or ""] is not None else None
            truth = Truth(label, captions_in(caption))
            yield Row(f"row {number}", partial(picture_bytes, record[chosen.image]), truth)
            number += 1


def _records(file: Path, chosen: _Chosen) -> Iterator[dict[str, Any]]:
    with _as_invalid_input(file):
        batches = pq.ParquetFile(file).iter_batches(batch_size=_AT_ONCE, columns=chosen.all)
    while True:
        with _as_invalid_input(file):
            batch = next(batches, None)
        if batch is None:
            return
        yield from batch.to_pylist()


def picture_bytes(value: Any) -> bytes:
    """The picture in a cell of such a column. Raises ImageError if there is none."""
    found = value.get("bytes") if isinstance(value, dict) else value
    if not found:
        raise ImageError("has no picture" if found is None else "has a picture of no bytes")
    return bytes(found)


def captions_in(value: object) -> tuple[str, ...]:
    """The captions in a cell, which has one or a list of them."""
    given = value if isinstance(value, list) else [value]
    return tuple(text.strip() for text in given if isinstance(text, str) and text.strip())

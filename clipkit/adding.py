"""What is behind `Collection.add_images` and `add_texts`: items handed over, not found in folders."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from clipkit.ahead import read_ahead
from clipkit.columns import check_distinct, checked_ids, checked_metadata, strings
from clipkit.encoder import Encoder, ImageInput, Vectors, batched
from clipkit.errors import ImageError, InvalidInput
from clipkit.folders import FoundFile, path_to_id, resolved
from clipkit.images import MAX_PIXELS
from clipkit.reports import AddReport
from clipkit.schema import ItemRow
from clipkit.stages import Decoded, Unreadable, decode_value, read_file
from clipkit.store import Store

ADD_BATCH = 1024  # items encoded and written together


def add_images(
    store: Store,
    encoder: Callable[[], Encoder],
    images: Sequence[ImageInput],
    *,
    ids: Sequence[str] | None,
    metadata: Sequence[Mapping[str, Any]] | None,
) -> AddReport:
    """The report of `Collection.add_images`, which says what the arguments mean."""
    if isinstance(images, str | bytes | os.PathLike):
        raise InvalidInput("add_images takes a list of images, not one image: put it into a list")
    paths = [
        resolved(image, position) if isinstance(image, str | os.PathLike) else None
        for position, image in enumerate(images)
    ]
    given = checked_ids(ids, len(images))
    if ids is None:
        given = [path if path is None else path_to_id(path) for path in paths]
        check_distinct(given)
    values = checked_metadata(metadata, len(images), store.own_fields())
    jobs = list(zip(range(len(images)), images, paths, given, values, strict=True))
    read = read_ahead(jobs, partial(_read_image, encoder), ahead=ADD_BATCH)
    reports = []
    for batch in batched(read, ADD_BATCH):
        vectors = encoder().encode_pixels([decoded.pixels for decoded in batch])
        reports.append(_write(store, [decoded.row for decoded in batch], vectors, encoder()))
    return _total(reports)


def add_texts(
    store: Store,
    encoder: Callable[[], Encoder],
    texts: Sequence[str],
    *,
    ids: Sequence[str] | None,
    metadata: Sequence[Mapping[str, Any]] | None,
) -> AddReport:
    """The report of `Collection.add_texts`, which says what the arguments mean."""
    strings(texts, "a text")
    given = checked_ids(ids, len(texts))
    values = checked_metadata(metadata, len(texts), store.own_fields())
    cut_before = encoder().texts_cut
    reports = []
    for batch in batched(zip(texts, given, values, strict=True), ADD_BATCH):
        vectors = encoder().encode_texts([text for text, _, _ in batch])
        rows = [
            ItemRow(id=identity or uuid.uuid4().hex, kind="text", text=text, metadata=own)
            for text, identity, own in batch
        ]
        reports.append(_write(store, rows, vectors, encoder()))
    return replace(_total(reports), cut=encoder().texts_cut - cut_before)


def update(store: Store, ids: Sequence[str], metadata: Sequence[Mapping[str, Any]]) -> int:
    """The number of items changed by `Collection.update`; ids and values have been checked."""
    alike: dict[frozenset[str], list[int]] = {}  # rows that speak of different columns are written apart
    for at, values in enumerate(metadata):
        if values:
            alike.setdefault(frozenset(values), []).append(at)
    schema, updated = store.items.schema, 0
    for names, places in alike.items():
        fields = [schema.field(name) for name in ("id", *sorted(names))]
        arrays = [pa.array([ids[at] for at in places], pa.string())]
        arrays += [pa.array([metadata[at][f.name] for at in places], f.type) for f in fields[1:]]
        updated += store.items.update(pa.Table.from_arrays(arrays, schema=pa.schema(fields)))
    return updated


def _read_image(
    encoder: Callable[[], Encoder], job: tuple[int, ImageInput, str | None, str | None, Mapping[str, Any]]
) -> Decoded:
    position, image, path, identity, own = job
    if path is not None:
        file = FoundFile(path_to_id(path), 0, 0)
        read = read_file(file, encoder=encoder, known=None, max_pixels=MAX_PIXELS)
        if not isinstance(read, Decoded):
            reason = read.reason if isinstance(read, Unreadable) else "is known"
            raise ImageError(f"{path} {reason}", position=position)
        return replace(read, row=replace(read.row, id=identity or read.row.id, metadata=own))
    decoded = decode_value(image, identity or uuid.uuid4().hex, encoder(), position)
    return replace(decoded, row=replace(decoded.row, metadata=own))


def _write(store: Store, rows: list[ItemRow], vectors: Vectors, encoder: Encoder) -> AddReport:
    inserted, updated = store.write(rows, vectors, made_by=encoder)
    return AddReport(tuple(row.id for row in rows), inserted, updated)


def _total(reports: Sequence[AddReport]) -> AddReport:
    return AddReport(
        ids=tuple(identity for report in reports for identity in report.ids),
        added=sum(report.added for report in reports),
        updated=sum(report.updated for report in reports),
    )

"""What is behind `Collection.add_images` and `add_texts`: items handed over, not found in folders."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from clipkit.ahead import read_ahead
from clipkit.columns import check_distinct, checked_ids, checked_metadata, strings
from clipkit.encoder import Encoder, ImageInput, Vectors, batched
from clipkit.errors import ImageError, InvalidInput, ServiceError
from clipkit.filters import all_of, id_in
from clipkit.folders import FoundFile, path_to_id, resolved
from clipkit.images import MAX_PIXELS
from clipkit.reading import Decoded, Unreadable, decode_value, read_file
from clipkit.reports import AddReport
from clipkit.schema import ItemRow
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
        current = encoder()
        vectors = current.encode_pixels([decoded.pixels for decoded in batch])
        reports.append(_write(store, [decoded.row for decoded in batch], vectors, current))
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
    reports: list[AddReport] = []
    for batch in batched(zip(texts, given, values, strict=True), ADD_BATCH):
        rows = [
            ItemRow(id=identity or uuid.uuid4().hex, kind="text", text=text, metadata=own)
            for text, identity, own in batch
        ]
        done = len(_total(reports).ids)
        try:
            vectors = _text_vectors(store, encoder(), rows)
        except ServiceError as error:
            some = rows[: error.embedded]
            if some:  # no text of them is asked for again
                _write(store, some, _text_vectors(store, encoder(), some), encoder())
            raise _stopped(error, done + len(some), len(texts)) from error
        except InvalidInput as error:
            position = None if error.position is None else done + error.position
            raise InvalidInput(error.reason, position=position) from error
        reports.append(_write(store, rows, vectors, encoder()))
    return replace(_total(reports), cut=encoder().texts_cut - cut_before)


def _text_vectors(store: Store, encoder: Encoder, rows: Sequence[ItemRow]) -> Vectors:
    """The vectors of texts, (n, dim). What is stored already, by the same id, is not embedded again."""
    there = _stored_texts(store, encoder, [row.id for row in rows])
    texts = [row.text or "" for row in rows]
    missing = [at for at, row in enumerate(rows) if (row.id, texts[at]) not in there]
    try:
        made = encoder.encode_texts([texts[at] for at in missing])
    except ServiceError as error:
        raise ServiceError(error.reason, embedded=[*missing, len(rows)][error.embedded]) from error
    except InvalidInput as error:
        position = None if error.position is None else missing[error.position]
        raise InvalidInput(error.reason, position=position) from error
    vectors = np.empty((len(rows), encoder.dim), np.float32)
    vectors[missing] = made
    for at in set(range(len(rows))).difference(missing):
        vectors[at] = there[rows[at].id, texts[at]]
    return vectors


def _stored_texts(store: Store, encoder: Encoder, ids: Sequence[str]) -> dict[tuple[str, str], Any]:
    """By id and text, the vectors by `encoder` of the texts that are stored under these ids."""
    column = store.stamps.column_of(encoder)
    if column is None:
        return {}
    stored = store.items.read(["id", "text", column], all_of("kind = 'text'", id_in(ids)))
    stored = stored.filter(stored[column].is_valid())
    flat = stored[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    keys = zip(stored["id"].to_pylist(), stored["text"].to_pylist(), strict=True)
    return dict(zip(keys, flat.reshape(-1, encoder.dim), strict=True))


def _stopped(error: ServiceError, stored: int, total: int) -> ServiceError:
    return ServiceError(
        f"{error.reason}\n  the first {stored} of {total} texts are stored. To go on, add the others; with "
        "the same ids the same call goes on, and what is stored is not embedded again",
        embedded=stored,
    )


def update(store: Store, ids: Sequence[str], metadata: Sequence[Mapping[str, Any]]) -> int:
    """The number of items changed by `Collection.update`, which says what the arguments mean."""
    ids = strings(ids, "an id")
    check_distinct(ids)
    metadata = checked_metadata(metadata, len(ids), store.own_fields())
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

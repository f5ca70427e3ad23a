"""Pictures whose truth is known, as vectors: read ahead in threads, then only vectors are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np

from clipkit.ahead import read_ahead
from clipkit.encoder import Encoder, Pixels, Vectors
from clipkit.errors import ImageError, InvalidInput, MissingExtra
from clipkit.images import open_image
from clipkit.labelled import Labelled, Row, Truth
from clipkit.reports import Failure, Progress

_BATCH = 64  # pictures handed to the encoder at once; it splits them further as it likes


@dataclass(frozen=True, slots=True)
class Embedded:
    """The pictures that can be used, (n, dim), what is true of each, and the others."""

    vectors: Vectors
    truths: list[Truth]
    failures: list[Failure]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Picture:
    """A row that has been read; `pixels` are what the encoder's `preprocess` makes."""

    name: str
    truth: Truth
    pixels: Pixels


def embed(encoder: Encoder, data: Labelled, progress: Callable[[Progress], None]) -> Embedded:
    """All of `data` that can be read. Raises InvalidInput if that is nothing."""
    began = time.monotonic()
    vectors: list[Vectors] = []
    truths: list[Truth] = []
    failures: list[Failure] = []
    waiting: list[_Picture] = []
    with closing(read_ahead(data.rows(), partial(_read, encoder), 2 * _BATCH)) as results:
        for done, result in enumerate(results, 1):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                waiting.append(result)
            if len(waiting) == _BATCH:
                vectors.append(_encode(encoder, waiting, failures))
                truths += [picture.truth for picture in waiting]
                waiting = []
            progress(Progress(done, data.total, len(failures)))
    vectors.append(_encode(encoder, waiting, failures))
    truths += [picture.truth for picture in waiting]
    if not truths:
        first = f"{failures[0].id} {failures[0].reason}" if failures else "it holds no rows"
        raise InvalidInput(f"nothing in {data.name} can be used: {first}")
    return Embedded(np.concatenate(vectors), truths, failures, time.monotonic() - began)


def _read(encoder: Encoder, row: Row) -> _Picture | Failure:
    if row.truth == Truth():
        return Failure(row.name, "has neither a class nor a caption")
    try:
        image = open_image(row.read(), upright=encoder.upright, reduce_to=encoder.image_size)
        return _Picture(row.name, row.truth, encoder.preprocess(image))
    except (ImageError, MissingExtra) as error:
        return Failure(row.name, str(error))


def _encode(encoder: Encoder, pictures: list[_Picture], failures: list[Failure]) -> Vectors:
    """The vectors of the pictures; those that the encoder cannot take move over to the failures."""
    while pictures:
        try:
            return encoder.encode_pixels([picture.pixels for picture in pictures])
        except InvalidInput as error:
            if error.position is None:
                raise
            failures.append(Failure(pictures.pop(error.position).name, error.reason))
    return np.empty((0, encoder.dim), np.float32)

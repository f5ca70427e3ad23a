"""The Encoder protocol, and what all encoders share: batching, checks, unit length.

A backend inherits `BaseEncoder` and says how one batch becomes numbers. Everything that callers rely on
(float32, unit rows, input order, one row per input, errors that name a position) is done here, once.
"""

from __future__ import annotations

import math
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import ImageError, InvalidInput, PlacesUnavailable

if TYPE_CHECKING:
    from PIL.Image import Image

Vectors: TypeAlias = NDArray[np.float32]
"""Embeddings as rows: shape (n, dim), float32, each row of unit length."""

Pixels: TypeAlias = NDArray[Any]
"""One picture as its encoder wants it: shape and dtype are that encoder's own business."""

ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | Image | NDArray[Any]"
"""A path, the bytes of an image file, a PIL image, or an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """What each place of a picture means.

    `vectors` has a row of unit length in the space of the encoder for each, shape (rows, cols, dim) float32;
    a row is zero where a place means nothing at all. Together they cover `box`: left, top, right, bottom, as
    shares of the picture's width and height; what an encoder crops away has no places. `method` is the name
    of how they were had, `source` where it is described.
    """

    vectors: NDArray[np.float32]
    box: tuple[float, float, float, float]
    method: str
    source: str


class TextCutWarning(UserWarning):
    """Texts were longer than the model's context and were cut; the message says how many and which."""


@runtime_checkable
class Encoder(Protocol):
    """What turns texts and images into rows of one space.

    `name` is the spec that `load_encoder` takes to make it again, `dim` the length of a row, `modalities`
    the inputs it takes, a subset of {"text", "image"}. Two encoders of equal `fingerprint` give the same
    rows, but for what a device and its precision round: it covers the weights, the architecture and the
    preprocessing, with `upright` (whether the EXIF orientation is followed). `image_size` is the longer edge
    in pixels that `preprocess` reduces to, so that a decoder need not produce much more. `encode_texts` is
    for what is stored, `encode_queries` for what it is searched by: the same, but for models that were
    trained to tell the two apart.
    """

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def modalities(self) -> frozenset[str]: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def upright(self) -> bool: ...
    @property
    def texts_cut(self) -> int: ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors: ...
    def encode_queries(self, texts: Sequence[str]) -> Vectors: ...
    def encode_images(self, images: Sequence[ImageInput]) -> Vectors: ...
    def preprocess(self, image: Image) -> Pixels: ...
    def encode_pixels(self, pixels: Sequence[Pixels]) -> Vectors: ...


@runtime_checkable
class PlaceEncoder(Encoder, Protocol):
    """An Encoder that can tell the places of a picture; for some models it raises PlacesUnavailable."""

    def encode_places(self, image: ImageInput) -> Places: ...


@runtime_checkable
class TokenCounter(Encoder, Protocol):
    """An Encoder that can tell how many tokens texts have, uncut, with those that mark start and end."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...


class BaseEncoder(ABC):
    """The shared half of every encoder. A backend sets the attributes and fills in the `_` methods.

    `texts_cut` counts the texts that were longer than the model's context since it was loaded.
    """

    name: str
    dim: int
    modalities: frozenset[str]
    fingerprint: str
    image_size: int = 0
    batch_size: int = 32
    upright: bool = True
    texts_cut: int = 0

    @property
    def lanes(self) -> int:
        """How many batches `encode_pixels` and `encode_texts` have in hand at once, if they get so many."""
        return 1

    def trace(self) -> None:  # noqa: B027 - most have nothing to do
        """Have the model run without Python from now on, as far as it can.

        For a process in which other threads are busy with Python, such as a server. Changes no row.
        """

    @abstractmethod
    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        """Rows (n, dim), any float dtype, any length, for up to `batch_size` texts."""

    @abstractmethod
    def _pixel_batch(self, pixels: list[Pixels]) -> NDArray[Any]:
        """Rows (n, dim), any float dtype, any length, for up to `batch_size` outputs of `preprocess`."""

    @abstractmethod
    def preprocess(self, image: Image) -> Pixels:
        """The upright RGB picture as `encode_pixels` wants it. Safe to call from several threads."""

    @abstractmethod
    def _overlong(self, texts: list[str]) -> list[int]:
        """Positions in `texts` of those that exceed the model's context length."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeddings of `texts`: (n, dim) float32 unit rows in input order.

        Texts beyond the context length are cut, counted in `texts_cut`, and named by a TextCutWarning.
        Raises InvalidInput, with its position, for an input that is not a string or not valid Unicode.
        """
        return self._embed(texts, self._text_batch, self._overlong)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Embeddings of `texts` as searches for what `encode_texts` embeds; all else is as there."""
        return self.encode_texts(texts)

    def _embed(
        self,
        texts: Sequence[str],
        encode: Callable[[list[str]], NDArray[Any]],
        overlong: Callable[[list[str]], list[int]],
    ) -> Vectors:
        self._require("text")
        if isinstance(texts, str):
            raise InvalidInput(f"encode_texts takes a list of strings, not one string: [{texts!r}]")
        checked = checked_texts(texts)
        self._note_cut(overlong(checked), len(checked))
        if len(checked) <= self.batch_size:
            return self._rows(checked, encode)
        order = sorted(range(len(checked)), key=lambda i: len(checked[i]))  # like with like
        rows = np.empty((len(checked), self.dim), np.float32)
        try:
            rows[order] = self._rows((checked[i] for i in order), encode)
        except InvalidInput as error:
            at = error.position
            raise InvalidInput(error.reason, position=None if at is None else order[at]) from error
        return rows

    def encode_images(self, images: Sequence[ImageInput]) -> Vectors:
        """Embeddings of `images`: (n, dim) float32 unit rows in input order.

        Raises ImageError, with its position, for an input that cannot be read as an image.
        """
        self._require("image")
        if isinstance(images, str | bytes | os.PathLike):
            raise InvalidInput("encode_images takes a list of images, not one image: put it into a list")
        return self._rows(
            (self.preprocess(self._opened(image, i)) for i, image in enumerate(images)), self._pixel_batch
        )

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
        """Embeddings of pictures from `preprocess`: (n, dim) float32 unit rows in input order."""
        self._require("image")
        return self._rows(pixels, self._pixel_batch, self._even(len(pixels)))

    def _even(self, n: int) -> int:
        """The size of batches of which each lane gets as many, so that all end at the same time."""
        if n <= self.batch_size:
            return self.batch_size
        turns = math.ceil(n / (self.lanes * self.batch_size))
        return math.ceil(n / (self.lanes * turns))

    def encode_places(self, image: ImageInput) -> Places:
        """What each place of one picture means, in the space of `encode_images`.

        Raises PlacesUnavailable for a model of which that cannot be had, and ImageError for a picture that
        cannot be read.
        """
        self._require("image")
        return self._places(self._opened(image))

    def _places(self, image: Image) -> Places:  # noqa: ARG002 - what overrides this needs it
        """The places of an upright RGB picture. A backend that has them has its own."""
        raise PlacesUnavailable(f"{self.name} embeds pictures as wholes and tells no places of them")

    def _opened(self, image: ImageInput, position: int | None = None) -> Image:
        from clipkit.images import open_image

        try:
            return open_image(image, upright=self.upright, reduce_to=self.image_size)
        except ImageError as error:
            subject = os.fspath(image) if isinstance(image, str | os.PathLike) else "the image"
            raise ImageError(f"{subject} {error.reason}", position=position) from error

    def _rows(
        self, inputs: Iterable[T], encode: Callable[[list[T]], NDArray[Any]], size: int | None = None
    ) -> Vectors:
        rows = [np.empty((0, self.dim), np.float32)]
        done = 0
        for batch, raw in self._encoded(batched(inputs, size or self.batch_size), encode):
            rows.append(unit_rows(raw, len(batch), self.dim, first=done))
            done += len(batch)
        return np.concatenate(rows)

    def _encoded(
        self, batches: Iterable[list[T]], encode: Callable[[list[T]], NDArray[Any]]
    ) -> Iterator[tuple[list[T], NDArray[Any]]]:
        """Each batch with what `encode` makes of it, in order; a backend with several lanes has its own."""
        for batch in batches:
            yield batch, encode(batch)

    def _require(self, modality: str) -> None:
        if modality not in self.modalities:
            can = " and ".join(sorted(self.modalities))
            raise InvalidInput(f"{self.name} embeds {can} only: choose a model that embeds {modality}s too")

    def _note_cut(self, positions: list[int], total: int) -> None:
        if not positions:
            return
        self.texts_cut += len(positions)
        shown = ", ".join(map(str, positions[:5])) + (", ..." if len(positions) > 5 else "")
        warnings.warn(
            f"{len(positions)} of {total} texts are longer than the context of {self.name} and were cut: "
            f"positions {shown}",
            TextCutWarning,
            stacklevel=4,
        )


class TextEncoder(BaseEncoder):
    """The shared half of encoders that know no pictures."""

    modalities = frozenset({"text"})

    def preprocess(self, image: Image) -> Pixels:  # noqa: ARG002 - there is nothing to do with it
        """Raises InvalidInput, as every method that takes pictures does."""
        self._require("image")
        raise AssertionError(f"{self.name} is a text encoder")

    def _pixel_batch(self, pixels: list[Pixels]) -> NDArray[Any]:  # noqa: ARG002
        raise AssertionError(f"{self.name} is a text encoder")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items, in order."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def unit_rows(raw: NDArray[Any], n: int, dim: int, *, first: int = 0) -> Vectors:
    """`raw` as float32 rows of unit length, shape (n, dim).

    Raises InvalidInput, naming the input (counted from `first`), if a row is missing, not finite, or zero:
    such a row has no direction to search by.
    """
    rows = np.asarray(raw, dtype=np.float32)
    if rows.shape != (n, dim):
        raise InvalidInput(f"the encoder gave rows of shape {rows.shape} for {n} inputs of dimension {dim}")
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)  # (n, 1); no overflow in float64
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0.0))
    if bad.size:
        value = "zero" if norms[bad[0], 0] == 0.0 else "not finite"
        raise InvalidInput(f"its embedding is {value}, so it has no direction", position=first + int(bad[0]))
    unit: Vectors = (rows / norms).astype(np.float32)
    return unit


def unit_places(raw: NDArray[Any]) -> NDArray[np.float32]:
    """`raw`, (rows, cols, dim), as float32 with rows of unit length; a row of zeros stays one.

    Raises InvalidInput if any is not finite.
    """
    norms = np.linalg.norm(raw.astype(np.float64), axis=2, keepdims=True)  # (rows, cols, 1)
    if not np.isfinite(norms).all():
        raise InvalidInput("the embedding of a place is not finite: try the precision fp32")
    return np.asarray(raw / np.where(norms == 0.0, 1.0, norms), np.float32)


def checked_texts(texts: Iterable[object]) -> list[str]:
    """`texts` as they are. Raises InvalidInput, with its position, for what is no string of valid Unicode."""
    return [_checked_text(text, position) for position, text in enumerate(texts)]


def _checked_text(text: object, position: int) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"a text must be a string, not {type(text).__name__}", position=position)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"the text is not valid Unicode (a lone surrogate at character {error.start}); "
            "decode its bytes with the right encoding first",
            position=position,
        ) from None
    return text

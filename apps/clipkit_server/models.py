"""The models of a server: loaded when first asked for, each with threads of its own, and let go again."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import BaseEncoder, Encoder, Pixels, TokenCounter, Vectors
from clipkit.encoders import canonical_name
from clipkit.errors import InvalidInput, QueryError, UnknownModel, did_you_mean
from clipkit.images import open_image
from clipkit_server.batching import Bounds, ItemFailed, Lane, Watch, Worker
from clipkit_server.limits import Limits

if TYPE_CHECKING:
    from PIL.Image import Image

TEXTS, IMAGES = "text", "image"

_AT_ONCE = 32  # of encoders that do not tell; while one batch runs, the answers to another are written
_CLOSING_SECONDS = 10.0

Load: TypeAlias = Callable[[str, bool], Encoder]
"""The encoder of that spec; whether it is to turn pictures upright."""


@dataclass(frozen=True, slots=True)
class Row:
    """A vector, (dim,) float32 of unit length, and how many tokens its text has; pictures have none."""

    vector: Vectors
    tokens: int = 0


class Model:
    """A model in memory, and the threads that run it."""

    def __init__(self, encoder: Encoder, limits: Limits, watch: Watch) -> None:
        self.encoder = encoder
        if isinstance(encoder, BaseEncoder):
            encoder.trace()
        size = getattr(encoder, "batch_size", 0) or _AT_ONCE
        lanes = [
            Lane(TEXTS, self._texts, _bounds(limits, size, limits.queued_texts)),
            Lane(IMAGES, self._pixels, _bounds(limits, size, limits.queued_images)),
        ]
        self.worker = Worker(encoder.name, lanes, watch, abreast=getattr(encoder, "lanes", 1))

    def submit(self, kind: str, items: Sequence[Any], client: str) -> Future[list[Row]]:
        """The rows of texts, or of pictures from the encoder's `preprocess`. Raises QueueFull."""
        if kind not in self.encoder.modalities:
            takes = " and ".join(sorted(self.encoder.modalities))
            raise InvalidInput(f"{self.encoder.name} embeds {takes} only: ask for another model")
        return self.worker.submit(kind, items, client)

    def pixels(self, data: bytes, max_pixels: int) -> Pixels:
        """A picture's bytes, decoded and preprocessed. Raises ImageError and MissingExtra."""
        image = open_image(
            data,
            upright=self.encoder.upright,
            reduce_to=self.encoder.image_size,
            max_pixels=max_pixels,
        )
        return self.encoder.preprocess(image)

    def _texts(self, texts: list[str]) -> list[Row]:
        rows = self.encoder.encode_texts(texts)
        return list(map(Row, rows, tokens_of(self.encoder, texts)))

    def _pixels(self, pixels: list[Pixels]) -> list[Row]:
        return list(map(Row, self.encoder.encode_pixels(pixels)))


def _bounds(limits: Limits, size: int, queued: int) -> Bounds:
    return Bounds(size=size, queued=queued, window=limits.window, age=limits.age)


def tokens_of(encoder: Encoder, texts: Sequence[str]) -> list[int]:
    """How many tokens each text has; of a model that cannot count them, how many words."""
    if isinstance(encoder, TokenCounter):
        return encoder.count_tokens(texts)
    return [len(text.split()) for text in texts]


@dataclass(slots=True)
class _Slot:
    """A model that is there, or is being loaded by whoever holds the lock."""

    users: int = 0
    model: Model | None = None
    loading: threading.Lock = field(default_factory=threading.Lock)


class Models:
    """The models by the names that clients know them by. Safe for several threads.

    `names` says what each name stands for: a spec of `load_encoder`. Of more than `most` in memory, the one
    that was not asked for for longest goes, but none that is in use.
    """

    def __init__(
        self, names: Mapping[str, str], *, load: Load, limits: Limits, most: int, watch: Watch
    ) -> None:
        for spec in names.values():
            canonical_name(spec)  # a name that is none is told now, not to the first client
        self.names = dict(names)
        self._load = load
        self._limits = limits
        self._most = most
        self._watch = watch
        self._slots: OrderedDict[tuple[str, bool], _Slot] = OrderedDict()  # the latest asked for comes last
        self._lock = threading.Lock()

    def spec(self, name: str) -> str:
        """What `name` stands for. Raises UnknownModel: nobody has a model loaded that was not offered."""
        if name not in self.names:
            raise UnknownModel(f"no model {name!r} is served here. {did_you_mean(name, self.names)}")
        return self.names[name]

    def is_alias(self, name: str) -> bool:
        """Whether whoever started the server gave a model this name, which is not the model's own."""
        return self.spec(name) != name

    def loaded(self) -> dict[str, Model]:
        """The models in memory, by their specs."""
        with self._lock:
            return {spec: slot.model for (spec, _), slot in self._slots.items() if slot.model is not None}

    def waiting(self) -> dict[tuple[str, str], int]:
        """The items that wait, by spec and kind."""
        return {
            (spec, kind): count
            for spec, model in self.loaded().items()
            for kind, count in model.worker.waiting().items()
        }

    @contextmanager
    def lease(self, spec: str, *, upright: bool = True) -> Iterator[Model]:
        """The model of that spec, which stays in memory meanwhile. Loads it, and blocks, if need be.

        Raises as `load_encoder` does.
        """
        model = self.take(spec, upright=upright)
        try:
            yield model
        finally:
            self.give_back(spec, upright=upright)

    def take(self, spec: str, *, upright: bool = True) -> Model:
        """As `lease`, until `give_back` is called as often."""
        key = (canonical_name(spec), upright)
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            slot.users += 1
        try:
            with slot.loading:
                if slot.model is None:
                    slot.model = Model(self._load(key[0], upright), self._limits, self._watch)
                    _set_apart()
                model = slot.model
        except BaseException:
            self.give_back(spec, upright=upright)
            raise
        self._trim()
        return model

    def taken(self, spec: str, *, upright: bool = True) -> Model | None:
        """As `take`, if the model is in memory; else None. Never blocks."""
        key = (canonical_name(spec), upright)
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or slot.model is None:
                return None
            self._slots.move_to_end(key)
            slot.users += 1
            return slot.model

    def give_back(self, spec: str, *, upright: bool = True) -> None:
        """Ends what `take` began."""
        with self._lock:
            self._slots[canonical_name(spec), upright].users -= 1
        self._trim()

    def close(self) -> None:
        """Ends all threads, once what waits is done."""
        with self._lock:
            models = [slot.model for slot in self._slots.values() if slot.model is not None]
            self._slots.clear()
        for model in models:
            model.worker.close()
        for model in models:
            model.worker.join(_CLOSING_SECONDS)

    def _trim(self) -> None:
        with self._lock:
            idle = [key for key, slot in self._slots.items() if not slot.users]
            empty = [key for key in idle if self._slots[key].model is None]
            extra = len(self._slots) - len(empty) - self._most
            unused = [key for key in idle if self._slots[key].model is not None]
            going = [self._slots.pop(key) for key in (*empty, *unused[: max(0, extra)])]
        for slot in going:
            if slot.model is not None:
                slot.model.worker.close()


def _set_apart() -> None:
    """Spares the garbage collector all that is in memory now, but for what is garbage.

    Libraries and models are a million objects: to look through them took a third of the time of small
    requests, and held up everybody for a few tenths of a second each time.
    """
    gc.unfreeze()  # a model that has gone since
    gc.collect()
    gc.freeze()


class Shared(BaseEncoder):
    """A served model as an Encoder, for collections: its batches are filled with what others ask for, too.

    Its methods block, so they are for threads. `client` tells for whom the calling thread asks.
    """

    batch_size = 1_024  # at most half of what may wait

    def __init__(self, models: Models, spec: str, *, upright: bool, client: Callable[[], str]) -> None:
        self._lease = partial(models.lease, spec, upright=upright)
        self._client = client
        self.upright = upright
        with self._lease() as model:
            encoder = model.encoder
            self.name, self.dim, self.modalities = encoder.name, encoder.dim, encoder.modalities
            self.fingerprint, self.image_size = encoder.fingerprint, encoder.image_size

    def preprocess(self, image: Image) -> Pixels:
        with self._lease() as model:
            return model.encoder.preprocess(image)

    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        return self._vectors(TEXTS, texts)

    def _pixel_batch(self, pixels: list[Pixels]) -> NDArray[Any]:
        return self._vectors(IMAGES, pixels)

    def _overlong(self, texts: list[str]) -> list[int]:  # noqa: ARG002
        return []  # the model behind counts them

    def _vectors(self, kind: str, items: Sequence[Any]) -> NDArray[Any]:
        with self._lease() as model:
            try:
                rows = model.submit(kind, items, self._client()).result()
            except ItemFailed as failed:
                raise blamed(failed) from failed
        return np.stack([row.vector for row in rows])


def blamed(failed: ItemFailed) -> Exception:
    """What the model raised, with the item's place among those of its request."""
    error = failed.error
    if isinstance(error, InvalidInput) and not isinstance(error, QueryError):
        return type(error)(error.reason, position=failed.place)
    return error

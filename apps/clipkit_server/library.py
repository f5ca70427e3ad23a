"""The collections of a server: opened when one is first asked for, with the models that the server shares."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from clipkit import Collection
from clipkit.encoder import Vectors
from clipkit.errors import ClipkitError, CollectionMismatch, CollectionNotFound, did_you_mean
from clipkit.labels import Tagger, calibrated
from clipkit.vocabulary import FEW_TEMPLATES, Vocabulary
from clipkit_server.models import Models, Shared

T = TypeVar("T")

_TAGGERS = 8  # kept: to embed the everyday labels takes a second or more
_LABELS = 64  # sets of labels kept, of up to 1,000 vectors


@dataclass(frozen=True, slots=True)
class _Opened:
    collection: Collection
    encoder: str


class _Latest(Generic[T]):
    """What was made last, by its key: up to `most`. Safe for several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


class Library:
    """The collections of one place by name. Its methods block. Safe for several threads."""

    def __init__(self, models: Models, db: str | None, *, default: str, client: Callable[[], str]) -> None:
        self._models = models
        self._db = db
        self._default = default
        self._client = client
        self._opened: dict[str, _Opened] = {}
        self._taggers: _Latest[Tagger] = _Latest(_TAGGERS)
        self._labels: _Latest[Vectors] = _Latest(_LABELS)

    def names(self) -> list[str]:
        """The collections that are there now."""
        return Collection.names(self._db)

    def collection(self, name: str | None = None) -> Collection:
        """The collection of that name, or the default one. Raises CollectionNotFound.

        It embeds by the server's queues, with the model that its vectors are of now.
        """
        name = name or self._default
        opened = self._opened.get(name)
        if opened is not None and self._is_current(opened):
            return opened.collection
        try:
            spec = Collection.open(name, db=self._db).encoder_name
        except CollectionNotFound:  # whose message names the place
            others = did_you_mean(name, self.names())
            raise CollectionNotFound(f"there is no collection {name!r}. {others}".rstrip()) from None
        try:
            collection = self._open(name, spec, upright=True)
        except (
            CollectionMismatch
        ) as error:  # few collections leave pictures as they lie, and only opening tells
            try:
                collection = self._open(name, spec, upright=False)
            except CollectionMismatch:
                raise error from None
        self._opened[name] = _Opened(collection, spec)
        return collection

    def tagger(self, collection: Collection, labels: Sequence[str] | None) -> Tagger:
        """A tagger for the pictures of a collection; by default with the everyday labels."""
        key = (collection.name, collection.encoder_name, tuple(labels or ()))
        return self._taggers.get(
            key, lambda: calibrated(collection, Vocabulary.of(labels) if labels else None)
        )

    def label_vectors(self, spec: str, labels: Sequence[str], templates: Sequence[str] | None) -> Vectors:
        """A unit vector for each label, (labels, dim), by the model of that spec. Raises InvalidInput."""
        said = tuple(templates or FEW_TEMPLATES)
        encoder = Shared(self._models, spec, upright=True, client=self._client)
        return self._labels.get(
            (spec, tuple(labels), said), lambda: Vocabulary.of(labels).vectors(encoder, said)
        )

    def _open(self, name: str, spec: str, *, upright: bool) -> Collection:
        shared = Shared(self._models, spec, upright=upright, client=self._client)
        return Collection.open(name, db=self._db, encoder=shared)

    def _is_current(self, opened: _Opened) -> bool:
        try:
            return opened.collection.encoder_name == opened.encoder
        except ClipkitError:  # it was deleted, and perhaps made anew
            return False

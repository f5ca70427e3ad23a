"""The model of a collection: loaded when it is first needed, and again once the collection has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from clipkit.encoder import Encoder
from clipkit.encoders import Load
from clipkit.query import Query
from clipkit.store import Store


class Model:
    """The encoder of a collection's vectors.

    One that is loaded by its name follows when the collection changes its model. One that was handed over
    cannot: it goes on searching its own vectors while they are there, and adds no more.
    """

    def __init__(
        self, store: Store, load: Load, encoder: Encoder | None = None, *, follows: bool = True
    ) -> None:
        self._store = store
        self._load = load
        self._encoder = encoder
        self._texts: Encoder | None = None
        self._follows = follows
        self._loading = threading.Lock()

    def current(self) -> Encoder:
        """The encoder of the vectors that the collection uses now.

        Raises CollectionMismatch if it is no longer what it was, or was handed over and the collection has
        changed its model since.
        """
        with self._loading:
            stamp = self._store.stamp
            encoder = self._encoder
            if encoder is None or (self._follows and not stamp.fits(encoder)):
                encoder = self._load(stamp.encoder, upright=stamp.upright)
            self._encoder = stamp.checked(encoder, self._store.name)
            return self._encoder

    def for_search(self, query: Query) -> Encoder:
        """An encoder for this query, whose vectors the collection has. Raises CollectionMismatch."""
        has_pictures = any(part.what == "image" for part in query.parts)
        return self._whole() if has_pictures else self.for_texts()

    def for_texts(self) -> Encoder:
        """An encoder for texts, whose vectors the collection has. Raises CollectionMismatch.

        As long as the model has not been needed for more, its text side alone will do.
        """
        alone = self._text_side() if self._encoder is None else None
        return alone or self._whole()

    def _whole(self) -> Encoder:
        given = None if self._follows else self._encoder
        return self.current() if given is None else self._store.known(given)

    def _text_side(self) -> Encoder | None:
        stamp = self._store.stamp
        with self._loading:
            if self._texts is None or not stamp.fits(self._texts):
                self._texts = self._load.texts(stamp.encoder, upright=stamp.upright)
            return self._texts if self._texts is not None and stamp.fits(self._texts) else None

    def another(self, encoder: str | Encoder) -> Encoder:
        """`encoder`, or what it names: loaded for the same device, and for pictures turned as the others."""
        if isinstance(encoder, Encoder):
            return encoder
        return self._load(encoder, upright=self._store.stamp.upright)

    def adopt(self, encoder: Encoder) -> None:
        """Have `encoder` stand ready, which the collection has just been changed to."""
        with self._loading:
            self._encoder = encoder

    def pinned(self) -> Callable[[], Encoder]:
        """A function that gives the current encoder, at each call the same: for the whole of one job."""
        found: list[Encoder] = []
        finding = threading.Lock()

        def get() -> Encoder:
            with finding:
                if not found:
                    found.append(self.current())
                return found[0]

        return get

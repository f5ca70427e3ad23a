"""What all parts of the page share: its options, the collections it shows, and what was dropped on it."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipkit import Collection
from clipkit.errors import InvalidInput
from clipkit_web.uploads import Uploads

SELECTIONS = 50  # of up to 20,000 ids of about 80 bytes each: at most 80 MB, in practice a few


@dataclass(frozen=True, slots=True)
class Options:
    """How a page is served. `roots` are the folders that may be indexed from it."""

    db: str | None = None
    name: str = "default"
    device: str | None = None
    precision: str | None = None
    roots: tuple[Path, ...] = ()
    allow_urls: bool = False
    mcp: bool = False


class Site:
    """The collections by name, opened once, and the uploads. Safe for several threads."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.uploads = Uploads()
        self._opened: dict[str, Collection] = {}
        self._selections: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The collections that are there now."""
        return Collection.names(self.options.db)

    def collection(self, name: str = "") -> Collection:
        """The collection of that name, by default the one the page was opened with.

        Raises CollectionNotFound.
        """
        name = name or self.options.name
        with self._lock:
            if name not in self._opened:
                self._opened[name] = Collection.open(
                    name,
                    db=self.options.db,
                    device=self.options.device,
                    precision=self.options.precision,
                )
            return self._opened[name]

    def forget(self, name: str) -> None:
        """Opens that collection anew when it is next asked for."""
        with self._lock:
            self._opened.pop(name, None)

    def pick(self, ids: Sequence[str]) -> str:
        """A key for these items, with which a link names them while the page runs."""
        key = hashlib.sha256("\0".join(ids).encode()).hexdigest()[:16]
        with self._lock:
            self._selections[key] = tuple(ids)
            self._selections.move_to_end(key)
            while len(self._selections) > SELECTIONS:
                self._selections.popitem(last=False)
        return key

    def picked(self, key: str) -> tuple[str, ...]:
        """The items of that key. Raises InvalidInput if they were forgotten."""
        with self._lock:
            if key not in self._selections:
                raise InvalidInput("this selection was forgotten: select the items again on the map")
            return self._selections[key]

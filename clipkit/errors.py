"""Every exception that clipkit raises on purpose.

    ClipkitError
    ├── InvalidInput            ValueError         a value that cannot be used: which, and what would do
    │   ├── QueryError                             a query string that does not parse; points at the character
    │   ├── FilterError                            a `where=` that the table cannot evaluate
    │   ├── ImageError          OSError            a file or value that is not a readable image
    │   └── FetchError          OSError            a URL from which no picture may or can be fetched
    ├── MissingExtra            ImportError        a feature whose packages are not installed
    ├── ModelError                                 a model that cannot be had, or not do what is asked
    │   ├── UnknownModel        LookupError        no model goes by that name
    │   ├── ModelUnavailable    OSError            it exists, but neither the cache nor the network has it
    │   ├── WeightsError        ValueError         its files are damaged or do not fit its architecture
    │   ├── ServiceError        OSError            a service that embeds refused, failed, or answered nonsense
    │   └── PlacesUnavailable   NotImplementedError  it tells pictures as wholes only, no heat map
    └── CollectionError
        ├── CollectionNotFound  FileNotFoundError
        ├── CollectionExists    FileExistsError
        ├── CollectionMismatch  ValueError         made by another model, dimension or format version
        └── StorageError        OSError            the disk or object store refused (full, no permission, ...)

Leaves also inherit the builtin that a caller would expect, so `except ValueError` works. A message says
what happened, gives the value, and names the next step.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ClipkitError(Exception):
    """Base of every error that clipkit raises on purpose."""


class InvalidInput(ClipkitError, ValueError):
    """A value passed in cannot be used.

    `position` is the index of the offending input, counted from 0, where the input is a sequence.
    """

    def __init__(self, message: str, *, position: int | None = None) -> None:
        super().__init__(message if position is None else f"input {position}: {message}")
        self.reason = message
        self.position = position


class QueryError(InvalidInput):
    """A query string does not parse. `column` is the offending character, counted from 0."""

    def __init__(self, message: str, text: str, column: int) -> None:
        super().__init__(f"{message}\n  {text}\n  {' ' * column}^" if text.strip() else message)
        self.column = column
        self._given = (message, text, column)

    def __reduce__(self) -> tuple[type[QueryError], tuple[str, str, int]]:
        return type(self), self._given


class FilterError(InvalidInput):
    """A `where=` filter cannot be evaluated on this collection."""


class ImageError(InvalidInput, OSError):
    """A file or value cannot be read as an image."""

    def __str__(self) -> str:  # OSError's own would print (errno, text) pairs
        return str(self.args[0])


class FetchError(InvalidInput, OSError):
    """A URL from which no picture may be fetched, or none can be."""

    def __str__(self) -> str:
        return str(self.args[0])


class MissingExtra(ClipkitError, ImportError):
    """An optional package is not installed. The message holds the install line."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs packages that are not installed: pip install 'clipkit[{extra}]'")
        self._given = (what, extra)

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:  # for those in other processes
        return type(self), self._given


class ModelError(ClipkitError):
    """A model cannot be had, or not do what is asked of it."""


class UnknownModel(ModelError, LookupError):
    """No model goes by this name."""


class ModelUnavailable(ModelError, OSError):
    """The model is neither in the cache nor within reach over the network."""


class WeightsError(ModelError, ValueError):
    """A model's files are damaged, or do not fit its architecture."""


class ServiceError(ModelError, OSError):
    """A service that embeds refused, failed, or answered nonsense.

    `embedded` is the number of inputs, from the first, that need not be given to it again.
    """

    def __init__(self, message: str, *, embedded: int = 0) -> None:
        super().__init__(message)
        self.reason = message
        self.embedded = embedded

    def __str__(self) -> str:
        return self.reason


class PlacesUnavailable(ModelError, NotImplementedError):
    """The model tells pictures as wholes only: what one place of a picture means cannot be had of it."""


class CollectionError(ClipkitError):
    """A collection cannot be used as asked."""


class CollectionNotFound(CollectionError, FileNotFoundError):
    """There is no such collection."""


class CollectionExists(CollectionError, FileExistsError):
    """A collection of this name exists already."""


class CollectionMismatch(CollectionError, ValueError):
    """The collection was made by another model, dimension or format version."""


class StorageError(CollectionError, OSError):
    """The disk or object store refused to read or write."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence with the names closest to `name`, or all of them where none is close; may be empty."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(names)}." if names else ""

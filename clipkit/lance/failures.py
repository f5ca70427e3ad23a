"""What Lance's errors mean, in our words. Lance raises every kind, even one of its own for a panic."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from clipkit.errors import (
    ClipkitError,
    CollectionError,
    CollectionNotFound,
    FilterError,
    StorageError,
    did_you_mean,
)

_PREAMBLE = re.compile(
    r".*(?:sql parser error|Invalid user input|Arrow error|Execution error|planning|Invalid input,)[: ]+"
)


def is_passing(error: Exception) -> bool:
    """Whether trying again may help: another process compacted the table, or committed first."""
    gone = re.search(r"Not found: .*\.lance/\w+/", str(error)) is not None
    return gone or is_conflict(error)


def is_conflict(error: BaseException | None) -> bool:
    # Lance's words in full: a column or a folder may be called conflict. To one who writes already, another
    # who makes the same table at the same time is an Overwrite.
    words = (
        "ommit conflict for version|Too many concurrent writ|still conflicting"
        "|is incompatible with concurrent transaction Overwrite"
    )
    return re.search(words, str(error)) is not None


def is_panic(error: Exception) -> bool:
    """Whether Lance's own code failed: at SQL that it does not know, or where one process builds an index
    while another compacts the table."""
    return type(error).__name__ == "RustPanic"


def translated(
    error: Exception, location: str, where: str | None = None, columns: Callable[[], Iterable[str]] = tuple
) -> ClipkitError:
    """Our own error for one of Lance's about the table at `location`, perhaps about the filter `where`."""
    message = _first_line(error)
    if re.search(r"Not found: .*\.lance/_versions(?!/)", message):
        return CollectionNotFound(
            f"{location} is no longer there: it was deleted, or its disk is not mounted"
        )
    if where is None or "LanceError(IO)" in str(error) or "os error" in message:
        return storage_error(error, location)
    unknown = re.search(r"No field named ([\"`]?)(.+?)\1(?:\.|$)", message)
    if unknown:
        name = unknown.group(2)
        hint = did_you_mean(name, columns())
        if f'"{name}"' in where:
            hint += " A text goes into single quotes."
        return FilterError(f"there is no column {name!r}. {hint}")
    detail = re.sub(_PREAMBLE, "", message)
    if "(sql parser error: " in message:
        detail = detail.removesuffix(")")
    if is_panic(error):
        detail = "it uses SQL that LanceDB does not know"
    return FilterError(f"the filter {where} cannot be evaluated: {detail}{_literal_hint(message)}")


def storage_error(error: Exception, location: str) -> CollectionError:
    message = _first_line(error)
    if "No space left" in message or "os error 28" in message:
        return StorageError(
            f"the disk that holds {location} is full. What was stored so far is safe: free some space "
            "and run the same again"
        )
    if re.search("Permission ?[Dd]enied|Read-only file system", message):
        return StorageError(f"no permission to use {location}: {message}")
    damaged = re.search("file size is too small|Invalid range|Not found", message)
    hint = ". Files of it are missing or damaged: bring them back, or index again into a new collection"
    return StorageError(f"{location}: {message}{hint if damaged else ''}")


def _literal_hint(message: str) -> str:
    """How to write the value that a column of times or dates was compared with."""
    if "literal of type 'Timestamp" in message:
        return ". A time is written timestamp '2024-12-31 18:00:00', or date '2024-12-31'"
    return ". A date is written date '2024-12-31'" if "literal of type 'Date" in message else ""


def _first_line(error: Exception) -> str:
    """The message without the source locations that Lance appends."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    line = re.sub(r",? ?/\S+\.rs:\d+(:\d+)?", "", line)
    return re.sub(r"^lance error: |LanceError\(IO\): |External error: ", "", line)

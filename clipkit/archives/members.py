"""What every kind of archive gives."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from clipkit.descriptions import Said
from clipkit.folders import FoundFile


@dataclass(frozen=True, slots=True)
class Member:
    """A picture in an archive. `file` has its own id and size, and the archive's time.

    `read` gives its bytes, and may raise ImageError or OSError. Several threads may call it.
    """

    file: FoundFile
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that was opened: `file` as it was then, and the ids of its pictures.

    `members` gives those whose id is not among the given ones, `said` what the archive says of its pictures;
    both begin anew at each call. `flaw` tells why it may hold less than it once did.
    """

    file: FoundFile
    ids: Sequence[str]
    members: Callable[[Container[str]], Iterator[Member]]
    said: Callable[[], Iterator[Said]]
    flaw: str | None = None

"""What every source of known pictures gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from clipkit.encoder import ImageInput
from clipkit.reports import Failure


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a Parquet file to use. None: the first that has one of the usual names."""

    image: str | None = None
    label: str | None = None
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a picture: its class, a key of `Labelled.classes`, and captions; or one of them."""

    label: str | None = None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One picture: what reports call it, how to get it, what is true of it. `read` may raise ImageError."""

    name: str
    read: Callable[[], ImageInput]
    truth: Truth


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures of known truth. `rows` begins anew at each call, and gives `total` of them.

    `classes` are the names of each class by its key, the usual name first; empty if there are none.
    `captioned` says whether pictures have captions. `failures` are files that cannot be rows at all.
    """

    name: str
    total: int
    rows: Callable[[], Iterator[Row]]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    captioned: bool = False
    failures: tuple[Failure, ...] = ()

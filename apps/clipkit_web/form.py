"""What somebody asks of the page: words, pictures, marks, filters. All of it fits into a link."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, urlencode

from clipkit import filters
from clipkit.errors import FilterError, InvalidInput
from clipkit.hits import Kind

PAGE = 60  # hits: three or four screens of a desktop
MOST = 5_000  # hits; who scrolls further should ask more precisely
LONGEST = 4_000  # characters of one value; longer words are no query, and a link is bounded anyway
MOST_VALUES = 200  # marks, pictures or items in one form


@dataclass(frozen=True, slots=True)
class Weighted:
    """A picture or an item in a query. `name` is the key of an upload, or the id of an item."""

    name: str
    weight: float = 1.0

    def __str__(self) -> str:
        return f"{self.weight:g}*{self.name}"

    @classmethod
    def read(cls, text: str) -> Weighted:
        """What `str` wrote. Raises InvalidInput."""
        weight, _, name = text.partition("*")
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if not name or not math.isfinite(number):
            raise InvalidInput(f"{text!r} in the link is no WEIGHT*NAME: copy the whole link again")
        return cls(name, number)


@dataclass(frozen=True, slots=True)
class Form:
    """One question to the page; empty values ask for nothing. `str` is the part of a link after the `?`."""

    collection: str = ""
    q: str = ""  # the one-line form of a query
    picture: tuple[Weighted, ...] = ()  # uploads
    item: tuple[Weighted, ...] = ()  # pictures of the collection
    good: tuple[str, ...] = ()  # ids of hits that were marked
    bad: tuple[str, ...] = ()
    kind: str = "image"  # "image", "text", or "" for both
    since: str = ""
    until: str = ""
    folder: str = ""
    camera: str = ""
    near: str = ""
    edge: int = 0  # pixels, of the shorter edge
    own: tuple[str, ...] = ()  # COLUMN=VALUE
    where: str = ""
    cut: str = ""  # "auto", or a score
    words: bool = False  # hybrid search
    hidden: bool = False  # what was hidden as well
    picked: str = ""  # the key of a selection, such as a part of the map
    k: int = PAGE

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and len(value) > MOST_VALUES:
                raise InvalidInput(f"{len(value)} values of {field.name} are over the limit of {MOST_VALUES}")
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and len(text) > LONGEST:
                    raise InvalidInput(
                        f"{field.name} has {len(text):,} characters, over the limit of {LONGEST:,}: "
                        "ask with fewer words"
                    )

    def __str__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        pairs = [
            (name, "1" if text is True else "0" if text is False else str(text))
            for name, value in given.items()
            for text in (value if isinstance(value, tuple) else (value,))
        ]
        return urlencode(pairs)

    @classmethod
    def read(cls, link: str) -> Form:
        """The form in the part of a link after its `?`; what is no part of a form is passed over.

        Raises InvalidInput for values that no form can have.
        """
        given: dict[str, list[str]] = {}
        for name, value in parse_qsl(link.removeprefix("?"), keep_blank_values=True):
            given.setdefault(name, []).append(value)
        return cls(**{f.name: _value(f.name, given[f.name]) for f in fields(cls) if f.name in given})

    def with_filters(self, names: Sequence[str], values: Sequence[Any]) -> Form:
        """The same question with other filters, back at its first page."""
        return replace(self, **dict(zip(names, (_plain(value) for value in values), strict=True)), k=PAGE)

    @property
    def asks(self) -> bool:
        """Whether there is a query, and not only filters."""
        return bool(self.q.strip() or self.picture or self.item or self.good or self.bad)

    @property
    def wanted(self) -> Kind | None:
        """The kind that is asked for; None for both."""
        if self.kind not in ("", "image", "text"):
            raise InvalidInput(f"the kind is image, text or empty, not {self.kind!r}")
        return cast("Kind", self.kind) if self.kind else None

    @property
    def least(self) -> float | Literal["auto"] | None:
        """The least score of a hit. Raises InvalidInput."""
        if self.cut in ("", "auto"):
            return "auto" if self.cut else None
        try:
            return float(self.cut)
        except ValueError:
            raise InvalidInput(f"the cut-off is a score from -1 to 1 or auto, not {self.cut!r}") from None

    def condition(self, columns: Mapping[str, str]) -> str | None:
        """The SQL of all filters; `columns` are the collection's own and their types. Raises FilterError."""
        return filters.all_of(
            filters.since(self.since) if self.since.strip() else None,
            filters.until(self.until) if self.until.strip() else None,
            filters.under(self.folder) if self.folder.strip() else None,
            filters.camera(self.camera) if self.camera.strip() else None,
            filters.near(self.near) if self.near.strip() else None,
            f"least(width, height) >= {self.edge}" if self.edge else None,
            *(_own(choice, columns) for choice in self.own),
            filters.self_contained(self.where) if self.where.strip() else None,
        )

    def marked(self, identity: str, mark: Literal["good", "bad"]) -> Form:
        """With one more hit marked, or without the mark if it has it."""
        good, bad = (tuple(one for one in marks if one != identity) for marks in (self.good, self.bad))
        if mark == "good" and identity not in self.good:
            good += (identity,)
        if mark == "bad" and identity not in self.bad:
            bad += (identity,)
        return replace(self, good=good, bad=bad, k=PAGE)

    def weighted(self, where: Literal["picture", "item"], name: str, weight: float | None) -> Form:
        """With that picture or item in the query at this weight, or with None without it."""
        there = {one.name: one for one in (self.picture if where == "picture" else self.item)}
        there.pop(name, None) if weight is None else there.update({name: Weighted(name, weight)})
        parts = tuple(there.values())
        return (
            replace(self, picture=parts, k=PAGE) if where == "picture" else replace(self, item=parts, k=PAGE)
        )


def _value(name: str, given: list[str]) -> Any:
    if name in ("picture", "item"):
        return tuple(map(Weighted.read, given))
    if name in ("good", "bad", "own"):
        return tuple(given)
    text = given[-1]
    if name in ("words", "hidden"):
        return text == "1"
    if name in ("edge", "k"):
        if not text.isdecimal() or len(text) > 9:
            raise InvalidInput(f"{name} in the link is a number, not {text!r}")
        return min(max(1, int(text)), MOST) if name == "k" else int(text)
    return text


def _plain(value: Any) -> Any:
    """What a widget gives as a form has it: no lists, no None."""
    if value is None:
        return ""
    return tuple(value) if isinstance(value, list) else value


def _own(choice: str, columns: Mapping[str, str]) -> str:
    name, _, value = choice.partition("=")
    kind = columns.get(name)
    if kind is None:
        raise FilterError(f"the collection has no column {name!r}: take that filter away")
    if kind == "bool":
        return f"{name} = {'true' if value == 'true' else 'false'}"
    if kind.startswith("list"):
        return f"array_has({name}, {filters.quoted(value)})"
    return filters.is_in(name, [value])

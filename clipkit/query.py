"""Query: what to look for, as a sum of weighted texts, images, vectors and stored items.

In Python:     Query.text("beach") + 0.5 * Query.image("cat.jpg") - Query.text("people")
In one line:   beach + 0.5*image:cat.jpg - people            (its grammar is in queryline.py)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit import queryline
from clipkit.encoder import Encoder, ImageInput, Vectors, unit_rows
from clipkit.errors import InvalidInput, did_you_mean
from clipkit.queryline import What

# Below this share of the weights the sum is rounding noise of float32 rows, not a direction.
_CANCELLED = 1e-6


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """One term of a query: what it is, its value, and its weight (negative: unlike it).

    `value` is a str for text and id; a str (a path), bytes, PIL image or array for image; a tuple of
    floats for vector. Arrays and PIL images are kept as they are, not copied. `phrase`, of a text in quotes,
    asks a hybrid search for these words in this order. `row` is the unit vector, (dim,), of the part in
    the space of the model of that fingerprint, once it is known. Parts that differ in nothing else are equal.
    """

    what: What
    value: Any
    weight: float = 1.0
    phrase: bool = field(default=False, compare=False)
    row: tuple[str, NDArray[np.float64]] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.what not in _CHECKS:
            raise InvalidInput(f"a part of a query is no {self.what!r}. {did_you_mean(self.what, _CHECKS)}")
        object.__setattr__(self, "value", _CHECKS[self.what](self.value))
        object.__setattr__(self, "weight", _checked_weight(self.weight))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Part):
            return NotImplemented
        if (self.what, self.weight) != (other.what, other.weight):
            return False
        if isinstance(self.value, np.ndarray) or isinstance(other.value, np.ndarray):
            return type(self.value) is type(other.value) and np.array_equal(self.value, other.value)
        return bool(self.value == other.value)

    def __repr__(self) -> str:
        return f"Part({self.what!r}, {_shown(self.value)!r}, weight={self.weight:g})"


@dataclass(frozen=True, slots=True, repr=False)
class Query:
    """What to look for: weighted parts, combined as unit vectors and normalised once.

    Queries add, subtract, negate, and are multiplied or divided by a number. They are immutable, and
    equal and hashable where their parts are (images given as paths are). `str(query)` is the one-line
    form; `Query.parse` reads it back for texts, image paths and ids.
    """

    parts: tuple[Part, ...]

    __array_ufunc__ = None  # np.float64(0.5) * query: NumPy leaves it to __rmul__

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts:
            raise InvalidInput("a query needs at least one part: Query.text('beach')")

    @classmethod
    def text(cls, text: str, *, phrase: bool = False) -> Query:
        """A query for what `text` says. Raises InvalidInput if it is blank.

        With `phrase`, as in quotes, a hybrid search puts first what holds these words in this order.
        """
        return cls((Part("text", text, phrase=phrase),))

    @classmethod
    def image(cls, image: ImageInput) -> Query:
        """A query for what looks like `image`: a path, file bytes, PIL image or array."""
        return cls((Part("image", image),))

    @classmethod
    def vector(cls, vector: ArrayLike) -> Query:
        """A query for the direction of `vector`, shape (dim,), any length but zero."""
        return cls((Part("vector", vector),))

    @classmethod
    def item(cls, id: str) -> Query:
        """A query for what is like the stored item `id`, by its stored vector."""
        return cls((Part("id", id),))

    @classmethod
    def parse(cls, line: str) -> Query:
        """The query that the one-line form `line` says. Raises QueryError, which points at the character."""
        if not isinstance(line, str):
            raise InvalidInput(f"Query.parse takes a string, not {type(line).__name__}")
        return cls(tuple(Part(*term) for term in queryline.parse(line)))

    def __add__(self, other: object) -> Query:
        return Query(self.parts + other.parts) if isinstance(other, Query) else NotImplemented

    def __sub__(self, other: object) -> Query:
        return self + -other if isinstance(other, Query) else NotImplemented

    def __neg__(self) -> Query:
        return self * -1

    def __mul__(self, factor: object) -> Query:
        if not isinstance(factor, Real):
            return NotImplemented
        checked = _checked_weight(factor)
        return Query(tuple(replace(part, weight=part.weight * checked) for part in self.parts))

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> Query:
        if not isinstance(divisor, Real):
            return NotImplemented
        checked = _checked_weight(divisor)
        if checked == 0.0:
            raise InvalidInput("a query cannot be divided by zero")
        return Query(tuple(replace(part, weight=part.weight / checked) for part in self.parts))

    def __str__(self) -> str:
        return queryline.write(
            (part.what, _shown(part.value), part.weight, part.phrase) for part in self.parts
        )

    def __repr__(self) -> str:
        return f"Query({str(self)!r})"

    def resolve(self, encoder: Encoder, stored: Callable[[list[str]], Vectors]) -> NDArray[np.float32]:
        """The unit vector to search by, shape (dim,).

        `stored` is as in `embedded`. Raises InvalidInput if a vector does not fit or the parts cancel.
        """
        rows = self.embedded(encoder, stored)
        return np.asarray(self.coefficients(rows) @ rows, np.float32)

    def embedded(self, encoder: Encoder, stored: Callable[[list[str]], Vectors]) -> NDArray[np.float64]:
        """The unit vectors of the parts, in their order, shape (parts, dim).

        `stored` gives the stored vectors of items by their ids, one row each, in order. Texts are embedded
        in one batch, images in another. Raises InvalidInput if a vector does not fit.
        """
        rows = np.empty((len(self.parts), encoder.dim), np.float64)
        unknown = []
        for place, part in enumerate(self.parts):
            if part.row is not None and part.row[0] == encoder.fingerprint:
                rows[place] = part.row[1]
            else:
                unknown.append(place)
        for what, embed in (
            ("text", encoder.encode_queries),
            ("image", lambda images: encoder.encode_images([expanded(image) for image in images])),
            ("vector", lambda vectors: _given(vectors, encoder.dim)),
            ("id", stored),
        ):
            places = [place for place in unknown if self.parts[place].what == what]
            if places:
                rows[places] = _embedded([self.parts[i].value for i in places], embed, encoder.dim)
        return rows

    def with_rows(self, encoder: Encoder, stored: Callable[[list[str]], Vectors]) -> Query:
        """The same query with the unit vectors of its parts, for several searches by it. As `embedded`."""
        rows = zip(self.parts, self.embedded(encoder, stored), strict=True)
        return Query(tuple(replace(part, row=(encoder.fingerprint, row)) for part, row in rows))

    def coefficients(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much each of the parts, whose unit vectors are `rows`, counts in the unit vector of all.

        Shape (parts,): the weights, divided by the length of the weighted sum. Raises InvalidInput if the
        parts cancel each other.
        """
        weights = np.array([part.weight for part in self.parts])  # (parts,)
        largest = float(np.abs(weights).max()) or 1.0  # scaled by it, sums of huge weights stay finite
        weights = weights / largest
        total = weights @ rows  # (dim,)
        norm = float(np.linalg.norm(total))
        if norm <= _CANCELLED * float(np.abs(weights).sum()):
            raise InvalidInput(f"the parts of the query cancel each other, so no direction is left: {self}")
        shares: NDArray[np.float64] = weights / norm
        return shares

    def length(self) -> float:
        """The length of the weighted sum of the parts, before `resolve` normalises it.

        The vectors of all parts have to be known, as after `with_rows`. Raises as `resolve` does.
        """
        rows = [part.row[1] for part in self.parts if part.row is not None]
        if len(rows) < len(self.parts):
            raise InvalidInput(f"not all parts have a vector yet: Collection.embedded gives them to {self}")
        shares = self.coefficients(np.stack(rows))
        return max(abs(part.weight) for part in self.parts) / float(np.abs(shares).max())


def _embedded(values: list[Any], embed: Callable[[Any], Vectors], dim: int) -> Vectors:
    try:
        rows = embed(values)
    except InvalidInput as error:
        if error.position is None:
            raise
        # The position counts parts of one kind, which nobody who wrote a query counts: name the part instead.
        name = _shown(values[error.position])
        raise type(error)(error.reason if name in error.reason else f"{name}: {error.reason}") from error
    return unit_rows(rows, len(values), dim)


def _given(vectors: list[tuple[float, ...]], dim: int) -> Vectors:
    for vector in vectors:
        if len(vector) != dim:
            raise InvalidInput(f"the query's vector has {len(vector)} numbers, the collection's have {dim}")
    rows = np.array(vectors, np.float64)  # (n, dim)
    largest = np.abs(rows).max(axis=1, keepdims=True)  # (n, 1); by it, since 1e300 would not fit float32
    return np.asarray(rows / largest, np.float32)


def expanded(image: ImageInput) -> ImageInput:
    """`image`, the ~ that a path begins with made a folder: in image:~/cat.jpg no shell did it."""
    if isinstance(image, str) and image.startswith("~") and not Path(image).exists():
        return os.path.expanduser(image)  # Path's raises where there is no such user
    return image


def _checked_weight(weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, Real):
        raise InvalidInput(f"a weight is a number, not {weight!r}")
    try:
        number = float(weight)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidInput(f"a weight must be finite, not {number}")
    return number


def _checked_string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"a query's {name} is a string, not {type(value).__name__}")
    if not value.strip():
        raise InvalidInput(f"a query's {name} must not be blank: {value!r}")
    return value


def _checked_image(value: Any) -> Any:
    if isinstance(value, str | os.PathLike):
        return _checked_string(os.fsdecode(value), "image path")
    if isinstance(value, bytes | np.ndarray) or hasattr(value, "getdata"):  # PIL, without importing it
        return value
    raise InvalidInput(
        f"a query's image is a path, bytes, a PIL image or an array, not {type(value).__name__}"
    )


def _checked_vector(value: ArrayLike) -> tuple[float, ...]:
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a query's vector must be numbers: {error}") from error
    if numbers.ndim != 1 or not numbers.size:
        raise InvalidInput(f"a query's vector is one row of shape (dim,), not {numbers.shape}")
    if not np.isfinite(numbers).all():
        place = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise InvalidInput(f"a query's vector must be finite; number {place} is {numbers[place]}")
    if not numbers.any():
        raise InvalidInput("a query's vector is all zeros, so it has no direction")
    return tuple(numbers.tolist())


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "text": lambda value: _checked_string(value, "text"),
    "image": _checked_image,
    "vector": _checked_vector,
    "id": lambda value: _checked_string(value, "id"),
}


def _shown(value: Any) -> str:
    """`value` itself where the one-line form can hold it; else what stands for it there."""
    if isinstance(value, str):
        return value
    return f"<{len(value)} numbers>" if isinstance(value, tuple) else f"<{type(value).__name__}>"

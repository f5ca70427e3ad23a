"""What users give, checked: ids, numbers, columns of their own and the values in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from numbers import Integral, Real
from types import GenericAlias
from typing import Any, TypeAlias, get_args, get_origin

import pyarrow as pa

from clipkit.errors import InvalidInput, did_you_mean
from clipkit.schema import BUILTIN_COLUMNS

ColumnType: TypeAlias = "type | GenericAlias | pa.DataType"
"""str, int, float, bool, datetime, date, bytes, a list of one of them such as list[str], or an Arrow type."""

_ARROW_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us"),
    date: pa.date32(),
    bytes: pa.binary(),
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RESERVED = frozenset({*BUILTIN_COLUMNS, "score"})
# To a filter these are no columns, or not everywhere; other words of SQL, such as order and when, are fine.
_WORDS_OF_SQL = (
    *("all", "any", "current_date", "current_time", "current_timestamp", "exists", "false", "interval"),
    *("not", "null", "select", "some", "trim", "true", "with"),
)
_FITTING: tuple[tuple[Callable[[pa.DataType], bool], tuple[type, ...]], ...] = (
    (pa.types.is_string, (str,)),
    (pa.types.is_large_string, (str,)),
    (pa.types.is_integer, (int,)),
    (pa.types.is_floating, (float, int)),
    (pa.types.is_boolean, (bool,)),
    (pa.types.is_timestamp, (datetime,)),
    (pa.types.is_date, (date,)),
    (pa.types.is_binary, (bytes, bytearray)),
    (pa.types.is_large_binary, (bytes, bytearray)),
    (pa.types.is_list, (list, tuple)),
)
"""What Python has for an Arrow type. pyarrow alone would take 1.5 for an int and "abc" for a list[str]."""


def fields_of(columns: Mapping[str, ColumnType], taken: Iterable[str] = ()) -> list[pa.Field]:
    """Arrow fields, all nullable, for new columns of the user's beside those `taken`.

    Raises InvalidInput for a bad name or type. Names that differ in case only count as one, since filters
    do not tell them apart.
    """
    known = {name.lower(): name for name in taken}
    for name in columns:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} cannot name a column: use letters, digits and '_', a letter first")
        if name.lower() in _RESERVED:
            raise InvalidInput(f"the column {name!r} is built in: choose another name")
        if name.lower() in _WORDS_OF_SQL:
            raise InvalidInput(f"a filter would not take {name!r} for a column: choose another name")
        if name.lower() in known:
            raise InvalidInput(f"there is a column {known[name.lower()]!r} already: choose another name")
        known[name.lower()] = name
    return [pa.field(name, _arrow_type(name, kind)) for name, kind in columns.items()]


def checked_ids(ids: Sequence[str] | None, n: int) -> Sequence[str | None]:
    """One id, or None, for each of `n` items. Raises InvalidInput for too few, blank or repeated ones."""
    if ids is None:
        return [None] * n
    if isinstance(ids, str) or len(ids) != n:
        raise InvalidInput(f"there are {len(ids)} ids for {n} items: give a list with one for each")
    check_distinct(strings(ids, "an id"))
    return ids


def check_distinct(ids: Iterable[str | None]) -> None:
    """Raise InvalidInput, with its position, for an id that was there before."""
    first: dict[str, int] = {}
    for position, identity in enumerate(ids):
        if identity is not None and first.setdefault(identity, position) != position:
            raise InvalidInput(
                f"the id {identity!r} is given twice, first at {first[identity]}", position=position
            )


def strings(values: Sequence[str], what: str) -> list[str]:
    """`values`, if all are strings with something in them. Raises InvalidInput, with the position of `what`
    is not: another type, blank, or no valid Unicode, which Arrow could not store."""
    if isinstance(values, str):
        raise InvalidInput(f"a list is wanted, not one string: [{values!r}]")
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise InvalidInput(f"{what} must be a string, not {type(value).__name__}", position=position)
        if not value.strip():
            raise InvalidInput(f"{what} must not be empty or blank: {value!r}", position=position)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{what} must be valid Unicode, and {value[:80]!r} has a lone surrogate at character "
                f"{error.start}: decode its bytes with the right encoding first",
                position=position,
            ) from None
    return list(values)


def checked_metadata(
    metadata: Sequence[Mapping[str, Any]] | None, n: int, fields: Sequence[pa.Field]
) -> Sequence[Mapping[str, Any]]:
    """One mapping for each of `n` items, whose keys are among `fields` and whose values fit them.

    Raises InvalidInput, with the position, for what is not so.
    """
    if metadata is None:
        return [{}] * n
    if isinstance(metadata, Mapping) or len(metadata) != n:
        raise InvalidInput(
            f"metadata has {len(metadata)} entries for {n} items: give a list with one for each"
        )
    known = {field.name: field for field in fields}
    for position, values in enumerate(metadata):
        if not isinstance(values, Mapping):
            raise InvalidInput(
                f"metadata is a dict for each item, not {type(values).__name__}", position=position
            )
        for key, value in values.items():
            if key not in known:
                hint = f"{did_you_mean(str(key), known)} add_columns() adds one.".strip()
                raise InvalidInput(f"the collection has no column {key!r}. {hint}", position=position)
            problem = _misfit(value, known[key].type)
            if problem:
                raise InvalidInput(f"{problem} does not fit the column {key!r}", position=position)
    return metadata


def checked_columns(columns: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
    """`columns`, or all that are `known`. Raises InvalidInput for one that is not, or is named twice."""
    if columns is None:
        return known
    wanted = strings(columns, "a column")
    if not wanted:
        raise InvalidInput("no columns are named: give at least one, or None for all")
    for name in wanted:
        if name not in known:
            raise InvalidInput(f"there is no column {name!r}. {did_you_mean(name, known)}")
    if len(set(wanted)) < len(wanted):
        raise InvalidInput(f"a column is named twice: {', '.join(wanted)}")
    return wanted


def at_least_1(value: int, what: str) -> int:
    """`value`, if it is a whole number above 0. Raises InvalidInput, which calls it `what`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{what} is a whole number of at least 1, not {value!r}")
    return int(value)


def cosine(value: object) -> float:
    """`value`, if it can be a cosine similarity. Raises InvalidInput."""
    if not isinstance(value, Real) or isinstance(value, bool) or not -1.0 <= float(value) <= 1.0:
        raise InvalidInput(f"min_score is a cosine similarity from -1 to 1, or 'auto', not {value!r}")
    return float(value)


def _misfit(value: Any, kind: pa.DataType) -> str:
    """What is wrong with `value` for a column of that type; empty if it fits, as None always does."""
    if value is None:
        return ""
    problem = f"{value!r:.80} ({type(value).__name__}, not {kind})"
    plain = value.tolist() if hasattr(value, "tolist") else value  # NumPy's scalars and arrays
    for is_kind, types in _FITTING:
        if is_kind(kind) and not isinstance(plain, types):
            return problem
    if isinstance(plain, bool) and not pa.types.is_boolean(kind):  # an int to Python, a date to nobody
        return problem
    if isinstance(plain, datetime) and pa.types.is_date(kind):
        return problem
    if isinstance(plain, datetime) and plain.tzinfo and pa.types.is_timestamp(kind) and not kind.tz:
        return f"{value} has a time zone, which would be lost; it"
    if pa.types.is_list(kind):
        return next(filter(None, (_misfit(each, kind.value_type) for each in plain)), "")
    try:
        pa.array([value], kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):  # too large, say
        return problem
    return ""


def _arrow_type(name: str, kind: ColumnType) -> pa.DataType:
    if isinstance(kind, pa.DataType):
        return kind
    if get_origin(kind) is list:
        return pa.list_(_arrow_type(name, get_args(kind)[0]))
    if isinstance(kind, type) and kind in _ARROW_TYPES:
        return _ARROW_TYPES[kind]
    known = ", ".join(known.__name__ for known in _ARROW_TYPES)
    raise InvalidInput(
        f"the column {name!r} cannot be of type {kind!r}: use {known}, list[...] or an Arrow type"
    )

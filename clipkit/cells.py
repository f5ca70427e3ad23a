"""The cells of metadata files: of which type a column of them is, and each value as a column wants it.

Files of text know no types, so "5" counts as a number and "2024-06-01" as a date; "007" stays a text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pyarrow as pa

_INT = re.compile(r"-?(?:0|[1-9]\d{0,17})")  # 18 digits always fit into 64 bits
_FLOAT = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")
_BOOLS = {"true": True, "false": False}
_TIME = pa.timestamp("us")


def kind_of(value: object) -> pa.DataType | None:
    """The type of column that a cell would make; None for one that says nothing."""
    if isinstance(value, str):
        return _kind_of_text(value.strip())
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64() if -(2**63) <= value < 2**63 else pa.string()
    if isinstance(value, float):
        return pa.float64() if math.isfinite(value) else None
    if isinstance(value, datetime):
        return pa.string() if value.tzinfo else _TIME
    if isinstance(value, date):
        return pa.date32()
    if isinstance(value, list):
        return _kind_of_list(value)
    return None if value is None else pa.string()


def common_kind(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """The type that holds the values of both: a text holds everything."""
    if one is None or other is None or one == other:
        return one or other
    pair = {one, other}
    if pair == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pair == {pa.date32(), _TIME}:
        return _TIME
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(common_kind(one.value_type, other.value_type))
    return pa.string()


def fitted(value: object, kind: pa.DataType) -> Any:
    """`value` as a column of type `kind` holds it; None for one that says nothing. Raises ValueError."""
    if kind_of(value) is None:
        return None
    if pa.types.is_list(kind):
        return [fitted(each, kind.value_type) for each in (value if isinstance(value, list) else [value])]
    for is_kind, convert in _CONVERSIONS:
        if is_kind(kind):
            plain = convert(value.strip() if isinstance(value, str) and convert is not _text else value)
            try:
                pa.scalar(plain, kind)
            except (pa.ArrowException, OverflowError) as error:
                raise ValueError(str(error)) from error
            return plain
    raise ValueError(f"nothing in such a file fits {kind}")


def _kind_of_text(text: str) -> pa.DataType | None:
    if not text:
        return None
    if _INT.fullmatch(text):
        return pa.int64()
    if _FLOAT.fullmatch(text):
        return pa.float64()
    if text.lower() in _BOOLS:
        return pa.bool_()
    for kind, convert in ((pa.date32(), _date), (_TIME, _time)):
        try:
            convert(text)
        except ValueError:
            continue
        return kind
    return pa.string()


def _kind_of_list(values: list[Any]) -> pa.DataType | None:
    """A list of texts or of numbers; other lists are a text, in JSON."""
    given = [value for value in values if value is not None]
    if not given:
        return None
    if all(isinstance(value, str) for value in given):
        return pa.list_(pa.string())
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in given):
        whole = all(isinstance(value, int) and abs(value) < 2**63 for value in given)
        return pa.list_(pa.int64() if whole else pa.float64())
    return pa.string()


def _text(value: object) -> str:
    if isinstance(value, str):
        value.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str)


def _whole(value: object) -> int:
    if isinstance(value, str) and _INT.fullmatch(value):
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        return int(value)
    raise ValueError("no whole number")


def _number(value: object) -> float:
    if isinstance(value, str) and _FLOAT.fullmatch(value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError("no number")


def _bool(value: object) -> bool:
    if isinstance(value, str) and value.lower() in _BOOLS:
        return _BOOLS[value.lower()]
    if isinstance(value, bool):
        return value
    raise ValueError("neither true nor false")


def _date(value: object) -> date:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError("no date such as 2024-12-31")


def _time(value: object) -> datetime:
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return value
        raise ValueError("has a time zone, which would be lost")
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    raise ValueError("no time such as 2024-12-31 18:00:00")


_CONVERSIONS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[object], Any]], ...] = (
    (pa.types.is_string, _text),
    (pa.types.is_large_string, _text),
    (pa.types.is_integer, _whole),
    (pa.types.is_floating, _number),
    (pa.types.is_boolean, _bool),
    (pa.types.is_date, _date),
    (pa.types.is_timestamp, _time),
)

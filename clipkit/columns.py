"""The user's own columns: their types, and values for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import GenericAlias
from typing import Any, TypeAlias, get_args, get_origin

import pyarrow as pa

from clipkit.errors import InvalidInput, did_you_mean
from clipkit.store import BUILTIN_COLUMNS

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


def fields_of(columns: Mapping[str, ColumnType]) -> list[pa.Field]:
    """Arrow fields, all nullable, for columns of the user's. Raises InvalidInput for a bad name or type."""
    for name in columns:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} cannot name a column: use letters, digits and '_', a letter first")
        if name.lower() in _RESERVED:
            raise InvalidInput(f"the column {name!r} is built in: choose another name")
    return [pa.field(name, _arrow_type(name, kind)) for name, kind in columns.items()]


def checked_ids(ids: Sequence[str] | None, n: int) -> Sequence[str | None]:
    """One id, or None, for each of `n` items. Raises InvalidInput for too few, blank or repeated ones."""
    if ids is None:
        return [None] * n
    if isinstance(ids, str) or len(ids) != n:
        raise InvalidInput(f"there are {len(ids)} ids for {n} items: give a list with one for each")
    first: dict[str, int] = {}
    for position, identity in enumerate(ids):
        if not isinstance(identity, str) or not identity:
            raise InvalidInput(
                f"an id is a string with at least one character, not {identity!r}", position=position
            )
        if identity in first:
            raise InvalidInput(
                f"the id {identity!r} is given twice, first at {first[identity]}", position=position
            )
        first[identity] = position
    return ids


def checked_metadata(
    metadata: Sequence[Mapping[str, Any]] | None, n: int, columns: Sequence[str]
) -> Sequence[Mapping[str, Any]]:
    """One mapping for each of `n` items. Raises InvalidInput if there are more or fewer, or for keys not in
    `columns`."""
    if metadata is None:
        return [{}] * n
    if len(metadata) != n:
        raise InvalidInput(f"metadata has {len(metadata)} entries for {n} items: give one for each")
    for position, values in enumerate(metadata):
        for key in values:
            if key not in columns:
                hint = did_you_mean(key, columns)
                raise InvalidInput(
                    f"the collection has no column {key!r}. {hint} add_columns() adds one.", position=position
                )
    return metadata


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

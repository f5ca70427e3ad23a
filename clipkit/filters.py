"""The filters that clipkit writes: SQL conditions over the columns, put together from safe pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable

from clipkit.errors import FilterError

_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|--[^\n]*|/\*.*?\*/""", re.DOTALL)


def quoted(value: str) -> str:
    """`value` as a string literal of the filter language."""
    return "'" + value.replace("'", "''") + "'"


def is_in(column: str, values: Iterable[str]) -> str:
    """The filter that passes the rows whose `column` is one of `values`."""
    listed = ", ".join(map(quoted, values))
    return f"{column} IN ({listed})" if listed else "false"


def id_in(ids: Iterable[str]) -> str:
    """The filter that passes exactly these ids."""
    return is_in("id", ids)


def starts_with(column: str, prefix: str) -> str:
    """The filter that passes the rows whose `column` starts with `prefix`."""
    return f"starts_with({column}, {quoted(prefix)})"


def any_of(*conditions: str) -> str:
    """The filter that passes what at least one of the given ones passes."""
    return " OR ".join(f"({condition})" for condition in conditions) or "false"


def all_of(*conditions: str | None) -> str | None:
    """The filter that passes what all of the given ones pass; None passes everything."""
    given = [f"({condition})" for condition in conditions if condition is not None]
    return " AND ".join(given) if given else None


def self_contained(where: str) -> str:
    """`where`, if it stays between the parentheses it is put into: no quote or comment is open at its end."""
    if not isinstance(where, str) or not where.strip():
        raise FilterError(f'a filter is an SQL condition such as "width > 1000", not {where!r}')
    bare = _QUOTED.sub("", where)
    if re.search(r"['\"`]|/\*", bare):
        raise FilterError(f"the filter {where} has a quote or comment that is not closed")
    depth = 0
    for bracket in re.findall("[()]", bare):
        depth += 1 if bracket == "(" else -1
        if depth < 0:
            raise FilterError(f"the filter {where} closes a parenthesis that it did not open")
    return f"{where}\n" if "--" in where else where  # a comment ends with its line

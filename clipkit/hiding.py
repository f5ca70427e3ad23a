"""Hiding: items that are kept, and that nobody wants to see.

What is hidden is marked in a column `hidden` of the user's own (bool), made when something is first hidden.
Searches do not leave it out by themselves: their filter is `visible`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipkit.columns import strings
from clipkit.errors import ClipkitError, InvalidInput
from clipkit.filters import all_of, id_in, is_in, self_contained, unquoted

if TYPE_CHECKING:
    from clipkit.collection import Collection

COLUMN = "hidden"
NOT_HIDDEN = f"{COLUMN} IS NOT TRUE"  # null in most rows
_IN_A_FILTER = re.compile(rf"\b{COLUMN}\b", re.IGNORECASE)


def hide(collection: Collection, ids: Sequence[str]) -> int:
    """The number of items marked as hidden, and their captions with them, uncounted.

    Ids that are not there are no error. Raises InvalidInput if there is a column `hidden` that is no bool.
    """
    return _mark(collection, ids, True)


def unhide(collection: Collection, ids: Sequence[str]) -> int:
    """The number of items whose mark, and that of their captions, was taken away. Raises as `hide` does."""
    return _mark(collection, ids, False)


def hidden(collection: Collection) -> list[str]:
    """The ids of what is hidden, sorted, without the captions of hidden pictures. Raises as `hide` does."""
    if not _has_column(collection):
        return []
    rows = collection.to_arrow(columns=["id", "image_id"], where=COLUMN)
    there = set(rows["id"].to_pylist())
    return sorted(row["id"] for row in rows.to_pylist() if row["image_id"] not in there)


def visible(collection: Collection, where: str | None = None) -> str | None:
    """The filter that passes what passes `where` and is not hidden; None where everything does.

    It is `where` itself as long as nothing was ever hidden, where a column `hidden` is no bool, and where
    `where` speaks of that column itself: so "hidden" finds what is hidden. Raises FilterError.
    """
    if collection.columns.get(COLUMN) != "bool":
        return where
    if where is None:
        return NOT_HIDDEN
    condition = self_contained(where)
    return where if _IN_A_FILTER.search(unquoted(condition)) else all_of(condition, NOT_HIDDEN)


def _mark(collection: Collection, ids: Sequence[str], value: bool) -> int:
    wanted = list(dict.fromkeys(strings(ids, "an id")))
    if not _has_column(collection):
        if not value or not wanted:
            return collection.count(where=id_in(wanted))
        _add_column(collection)
    captions = collection.to_arrow(columns=["id"], where=is_in("image_id", wanted))["id"].to_pylist()
    captions = [identity for identity in captions if identity not in set(wanted)]
    collection.update(captions, [{COLUMN: value}] * len(captions))
    return collection.update(wanted, [{COLUMN: value}] * len(wanted))


def _add_column(collection: Collection) -> None:
    try:
        collection.add_columns({COLUMN: bool})
    except ClipkitError:
        if not _has_column(collection):  # else another process has just added it
            raise


def _has_column(collection: Collection) -> bool:
    kind = collection.columns.get(COLUMN)
    if kind not in (None, "bool"):
        raise InvalidInput(
            f"the column {COLUMN!r} of {collection.name!r} holds {kind}: hiding needs that name for a "
            "bool, so give your values another name, in a new collection"
        )
    return kind is not None

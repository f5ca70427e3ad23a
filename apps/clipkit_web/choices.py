"""What a collection offers to filter by: its folders, its cameras, the values of its own columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipkit import Collection
from clipkit.folders import id_to_path

MOST = 200  # of one sort: a longer list is typed into, not looked through


@dataclass(frozen=True, slots=True)
class Choices:
    """The most frequent values, each sort in its own order; `own` are COLUMN=VALUE."""

    folders: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


def choices(collection: Collection) -> Choices:
    """What there is to choose from, read in one pass over the columns it needs."""
    chosen = [name for name, kind in collection.columns.items() if _countable(kind) and name != "hidden"]
    rows = collection.to_arrow(columns=["uri", "camera", *chosen])
    folders = pc.unique(pc.replace_substring_regex(rows["uri"].drop_null(), r"/[^/]*$", "")).to_pylist()
    own = [f"{name}={value}" for name in chosen for value in _frequent(rows[name])]
    return Choices(
        tuple(sorted({id_to_path(folder) for folder in folders})[:MOST]),
        tuple(sorted(_frequent(rows["camera"]))),
        tuple(own),
    )


def _countable(kind: str) -> bool:
    return kind in ("string", "bool") or kind.startswith("list<")


def _frequent(column: pa.ChunkedArray) -> list[str]:
    if pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    counted: list[dict[str, Any]] = column.drop_null().value_counts().to_pylist() if len(column) else []
    pairs = sorted(counted, key=lambda pair: -pair["counts"])
    return [
        str(pair["values"]).lower() if isinstance(pair["values"], bool) else str(pair["values"])
        for pair in pairs[:MOST]
    ]

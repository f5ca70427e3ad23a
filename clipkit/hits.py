"""What a collection gives back: items, and hits in the order of their scores."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import pyarrow as pa

from clipkit.encoder import Vectors

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["image", "text"]

FIELDS = ("id", "uri", "kind", "text")  # columns that are attributes; all others are metadata


@dataclass(frozen=True, slots=True)
class Item:
    """A stored item with its unit vector, shape (dim,) float32. `metadata` has every other column, None where
    it is empty."""

    id: str
    uri: str | None
    kind: Kind
    text: str | None
    vector: Vectors = field(repr=False, compare=False)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that a search found. `score` is the cosine similarity to the query, in [-1, 1]."""

    id: str
    uri: str | None
    kind: Kind
    text: str | None
    score: float
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Hits(Sequence[Hit]):
    """Hits, best first. Shows itself in a notebook, with thumbnails, and turns into pandas or Arrow."""

    def __init__(
        self,
        hits: Sequence[Hit],
        schema: pa.Schema,
        thumbnails: Callable[[list[str]], Mapping[str, bytes]],
        cutoffs: Mapping[Kind, float] | None = None,
    ) -> None:
        self._hits = tuple(hits)
        self._schema = schema
        self._thumbnails = thumbnails
        self._cutoffs = dict(cutoffs or {})

    @property
    def cutoffs(self) -> dict[Kind, float]:
        """The least scores that `min_score="auto"` stood for, by kind; empty after any other search."""
        return dict(self._cutoffs)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Hits: ...
    def __getitem__(self, index: int | slice) -> Hit | Hits:
        if isinstance(index, slice):
            return Hits(self._hits[index], self._schema, self._thumbnails, self._cutoffs)
        return self._hits[index]

    def taken(self, places: Sequence[int]) -> Hits:
        """The hits at these places, in that order."""
        return Hits([self._hits[at] for at in places], self._schema, self._thumbnails, self._cutoffs)

    def __add__(self, others: Hits) -> Hits:
        """These hits, then others of the same collection."""
        cutoffs = {**self._cutoffs, **others._cutoffs}
        return Hits((*self._hits, *others._hits), self._schema, self._thumbnails, cutoffs)

    def __len__(self) -> int:
        return len(self._hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._hits)

    def __eq__(self, other: object) -> bool:
        return self._hits == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(hit.id for hit in self._hits))

    def __repr__(self) -> str:
        shown = "".join(
            f"\n  {hit.score:6.3f}  {hit.kind:5}  {hit.text or hit.uri or hit.id}" for hit in self
        )
        return f"Hits({len(self)}){shown}"

    def to_arrow(self) -> pa.Table:
        """A table with id, uri, kind, text, score, and a column for each metadata key."""
        return pa.Table.from_pylist([_flat(hit) for hit in self], schema=self._schema)

    def to_pandas(self) -> pd.DataFrame:
        """A data frame with the columns of `to_arrow`. Raises MissingExtra without pandas."""
        return to_pandas(self.to_arrow())

    def _repr_html_(self) -> str:
        pictures = self._thumbnails([hit.id for hit in self])
        cards = "".join(_card(hit, pictures) for hit in self)
        return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{cards}</div>'


def item_from(row: dict[str, Any]) -> Item:
    """The item of a stored row. Its vector is empty, (0,), if it has none of the collection's model yet."""
    vector = np.asarray(row.pop("vector") or (), np.float32)
    return Item(row.pop("id"), row.pop("uri"), row.pop("kind"), row.pop("text"), vector, row)


def from_rows(
    rows: pa.Table,
    thumbnails: Callable[[list[str]], Mapping[str, bytes]],
    cutoffs: Mapping[Kind, float] | None = None,
) -> Hits:
    """The hits in a table with the fields, a `score`, and metadata in all other columns."""
    first = (*FIELDS, "score")
    rows = rows.select([*first, *(name for name in rows.column_names if name not in first)])
    hits = [
        Hit(row.pop("id"), row.pop("uri"), row.pop("kind"), row.pop("text"), row.pop("score"), row)
        for row in rows.to_pylist()
    ]
    return Hits(hits, rows.schema, thumbnails, cutoffs)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    from clipkit.errors import MissingExtra

    try:
        import pandas  # noqa: F401 - pyarrow imports it
    except ImportError:
        raise MissingExtra("to_pandas()", "pandas") from None
    return table.to_pandas()


def _flat(hit: Hit) -> dict[str, Any]:
    return {**{name: getattr(hit, name) for name in (*FIELDS, "score")}, **hit.metadata}


def _card(hit: Hit, pictures: Mapping[str, bytes]) -> str:
    label = html.escape(hit.text or hit.uri or hit.id)
    body = f"<p>{label}</p>"
    if hit.id in pictures:
        source = base64.b64encode(pictures[hit.id]).decode()
        body = f'<img src="data:image/jpeg;base64,{source}" title="{label}" style="max-height:160px">'
    return f'<figure style="margin:0;max-width:220px">{body}<figcaption>{hit.score:.3f}</figcaption></figure>'

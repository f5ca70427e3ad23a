"""What is behind `Collection.search`: a query resolved to a vector, and the items nearest to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow.compute as pc

from clipkit.columns import at_least_1, cosine
from clipkit.encoder import Encoder
from clipkit.errors import InvalidInput
from clipkit.filters import all_of, id_in, is_in
from clipkit.hits import Hits, Kind, from_rows
from clipkit.lance import ROUNDING
from clipkit.query import Query
from clipkit.store import Store


@dataclass(frozen=True, slots=True)
class Request:
    """What a search asks for; `Collection.search` says what each means."""

    query: str | Query
    k: int = 10
    kind: Kind | None = None
    where: str | None = None
    min_score: float | None = None


def search(store: Store, encoder: Callable[[], Encoder], request: Request) -> Hits:
    """The hits of `Collection.search`. `encoder` is called only if the request is sound."""
    query = _parsed(request.query)
    wanted = at_least_1(request.k, "k, the number of hits wanted,")
    least = -1.0 if request.min_score is None else cosine(request.min_score)
    named = [str(part.value) for part in query.parts if part.what == "id"]
    others = f"NOT ({id_in(named)})" if named else None
    condition = all_of(kind_is(request.kind), store.checked(request.where), others)
    columns = [name for name in store.items.schema.names if name != "vector"]
    vector = query.resolve(encoder(), store.vectors_of)
    rows = store.vectors.nearest(vector, wanted, where=condition, columns=columns)
    rows = rows.filter(pc.greater_equal(rows["score"], least - ROUNDING))
    return from_rows(rows, store.read_thumbnails)


def _parsed(query: str | Query) -> Query:
    parsed = Query.parse(query) if isinstance(query, str) else query
    if not isinstance(parsed, Query):
        raise InvalidInput(
            f"a query is a string or a Query such as Query.image('cat.jpg'), not {type(query).__name__}"
        )
    return parsed


def kind_is(kind: Kind | None) -> str | None:
    """The filter that passes items of that kind; None passes both."""
    if kind is None:
        return None
    if kind not in ("image", "text"):
        raise InvalidInput(f"kind is 'image' or 'text', not {kind!r}")
    return is_in("kind", [kind])

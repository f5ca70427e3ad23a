"""What is behind `Collection.search`: a query resolved to a vector, and the items nearest to it.

Images and texts in one search are candidates each of its own kind, and stand in the order of their standard
scores (`calibration.Scale`): how far each is above what its kind scores for this query on the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipkit.calibration import Backgrounds, Scale
from clipkit.columns import at_least_1, cosine
from clipkit.encoder import Encoder
from clipkit.errors import InvalidInput
from clipkit.filters import all_of, id_in, is_in
from clipkit.hits import Hits, Kind, from_rows
from clipkit.hybrid import WINDOW, candidates, words_of
from clipkit.lance import ROUNDING, VectorColumn
from clipkit.query import Query
from clipkit.store import Store


@dataclass(frozen=True, slots=True)
class Request:
    """What a search asks for; `Collection.search` says what each means."""

    query: str | Query
    k: int = 10
    kind: Kind | None = None
    where: str | None = None
    min_score: float | Literal["auto"] | None = None
    hybrid: bool = False


Find: TypeAlias = Callable[[Query], Encoder]
"""What gives the encoder for a query."""


def search(store: Store, backgrounds: Backgrounds, encoder: Find, request: Request) -> Hits:
    """The hits of `Collection.search`. `encoder` is called only if the request is sound."""
    query = parsed_query(request.query)
    wanted = at_least_1(request.k, "k, the number of hits wanted,")
    auto = request.min_score == "auto"
    least = -1.0 if auto or request.min_score is None else cosine(request.min_score)
    named = _named(query)
    others = f"NOT ({id_in(named)})" if named else None
    condition = all_of(kind_is(request.kind), store.checked(request.where), others)
    vectors, vector = _resolved(store, query, encoder(query))
    known = backgrounds.of(vectors)
    cutoffs = known.cutoffs(vector, request.kind, named) if auto else {}
    scales = {} if request.kind else known.scales(vector, named)

    def nearest(count: int, columns: list[str]) -> pa.Table:
        wheres = [all_of(condition, kind_is(kind)) for kind in scales or (None,)]
        tables = [vectors.nearest(vector, count, where=where, columns=columns) for where in wheres]
        return _by_standing(pa.concat_tables(tables), scales)

    words = words_of(query) if request.hybrid else []
    if words:
        near = nearest(max(wanted, WINDOW), ["id", "kind"])["id"].to_pylist()
        found = candidates(store, words, partial(vectors.scored, vector), near=near, where=condition)
        rows = found.ordered(_standing(found.rows, scales).tolist())
        rows = rows.filter(pc.or_(found.worded(rows), _passes(rows, least, cutoffs)))
    else:
        rows = nearest(wanted, [name for name in store.columns() if name != "vector"])
        rows = rows.filter(_passes(rows, least, cutoffs))
    return from_rows(rows.slice(0, min(wanted, rows.num_rows)), store.read_thumbnails, cutoffs)


def cutoffs(store: Store, backgrounds: Backgrounds, encoder: Find, query: str | Query) -> dict[Kind, float]:
    """What `Collection.cutoffs` gives."""
    parsed = parsed_query(query)
    vectors, vector = _resolved(store, parsed, encoder(parsed))
    return backgrounds.of(vectors).cutoffs(vector, None, _named(parsed))


def embedded(store: Store, encoder: Find, query: str | Query) -> Query:
    """What `Collection.embedded` gives."""
    parsed = parsed_query(query)
    model = encoder(parsed)
    return parsed.with_rows(model, partial(store.vectors_of, column=store.vectors_by(model).column))


def _resolved(store: Store, query: Query, encoder: Encoder) -> tuple[VectorColumn, NDArray[np.float32]]:
    """The vectors that `encoder` made, and the query as one more of them."""
    vectors = store.vectors_by(encoder)
    return vectors, query.resolve(encoder, partial(store.vectors_of, column=vectors.column))


def _passes(rows: pa.Table, least: float, cutoffs: Mapping[Kind, float]) -> pa.ChunkedArray:
    """Whether each row scores `least` and, if there is one, the cut-off of its kind."""
    limits = [max(least, cutoffs.get(kind, -1.0)) - ROUNDING for kind in rows["kind"].to_pylist()]
    return pc.greater_equal(rows["score"], pa.array(limits, pa.float64()))


def _standing(rows: pa.Table, scales: Mapping[Kind, Scale]) -> NDArray[np.float64]:
    """How near each row is: its standard score where kinds have a scale, else its score."""
    standing = np.array(rows["score"].to_pylist(), np.float64)
    kinds = np.array(rows["kind"].to_pylist())
    for kind, scale in scales.items():
        standing[kinds == kind] = scale.standard(standing[kinds == kind])
    return standing


def _by_standing(rows: pa.Table, scales: Mapping[Kind, Scale]) -> pa.Table:
    """The rows in the order of their standing, ties by id."""
    order = pa.table({"standing": _standing(rows, scales), "id": rows["id"]})
    return rows.take(pc.sort_indices(order, [("standing", "descending"), ("id", "ascending")]))


def _named(query: Query) -> list[str]:
    """The items that the query itself names."""
    return [str(part.value) for part in query.parts if part.what == "id"]


def parsed_query(query: str | Query) -> Query:
    """`query`, or what it says in one line. Raises QueryError, or InvalidInput for anything else."""
    parsed = Query.parse(query) if isinstance(query, str) else query
    if not isinstance(parsed, Query):
        raise InvalidInput(
            f"a query is a string or a Query such as Query.image('cat.jpg'), not {type(query).__name__}"
        )
    return parsed


def kind_or_main(kind: Kind | None, count: Callable[..., int]) -> Kind:
    """`kind`, checked; None stands for pictures, or for texts where `Collection.count` knows texts alone."""
    if kind is None:
        return "text" if not count(kind="image") and count(kind="text") else "image"
    kind_is(kind)
    return kind


def kind_is(kind: Kind | None) -> str | None:
    """The filter that passes items of that kind; None passes both."""
    if kind is None:
        return None
    if kind not in ("image", "text"):
        raise InvalidInput(f"kind is 'image' or 'text', not {kind!r}")
    return is_in("kind", [kind])

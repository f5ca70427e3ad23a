"""Collections as retrievers of LangChain and LlamaIndex: what is found goes to a language model.

A question is taken as it is said, not as a query line. What a hit says is its text; a picture that has none
says where it is. `facts` tell the rest.
"""

from __future__ import annotations

from typing import Any

from clipkit.collection import Collection
from clipkit.hits import Hit, Hits, Kind
from clipkit.query import Query


def found(
    collection: Collection, question: str, *, k: int, kind: Kind | None, where: str | None, hybrid: bool
) -> Hits:
    """The hits of `Collection.search` for a question in words."""
    return collection.search(Query.text(question), k=k, kind=kind, where=where, hybrid=hybrid)


def said(hit: Hit) -> str:
    """What a hit says to a reader of texts."""
    return hit.text or hit.uri or hit.id


def facts(hit: Hit) -> dict[str, Any]:
    """What else is known of a hit: id, kind, score and uri, and every column that is not empty."""
    columns = {name: value for name, value in hit.metadata.items() if value is not None}
    return {**columns, "id": hit.id, "kind": hit.kind, "score": hit.score, "uri": hit.uri}

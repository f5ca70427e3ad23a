"""A collection as a retriever of LlamaIndex, with the extra `llama-index`."""

from __future__ import annotations

from clipkit.collection import Collection
from clipkit.errors import MissingExtra
from clipkit.hits import Kind
from clipkit.retrievers import facts, found, said

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise MissingExtra("a retriever for LlamaIndex", "llama-index") from error


class CollectionRetriever(BaseRetriever):  # type: ignore[misc]
    """Finds the `k` items of a collection that are nearest to a question, as nodes, the best first.

    `kind`, `where` and `hybrid` are as in `Collection.search`, and so are the errors. A node has the item's
    text, or the address of a picture without one; its id; its cosine as score; and as metadata the kind,
    the uri and the columns.
    """

    def __init__(
        self,
        collection: Collection,
        *,
        k: int = 4,
        kind: Kind | None = None,
        where: str | None = None,
        hybrid: bool = False,
    ) -> None:
        super().__init__()
        self._collection = collection
        self._k, self._kind, self._where, self._hybrid = k, kind, where, hybrid

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        question = query_bundle.query_str
        hits = found(
            self._collection, question, k=self._k, kind=self._kind, where=self._where, hybrid=self._hybrid
        )
        return [
            NodeWithScore(node=TextNode(id_=hit.id, text=said(hit), metadata=facts(hit)), score=hit.score)
            for hit in hits
        ]

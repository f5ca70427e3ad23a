"""A collection as a retriever of LangChain, with the extra `langchain`."""

from __future__ import annotations

from typing import Any

from clipkit.collection import Collection
from clipkit.errors import MissingExtra
from clipkit.hits import Kind
from clipkit.retrievers import facts, found, said

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise MissingExtra("a retriever for LangChain", "langchain") from error


class CollectionRetriever(BaseRetriever):  # type: ignore[misc]
    """Finds the `k` items of a collection that are nearest to a question, as Documents, the best first.

    `kind`, `where` and `hybrid` are as in `Collection.search`, and so are the errors. A Document has the
    item's text, or the address of a picture without one; its id; and as metadata the score, the kind, the
    uri and the columns.
    """

    collection: Any  # a Collection; pydantic is not to look into it
    k: int = 4
    kind: Kind | None = None
    where: str | None = None
    hybrid: bool = False

    def __init__(self, collection: Collection, **settings: Any) -> None:
        super().__init__(collection=collection, **settings)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - LangChain gives it
    ) -> list[Document]:
        hits = found(self.collection, query, k=self.k, kind=self.kind, where=self.where, hybrid=self.hybrid)
        return [Document(id=hit.id, page_content=said(hit), metadata=facts(hit)) for hit in hits]

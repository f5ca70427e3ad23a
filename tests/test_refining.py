from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clipkit import Collection, Query
from clipkit.errors import InvalidInput, QueryError
from clipkit.refining import refined, vectors_of
from clipkit.testing import FakeEncoder

Vector = NDArray[Any]


@pytest.fixture
def words(collection: Collection) -> Collection:
    texts = ["red", "red boat", "red house", "blue", "blue boat", "green"]
    collection.add_texts(texts, ids=[text.replace(" ", "-") for text in texts])
    return collection


def resolved(collection: Collection, query: Query) -> Vector:
    return query.resolve(collection.encoder, lambda ids: vectors_of(collection, ids))


def mean(collection: Collection, *ids: str) -> Vector:
    total: Vector = np.mean([item.vector for item in collection.get(ids)], axis=0)
    return total


def unit(vector: Vector) -> Vector:
    scaled: Vector = vector / np.linalg.norm(vector)
    return scaled


QUERIES = ["red", "7*red", "-red", "red - boat", "0.5*red + 3*house", "id:green", "id:green + 2*boat"]


@pytest.mark.parametrize("line", QUERIES)
def test_it_is_rocchios_sum_of_unit_query_and_means(words: Collection, line: str) -> None:
    query = Query.parse(line)
    good, bad = ["red-boat", "blue-boat"], ["blue", "green", "red-house"]
    found = resolved(words, refined(words, query, good=good, bad=bad))
    expected = unit(resolved(words, query) + 0.75 * mean(words, *good) - 0.15 * mean(words, *bad))
    assert found == pytest.approx(expected, abs=1e-6)
    only_good = resolved(words, refined(words, line, good=good))
    assert only_good == pytest.approx(unit(resolved(words, query) + 0.75 * mean(words, *good)), abs=1e-6)
    only_bad = resolved(words, refined(words, line, bad=bad))
    assert only_bad == pytest.approx(unit(resolved(words, query) - 0.15 * mean(words, *bad)), abs=1e-6)


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_good_items_alone_are_a_query(words: Collection, blank: str | None) -> None:
    good = resolved(words, refined(words, blank, good=["red-boat", "blue"]))
    assert good == pytest.approx(unit(mean(words, "red-boat", "blue")), abs=1e-6)
    both = resolved(words, refined(words, blank, good=["red-boat"], bad=["red"]))
    expected = unit(0.75 * mean(words, "red-boat") - 0.15 * mean(words, "red"))
    assert both == pytest.approx(expected, abs=1e-6)


def test_without_feedback_a_query_is_as_it_was(words: Collection) -> None:
    assert refined(words, "2*red - boat") == Query.parse("2*red - boat")
    query = Query.image(b"bytes that nobody reads")
    assert refined(words, query) is query


def test_an_id_counts_once(words: Collection) -> None:
    twice = refined(words, "red", good=["blue", "blue", "green"], bad=["red-boat", "red-boat"])
    assert twice == refined(words, "red", good=["blue", "green"], bad=["red-boat"])


def test_good_items_stay_among_the_hits_and_texts_stay_words(words: Collection) -> None:
    query = refined(words, "boat", good=["green"], bad=["blue-boat"])
    assert words.search(query, k=1)[0].id == "green"
    assert {hit.id for hit in words.search(query, k=99)} == {
        *("red", "red-boat", "red-house", "blue", "blue-boat", "green")
    }
    assert [part.value for part in query.parts if part.what == "text"] == ["boat"]


def test_good_pulls_and_bad_pushes(words: Collection) -> None:
    plain = {hit.id: hit.score for hit in words.search("boat", k=9)}
    moved = {
        hit.id: hit.score for hit in words.search(refined(words, "boat", good=["red"], bad=["blue"]), k=9)
    }
    assert moved["red-boat"] - plain["red-boat"] > 0.1
    assert moved["blue-boat"] < plain["blue-boat"]


def test_means_that_cancel_leave_the_query(db: Any) -> None:
    class Opposites(FakeEncoder):
        def _text(self, text: str) -> Vector:
            return self._axis(0) * (-1 if text == "minus" else 1)

    collection = Collection.create(db=db, encoder=Opposites())
    collection.add_texts(["plus", "minus"], ids=["plus", "minus"])
    query = refined(collection, "plus", good=["plus", "minus"])
    assert resolved(collection, query) == pytest.approx(collection.get(["plus"])[0].vector)
    with pytest.raises(InvalidInput, match="the good items cancel each other, so no direction is left"):
        refined(collection, good=["plus", "minus"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to look for: give a query, or name at least one good item"),
        ({"query": " ", "bad": ["red"]}, "nothing to look for"),
        ({"query": "red", "good": ["rde"]}, "there is no item 'rde'"),
        ({"query": "red", "bad": ["red", "rde"]}, "input 1: there is no item 'rde'"),
        ({"query": "red", "good": ["red"], "bad": ["blue", "red"]}, "the item 'red' is both good and bad"),
        ({"query": "red", "good": "red"}, "a list is wanted, not one string"),
        ({"query": "red - red", "good": ["blue"]}, "the parts of the query cancel each other"),
        ({"query": "0*red", "good": ["blue"]}, "the parts of the query cancel each other"),
    ],
)
def test_what_cannot_be_refined_is_an_error(
    words: Collection, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        refined(words, **arguments)


def test_a_line_that_does_not_parse_points_at_the_character(words: Collection) -> None:
    with pytest.raises(QueryError, match="nothing stands behind this") as caught:
        refined(words, "red +", good=["blue"])
    assert caught.value.column == 4


def test_an_item_without_a_vector_of_the_current_model_is_named(words: Collection) -> None:
    words.reindex(FakeEncoder(48))
    words.add_texts(["pink"], ids=["pink"])
    words.reindex_back()
    back = Collection.open(db=words.db, encoder=FakeEncoder())
    with pytest.raises(InvalidInput, match="the item 'pink' has no vector of this model yet"):
        refined(back, "red", good=["red", "pink"])

from __future__ import annotations

import io
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipkit import Collection, Hits, Query
from clipkit.errors import FilterError, InvalidInput, QueryError
from clipkit.testing import COLOURS, OWN_SHARE, FakeEncoder
from tests.pictures import draw

SAME_COLOUR = 1 / sqrt(1 + OWN_SHARE**2)


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), COLOURS[colour]).save(out, "PNG")
    return out.getvalue()


def ids(hits: Hits) -> list[str]:
    return [hit.id for hit in hits]


def made(db: Path) -> Collection:
    """Pictures red, green and blue, and captions of them; rating is 1 for red, 2 for green, 3 for blue."""
    collection = Collection.create(db=db, encoder=FakeEncoder(), columns={"rating": int, "note": str})
    colours = ["red", "green", "blue"]
    rows = [{"rating": i + 1, "note": f"it's {colour} 😀"} for i, colour in enumerate(colours)]
    collection.add_images([png(colour) for colour in colours], ids=[f"i-{c}" for c in colours], metadata=rows)
    collection.add_texts(colours, ids=[f"t-{colour}" for colour in colours], metadata=rows)
    return collection


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """One for all tests that only search."""
    return made(tmp_path_factory.mktemp("mixed"))


# --- scores


@pytest.mark.parametrize("k", [1, 10, 60, 61, 5000])
def test_scores_are_the_cosines_that_numpy_finds(collection: Collection, k: int) -> None:
    words = [f"word{i} word{i % 7} red" for i in range(60)]
    collection.add_texts(words, ids=[f"{i:02}" for i in range(60)])
    query = "word3 - 0.3*red + 2*word5"
    vector = Query.parse(query).resolve(FakeEncoder(), lambda _: np.empty((0, 32), np.float32))
    exact = FakeEncoder().encode_texts(words).astype(np.float64) @ vector
    hits = collection.search(query, k=k)
    assert len(hits) == min(k, 60)
    found = [hit.score for hit in hits]
    assert found == sorted(found, reverse=True)
    np.testing.assert_allclose(found, np.sort(exact)[::-1][:k], atol=1e-6)
    np.testing.assert_allclose([exact[int(hit.id)] for hit in hits], found, atol=1e-6)


def test_words_and_pictures_score_as_documented(mixed: Collection) -> None:
    hits = mixed.search("red")
    assert {hit.id: hit.score for hit in hits} == pytest.approx(
        {
            "t-red": 1.0,
            "i-red": SAME_COLOUR,
            **dict.fromkeys(["i-blue", "i-green", "t-blue", "t-green"], 0.0),
        },
        abs=1e-6,
    )
    assert ids(hits)[:2] == ["t-red", "i-red"]


def test_hits_of_equal_score_come_in_the_order_of_their_ids(collection: Collection) -> None:
    shuffled = [f"{i:03}" for i in np.random.default_rng(0).permutation(100)]
    for start in range(0, 100, 25):
        collection.add_texts(["red"] * 25, ids=shuffled[start : start + 25])
    collection.add_texts(["red blue"], ids=["!"])
    for k in (1, 5, 50, 100, 200):
        assert ids(collection.search("red", k=k)) == [*sorted(shuffled), "!"][:k]
    collection.optimize()
    assert ids(collection.search("red", k=5)) == sorted(shuffled)[:5]


def test_a_hit_has_every_column_but_the_vector(mixed: Collection) -> None:
    (hit,) = mixed.search("red", kind="image", k=1)
    assert (hit.id, hit.kind, hit.uri, hit.text) == ("i-red", "image", None, None)
    assert type(hit.score) is float
    assert (hit.metadata["rating"], hit.metadata["width"]) == (1, 16)
    assert set(hit.metadata) == set(mixed.to_arrow().schema.names) - {"id", "kind", "uri", "text", "vector"}
    (word,) = mixed.search("red", kind="text", k=1)
    assert (word.kind, word.text) == ("text", "red")


def test_hits_show_their_thumbnails(mixed: Collection) -> None:
    assert mixed.search("red", k=6)._repr_html_().count("data:image/jpeg;base64,") == 3


def test_changes_are_seen_at_once(db: Path) -> None:
    mixed, other = made(db), Collection.open(db=db)
    assert ids(other.search("red", k=1)) == ["t-red"]
    mixed.add_texts(["blue"], ids=["t-red"])
    assert ids(other.search("red", k=1)) == ["i-red"]
    assert ids(other.search("blue", k=2)) == ["t-blue", "t-red"]
    mixed.delete(["i-red"])
    assert other.search("red", min_score=0.1) == []


# --- k


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "3", None, float("nan")])
def test_k_is_a_whole_number_of_at_least_one(mixed: Collection, k: Any) -> None:
    with pytest.raises(InvalidInput, match="the number of hits wanted, is a whole number of at least 1, not"):
        mixed.search("red", k=k)


@pytest.mark.parametrize("k", [6, 7, 1001, 2**31, 2**70, np.int64(100)])
def test_k_above_the_table_gives_all_of_it(mixed: Collection, k: int) -> None:
    assert len(mixed.search("red", k=k)) == 6


@pytest.mark.parametrize("query", ["red", Query.image(png("red")), Query.vector([1.0] * 32)])
def test_an_empty_collection_has_no_hits_but_their_columns(collection: Collection, query: Any) -> None:
    hits = collection.search(query, where="width > 3", kind="image", min_score=0.5)
    assert list(hits) == []
    assert hits.to_arrow().schema.names[:5] == ["id", "uri", "kind", "text", "score"]
    assert "taken_at" in hits.to_pandas().columns


# --- kind


def test_kind_keeps_images_or_texts(mixed: Collection) -> None:
    assert ids(mixed.search("red", kind="image")) == ["i-red", "i-blue", "i-green"]
    assert ids(mixed.search("red", kind="text")) == ["t-red", "t-blue", "t-green"]


@pytest.mark.parametrize("kind", ["images", "", "IMAGE", 1])
def test_another_kind_is_refused(mixed: Collection, kind: Any) -> None:
    with pytest.raises(InvalidInput, match="kind is 'image' or 'text', not"):
        mixed.search("red", kind=kind)


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_a_picture_finds_its_caption(mixed: Collection, tmp_path: Path, colour: str) -> None:
    path = draw(tmp_path / "query.png", 5, colour=colour)
    best, *others = mixed.search(Query.image(path), kind="text")
    assert best.text == colour
    assert best.score == pytest.approx(SAME_COLOUR, abs=1e-6)
    assert all(hit.score == pytest.approx(0.0, abs=1e-6) for hit in others)
    assert ids(mixed.search(f'image:"{path}"', kind="text", k=1)) == [f"t-{colour}"]


# --- where


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("rating >= 2", {"t-green", "i-green", "t-blue", "i-blue"}),
        ("RATING = 1 OR rating = 3", {"t-red", "i-red", "t-blue", "i-blue"}),
        ("note = 'it''s red 😀'", {"t-red", "i-red"}),
        ("note LIKE '%''s%' AND width IS NOT NULL", {"i-red", "i-green", "i-blue"}),
        ("id IN ('t-red', 'none')", {"t-red"}),
        ("taken_at > timestamp '2024-01-01 00:00:00'", set()),
        ("rating = 2 -- or another", {"t-green", "i-green"}),
        ("false", set()),
    ],
)
def test_a_filter_chooses_among_all_items(mixed: Collection, where: str, expected: set[str]) -> None:
    assert set(ids(mixed.search("red", where=where))) == expected
    assert len(mixed.search("red", where=where, k=1)) == min(1, len(expected))
    pictures = {identity for identity in expected if identity.startswith("i-")}
    assert set(ids(mixed.search("red", where=where, kind="image"))) == pictures
    assert mixed.count(where=where) == len(expected)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("widht > 3", r"no column 'widht'\. Did you mean width"),
        ("raiting > 3", r"no column 'raiting'\. Did you mean rating"),
        ('note = "red"', r"no column 'red'\..*A text goes into single quotes"),
        ("rating > 1 extra", "the filter rating > 1 extra cannot be evaluated"),
        ("rating", "does not return a boolean"),
        ("rating = 1) OR (true", r"the filter rating = 1\) OR \(true closes a parenthesis"),
        ("note = 'it's'", "a quote or comment that is not closed"),
        ("taken_at > '2024-01-01'", "A time is written timestamp '2024-12-31 18:00:00'"),
        ("note = 5", "cannot be evaluated"),
        ("score > 0.5", "no column 'score'"),
        ("", "a filter is an SQL condition such as"),
        (" ", "a filter is an SQL condition such as"),
        (5, "a filter is an SQL condition such as .* not 5"),
    ],
)
@pytest.mark.parametrize("kind", [None, "text"])
def test_a_broken_filter_is_told_in_the_users_own_words(
    mixed: Collection, where: Any, message: str, kind: Any
) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        mixed.search("red", where=where, kind=kind)
    assert "kind IN" not in str(caught.value)
    with pytest.raises(FilterError, match=message):
        mixed.to_arrow(where=where)


# --- min_score


def test_min_score_keeps_what_equals_it(collection: Collection) -> None:
    texts = {"half": "red blue green black", "most": "red blue", "all": "red", "none": "blue"}
    collection.add_texts(list(texts.values()), ids=list(texts))
    for least, expected in [
        (-1.0, ["all", "most", "half", "none"]),
        (0.0, ["all", "most", "half", "none"]),
        (1e-5, ["all", "most", "half"]),
        (0.5, ["all", "most", "half"]),
        (0.50001, ["all", "most"]),
        (1 / sqrt(2), ["all", "most"]),
        (1 / sqrt(2) + 1e-5, ["all"]),
        (1.0, ["all"]),
        (1, ["all"]),
    ]:
        assert ids(collection.search("red", min_score=least)) == expected, least


def test_a_copy_scores_one_whatever_float32_makes_of_it(collection: Collection) -> None:
    words = [f"word{i} other{i}" for i in range(15)]
    collection.add_texts(words, ids=words)
    for word in words:
        assert ids(collection.search(word, min_score=1.0)) == [word]
        scores = [hit.score for hit in collection.search(word, k=5)]
        assert len(collection.search(word, k=5, min_score=scores[2])) >= 3


@pytest.mark.parametrize("least", [-1.1, 1.0001, float("nan"), float("inf"), "0.5", "automatic", True])
def test_min_score_is_a_cosine(mixed: Collection, least: Any) -> None:
    with pytest.raises(InvalidInput, match="min_score is a cosine similarity from -1 to 1, or 'auto', not"):
        mixed.search("red", min_score=least)


def test_min_score_counts_within_k(mixed: Collection) -> None:
    assert ids(mixed.search("red", k=1, min_score=0.5)) == ["t-red"]
    assert ids(mixed.search("red", k=6, min_score=0.5)) == ["t-red", "i-red"]


# --- queries


def test_what_is_like_an_item_is_not_the_item_itself(mixed: Collection) -> None:
    hits = mixed.search(Query.item("t-red"), k=6)
    assert len(hits) == 5
    assert "t-red" not in ids(hits)
    assert hits[0].id == "i-red"
    assert hits[0].score == pytest.approx(SAME_COLOUR, abs=1e-6)
    both = mixed.search(Query.item("t-red") + Query.item("i-red"), k=6)
    assert len(both) == 4
    assert {"t-red", "i-red"}.isdisjoint(ids(both))
    assert mixed.search("id:t-red", k=6) == hits


def test_an_item_that_is_not_there_is_named(mixed: Collection) -> None:
    with pytest.raises(InvalidInput, match=r"there is no item \"it's\" in 'default'$"):
        mixed.search(Query.item("t-red") + Query.item("it's"))


def test_minus_turns_away(mixed: Collection) -> None:
    hits = mixed.search("red + blue - green", kind="text")
    assert [(hit.id, round(hit.score, 5)) for hit in hits] == [
        ("t-blue", round(1 / sqrt(3), 5)),
        ("t-red", round(1 / sqrt(3), 5)),
        ("t-green", round(-1 / sqrt(3), 5)),
    ]
    assert ids(mixed.search(-Query.text("red"), kind="text"))[-1] == "t-red"
    assert mixed.search(-1 * Query.text("red"), kind="text")[-1].score == pytest.approx(-1.0, abs=1e-6)


def test_weights_lean_to_one_side(mixed: Collection) -> None:
    first, second, *_ = mixed.search("red + 0.5*blue", kind="text")
    assert (first.id, second.id) == ("t-red", "t-blue")
    assert first.score / second.score == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("length", [1e-30, 1.0, 1e30])
def test_the_length_of_a_vector_does_not_matter(mixed: Collection, length: float) -> None:
    vector = FakeEncoder().encode_texts(["blue"])[0].astype(np.float64) * length
    best = mixed.search(Query.vector(vector), k=1)[0]
    assert best.id == "t-blue"
    assert best.score == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("query", [None, 5, b"red", np.ones(32), Path("a.jpg"), Image.new("RGB", (2, 2))])
def test_what_is_no_query_is_told_how_to_become_one(mixed: Collection, query: Any) -> None:
    with pytest.raises(InvalidInput, match=r"a query is a string or a Query such as Query\.image"):
        mixed.search(query)


def test_queries_that_lead_nowhere_are_refused(mixed: Collection) -> None:
    with pytest.raises(QueryError, match="the query is empty"):
        mixed.search(" ")
    with pytest.raises(InvalidInput, match="cancel each other"):
        mixed.search("red - red")
    with pytest.raises(InvalidInput, match="has 3 numbers, the collection's have 32"):
        mixed.search(Query.vector([1, 2, 3]))
    with pytest.raises(InvalidInput, match="must be finite"):
        mixed.search(Query.vector([float("nan")] * 32))
    with pytest.raises(InvalidInput, match="all zeros"):
        mixed.search(Query.vector(np.zeros(32)))


def test_a_model_of_words_takes_no_pictures(db: Path) -> None:
    class Words(FakeEncoder):
        modalities = frozenset({"text"})

    collection = Collection.create("words", db=db, encoder=Words())
    assert collection.add_texts(["red", "blue"], ids=["a", "b"]).added == 2
    assert ids(collection.search("red", k=1)) == ["a"]
    with pytest.raises(InvalidInput, match="fake embeds text only: choose a model that embeds images too"):
        collection.add_images([png("red")])
    with pytest.raises(InvalidInput, match="fake embeds text only"):
        collection.search(Query.image(png("red")))
    assert collection.count() == 2


# --- hybrid


NAMED = {
    "a": ("red boat", "Zephyr", ["calm"]),
    "b": ("blue boat", "it's Mistral", None),
    "c": ("green sea", None, ["Zephyr's wake", "calm"]),
    "d": ("red", None, None),
    "/photos/alps/IMG_beach.jpg": ("green hill", None, None),
    "/photos/beach/IMG_hill.jpg": ("blue sky", None, None),
    "caption:7": ("black night", None, None),
}


@pytest.fixture(scope="module")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """NAMED, by id: text, note and tags."""
    db = tmp_path_factory.mktemp("worded")
    collection = Collection.create(db=db, encoder=FakeEncoder(), columns={"note": str, "tags": list[str]})
    texts = [text for text, _, _ in NAMED.values()]
    rows = [{"note": note, "tags": tags} for _, note, tags in NAMED.values()]
    collection.add_texts(texts, ids=list(NAMED), metadata=rows)
    return collection


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("mistral", ["b"]),
        ("MISTRAL", ["b"]),
        ('"boat blue" + sky', ["/photos/beach/IMG_hill.jpg"]),  # no phrase, and "sky" and "blue" are there
        ('"blue boat" + 5*green', ["b"]),
        ("img_beach.jpg", ["/photos/alps/IMG_beach.jpg"]),
        ("IMG_beach", ["/photos/alps/IMG_beach.jpg"]),
        ("/photos/alps/img_beach.jpg + 9*night", ["/photos/alps/IMG_beach.jpg"]),
        ("alps/IMG_beach", ["/photos/alps/IMG_beach.jpg"]),
        ("Caption:7 + red", ["caption:7"]),
        ("it's", ["b"]),
        ("zephyr - calm", None),
        ("zephyr - sea", ["a"]),
    ],
)
def test_hybrid_puts_first_what_has_the_words(
    worded: Collection, query: str, first: list[str] | None
) -> None:
    hits = worded.search(query, k=100, hybrid=True)
    assert sorted(ids(hits)) == sorted(NAMED)
    plain = {hit.id: hit for hit in worded.search(query, k=100)}
    for hit in hits:  # the same items, with their cosines
        assert hit.score == pytest.approx(plain[hit.id].score, abs=1e-6)
        assert replace(hit, score=0.0) == replace(plain[hit.id], score=0.0)
    if first is None:  # all that have the word have that of the minus term, too
        assert ids(hits) == list(plain)
    else:
        assert ids(hits)[: len(first)] == first
    for k in (1, 3):
        assert worded.search(query, k=k, hybrid=True) == hits[:k]


def test_a_quoted_text_and_a_phrase_are_the_same(worded: Collection) -> None:
    phrase = worded.search(Query.text("red boat", phrase=True) + 9 * Query.text("blue"), hybrid=True)
    assert ids(phrase)[0] == "a"
    assert ids(worded.search('"red boat" + 9*blue', hybrid=True)) == ids(phrase)
    assert ids(worded.search("red boat + 9*blue", hybrid=True))[0] == "b"


@pytest.mark.parametrize(
    "query",
    [
        *("!!!", "nothing of that", "- red", "id:a - boat"),
        Query.item("a"),
        Query.vector([1.0] * 32),
        Query.image(png("red")),
        Query.image(png("red")) - Query.text("boat"),
        0 * Query.text("mistral") + Query.text("unheard"),
    ],
)
def test_hybrid_without_known_words_is_the_order_of_vectors(worded: Collection, query: Any) -> None:
    check_same(worded.search(query, k=5, hybrid=True), worded.search(query, k=5))


def check_same(hits: Hits, others: Hits) -> None:
    assert ids(hits) == ids(others)
    np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in others], atol=1e-6)


def test_an_image_and_words_are_both_looked_for(worded: Collection) -> None:
    hits = worded.search(Query.image(png("green")) + Query.text("mistral"), hybrid=True)
    assert set(ids(hits)[:2]) <= {"b", "c", "/photos/alps/IMG_beach.jpg"}
    assert "b" in ids(hits)[:2]


def test_filters_hold_for_both_sides(worded: Collection) -> None:
    assert ids(worded.search("mistral", where="id <> 'b'", k=1, hybrid=True)) != ["b"]
    assert ids(worded.search("zephyr + red", where="id IN ('c', 'd')", hybrid=True)) == ["d", "c"]
    assert worded.search("mistral", kind="image", hybrid=True) == []
    assert ids(worded.search("IMG_beach.jpg", where="id LIKE '%hill%'", hybrid=True)) == [
        "/photos/beach/IMG_hill.jpg"
    ]
    with pytest.raises(FilterError, match="Did you mean note"):
        worded.search("mistral", where="nöte = 'x'", hybrid=True)


def test_min_score_spares_what_has_the_words(worded: Collection) -> None:
    hits = worded.search("mistral", min_score=0.99, hybrid=True)
    assert ids(hits) == ["b"]
    assert hits[0].score < 0.99
    assert ids(worded.search("caption:7", min_score=0.99, hybrid=True)) == ["caption:7"]
    assert worded.search("mistral", min_score=0.99) == []


def test_hybrid_ties_go_by_id_and_a_prefix_is_a_prefix(collection: Collection) -> None:
    shuffled = [f"{i:03}" for i in np.random.default_rng(0).permutation(500)]
    collection.add_texts(["red boat"] * 250, ids=shuffled[:250])
    assert collection.search("red boat", k=1, hybrid=True)[0].id == min(shuffled[:250])
    collection.add_texts(["red boat"] * 250, ids=shuffled[250:])
    for k in (1, 150, 500, 1000, 2**70):
        assert ids(collection.search("boat", k=k, hybrid=True)) == sorted(shuffled)[:k]


def test_of_many_with_the_word_the_nearest_come_first(collection: Collection) -> None:
    collection.add_texts(["boat"] * 300, ids=[f"a{i:03}" for i in range(300)])
    collection.add_texts(["boat", "boat red"], ids=["z1", "z2"])
    assert ids(collection.search("red boat", k=1, hybrid=True)) == ["z2"]
    assert ids(collection.search("boat + 3*red", k=1, hybrid=True)) == ["z2"]


def test_words_of_an_empty_collection_and_of_later_items_and_columns(collection: Collection) -> None:
    assert collection.search("zephyr", hybrid=True) == []
    collection.add_texts(["red"], ids=["a"])
    assert ids(collection.search("zephyr", hybrid=True)) == ["a"]
    collection.add_columns({"title": str})
    collection.add_texts(["green", "blue"], ids=["b", "c"], metadata=[{"title": "Zephyr"}, {}])
    assert ids(collection.search("zephyr", hybrid=True))[0] == "b"
    collection.delete(["b"])
    assert "b" not in ids(collection.search("zephyr", hybrid=True))


def test_pictures_and_texts_in_one_hybrid_search_stand_on_their_own_scales(collection: Collection) -> None:
    noise = np.random.default_rng(0)
    pixels = [Image.fromarray(noise.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(25)]
    collection.add_images(pixels, ids=[f"i{number:02}" for number in range(25)])
    collection.add_texts([f"word{number} other" for number in range(25)], ids=[f"t{i:02}" for i in range(25)])
    plain = collection.search("word7 other", k=50)
    assert {hit.kind for hit in plain[:10]} == {"image", "text"}
    check_same(collection.search("unheard", k=50, hybrid=True), collection.search("unheard", k=50))
    assert ids(collection.search("word7", hybrid=True))[0] == "t07"
    assert ids(collection.search("i03", hybrid=True))[0] == "i03"

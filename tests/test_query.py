from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipkit.encoder import Pixels, Vectors
from clipkit.errors import ImageError, InvalidInput, QueryError
from clipkit.query import Part, Query
from clipkit.testing import FakeEncoder


def nothing_stored(ids: list[str]) -> Vectors:
    raise AssertionError(f"nothing was to be looked up, yet {ids} were")


def terms(line: str) -> list[tuple[str, Any, float]]:
    return [(part.what, part.value, part.weight) for part in Query.parse(line).parts]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a beach at dusk", [("text", "a beach at dusk", 1)]),
        (
            "beach + 0.5*image:cat.jpg - people",
            [("text", "beach", 1), ("image", "cat.jpg", 0.5), ("text", "people", -1)],
        ),
        ("beach -people +sand", [("text", "beach", 1), ("text", "people", -1), ("text", "sand", 1)]),
        ("- people", [("text", "people", -1)]),
        ("-people", [("text", "people", -1)]),
        ("+ beach", [("text", "beach", 1)]),
        ("2*cat", [("text", "cat", 2)]),
        ("0.5 * image:a b/c d.jpg", [("image", "a b/c d.jpg", 0.5)]),
        ("-.5*cat - 1e-3 * dog", [("text", "cat", -0.5), ("text", "dog", -0.001)]),
        ("2*3*cat", [("text", "cat", 6)]),
        ("t-shirt, 3-4, black-and-white", [("text", "t-shirt, 3-4, black-and-white", 1)]),
        ("C++ code + Rust", [("text", "C++ code", 1), ("text", "Rust", 1)]),
        ("ratio 16:9", [("text", "ratio 16:9", 1)]),
        ("time:noon", [("text", "time:noon", 1)]),
        ("photo: a dog", [("text", "photo: a dog", 1)]),
        ("M*A*S*H", [("text", "M*A*S*H", 1)]),
        ("rock 'n' roll, 5\" nail", [("text", "rock 'n' roll, 5\" nail", 1)]),
        ("(c) 2020", [("text", "(c) 2020", 1)]),
        ("https://x.org/a-b.jpg?c=d+e", [("text", "https://x.org/a-b.jpg?c=d+e", 1)]),
        ("image:https://x.org/a-b.jpg", [("image", "https://x.org/a-b.jpg", 1)]),
        (
            r"image:C:\My Photos\new-1.jpg - fog",
            [("image", r"C:\My Photos\new-1.jpg", 1), ("text", "fog", -1)],
        ),
        (r'image:"C:\a - b\new.jpg"', [("image", r"C:\a - b\new.jpg", 1)]),
        (r'image:"\\server\a - b\\"', [("image", "\\\\server\\a - b\\", 1)]),
        ("image: cat.jpg", [("image", "cat.jpg", 1)]),
        ("Image:cat.jpg", [("image", "cat.jpg", 1)]),
        ("image:-1.jpg", [("image", "-1.jpg", 1)]),
        ('id:"a + b" + id:c', [("id", "a + b", 1), ("id", "c", 1)]),
        ('"salt + pepper" - \'he said "no"\'', [("text", "salt + pepper", 1), ("text", 'he said "no"', -1)]),
        ('text:"image:cat.jpg"', [("text", "image:cat.jpg", 1)]),
        (r'"she said \"hi\" - twice"', [("text", 'she said "hi" - twice', 1)]),
        ('"a"-"b"+c', [("text", "a", 1), ("text", "b", -1), ("text", "c", 1)]),
        ("  plage\u3000- 人々 + 🏖️ ", [("text", "plage", 1), ("text", "人々", -1), ("text", "🏖️", 1)]),
        ("beach\n- people", [("text", "beach", 1), ("text", "people", -1)]),
    ],
)
def test_a_line_reads_as_its_terms(line: str, expected: list[tuple[str, Any, float]]) -> None:
    assert terms(line) == expected


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("beach -", 6, "nothing stands behind this -"),
        ("beach + ", 6, r"nothing stands behind this \+"),
        ("+", 0, r"nothing stands behind this \+"),
        ("beach - - people", 6, "nothing stands behind this -"),
        ("--people", 0, "nothing stands behind this -"),
        ("beach + 2*", 8, r"nothing stands behind 2\*"),
        ("2 * - people", 0, r"nothing stands behind 2 \*"),
        ("beach + image:", 8, "nothing stands behind image:"),
        ("image: - people", 0, "nothing stands behind image:"),
        ("id: ", 0, "nothing stands behind id:"),
        ('beach - ""', 8, "these quotes hold nothing"),
        ('text:" "', 0, "these quotes hold nothing"),
        ("a 'b + \"beach", 7, "this quote is never closed"),
        ('a + "beach', 4, "this quote is never closed$"),
        ("'90s party", 0, "this quote is never closed$"),
        (r'image:"C:\a - b\"', 6, r'never closed; \\" is a plain quote: double the backslash'),
        ('"red car" beach', 10, r"quoted text ends before this: \+ or - is missing"),
        ('"beach"*2', 7, "a weight stands before its term"),
        ("sky + cat * 0.5", 10, "a weight stands before its term"),
        ("a + nan*cat", 4, "a weight must be a finite number"),
        ("1e999*cat", 0, "a weight must be a finite number"),
        ("1e200*1e200*cat", 0, "a weight must be a finite number"),
        ("0,5*cat", 0, "0,5 is no weight"),
        ("1/2*cat", 0, "1/2 is no weight"),
        ("sky + 2*(cat - dog)", 8, "parentheses do not group"),
        ("sky - img:cat.jpg", 6, "img: is no prefix; did you mean image:"),
        ("img:/home/me/cat.jpg", 0, "did you mean image:"),
        ("imgae:cat.jpg", 0, "did you mean image:"),
        ("txt:beach", 0, "did you mean text:"),
        ("item:a/b.jpg", 0, "did you mean id:"),
    ],
)
def test_a_line_that_does_not_parse_points_at_the_character(line: str, column: int, message: str) -> None:
    with pytest.raises(QueryError, match=re.compile(message, re.MULTILINE)) as caught:
        Query.parse(line)
    assert caught.value.column == column
    shown = str(caught.value).splitlines()
    assert shown[-1] == "  " + " " * column + "^"
    assert len(shown) == 3


@pytest.mark.parametrize("line", ["", " \t "])
def test_an_empty_line_has_no_character_to_point_at(line: str) -> None:
    with pytest.raises(QueryError, match=r"\Athe query is empty: say what to look for\Z"):
        Query.parse(line)


@pytest.mark.parametrize(
    ("line", "phrases"),
    [
        ("red boat", [False]),
        ("\"red boat\" + text:'at sea' - it", [True, True, False]),
        ("image:'cat.jpg' + id:\"x\"", [False, False]),
    ],
)
def test_a_text_in_quotes_is_a_phrase(line: str, phrases: list[bool]) -> None:
    query = Query.parse(line)
    assert [part.phrase for part in query.parts] == phrases
    assert [part.phrase for part in Query.parse(str(query)).parts] == phrases
    assert [part.phrase for part in (2 * query).parts] == phrases


def test_a_phrase_equals_its_text_and_is_written_in_quotes() -> None:
    assert Query.text("red boat", phrase=True) == Query.text("red boat")
    assert str(Query.text("red boat", phrase=True)) == '"red boat"'


def test_what_is_not_a_string_does_not_parse() -> None:
    with pytest.raises(InvalidInput, match="takes a string, not bytes"):
        Query.parse(b"beach")  # type: ignore[arg-type]


# Everything that the grammar gives a meaning, densely mixed, and any Unicode.
tricky = st.text(st.sampled_from("+-*: \t\n\"'\\().,/0129aeimgtxd~−é人🏖\u3000\x1c"), min_size=1)
words = (st.text(min_size=1) | tricky).filter(lambda text: bool(text.strip()))
weights = st.floats(allow_nan=False, allow_infinity=False)
parts = st.builds(
    Part, st.sampled_from(["text", "image", "id"]), words, weights | st.sampled_from([1.0, -1.0])
)
queries = st.builds(Query, st.lists(parts, min_size=1, max_size=4).map(tuple))


@settings(max_examples=400)
@given(queries)
def test_the_written_form_reads_back(query: Query) -> None:
    assert Query.parse(str(query)) == query


@settings(max_examples=400)
@given(tricky | st.text())
def test_any_line_either_parses_or_points_inside_itself(line: str) -> None:
    column = 0
    try:
        query = Query.parse(line)
        assert Query.parse(str(query)) == query
    except QueryError as error:
        column = error.column
    assert 0 <= column <= max(len(line) - 1, 0)


@pytest.mark.parametrize(
    "text", ["beach", "t-shirt", "ratio 16:9", "rock 'n' roll", "C++", "(c)", "-", "a - b"]
)
def test_quotes_are_written_only_where_needed(text: str) -> None:
    assert str(Query.text(text)) == (text if text not in ("-", "a - b") else f'"{text}"')


def test_the_algebra_equals_the_line() -> None:
    query = Query.text("beach") + 0.5 * Query.image(Path("cat.jpg")) - Query.text("people")
    assert query == Query.parse("beach + 0.5*image:cat.jpg - people")
    assert str(query) == "beach + 0.5*image:cat.jpg - people"
    assert hash(query) == hash(Query.parse(str(query)))
    assert repr(query) == "Query('beach + 0.5*image:cat.jpg - people')"
    assert -query / 2 == query * -0.5 == np.float64(-0.5) * query == Fraction(-1, 2) * query
    assert str(-query) == "-beach - 0.5*image:cat.jpg + people"
    assert query != Query.text("beach")
    assert query != object()


def test_a_query_is_immutable_and_leaves_its_operands_alone() -> None:
    beach, people = Query.text("beach"), Query.text("people")
    assert len((beach - people).parts) == 2
    assert (beach, people) == (Query.text("beach"), Query.text("people"))
    with pytest.raises(FrozenInstanceError, match="parts"):
        beach.parts = ()  # type: ignore[misc]


def test_arrays_compare_by_content_and_do_not_hash() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert Query.image(pixels) == Query.image(pixels.copy())
    assert Query.image(pixels) != Query.image(pixels + 1)
    assert Query.image(pixels) != Query.image("cat.jpg")
    with pytest.raises(TypeError, match="unhashable"):
        hash(Query.image(pixels))
    assert hash(Query.vector([1, 2])) == hash(Query.vector(np.array([1.0, 2.0])))


def test_what_has_no_one_line_form_is_named_in_it() -> None:
    query = Query.vector([1, 2, 3]) - 2 * Query.image(Image.new("RGB", (2, 2))) + Query.image(b"\xff\xd8")
    assert str(query) == "vector:<3 numbers> - 2*image:<Image> + image:<bytes>"


@pytest.mark.parametrize("other", ["people", 1, None])
def test_queries_add_to_queries_only(other: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        Query.text("beach") + other
    with pytest.raises(TypeError, match="unsupported operand"):
        Query.text("beach") - other


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Query.text(" \n"), "text must not be blank"),
        (lambda: Query.text(cast(Any, 3)), "text is a string, not int"),
        (lambda: Query.item(""), "id must not be blank"),
        (lambda: Query.image(""), "image path must not be blank"),
        (lambda: Query.image(cast(Any, ["cat.jpg"])), "array, not list"),
        (lambda: Query.vector([1, np.nan]), "must be finite; number 1 is nan"),
        (lambda: Query.vector([np.inf, 1]), "must be finite; number 0 is inf"),
        (lambda: Query.vector([0, 0]), "all zeros"),
        (lambda: Query.vector([]), r"shape \(dim,\), not \(0,\)"),
        (lambda: Query.vector([[1, 2]]), r"shape \(dim,\), not \(1, 2\)"),
        (lambda: Query.vector("beach"), "must be numbers"),
        (lambda: Query.text("a") * float("nan"), "a weight must be finite"),
        (lambda: Query.text("a") * float("inf"), "a weight must be finite"),
        (lambda: Query.text("a") * 10**400, "a weight must be finite"),
        (lambda: 1e300 * (1e300 * Query.text("a")), "a weight must be finite"),
        (lambda: Query.text("a") * True, "a weight is a number, not True"),
        (lambda: Query.text("a") / 0, "divided by zero"),
        (lambda: Query(()), "at least one part"),
        (lambda: Part("txet", "a"), "Did you mean text"),  # type: ignore[arg-type]
    ],
)
def test_values_that_cannot_be_searched_for(make: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()


def test_unit_vectors_are_weighted_and_normalised_once() -> None:
    encoder = FakeEncoder()
    red, blue = encoder.encode_texts(["red", "blue"]).astype(np.float64)
    expected = (red - 0.5 * blue) / np.sqrt(1.25)
    # The vector's length is not its weight, even where it does not fit float32.
    for query in (
        Query.parse("red - 0.5*blue"),
        Query.text("red") - 0.5 * Query.vector(blue * 1e300),
        1e-200 * (Query.vector(red * 7) - 0.5 * Query.text("blue")),
        1e300 * Query.text("red") - 5e299 * Query.text("blue"),
    ):
        vector = query.resolve(encoder, nothing_stored)
        assert vector.shape == (32,)
        assert vector.dtype == np.float32
        np.testing.assert_allclose(vector, expected, atol=1e-7)


def test_only_minus_is_the_opposite_direction() -> None:
    encoder = FakeEncoder()
    [red] = encoder.encode_texts(["red"])
    np.testing.assert_array_equal(Query.parse("- red").resolve(encoder, nothing_stored), -red)


@pytest.mark.parametrize(
    ("line", "length"),
    [("red", 1), ("-3*red", 3), ("red + blue", np.sqrt(2)), ("3*red - 4*blue", 5), ("1e300*red", 1e300)],
)
def test_the_length_is_that_of_the_sum_of_the_parts(line: str, length: float) -> None:
    query = Query.parse(line).with_rows(FakeEncoder(), nothing_stored)
    assert query.length() == pytest.approx(length)
    with pytest.raises(InvalidInput, match="not all parts have a vector yet"):
        (query + Query.parse(line)).length()
    with pytest.raises(InvalidInput, match="the parts of the query cancel each other"):
        (query - query).length()


def test_every_kind_resolves_in_one_batch_per_kind(tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []

    class Counting(FakeEncoder):
        def _text_batch(self, texts: list[str]) -> Any:
            calls.append(("text", len(texts)))
            return super()._text_batch(texts)

        def _pixel_batch(self, pixels: list[Pixels]) -> Any:
            calls.append(("image", len(pixels)))
            return super()._pixel_batch(pixels)

    def stored(ids: list[str]) -> Vectors:
        calls.append(("id", len(ids)))
        return encoder.encode_texts(["blue" for _ in ids])

    encoder = Counting()
    picture = Image.new("RGB", (8, 8), "green")
    picture.save(tmp_path / "green - 1.png")
    line = f'red + 2*image:"{tmp_path}/green - 1.png" + id:x - black + id:"y z"'
    vector = (Query.parse(line) + Query.image(picture)).resolve(encoder, stored)
    assert calls == [("text", 2), ("image", 2), ("id", 2), ("text", 2)]
    [green] = encoder.encode_images([picture])
    expected: Any = encoder.encode_texts(["red", "black", "blue"]).T @ [1, -1, 2] + 3 * green
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


def test_what_one_model_embedded_is_not_embedded_again_but_by_another() -> None:
    def stored(ids: list[str]) -> Vectors:
        return np.tile(np.eye(32, dtype=np.float32)[7], (len(ids), 1))

    class Spent(FakeEncoder):
        """The same model, which embeds nothing."""

        def _text_batch(self, texts: list[str]) -> Any:
            raise AssertionError(f"{texts} are known")

        def _pixel_batch(self, pixels: list[Pixels]) -> Any:
            raise AssertionError("the picture is known")

    picture = Image.new("RGB", (8, 8), "green")
    plain = Query.parse('red - 2*"a cat" + id:x') + 0.5 * Query.image(picture)
    query = plain.with_rows(FakeEncoder(32), stored)
    assert query == plain
    assert [part.phrase for part in query.parts] == [part.phrase for part in plain.parts]
    item = Query.item("y")
    changed = ((query, plain), (2 * query / 3, 2 * plain / 3), (item - query, item - plain))
    for known, unknown in changed:
        expected = unknown.resolve(FakeEncoder(32), stored)
        np.testing.assert_array_equal(known.resolve(Spent(32), stored), expected)
    other = FakeEncoder(48)
    before, after = (
        each.resolve(other, lambda ids: np.ones((len(ids), 48), np.float32)) for each in (plain, query)
    )
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("line", ["red - red", "0*red", "2*red - red -red", "0*red - 0*blue"])
def test_parts_that_cancel_leave_no_direction(line: str) -> None:
    with pytest.raises(InvalidInput, match=r"cancel each other.*red"):
        Query.parse(line).resolve(FakeEncoder(), nothing_stored)


def test_a_vector_of_another_space_is_refused_with_both_lengths() -> None:
    with pytest.raises(InvalidInput, match="has 3 numbers, the collection's have 32"):
        Query.vector([1, 2, 3]).resolve(FakeEncoder(), nothing_stored)


def test_stored_rows_must_fit() -> None:
    with pytest.raises(InvalidInput, match=r"rows of shape \(1, 32\) for 2 inputs"):
        Query.parse("id:a + id:b").resolve(FakeEncoder(), lambda ids: np.ones((1, 32), np.float32))


def test_an_image_that_is_not_there_is_named_by_its_path() -> None:
    with pytest.raises(ImageError, match=r"^gone\.jpg "):
        Query.parse("red + image:gone.jpg").resolve(FakeEncoder(), nothing_stored)


def test_a_text_that_cannot_be_embedded_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^red.: the text is not valid Unicode"):
        Query.text("red\udcff").resolve(FakeEncoder(), nothing_stored)


def test_the_home_folder_is_found_as_a_shell_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (8, 8), "red").save(tmp_path / "cat.png")
    encoder = FakeEncoder()
    vector = Query.parse("image:~/cat.png").resolve(encoder, nothing_stored)
    np.testing.assert_array_equal(vector, encoder.encode_images([tmp_path / "cat.png"])[0])


def test_an_encoder_without_pictures_says_so() -> None:
    class Words(FakeEncoder):
        modalities = frozenset({"text"})

        def encode_images(self, images: Sequence[Any]) -> Vectors:
            self._require("image")
            raise AssertionError("not reached")

    with pytest.raises(InvalidInput, match="embeds text only"):
        Query.image("cat.jpg").resolve(Words(), nothing_stored)

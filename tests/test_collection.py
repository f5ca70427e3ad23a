from __future__ import annotations

import io
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import clipkit.adding
import clipkit.collection
from clipkit import Collection, Query
from clipkit.columns import ColumnType
from clipkit.encoder import TextCutWarning, Vectors
from clipkit.encoders import canonical_name
from clipkit.errors import (
    CollectionExists,
    CollectionMismatch,
    CollectionNotFound,
    FilterError,
    ImageError,
    InvalidInput,
    MissingExtra,
    StorageError,
)
from clipkit.testing import COLOURS, FakeEncoder
from tests.pictures import draw

OWN: dict[str, ColumnType] = {
    "name": str,
    "Rating": int,
    "weight": float,
    "good": bool,
    "seen": datetime,
    "born": date,
    "raw": bytes,
    "tags": list[str],
}
FULL: dict[str, Any] = {
    "name": "it's 😀",
    "Rating": 5,
    "weight": 0.5,
    "good": True,
    "seen": datetime(2024, 5, 1, 12, 30, 0, 1),
    "born": date(2000, 2, 29),
    "raw": b"\x00\xff",
    "tags": ["a", "b"],
}
NOTHING = dict.fromkeys(OWN)


@pytest.fixture
def typed(db: Path) -> Collection:
    return Collection.create("typed", db=db, encoder=FakeEncoder(), columns=OWN)


def png(colour: str, edge: int = 16) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (edge, edge), COLOURS[colour]).save(out, "PNG")
    return out.getvalue()


def ids(collection: Collection, where: str | None = None) -> list[str]:
    return sorted(collection.to_arrow(columns=["id"], where=where)["id"].to_pylist())


# --- making and opening


def test_a_new_collection_is_empty_and_says_what_it_is(db: Path) -> None:
    collection = Collection.create("photos", db=db, encoder=FakeEncoder(64), columns={"rating": int})
    assert (collection.name, collection.db) == ("photos", str(db))
    assert (collection.encoder_name, collection.dim, collection.encoder.dim) == ("fake:64", 64, 64)
    assert collection.columns == {"rating": "int64"}
    assert (collection.count(), list(collection.search("red"))) == (0, [])


def test_a_collection_lives_in_the_home_by_default(own_home: Path) -> None:
    Collection.create(encoder="fake")
    assert Collection.names() == ["default"]
    assert Collection.open().db == str(own_home)
    assert (own_home / "default.lance").is_dir()


def test_names_are_sorted_and_those_of_one_database(db: Path, tmp_path: Path) -> None:
    for name in ("b", "a"):
        Collection.create(name, db=db, encoder="fake")
    assert Collection.names(db) == ["a", "b"]
    assert Collection.names(tmp_path / "elsewhere") == []


def test_a_taken_name_and_a_missing_one_are_errors(db: Path, collection: Collection) -> None:
    with pytest.raises(CollectionExists, match=r"has a collection 'default' already"):
        Collection.create(db=db, encoder=FakeEncoder())
    with pytest.raises(CollectionNotFound, match=r"no collection 'defualt'\. Did you mean default"):
        Collection.open("defualt", db=db)


def test_nothing_is_made_for_columns_that_cannot_be(db: Path) -> None:
    with pytest.raises(InvalidInput, match="'id' is built in"):
        Collection.create(db=db, encoder=FakeEncoder(), columns={"id": str})
    assert not db.exists()


def test_it_opens_by_itself_by_spec_and_with_an_encoder(db: Path, collection: Collection) -> None:
    collection.add_texts(["red"], ids=["a"])
    given = FakeEncoder()
    for opened in (
        Collection.open(db=db),
        Collection.open(db=db, encoder="fake"),
        Collection.open(db=db, encoder=" fake:32 "),
        Collection.open(db=db, encoder=given),
    ):
        assert opened.encoder.fingerprint == given.fingerprint
        assert [hit.id for hit in opened.search("red")] == ["a"]
    assert Collection.open(db=db, encoder=given).encoder is given


@pytest.mark.parametrize("alias", ["fast", "best", "multilingual"])
def test_it_opens_by_the_alias_of_its_model_without_loading_it(db: Path, alias: str) -> None:
    model = FakeEncoder()
    model.name = canonical_name(alias)
    Collection.create(db=db, encoder=model)
    opened = Collection.open(db=db, encoder=alias)
    assert opened.encoder_name == model.name
    assert opened.count() == 0


def test_it_opens_with_a_model_that_has_moved(db: Path, collection: Collection) -> None:
    moved = FakeEncoder()
    moved.name = "local-dir:/elsewhere"
    assert Collection.open(db=db, encoder=moved).encoder is moved


@pytest.mark.parametrize("other", ["fake:64", FakeEncoder(64)], ids=["spec", "object"])
def test_another_model_is_refused_with_both_and_the_way_out(
    db: Path, collection: Collection, other: Any
) -> None:
    with pytest.raises(
        CollectionMismatch,
        match=r"'default' holds vectors of fake \(32 dimensions\), which those of fake:64 \(64\) cannot be "
        r"compared with\. Open it without naming a model, change its model with reindex, or use another "
        "collection for fake:64",
    ):
        Collection.open(db=db, encoder=other)


def test_a_model_that_has_changed_is_refused_when_it_is_needed(
    db: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.add_texts(["red"], ids=["a"])
    changed = FakeEncoder()
    changed.fingerprint = "fake-2-32"
    monkeypatch.setattr(clipkit.encoders, "load_encoder", lambda *_, **__: changed)
    opened = Collection.open(db=db)
    assert opened.count() == 1  # what needs no model still works
    for use in (lambda: opened.search("red"), lambda: opened.add_texts(["blue"]), lambda: opened.encoder):
        with pytest.raises(CollectionMismatch, match="fingerprint fake-2-32, not fake-1-32"):
            use()
    assert opened.count() == 1


def test_the_same_model_with_pictures_lying_is_another(db: Path, collection: Collection) -> None:
    with pytest.raises(CollectionMismatch, match="fake-1-32-as-stored, not fake-1-32"):
        Collection.open(db=db, encoder=FakeEncoder(upright=False))


def test_a_collection_of_pictures_as_stored_opens_as_such(db: Path) -> None:
    Collection.create(db=db, encoder=FakeEncoder(upright=False))
    assert Collection.open(db=db).encoder.upright is False


def test_a_table_of_someone_else_is_no_collection(db: Path) -> None:
    lancedb.connect(db).create_table("theirs", pa.table({"id": ["a"], "vector": [[1.0, 2.0]]}))
    with pytest.raises(CollectionMismatch, match=r"'theirs' in .* is a LanceDB table, but not a clipkit"):
        Collection.open("theirs", db=db)
    with pytest.raises(CollectionExists, match="'theirs' already"):
        Collection.create("theirs", db=db, encoder=FakeEncoder())
    assert lancedb.connect(db).list_tables().tables == ["theirs"]  # nothing was made beside it


def test_another_format_version_is_refused(db: Path, collection: Collection) -> None:
    schema = lancedb.connect(db).open_table("default").schema
    newer = schema.with_metadata({**schema.metadata, b"clipkit.format_version": b"7"})
    lancedb.connect(db).create_table("newer", schema=newer)
    with pytest.raises(CollectionMismatch, match=r"'newer' in .* has format version 7; this clipkit"):
        Collection.open("newer", db=db)


# --- adding images


def test_images_of_every_kind_are_added_in_order(db: Path, collection: Collection, tmp_path: Path) -> None:
    path = draw(tmp_path / "red.png", 1, colour="red")
    array = np.full((5, 7, 3), COLOURS["blue"], np.uint8)
    picture = Image.new("RGB", (9, 4), COLOURS["green"])
    report = collection.add_images([path, str(path), png("white"), array, picture], ids=list("abcde"))
    assert (report.ids, report.added, report.updated, report.cut) == (tuple("abcde"), 5, 0, 0)
    items = collection.get(list("abcde"))
    assert [item.uri for item in items] == [os.path.realpath(path)] * 2 + [None] * 3
    sizes = [(item.metadata["width"], item.metadata["height"]) for item in items]
    assert sizes == [(24, 24), (24, 24), (16, 16), (7, 5), (9, 4)]
    for colour, found in zip(["red", "white", "blue", "green"], "acde", strict=True):
        assert collection.search(colour, k=5)[0].id == found
    expected = FakeEncoder().encode_images([path, path, png("white"), array, picture])
    np.testing.assert_array_equal(np.stack([item.vector for item in items]), expected)


def test_without_ids_a_path_is_its_own_and_others_get_one_each(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "a.png", 1)
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    first = collection.add_images(["a.png", png("red"), png("red")])
    assert first.ids[0] == os.path.realpath("a.png")
    assert len(set(first.ids)) == 3
    again = collection.add_images([tmp_path / "link" / "a.png"])
    assert (again.ids, again.added, again.updated) == (first.ids[:1], 0, 1)
    assert collection.count(kind="image") == 3


def test_a_file_that_is_not_utf8_can_be_added_and_found(collection: Collection, tmp_path: Path) -> None:
    path = draw(tmp_path / "caf\udce9.png", 1, colour="red")
    (identity,) = collection.add_images([path]).ids
    assert identity.startswith("file:///")
    assert identity.endswith("/caf%E9.png")
    assert collection.search("red")[0].id == identity


@pytest.mark.parametrize("again", ["a.png", "./a.png", "link.png"])
def test_one_image_given_twice_is_refused_before_anything_is_stored(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    draw(tmp_path / "a.png", 1)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"^input 2: the id '.*a\.png' is given twice, first at 0$"):
        collection.add_images(["a.png", png("red"), again])
    assert collection.count() == 0
    assert collection.add_images(["a.png", again], ids=["one", "two"]).added == 2


def test_equal_content_under_two_ids_is_two_items(collection: Collection) -> None:
    assert collection.add_images([png("red"), png("red")], ids=["a", "b"]).added == 2
    assert collection.add_texts(["red", "red"], ids=["c", "d"]).added == 2
    hits = collection.search("red", k=10)
    assert [hit.id for hit in hits] == ["c", "d", "a", "b"]
    assert hits[2].metadata["content_hash"] == hits[3].metadata["content_hash"]


UNREADABLE: list[tuple[Any, str]] = [
    (b"", r"the image is empty \(0 bytes\)"),
    (b"not an image", "the image is not an image that Pillow can read"),
    (png("red")[:40], "the image cannot be decoded"),
    ("gone.png", r"gone\.png cannot be read: No such file"),
    (".", "cannot be read: Is a directory"),
    (5, "of type int, not a path, bytes, a PIL image or an array"),
    (None, "of type NoneType"),
    (np.zeros((0, 4, 3), np.uint8), "has no pixels"),
    (np.zeros(5), "has shape"),
    ("", "'' is not a path"),
    ("a\0b", r"'a\\x00b' is not a path"),
]


@pytest.mark.parametrize(("image", "message"), UNREADABLE, ids=lambda value: ascii(value)[:20])
def test_an_image_that_cannot_be_read_is_named_and_nothing_is_stored(
    collection: Collection, image: Any, message: str
) -> None:
    collection.add_images([png("blue")], ids=["old"])
    with pytest.raises(InvalidInput, match=rf"^input 2: .*{message}") as caught:
        collection.add_images([png("red"), png("green"), image, png("white")], ids=["old", "b", "c", "d"])
    assert caught.value.position == 2
    assert ids(collection) == ["old"]
    assert collection.thumbnails(["old", "b", "c", "d"]).keys() == {"old"}
    assert collection.search("blue", k=1)[0].id == "old"


def test_of_a_long_list_what_came_before_the_batch_of_the_bad_image_is_stored(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipkit.adding, "ADD_BATCH", 3)
    with pytest.raises(ImageError, match=r"^input 7: the image is empty"):
        collection.add_images([png("red")] * 7 + [b""], ids=[f"{i}" for i in range(8)])
    assert ids(collection) == [f"{i}" for i in range(6)]


@pytest.mark.parametrize("image", ["a.png", b"x", Path("a.png")])
def test_one_image_is_no_list(collection: Collection, image: Any) -> None:
    with pytest.raises(InvalidInput, match="add_images takes a list of images, not one image"):
        collection.add_images(image)


def test_no_images_and_no_texts_are_nothing(collection: Collection) -> None:
    for report in (collection.add_images([]), collection.add_texts([]), collection.add_texts([], ids=[])):
        assert (report.ids, report.added, report.updated, report.cut) == ((), 0, 0, 0)


def test_thumbnails_are_small_jpegs_of_the_images(collection: Collection) -> None:
    collection.add_images([png("red", 1000), png("blue", 8)], ids=["large", "small"])
    collection.add_texts(["red"], ids=["text"])
    pictures = {
        identity: Image.open(io.BytesIO(jpeg))
        for identity, jpeg in collection.thumbnails(["large", "small", "text", "none"]).items()
    }
    assert {identity: (p.format, p.size) for identity, p in pictures.items()} == {
        "large": ("JPEG", (256, 256)),
        "small": ("JPEG", (8, 8)),
    }
    assert np.abs(np.asarray(pictures["large"]).mean(axis=(0, 1)) - COLOURS["red"]).max() < 4
    collection.delete(["large"])
    assert collection.thumbnails(["large", "small"]).keys() == {"small"}


def test_an_image_replaced_by_a_text_is_a_text(collection: Collection) -> None:
    collection.add_images([png("red")], ids=["a"])
    report = collection.add_texts(["blue"], ids=["a"])
    assert (report.added, report.updated) == (0, 1)
    (item,) = collection.get(["a"])
    assert (item.kind, item.text, item.metadata["width"]) == ("text", "blue", None)
    assert collection.thumbnails(["a"]) == {}
    assert "<img" not in collection.search("blue")._repr_html_()


# --- adding texts


def test_texts_are_stored_as_they_are(collection: Collection) -> None:
    texts = ["Red\n car", "it's", "😀 猫", 'a "b"', " x "]
    report = collection.add_texts(texts, ids=list("abcde"))
    assert (report.ids, report.added) == (tuple("abcde"), 5)
    assert [item.text for item in collection.get(list("abcde"))] == texts
    assert {item.kind for item in collection.get(list("abcde"))} == {"text"}


def test_equal_texts_without_ids_stay_apart(collection: Collection) -> None:
    report = collection.add_texts(["red", "red"])
    assert len(set(report.ids)) == 2
    assert collection.add_texts(["red"]).added == 1
    assert collection.count(kind="text") == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a text must not be empty or blank"),
        (" \n", "a text must not be empty or blank"),
        (5, "a text must be a string, not int"),
        (None, "a text must be a string, not NoneType"),
        (b"red", "a text must be a string, not bytes"),
        ("caf\udce9", "a text must be valid Unicode, and .* has a lone surrogate at character 3"),
    ],
)
@pytest.mark.parametrize("before", [1, 5])
def test_a_text_that_cannot_be_embedded_is_named_before_anything_is_stored(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, text: Any, message: str, before: int
) -> None:
    monkeypatch.setattr(clipkit.adding, "ADD_BATCH", 2)
    with pytest.raises(InvalidInput, match=rf"^input {before}: {message}") as caught:
        collection.add_texts([*["red"] * before, text, "blue"])
    assert caught.value.position == before
    assert collection.count() == 0


def test_one_text_is_no_list(collection: Collection) -> None:
    with pytest.raises(InvalidInput, match=r"a list is wanted, not one string: \['red'\]"):
        collection.add_texts("red")


def test_a_long_text_is_stored_whole_embedded_cut_and_counted(collection: Collection) -> None:
    long = " ".join(["red"] * 77 + ["blue"] * 100)
    with pytest.warns(TextCutWarning, match=r"1 of 2 texts are longer .* positions 1$"):
        report = collection.add_texts(["short", long], ids=["a", "b"])
    assert report.cut == 1
    assert collection.get(["b"])[0].text == long
    assert collection.search("red", k=1)[0].score == pytest.approx(1.0, abs=1e-6)
    assert collection.add_texts(["short"]).cut == 0


# --- the user's own columns


def test_values_of_every_type_come_back_as_they_were(typed: Collection) -> None:
    typed.add_texts(["red", "blue"], ids=["full", "empty"], metadata=[FULL, {}])
    full, empty = typed.get(["full", "empty"])
    assert {name: full.metadata[name] for name in OWN} == FULL
    assert {name: empty.metadata[name] for name in OWN} == NOTHING
    hit = typed.search("red", k=1)[0]
    assert {name: hit.metadata[name] for name in OWN} == FULL


@pytest.mark.parametrize(
    "where",
    [
        "name = 'it''s 😀'",
        "Rating = 5",
        "rating = 5",
        "RATING > 4",
        "weight = 0.5",
        "good",
        "seen > timestamp '2024-05-01 12:30:00'",
        "seen > date '2024-05-01'",
        "born = date '2000-02-29'",
        "array_has(tags, 'b')",
        "name LIKE '%😀'",
    ],
)
def test_columns_of_every_type_can_be_filtered(typed: Collection, where: str) -> None:
    typed.add_texts(["red", "blue"], ids=["full", "empty"], metadata=[FULL, {}])
    assert ids(typed, where) == ["full"]
    assert [hit.id for hit in typed.search("blue", where=where)] == ["full"]
    assert typed.count(where=f"NOT ({where}) OR ({where}) IS NULL") == 1


def test_columns_are_filtered_in_any_spelling_that_was_allowed(db: Path) -> None:
    names = ["plain", "Upper", "CAPITALS", "mixedCase", "with_1", "order", "when", "date", "user", "key", "a"]
    collection = Collection.create("c", db=db, encoder="fake", columns=dict.fromkeys(names, int))
    collection.add_texts(["x", "y"], ids=["x", "y"], metadata=[dict.fromkeys(names, 1), {}])
    for name in names:
        assert ids(collection, f"{name} = 1") == ["x"], name
        assert ids(collection, f"{name} IS NULL") == ["y"], name


def test_metadata_that_does_not_fit_is_named_before_anything_is_stored(
    typed: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipkit.adding, "ADD_BATCH", 2)
    rows: list[dict[str, Any]] = [{"Rating": 1}] * 5 + [{"Rating": 1.5}]
    for metadata, message in (
        (rows, r"^input 5: 1\.5 \(float, not int64\) does not fit the column 'Rating'"),
        ([{"raiting": 1}] * 6, r"^input 0: .*no column 'raiting'\. Did you mean Rating"),
    ):
        with pytest.raises(InvalidInput, match=message):
            typed.add_texts(["red"] * 6, metadata=metadata)
        with pytest.raises(InvalidInput, match=message):
            typed.add_images([png("red")] * 6, metadata=metadata)
    assert typed.count() == 0


def test_a_replaced_item_keeps_the_columns_it_is_silent_about(typed: Collection) -> None:
    typed.add_texts(["red", "blue"], ids=["a", "b"], metadata=[FULL, FULL])
    changes: list[dict[str, Any]] = [{"Rating": 1}, {"name": None}]
    report = typed.add_images([png("red"), png("blue")], ids=["a", "b"], metadata=changes)
    assert (report.added, report.updated, report.ids) == (0, 2, ("a", "b"))
    first, second = typed.get(["a", "b"])
    assert {name: first.metadata[name] for name in OWN} == {**FULL, "Rating": 1}
    assert {name: second.metadata[name] for name in OWN} == {**FULL, "name": None}


def test_columns_can_be_added_later(db: Path, collection: Collection) -> None:
    collection.add_texts(["red"], ids=["a"])
    other = Collection.open(db=db)
    collection.add_columns({"rating": int, "Tags": list[str]})
    collection.add_columns({})
    assert collection.columns == other.columns == {"rating": "int64", "Tags": "list<item: string>"}
    assert other.get(["a"])[0].metadata["rating"] is None
    other.add_texts(["blue"], ids=["b"], metadata=[{"rating": 3, "Tags": ["x"]}])
    assert ids(collection, "rating = 3 AND array_has(Tags, 'x')") == ["b"]
    for name in ("rating", "RATING"):
        with pytest.raises(InvalidInput, match="there is a column 'rating' already"):
            collection.add_columns({name: str})
    assert len(collection.columns) == 2


# --- getting, deleting, counting


def test_items_come_in_the_order_of_the_ids_asked_for(collection: Collection) -> None:
    collection.add_texts(["red", "blue", "green"], ids=["a", "b", "c"])
    items = collection.get(["c", "a", "c"])
    assert [(item.id, item.text) for item in items] == [("c", "green"), ("a", "red"), ("c", "green")]
    np.testing.assert_array_equal(items[1].vector, FakeEncoder().encode_texts(["red"])[0])
    assert items[0].vector.dtype == np.float32
    assert collection.get([]) == []


def test_an_unknown_id_is_named(collection: Collection) -> None:
    collection.add_texts(["red"], ids=["a"])
    with pytest.raises(InvalidInput, match=r"^input 1: there is no item \"it's\" in 'default'$"):
        collection.get(["a", "it's"])
    with pytest.raises(InvalidInput, match="a list is wanted, not one string"):
        collection.get("a")
    with pytest.raises(InvalidInput, match=r"^input 0: an id must be a string, not int"):
        collection.get([5])  # type: ignore[list-item]


def test_deleting_counts_and_forgives_what_is_not_there(collection: Collection) -> None:
    collection.add_texts(["red", "blue", "green"], ids=["a", "b", "c"])
    assert collection.delete(["a", "x", "a"]) == 1
    assert collection.delete(["a"]) == 0
    assert collection.delete([]) == 0
    assert ids(collection) == ["b", "c"]
    with pytest.raises(InvalidInput, match="a list is wanted, not one string"):
        collection.delete("b")
    assert collection.count() == 2


def test_deleting_by_filter(collection: Collection) -> None:
    collection.add_images([png("red"), png("red", 32)], ids=["small", "large"])
    collection.add_texts(["red"], ids=["text"])
    assert collection.delete_where("width > 20") == 1
    assert ids(collection) == ["small", "text"]
    for where, message in (
        ("widht > 3", "no column 'widht'. Did you mean width"),
        ("width > 0) OR (true", "closes a parenthesis"),
        ("", "a filter is an SQL condition"),
        (None, "a filter is an SQL condition"),
    ):
        with pytest.raises(FilterError, match=message):
            collection.delete_where(where)  # type: ignore[arg-type]
    assert collection.count() == 2
    assert collection.delete_where("true") == 2


def test_counting_by_kind_and_filter(collection: Collection) -> None:
    collection.add_images([png("red"), png("blue")])
    collection.add_texts(["red"])
    assert collection.count() == 3
    assert (collection.count(kind="image"), collection.count(kind="text")) == (2, 1)
    assert collection.count(kind="image", where="width = 16 OR text = 'red'") == 2
    assert collection.count(where="width IS NULL") == 1
    with pytest.raises(InvalidInput, match="kind is 'image' or 'text', not 'images'"):
        collection.count(kind="images")  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="a filter is an SQL condition"):
        collection.count(where="")


AWKWARD = ["it's", '"', "😀", "a\nb", "100%", "a\\", "a\0b", "'; DROP TABLE x; --", "x" * 10_000]
AWKWARD += ["é", "e\u0301"]  # look alike, and are two


def test_any_string_can_be_an_id(collection: Collection) -> None:
    report = collection.add_images([png("red")] * len(AWKWARD), ids=AWKWARD)
    assert report.ids == tuple(AWKWARD)
    assert [item.id for item in collection.get(AWKWARD)] == AWKWARD
    assert collection.thumbnails(AWKWARD).keys() == set(AWKWARD)
    assert collection.add_texts(["blue"] * len(AWKWARD), ids=AWKWARD).updated == len(AWKWARD)
    for identity in AWKWARD:
        assert identity not in {hit.id for hit in collection.search(Query.item(identity), k=20)}
        assert collection.delete([identity]) == 1
    assert collection.count() == 0


# --- batches and exports


@pytest.fixture
def filled(typed: Collection) -> Collection:
    """Ten texts and two images; every other text has values in all columns."""
    typed.add_texts(
        [f"word{i}" for i in range(10)],
        ids=[f"t{i}" for i in range(10)],
        metadata=[FULL if i % 2 else {} for i in range(10)],
    )
    typed.add_images([png("red"), png("blue")], ids=["i0", "i1"])
    return typed


@pytest.mark.parametrize(("size", "most"), [(1, 1), (5, 5), (12, 12), (1000, 12)])
def test_batches_hold_each_item_once(filled: Collection, size: int, most: int) -> None:
    batches = list(filled.batches(batch_size=size))
    assert max(batch.num_rows for batch in batches) == most
    table = pa.Table.from_batches(batches)
    assert table.sort_by("id").equals(filled.to_arrow().sort_by("id"))


def test_batches_can_be_narrowed(filled: Collection) -> None:
    batches = list(filled.batches(columns=["Rating", "id"], where="Rating = 5", batch_size=2))
    assert [batch.schema.names for batch in batches] == [["Rating", "id"]] * 3
    assert sorted(i for batch in batches for i in batch["id"].to_pylist()) == ["t1", "t3", "t5", "t7", "t9"]
    assert list(filled.batches(where="false")) == []


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "3"])
def test_a_batch_has_at_least_one_row(filled: Collection, size: Any) -> None:
    with pytest.raises(InvalidInput, match="batch_size is a whole number of at least 1, not"):
        filled.batches(batch_size=size)


def test_bad_columns_and_filters_are_told_at_the_call(filled: Collection) -> None:
    with pytest.raises(InvalidInput, match=r"no column 'raiting'\. Did you mean Rating"):
        filled.batches(columns=["raiting"])
    with pytest.raises(FilterError, match=r"no column 'raiting'\. Did you mean Rating"):
        filled.batches(where="raiting > 3")
    with pytest.raises(InvalidInput, match="no columns are named"):
        filled.to_arrow(columns=[])


def test_items_come_once_while_another_handle_writes_deletes_and_compacts(
    db: Path, filled: Collection
) -> None:
    other = Collection.open("typed", db=db)
    seen: list[str] = []
    for batch in filled.batches(batch_size=2):
        seen += batch["id"].to_pylist()
        other.add_texts(["new"])
        if len(seen) == 4:
            unseen = sorted({f"t{i}" for i in range(10)} - set(seen))
            other.delete(unseen[:1])
            other.add_texts(["other"] * 2, ids=[seen[0], unseen[1]])
        other.optimize()
    assert sorted([*seen, unseen[0]]) == ["i0", "i1", *(f"t{i}" for i in range(10))]


def test_arrow_has_every_column(filled: Collection) -> None:
    table = filled.to_arrow()
    assert table.num_rows == 12
    assert table.schema.names[:4] == ["id", "kind", "uri", "text"]
    assert table.schema.names[-1] == "vector"
    assert set(OWN) < set(table.schema.names)
    assert filled.to_arrow(where="kind = 'image'", columns=["id"]).schema.names == ["id"]
    assert ids(filled, "kind = 'image'") == ["i0", "i1"]


def test_pandas_has_the_same(filled: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = filled.to_pandas(where="id = 't1'")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == filled.to_arrow().schema.names
    assert frame["name"].tolist() == [FULL["name"]]
    assert frame["seen"][0] == FULL["seen"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"pip install 'clipkit\[pandas\]'"):
        filled.to_pandas()


def test_a_parquet_file_holds_every_column_of_every_item(filled: Collection, tmp_path: Path) -> None:
    target = tmp_path / "all.parquet"
    target.write_bytes(b"what was there before")
    assert filled.to_parquet(target) == 12
    assert pq.read_table(target).sort_by("id").equals(filled.to_arrow().sort_by("id"))
    assert pq.read_schema(target).field("vector").metadata[b"clipkit.encoder"] == b"fake"
    assert filled.to_parquet(str(target), where="Rating = 5") == 5
    assert pq.read_table(target).num_rows == 5
    assert filled.to_parquet(target, where="false") == 0
    assert pq.read_table(target).schema.names == filled.to_arrow().schema.names


def test_a_file_appears_under_its_name_only_when_it_is_whole(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "all.parquet").write_bytes(b"before")
    monkeypatch.setattr(clipkit.collection, "EXPORT_BATCH", 5)
    real = filled._store.items.read

    def failing(*arguments: Any) -> pa.Table:
        if len(list(folder.iterdir())) == 2:
            raise StorageError("the store is gone")
        return real(*arguments)

    monkeypatch.setattr(filled._store.items, "read", failing)
    with pytest.raises(StorageError, match=r"^the store is gone$"):
        filled.to_parquet(folder / "all.parquet")
    assert [path.name for path in folder.iterdir()] == ["all.parquet"]
    assert (folder / "all.parquet").read_bytes() == b"before"


def test_a_file_that_cannot_be_written_is_a_storage_error(filled: Collection, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for target, why in (("none/x", "No such file"), ("folder", "Is a directory"), ("file/x", "Not a dir")):
        with pytest.raises(StorageError, match=rf"{target} cannot be written: {why}"):
            filled.to_parquet(tmp_path / target)
    with pytest.raises(FilterError, match="no column 'x'"):
        filled.to_parquet(tmp_path / "all.parquet", where="x > 1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "file", "folder"]


def test_a_name_as_long_as_the_file_system_takes_will_do(filled: Collection, tmp_path: Path) -> None:
    target = tmp_path / ("x" * 247 + ".parquet")
    assert filled.to_parquet(target) == 12
    assert target.exists()


# --- status and upkeep


def test_status_tells_what_is_there(filled: Collection, db: Path) -> None:
    status = filled.status()
    assert (status.name, status.db, status.encoder, status.dim) == ("typed", str(db), "fake", 32)
    assert (status.images, status.texts, status.failures) == (2, 10, 0)
    assert status.columns == filled.columns
    assert list(status.columns) == list(OWN)
    assert status.size_bytes > 12 * 32 * 4
    assert filled.failures() == []


def test_optimize_changes_nothing_that_can_be_seen(filled: Collection) -> None:
    before = filled.to_arrow().sort_by("id")
    filled.optimize()
    filled.optimize()
    assert filled.to_arrow().sort_by("id").equals(before)


def test_hundreds_of_small_adds_leave_few_files(db: Path, collection: Collection) -> None:
    for i in range(300):
        collection.add_texts([f"word{i}"])
    assert collection.count() == 300
    for table in ("default", "default.thumbnails", "default.failures"):
        data = db / f"{table}.lance" / "data"
        assert len(list(data.iterdir()) if data.exists() else []) < 50


def test_eight_threads_add_and_search_one_collection(collection: Collection) -> None:
    collection.add_texts(["red"], ids=["start"])
    ready = threading.Barrier(8)

    def work(thread: int) -> list[int]:
        ready.wait()
        sizes = []
        for i in range(6):
            collection.add_texts(["red car", f"word{thread}"], ids=[f"{thread}-{i}", f"shared-{i}"])
            hits = collection.search("red", k=100)
            assert hits[0].id == "start"
            assert len({hit.id for hit in hits}) == len(hits)
            sizes.append(len(hits))
        return sizes

    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(work, range(8)))
    assert all(one == sorted(one) for one in sizes)  # nobody saw the collection shrink
    assert ids(collection) == sorted(
        ["start", *(f"{t}-{i}" for t in range(8) for i in range(6)), *(f"shared-{i}" for i in range(6))]
    )


def test_the_model_is_loaded_once_however_many_ask_for_it(
    db: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[FakeEncoder] = []

    def load(*_: Any, **__: Any) -> FakeEncoder:
        loaded.append(FakeEncoder())
        return loaded[-1]

    monkeypatch.setattr(clipkit.encoders, "load_encoder", load)
    opened = Collection.open(db=db)
    assert opened.count() == 0
    assert loaded == []
    with ThreadPoolExecutor(8) as pool:
        rows: list[Vectors] = list(pool.map(lambda _: opened.encoder.encode_texts(["red"]), range(16)))
    assert len(rows) == 16
    assert len(loaded) == 1

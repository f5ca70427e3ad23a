from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from clipkit.columns import fields_of
from clipkit.encoder import Vectors
from clipkit.errors import (
    CollectionExists,
    CollectionMismatch,
    CollectionNotFound,
    InvalidInput,
    StorageError,
)
from clipkit.filters import id_in
from clipkit.places import database_uri
from clipkit.schema import ItemRow
from clipkit.stamps import Stamp, Stamps
from clipkit.store import Store, collection_names
from clipkit.testing import FakeEncoder

STAMP = Stamp("fake", 32, "fake-1-32", True)
PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "db")


@pytest.fixture
def store(uri: str) -> Store:
    return Store.create(uri, "photos", STAMP, fields_of({"rating": int, "tag": str}))


def text(identity: str, **metadata: Any) -> ItemRow:
    return ItemRow(identity, "text", text=f"text of {identity}", metadata=metadata)


def image(identity: str, jpeg: bytes, **metadata: Any) -> ItemRow:
    return ItemRow(identity, "image", uri=identity, width=3, thumbnail=jpeg, metadata=metadata)


def vectors(n: int, first: int = 0) -> Vectors:
    return FakeEncoder().encode_texts([f"word{i}" for i in range(first, first + n)])


def write(store: Store, *rows: ItemRow) -> tuple[int, int]:
    return store.write(rows, vectors(len(rows)), made_by=FakeEncoder())


def rows_of(store: Store, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    table = store.items.read(["id", *columns]).sort_by("id")
    return [tuple(row.values()) for row in table.to_pylist()]


# --- the format


def test_the_schema_on_disk_is_format_version_1(uri: str, store: Store) -> None:
    names = ("photos", "photos.thumbnails", "photos.failures", "photos.sources")
    tables = {name: lancedb.connect(uri).open_table(name).schema for name in names}
    drawn = {name: [(f.name, str(f.type), f.nullable) for f in schema] for name, schema in tables.items()}
    assert drawn == {
        "photos": [
            ("id", "string", False),
            ("kind", "string", False),
            ("uri", "string", True),
            ("text", "string", True),
            ("image_id", "string", True),
            ("content_hash", "string", True),
            ("size_bytes", "int64", True),
            ("mtime_ns", "int64", True),
            ("width", "int32", True),
            ("height", "int32", True),
            ("taken_at", "timestamp[us]", True),
            ("latitude", "double", True),
            ("longitude", "double", True),
            ("camera", "string", True),
            ("rating", "int64", True),
            ("tag", "string", True),
            ("vector", "fixed_size_list<item: float>[32]", True),
        ],
        "photos.thumbnails": [("id", "string", False), ("jpeg", "binary", False)],
        "photos.failures": [
            ("id", "string", False),
            ("size_bytes", "int64", True),
            ("mtime_ns", "int64", True),
            ("reason", "string", False),
        ],
        "photos.sources": [
            ("id", "string", False),
            ("size_bytes", "int64", False),
            ("mtime_ns", "int64", False),
            ("pictures", "int64", False),
            ("described", "bool", False),
        ],
    }
    assert all(schema.field("id").metadata == PRIMARY_KEY for schema in tables.values())


def test_the_metadata_on_disk_says_what_the_vectors_are(uri: str, store: Store) -> None:
    schema = lancedb.connect(uri).open_table("photos").schema
    assert schema.metadata == {b"clipkit.format_version": b"1"}
    assert schema.field("vector").metadata == {
        b"clipkit.encoder": b"fake",
        b"clipkit.dim": b"32",
        b"clipkit.fingerprint": b"fake-1-32",
        b"clipkit.upright": b"true",
        b"clipkit.normalised": b"true",
    }


@pytest.mark.parametrize("stamp", [STAMP, replace(STAMP, upright=False, encoder="ViT-ü/x", dim=7)])
def test_a_stamp_comes_back_from_its_metadata(stamp: Stamp) -> None:
    assert Stamp.from_field(stamp.field()) == stamp


def schema_of(*, version: str = "1", lacking: str = "") -> pa.Schema:
    """That of a collection, perhaps without one of its keys."""
    field = STAMP.field()
    metadata = {key: value for key, value in field.metadata.items() if key != f"clipkit.{lacking}".encode()}
    fields = [pa.field("id", pa.string()), field.with_metadata(metadata)]
    said = None if lacking == "format_version" else {"clipkit.format_version": version}
    return pa.schema(fields, metadata=said)


def test_another_format_version_is_refused_with_both_and_the_way_out() -> None:
    with pytest.raises(
        CollectionMismatch,
        match=r"^here has format version 2; this clipkit reads and writes 1\. .*the clipkit that made it",
    ):
        Stamps.of(schema_of(version="2"), "here")


@pytest.mark.parametrize("key", ["format_version", "encoder", "dim", "fingerprint", "upright"])
def test_a_stamp_that_lacks_something_is_none_of_ours(key: str) -> None:
    assert Stamps.of(schema_of(), "here").stamp == STAMP
    with pytest.raises(CollectionMismatch, match=r"^here is a LanceDB table, but not a clipkit collection"):
        Stamps.of(schema_of(lacking=key), "here")
    with pytest.raises(CollectionMismatch, match="does not say which model made it"):
        Stamps.of(pa.schema([]), "here")


def test_the_encoder_that_made_the_vectors_is_accepted_under_any_name() -> None:
    encoder = FakeEncoder()
    assert STAMP.checked(encoder, "photos") is encoder
    encoder.name = "moved/elsewhere"
    assert STAMP.checked(encoder, "photos") is encoder


def test_another_encoder_is_refused_with_both_names() -> None:
    with pytest.raises(
        CollectionMismatch,
        match=r"'photos' holds vectors of fake \(32 dimensions\), .* of fake:64 \(64\).*without naming a mod",
    ):
        STAMP.checked(FakeEncoder(64), "photos")


def test_a_model_that_has_changed_is_refused_with_both_fingerprints() -> None:
    changed = FakeEncoder()
    changed.fingerprint = "fake-2-32"
    with pytest.raises(
        CollectionMismatch, match=r"fake is not what it was .*fingerprint fake-2-32, not fake-1-32"
    ):
        STAMP.checked(changed, "photos")


# --- creating and opening


def test_a_store_is_found_again(uri: str, store: Store) -> None:
    write(store, text("a"))
    again = Store.open(uri, "photos")
    assert (again.uri, again.name, again.stamp) == (uri, "photos", STAMP)
    assert again.items.count() == 1


def test_a_taken_name_is_an_error(uri: str, store: Store) -> None:
    with pytest.raises(CollectionExists, match="has a collection 'photos' already: open it"):
        Store.create(uri, "photos", STAMP, [])


def test_a_name_that_is_not_there_gets_close_ones(uri: str, store: Store) -> None:
    with pytest.raises(CollectionNotFound, match=r"no collection 'fotos'\. Did you mean photos"):
        Store.open(uri, "fotos")
    with pytest.raises(CollectionNotFound, match="There is none yet: index a folder"):
        Store.open(f"{uri}/elsewhere", "photos")
    assert not os.path.exists(f"{uri}/elsewhere")


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a/b", "..", "-a", "_a", "é", "a.thumbnails", "a\n", "a" * 101, 5, None]
)
def test_a_name_that_files_could_not_have_is_refused(uri: str, name: Any) -> None:
    with pytest.raises(InvalidInput, match="cannot name a collection: it takes up to 100 letters"):
        Store.create(uri, name, STAMP, [])
    with pytest.raises(InvalidInput, match="cannot name a collection"):
        Store.open(uri, name)
    assert not os.path.exists(os.path.join(uri, f"{name}.lance"))


@pytest.mark.parametrize("name", ["a", "A1", "2024-05_trip", "a" * 100])
def test_a_plain_name_will_do(uri: str, name: str) -> None:
    Store.create(uri, name, STAMP, [])
    assert Store.open(uri, name).name == name


@pytest.mark.parametrize("folder", ["my photos #1 100% ä?", "a%20b", "it's", "новый", "😀", "a:b&c=d", "~x"])
def test_a_database_may_be_in_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    uri = str(tmp_path / folder)
    assert write(Store.create(uri, "photos", STAMP, []), text("a")) == (1, 0)
    assert Store.open(uri, "photos").items.count() == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != "clipkit-home"] == [folder]


def test_tables_that_were_never_made_are_made_when_it_is_opened(uri: str, store: Store) -> None:
    write(store, image("a", b"jpeg"))
    lancedb.connect(uri).drop_table("photos.thumbnails")
    lancedb.connect(uri).drop_table("photos.failures")
    again = Store.open(uri, "photos")
    assert (again.items.count(), again.thumbnails.count(), again.failures.count()) == (1, 0, 0)


# --- names


def test_names_are_those_of_collections_sorted(uri: str) -> None:
    assert collection_names(uri) == []
    assert not os.path.exists(uri)
    for name in ("b", "a", "c-1", "B"):
        Store.create(uri, name, STAMP, [])
    assert collection_names(uri) == ["B", "a", "b", "c-1"]


def test_names_are_not_cut_off_at_a_page(uri: str) -> None:
    database = lancedb.connect(uri)
    for i in range(25):
        database.create_table(f"t{i:02}", schema=pa.schema([("x", pa.int8())]))
    assert collection_names(uri) == [f"t{i:02}" for i in range(25)]


@pytest.mark.parametrize("left_behind", ["photos.lance", "photos.lance/_versions", "photos.lance/data"])
def test_a_table_that_was_never_committed_is_no_collection(uri: str, left_behind: str) -> None:
    os.makedirs(f"{uri}/{left_behind}")
    assert collection_names(uri) == []
    with pytest.raises(CollectionNotFound, match="no collection 'photos'"):
        Store.open(uri, "photos")
    assert Store.create(uri, "photos", STAMP, []).items.count() == 0
    assert collection_names(uri) == ["photos"]


def test_a_file_where_a_folder_should_be_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for action in (collection_names, lambda uri: Store.open(uri, "photos")):
        with pytest.raises(StorageError, match="file is not a folder: collections live in one"):
            action(str(tmp_path / "file"))
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match=str(path)):
            Store.create(str(path), "photos", STAMP, [])
    assert (tmp_path / "file").read_text() == "x"


# --- where databases are


def test_a_database_is_where_it_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert database_uri(tmp_path / "x") == f"{tmp_path}/x"
    assert database_uri("~/x") == database_uri("x") == f"{tmp_path}/x"
    assert database_uri("~no-such-user/x") == f"{tmp_path}/~no-such-user/x"
    assert database_uri("s3://bucket/x") == "s3://bucket/x"


def test_the_environment_says_where_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    assert database_uri() == f"{tmp_path}/home"
    assert database_uri(tmp_path / "x") == f"{tmp_path}/x"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for unset in ("", None):
        monkeypatch.setenv("CLIPKIT_HOME", unset) if unset is not None else monkeypatch.delenv("CLIPKIT_HOME")
        assert database_uri().endswith("clipkit")
        assert database_uri() not in (f"{tmp_path}/home", os.getcwd())


@pytest.mark.parametrize("path", ["", "a\nb", "a\0b", "caf\udce9"])
def test_a_path_that_lancedb_cannot_have_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match=r"cannot hold collections: LanceDB takes a path in UTF-8"):
        database_uri(path)


# --- rows


def test_rows_are_inserted_then_updated(store: Store) -> None:
    assert write(store, text("a"), text("b")) == (2, 0)
    assert write(store, text("b"), text("c")) == (1, 1)
    assert write(store) == (0, 0)
    assert rows_of(store, ["text"]) == [("a", "text of a"), ("b", "text of b"), ("c", "text of c")]


def test_vectors_are_stored_bit_by_bit(store: Store) -> None:
    rows = vectors(5)
    items = [text(f"{i}", rating=i % 2) if i else text("0") for i in range(5)]
    store.write(items, rows, made_by=FakeEncoder())
    stored = store.items.read(["id", "vector"]).sort_by("id")
    np.testing.assert_array_equal(np.stack(stored["vector"].to_numpy(zero_copy_only=False)), rows)


def test_a_replaced_item_keeps_the_columns_that_its_row_does_not_speak_of(store: Store) -> None:
    write(store, text("a", rating=1, tag="x"), text("b", rating=2, tag="y"), text("c", rating=3, tag="z"))
    assert write(store, text("a", rating=5), text("b", tag=None), text("c"), text("d", tag="new")) == (1, 3)
    assert rows_of(store, ["rating", "tag"]) == [
        ("a", 5, "x"),
        ("b", 2, None),
        ("c", 3, "z"),
        ("d", None, "new"),
    ]


def test_a_replaced_item_keeps_nothing_of_what_is_built_in(store: Store) -> None:
    write(store, image("a", b"jpeg"))
    write(store, text("a"))
    assert rows_of(store, ["kind", "uri", "text", "width"]) == [("a", "text", None, "text of a", None)]


# --- thumbnails and failures


def test_thumbnails_come_and_go_with_their_items(store: Store) -> None:
    write(store, image("a", b"one"), image("b", b"two"), text("c"))
    assert store.read_thumbnails(["a", "b", "c", "x"]) == {"a": b"one", "b": b"two"}
    write(store, image("a", b"new"))
    assert store.delete(id_in(["b", "c"])) == 2
    assert store.read_thumbnails(["a", "b", "c"]) == {"a": b"new"}


def test_a_picture_that_becomes_a_text_loses_its_thumbnail(store: Store) -> None:
    write(store, image("a", b"one"), image("b", b"two"))
    write(store, text("a"), text("c"))
    assert store.read_thumbnails(["a", "b", "c"]) == {"b": b"two"}


def test_thumbnails_are_copied_where_there_are_any(store: Store) -> None:
    write(store, image("a", b"one"), text("b"))
    store.copy_thumbnails(["a", "a", "b"], ["x", "y", "z"])
    assert store.read_thumbnails(["a", "b", "x", "y", "z"]) == {"a": b"one", "x": b"one", "y": b"one"}


def test_a_failure_is_remembered_once_with_its_newest_reason(store: Store) -> None:
    store.write_failures([("a", 1, 2, "is empty"), ("b", None, None, "cannot be read")])
    store.write_failures([("a", 3, 4, "is cut short")])
    stored = store.failures.read(["id", "size_bytes", "mtime_ns", "reason"]).sort_by("id")
    assert [tuple(row.values()) for row in stored.to_pylist()] == [
        ("a", 3, 4, "is cut short"),
        ("b", None, None, "cannot be read"),
    ]


def test_size_is_that_of_all_tables(store: Store) -> None:
    before = store.size_bytes()
    write(store, image("a", bytes(100_000)))
    assert store.size_bytes() - before > 100_000

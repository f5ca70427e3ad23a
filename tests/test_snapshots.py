from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from clipkit import Collection
from clipkit.errors import InvalidInput
from clipkit.lance import snapshots
from clipkit.lance.table import SMALL_FILES
from clipkit.testing import FakeEncoder
from tests.pictures import draw, draw_folder


@pytest.fixture(autouse=True)
def nobody_cleans_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other process does, a snapshot need not wait for those that are at it."""
    if "beside_others" not in request.node.name:
        monkeypatch.setattr(snapshots, "SETTLE_S", 0.0)


def ids(collection: Collection) -> list[str]:
    return sorted(collection.to_arrow(columns=["id"])["id"].to_pylist())


def data_files(collection: Collection, table: str = "default") -> int:
    return len(list((Path(collection.db) / f"{table}.lance" / "data").iterdir()))


def test_a_snapshot_says_what_it_keeps(collection: Collection) -> None:
    collection.add_texts(["red", "blue"], ids=["a", "b"])
    began = datetime.now(UTC)
    taken = collection.snapshot("first")
    collection.add_texts(["green"], ids=["c"])
    collection.snapshot("second")
    assert (taken.name, taken.items) == ("first", 2)
    assert [(each.name, each.items) for each in collection.snapshots()] == [("first", 2), ("second", 3)]
    assert collection.snapshots()[0] == taken
    assert began <= taken.taken_at <= collection.snapshots()[1].taken_at <= datetime.now(UTC)


@pytest.mark.parametrize("name", ["", "a b", "-a", "now", "main", "a/b", "x" * 101])
def test_a_name_that_a_snapshot_cannot_have_is_refused(collection: Collection, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a snapshot"):
        collection.snapshot(name)
    assert collection.snapshots() == []


def test_a_name_that_is_taken_or_unknown_is_an_error_with_a_way_out(collection: Collection) -> None:
    with pytest.raises(InvalidInput, match=r"no snapshot 'x'\. There is none yet: take one first"):
        collection.restore("x")
    collection.snapshot("spring")
    with pytest.raises(InvalidInput, match="a snapshot 'spring' already: delete it, or take another name"):
        collection.snapshot("spring")
    for action in (collection.restore, collection.changes, collection.delete_snapshot):
        with pytest.raises(InvalidInput, match=r"no snapshot 'sprng'\. Did you mean spring\?"):
            action("sprng")
    with pytest.raises(InvalidInput, match="no snapshot 'summer'"):
        collection.changes("spring", "summer")


def test_a_snapshot_is_of_what_others_have_written_last(collection: Collection) -> None:
    other = Collection.open(db=collection.db)
    for i in range(3):
        other.add_texts(["red"], ids=[f"{i}"])
        assert collection.snapshot(f"at-{i}").items == i + 1
    other.restore("at-0")
    assert ids(collection) == ["0"]


def test_a_snapshot_is_whole_beside_others_that_write_and_clean_up(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleaning up that began before it was taken must not pull its files away."""
    stop = threading.Event()

    def disturb(what: Callable[[Collection, int], object]) -> None:
        other, turn = Collection.open(db=collection.db), 0
        while not stop.is_set():
            what(other, turn)
            turn += 1

    with ThreadPoolExecutor(3) as pool:
        others = [
            pool.submit(disturb, lambda other, turn: other.add_texts([f"w{turn}"], ids=[f"{turn % 50}"])),
            pool.submit(disturb, lambda other, _: other._store.items.optimize()),
            pool.submit(disturb, lambda other, _: other._store.items.optimize()),
        ]
        try:
            taken = [collection.snapshot(f"s{i}") for i in range(3)]
        finally:
            stop.set()
        for other in others:
            other.result()
    monkeypatch.setattr(snapshots, "SETTLE_S", 0.0)
    collection.optimize()
    assert collection.snapshots() == taken
    for each in taken:
        kept = snapshots.at(collection._store.items, each.name).read(["id", "text", "vector"])
        assert kept.num_rows == each.items
        collection.restore(each.name)
        assert collection.to_arrow(columns=["id", "text", "vector"]).sort_by("id") == kept.sort_by("id")


def test_a_snapshot_that_was_interrupted_is_none_and_its_name_is_free(collection: Collection) -> None:
    collection.add_texts(["red"], ids=["a"])
    snapshots.take(collection._store.items, "half")
    assert collection.snapshots() == []
    with pytest.raises(InvalidInput, match="no snapshot 'half'"):
        collection.restore("half")
    collection.add_texts(["blue"], ids=["b"])
    assert collection.snapshot("half").items == 2


def test_what_was_deleted_and_changed_comes_back_whole(collection: Collection, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    files = draw_folder(folder, 12)
    (folder / "broken.jpg").write_bytes(b"no picture")
    collection.index(folder)
    before = collection.to_arrow().sort_by("id")
    pictures = collection.thumbnails(ids(collection))
    failures = collection.failures()
    collection.snapshot("all")

    collection.delete([str(files[0]), str(files[1])])
    draw(files[2], seed=99)
    (folder / "broken.jpg").unlink()
    collection.index(folder, prune=True)
    collection.add_columns({"stars": int})
    collection.optimize()
    assert collection.failures() == []

    collection.restore("all")
    assert collection.to_arrow().sort_by("id") == before
    assert collection.thumbnails(ids(collection)) == pictures
    assert collection.failures() == failures != []
    assert collection.columns == {}


def test_what_was_empty_is_empty_again(collection: Collection, tmp_path: Path) -> None:
    """Lance keeps no version without rows: neither of the items here, nor of the unreadable files."""
    collection.snapshot("nothing")
    collection.add_texts(["red"], ids=["a"])
    collection.snapshot("one")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    collection.index(tmp_path / "broken.jpg")
    collection.optimize()
    assert len(collection.failures()) == 1
    collection.restore("one")
    assert (ids(collection), collection.failures()) == (["a"], [])
    undo = collection.restore("nothing")
    collection.optimize()
    assert ids(collection) == []
    assert [each.items for each in collection.snapshots()] == [0, 1, 1, 1]
    collection.restore(undo)
    assert collection.search("red", k=1)[0].id == "a"


def test_a_restore_is_undone_by_restoring_what_was_before(collection: Collection) -> None:
    collection.add_texts(["red"], ids=["a"])
    collection.snapshot("one")
    collection.add_texts(["blue"], ids=["b"])
    undo = collection.restore("one")
    assert ids(collection) == ["a"]
    collection.restore(undo)
    assert ids(collection) == ["a", "b"]
    assert collection.search("blue", k=1)[0].id == "b"


def test_other_handles_see_a_restore_at_once_and_write_on(collection: Collection) -> None:
    other = Collection.open(db=collection.db)
    collection.add_texts(["red"], ids=["a"])
    collection.snapshot("one")
    other.add_texts(["blue"], ids=["b"])
    collection.restore("one")
    assert ids(other) == ["a"]
    other.add_texts(["green"], ids=["c"])
    assert ids(collection) == ["a", "c"]


def test_changes_name_what_was_added_removed_and_changed(collection: Collection) -> None:
    collection.add_columns({"stars": int, "score_of": float, "tags": list[str]})
    metadata = [{"stars": 1, "score_of": float("nan"), "tags": ["x"]} for _ in range(5)]
    collection.add_texts(["red", "blue", "green", "black", "white"], ids=list("abcde"), metadata=metadata)
    black = np.zeros((9, 9, 3), np.uint8)
    collection.add_images([black, black], ids=["p", "q"])
    collection.snapshot("one")
    assert collection.changes("one") == collection.changes("one", "one")
    assert collection.changes("one").changed == ()

    collection.delete(["a"])
    collection.add_texts(["yellow"], ids=["f"])
    collection.add_texts(["other words"], ids=["b"])
    collection.add_texts(["green"], ids=["c"], metadata=[{"stars": 5}])
    collection.add_texts(["black"], ids=["d"], metadata=[{"tags": ["x", "y"]}])
    collection.add_texts(["white"], ids=["e"])  # as it was
    collection.add_images([black, black + 200], ids=["p", "q"])
    found = collection.changes("one")
    assert (found.added, found.removed) == (("f",), ("a",))
    assert found.changed == ("b", "c", "d", "q")

    collection.snapshot("two")
    collection.delete(["f"])
    collection.add_columns({"more": int})
    assert collection.changes("one", "two") == found
    assert (collection.changes("two").removed, collection.changes("two").changed) == (("f",), ())
    assert collection.changes("two", "one").added == ("a",)


def test_a_new_model_is_no_change_of_what_is_there(collection: Collection) -> None:
    collection.add_texts(["red"], ids=["a"])
    collection.snapshot("old")
    collection.reindex(FakeEncoder(48))
    assert collection.changes("old").changed == ()
    collection.restore("old")
    assert collection.encoder_name == "fake"
    assert Collection.open(db=collection.db).search("red", k=1)[0].id == "a"


def test_files_stay_few_while_snapshots_are_kept(collection: Collection) -> None:
    """Cleaning up would fail if the snapshots were tags."""
    for i in range(4 * SMALL_FILES):
        collection.add_texts([f"word{i}"], ids=[f"{i:03}"])
        if i in (10, 40):
            collection.snapshot(f"at-{i}")
    collection.optimize()
    # the newest version, the two snapshots, and what has come since the last cleaning up of each
    assert data_files(collection) <= 3 * SMALL_FILES
    versions = list((Path(collection.db) / "default.lance" / "_versions").glob("*.manifest"))
    assert len(versions) <= 3
    assert [each.items for each in collection.snapshots()] == [11, 41]
    collection.restore("at-10")
    assert ids(collection) == [f"{i:03}" for i in range(11)]


def test_a_deleted_snapshot_frees_its_files(collection: Collection) -> None:
    for i in range(8):
        collection.add_texts([f"word{i}"], ids=[f"{i}"])
    collection.snapshot("one")
    collection.add_texts(["more"], ids=["x"])
    collection.optimize()
    kept = data_files(collection)
    collection.delete_snapshot("one")
    assert data_files(collection) < kept
    assert collection.snapshots() == []
    assert collection.snapshot("one").items == 9, "the name is free again"

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipkit import Collection
from clipkit.errors import InvalidInput
from clipkit.lance.table import SMALL_FILES
from clipkit.testing import FakeEncoder
from tests.pictures import draw, draw_folder


def ids(collection: Collection) -> list[str]:
    return sorted(collection.to_arrow(columns=["id"])["id"].to_pylist())


def data_files(collection: Collection, table: str = "default") -> int:
    return len(list((Path(collection.db) / f"{table}.lance" / "data").iterdir()))


def test_a_snapshot_says_what_it_keeps(collection: Collection) -> None:
    collection.add_texts(["red", "blue"], ids=["a", "b"])
    taken = collection.snapshot("first")
    collection.add_texts(["green"], ids=["c"])
    collection.snapshot("second")
    assert (taken.name, taken.items) == ("first", 2)
    assert [(each.name, each.items) for each in collection.snapshots()] == [("first", 2), ("second", 3)]
    assert collection.snapshots()[0] == taken
    assert taken.written_at <= collection.snapshots()[1].written_at


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

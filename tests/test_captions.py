from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipkit import Collection
from clipkit.encoder import Vectors
from clipkit.folders import Selection
from clipkit.reports import IndexReport
from clipkit.testing import FakeEncoder
from tests.pictures import draw


class CountingEncoder(FakeEncoder):
    """Counts what it is given, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.pictures = 0

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return super().encode_texts(texts)

    def encode_pixels(self, pixels: Sequence[np.ndarray]) -> Vectors:
        self.pictures += len(pixels)
        return super().encode_pixels(pixels)


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def collection(db: Path, encoder: CountingEncoder) -> Collection:
    return Collection.create(db=db, encoder=encoder, columns={"stars": int})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures."""
    for seed, name in enumerate(["a.jpg", "b.JPG", "c.png"]):
        draw(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def captions(collection: Collection) -> dict[str, str]:
    rows = collection.to_arrow(columns=["id", "text"], where="kind = 'text'").to_pylist()
    return {row["id"]: row["text"] for row in rows}


def text(collection: Collection, path: Path) -> str | None:
    return collection.get([str(path)])[0].text


def reasons(report: IndexReport, folder: Path) -> dict[str, str]:
    return {failure.id.removeprefix(f"{folder}/"): failure.reason for failure in report.failures}


# --- text files beside pictures


def test_a_caption_is_a_text_row_linked_to_its_picture(collection: Collection, folder: Path) -> None:
    (folder / "a.txt").write_text("a red boat\n\n  at night \n")
    report = collection.index(folder)
    assert (report.added, report.captions, report.skipped) == (3, 2, 0)
    path = str(folder / "a.jpg")
    assert captions(collection) == {f"{path}#caption": "a red boat", f"{path}#caption-2": "at night"}
    item = collection.get([f"{path}#caption"])[0]
    assert (item.kind, item.uri, item.metadata["image_id"]) == ("text", path, path)
    assert np.array_equal(item.vector, FakeEncoder().encode_texts(["a red boat"])[0])
    assert text(collection, folder / "a.jpg") == "a red boat\nat night"
    assert text(collection, folder / "c.png") is None


@pytest.mark.parametrize("name", ["b.txt", "b.TXT", "b.caption", "b.JPG.txt"])
def test_suffixes_are_matched_whatever_their_case(collection: Collection, folder: Path, name: str) -> None:
    (folder / name).write_text("a dog", encoding="utf-8-sig")
    assert collection.index(folder).captions == 1
    assert text(collection, folder / "b.JPG") == "a dog"


def test_one_text_may_describe_several_pictures_and_one_picture_have_several_files(
    collection: Collection, folder: Path
) -> None:
    draw(folder / "a.png", 9)
    (folder / "a.txt").write_text("first")
    (folder / "a.caption").write_text("second\nfirst")
    assert collection.index(folder).captions == 4
    assert text(collection, folder / "a.jpg") == text(collection, folder / "a.png") == "second\nfirst"


def test_an_unchanged_folder_costs_no_reading_and_no_writing(
    collection: Collection, folder: Path, encoder: CountingEncoder
) -> None:
    (folder / "a.txt").write_text("a boat")
    (folder / "metadata.csv").write_text("file_name,stars\na.jpg,5\n")
    collection.index(folder)
    opened: list[str] = []
    watching = True

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(folder)):
            opened.append(str(arguments[0]))

    sys.addaudithook(note)
    before = collection._store.items.handle.version
    report = collection.index(folder)
    watching = False
    assert opened == []
    assert (report.unchanged, report.captions, encoder.texts) == (3, 0, ["a boat"])
    assert collection._store.items.handle.version == before


def test_only_what_changed_is_read_and_embedded(
    collection: Collection, folder: Path, encoder: CountingEncoder
) -> None:
    (folder / "a.txt").write_text("a boat\na lake\na cloud")
    (folder / "c.txt").write_text("a cat")
    collection.index(folder)
    encoder.texts.clear()
    (folder / "a.txt").write_text("a boat\na mountain")
    report = collection.index(folder)
    assert (report.captions, report.unchanged, encoder.texts) == (1, 3, ["a mountain"])
    assert text(collection, folder / "a.jpg") == "a boat\na mountain"
    assert sorted(captions(collection).values()) == ["a boat", "a cat", "a mountain"]


def test_a_caption_file_that_goes_takes_its_captions_along(collection: Collection, folder: Path) -> None:
    (folder / "a.txt").write_text("a boat")
    (folder / "c.txt").write_text("a cat")
    collection.index(folder)
    (folder / "a.txt").unlink()
    collection.index(folder)
    assert list(captions(collection).values()) == ["a cat"]
    assert text(collection, folder / "a.jpg") is None
    (folder / "a.txt").write_text("a boat")
    assert collection.index(folder).captions == 1


def test_captions_go_with_their_picture(collection: Collection, folder: Path) -> None:
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"caption {name}")
    collection.index(folder)
    assert collection.delete([str(folder / "a.jpg")]) == 1
    (folder / "b.JPG").unlink()
    assert collection.index(folder, prune=True).removed == 1
    # a.jpg is still in its folder, so it has come back
    assert sorted(captions(collection).values()) == ["caption a", "caption c"]


def test_a_caption_that_is_deleted_is_no_longer_among_the_words_of_its_picture(
    collection: Collection, folder: Path
) -> None:
    (folder / "a.txt").write_text("a boat\na lake")
    collection.index(folder)
    assert collection.delete([f"{folder / 'a.jpg'}#caption"]) == 1
    assert text(collection, folder / "a.jpg") == "a lake"


def test_a_moved_picture_keeps_its_captions(
    collection: Collection, folder: Path, encoder: CountingEncoder
) -> None:
    (folder / "a.txt").write_text("a boat")
    collection.index(folder)
    (folder / "new").mkdir()
    (folder / "a.jpg").rename(folder / "new" / "z.jpg")
    report = collection.index(folder)
    moved = folder / "new" / "z.jpg"
    assert (report.moved, report.embedded, encoder.texts) == (1, 0, ["a boat"])
    assert captions(collection) == {f"{moved}#caption": "a boat"}
    item = collection.get([f"{moved}#caption"])[0]
    assert (item.uri, item.metadata["image_id"]) == (str(moved), str(moved))
    assert text(collection, moved) == "a boat"


def test_a_renamed_folder_embeds_nothing_again(
    collection: Collection, folder: Path, encoder: CountingEncoder
) -> None:
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"caption {name}")
    collection.index(folder.parent)
    folder.rename(folder.with_name("renamed"))
    report = collection.index(folder.parent)
    assert (report.moved, report.captions, encoder.pictures, len(encoder.texts)) == (3, 0, 3, 3)
    assert sorted(captions(collection).values()) == ["caption a", "caption b", "caption c"]


def test_a_copied_picture_has_no_caption_of_the_other(collection: Collection, folder: Path) -> None:
    (folder / "a.txt").write_text("a boat")
    collection.index(folder)
    shutil.copy(folder / "a.jpg", folder / "copy.jpg")
    assert collection.index(folder).added == 1
    assert text(collection, folder / "copy.jpg") is None
    assert text(collection, folder / "a.jpg") == "a boat"


def test_a_picture_that_changes_keeps_its_captions(collection: Collection, folder: Path) -> None:
    (folder / "a.txt").write_text("a boat")
    collection.index(folder)
    draw(folder / "a.jpg", 77)
    assert collection.index(folder).updated == 1
    os.utime(folder / "a.jpg", ns=(5, 5))
    collection.index(folder)
    assert text(collection, folder / "a.jpg") == "a boat"
    collection.add_images([folder / "a.jpg"], metadata=[{"stars": 3}])
    assert text(collection, folder / "a.jpg") == "a boat"


def test_a_picture_that_comes_later_finds_its_caption(collection: Collection, folder: Path) -> None:
    for name in ("a.txt", "d.txt"):
        (folder / name).write_text(f"caption of {name}")
    report = collection.index(folder)
    assert reasons(report, folder) == {"d.txt": "is a caption, but the picture of that name is missing"}
    again = collection.index(folder)
    assert again.failures == report.failures
    draw(folder / "d.webp", 8)
    report = collection.index(folder)
    assert (report.captions, report.failures, collection.failures()) == (1, (), [])


def test_documents_are_not_captions(collection: Collection, folder: Path) -> None:
    for name in ("readme.txt", "notes.txt"):
        (folder / name).write_text("nothing about pictures")
    (folder / "texts").mkdir()
    (folder / "texts" / "essay.txt").write_text("a long story")
    report = collection.index(folder)
    assert (report.captions, report.failures) == (0, ())
    assert captions(collection) == {}


def test_a_picture_left_out_by_a_pattern_is_not_missing(collection: Collection, folder: Path) -> None:
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"caption {name}")
    report = collection.index(folder, selection=Selection(patterns=("*.jpg",)))
    assert (report.captions, report.failures) == (2, ())


def test_captions_that_cannot_be_used_are_told_and_the_others_taken(
    collection: Collection, folder: Path
) -> None:
    (folder / "a.txt").write_bytes(b"a fine line\na caf\xe9\n")
    (folder / "b.txt").write_text("word " * 20_000)
    (folder / "c.txt").write_text("\n".join(f"line {n}" for n in range(150)))
    report = collection.index(folder)
    assert reasons(report, folder) == {
        "a.txt": "is not UTF-8 (line 2)",
        "b.txt": "is over 64 KiB, too long for captions",
        "c.txt": "has 150 captions, of which the first 100 are taken",
    }
    assert report.captions == 100
    assert collection.index(folder).failures == report.failures  # as before, though nothing was read
    (folder / "a.txt").write_text("a café")
    assert set(reasons(collection.index(folder), folder)) == {"b.txt", "c.txt"}


def test_captions_can_be_left_alone_and_taken_later(collection: Collection, folder: Path) -> None:
    (folder / "a.txt").write_text("a boat")
    (folder / "metadata.csv").write_text("file_name,stars\nc.png,5\n")
    assert collection.index(folder, selection=Selection(captions=False)).captions == 0
    assert collection.count(kind="text") == 0
    assert collection.index(folder).captions == 1
    assert collection.get([str(folder / "c.png")])[0].metadata["stars"] == 5
    assert collection.index(folder, selection=Selection(captions=False)).unchanged == 3
    assert collection.count(kind="text") == 1


def test_a_picture_given_itself_has_its_caption(collection: Collection, folder: Path) -> None:
    (folder / "b.txt").write_text("a dog")
    (folder / "a.txt").write_text("a boat")
    assert collection.index(folder / "b.JPG").captions == 1


def test_an_unmounted_disk_loses_no_captions(collection: Collection, folder: Path) -> None:
    (folder / "a.txt").write_text("a boat")
    collection.index(folder)
    away = folder.rename(folder.with_name("away"))
    folder.mkdir()
    assert collection.index(folder).kept_missing == 3
    assert list(captions(collection).values()) == ["a boat"]
    folder.rmdir()
    away.rename(folder)
    report = collection.index(folder)
    assert (report.unchanged, report.captions, report.failures) == (3, 0, ())


def test_a_run_that_is_killed_between_pictures_and_captions_is_made_good(
    collection: Collection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "metadata.csv").write_text("file_name,caption\na.jpg,a boat\nd.jpg,a dog\n")
    collection.index(folder)
    draw(folder / "d.jpg", 4)
    with monkeypatch.context() as patch:
        patch.setattr(
            "clipkit.captioning.carry_out", lambda *_: (_ for _ in ()).throw(RuntimeError("killed"))
        )
        with pytest.raises(RuntimeError, match="killed"):
            collection.index(folder)
    assert collection.count(kind="image") == 4
    assert collection.index(folder).captions == 1
    assert text(collection, folder / "d.jpg") == "a dog"


def test_a_model_without_texts_indexes_the_pictures(db: Path, folder: Path) -> None:
    class ImagesOnly(FakeEncoder):
        modalities = frozenset({"image"})

    (folder / "a.txt").write_text("a boat")
    report = Collection.create(db=db, encoder=ImagesOnly()).index(folder)
    assert (report.added, report.captions) == (3, 0)


# --- metadata files

ROWS: list[dict[str, Any]] = [
    {"file_name": "a.jpg", "caption": "a boat", "stars": 5, "taken by": "Ann", "day": "2024-06-01"},
    {"file_name": "b.JPG", "caption": "a dog", "stars": 4, "taken by": None, "day": "2024-06-02"},
    {"file_name": "sub/d.jpg", "caption": "a cat", "stars": None, "taken by": "007", "day": None},
]


def write_metadata(folder: Path, name: str) -> None:
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), folder / name)
    elif name.endswith("jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        lines = [
            ",".join(ROWS[0]),
            *(",".join("" if v is None else str(v) for v in r.values()) for r in ROWS),
        ]
        (folder / name).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet", "Metadata.CSV"])
def test_metadata_becomes_captions_and_columns(collection: Collection, folder: Path, name: str) -> None:
    draw(folder / "sub" / "d.jpg", 4)
    write_metadata(folder, name)
    report = collection.index(folder)
    assert (report.captions, report.failures) == (3, ())
    assert collection.columns == {"stars": "int64", "taken_by": "string", "day": "date32[day]"}
    rows = {
        path: collection.get([str(folder / path)])[0] for path in ("a.jpg", "b.JPG", "c.png", "sub/d.jpg")
    }
    assert [row.text for row in rows.values()] == ["a boat", "a dog", None, "a cat"]
    assert [row.metadata["stars"] for row in rows.values()] == [5, 4, None, None]
    assert [row.metadata["taken_by"] for row in rows.values()] == ["Ann", None, None, "007"]
    assert collection.count(where="day >= date '2024-06-02'") == 1
    assert f"{folder / 'a.jpg'}#metadata" in captions(collection)


def test_broken_rows_are_named_and_the_others_used(collection: Collection, folder: Path) -> None:
    (folder / "metadata.csv").write_bytes(
        b"file_name,caption,stars\n"
        b"a.jpg,a boat,5\n"
        b"b.JPG,a dog\n"  # line 3: a cell is missing
        b'b.JPG,"a dog,4\n'  # line 4: the quote is never closed
        b"none.jpg,a ghost,1\n"  # line 5
        b"../x.jpg,outside,1\n"
        b"b.JPG,caf\xe9,1\n"  # line 7
        b'c.png,"two\nlines, of one cell",many\n'  # line 8 and 9
        b",no name,1\n"
    )
    report = collection.index(folder)
    told = {id.partition("#")[2]: reason for id, reason in reasons(report, folder).items()}
    assert told == {
        "line 3": "has 2 cells, but the header 3",
        "line 4": "has a quote that is not closed",
        "line 5": f"there is no picture {folder / 'none.jpg'}",
        "line 6": "names ../x.jpg, which is outside of the folder",
        "line 7": "is not UTF-8",
        "line 8": "'many' does not fit the column stars (int64): no whole number",
        "line 10": "names no picture in its column 'file_name'",
    }
    assert report.skipped == 7
    assert text(collection, folder / "a.jpg") == "a boat"
    assert text(collection, folder / "c.png") == "two\nlines, of one cell"
    assert collection.index(folder).failures == report.failures


def test_broken_lines_of_json_are_named(collection: Collection, folder: Path) -> None:
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "a.jpg", "text": "a boat", "tags": ["x", "y"], "box": {"w": 3}}\n'
        "{broken\n\n[1]\n"
        '{"file_name": "b.JPG", "text": "\\ud800"}\n'
        '{"text": "nameless"}\n'
    )
    report = collection.index(folder)
    told = {id.partition("#")[2]: reason for id, reason in reasons(report, folder).items()}
    assert {place: reason[:12] for place, reason in told.items()} == {
        "line 2": "is not JSON:",
        "line 4": "is no JSON o",
        "line 5": "is not valid",
        "line 6": "names no pic",
    }
    item = collection.get([str(folder / "a.jpg")])[0]
    assert (item.metadata["tags"], item.metadata["box"]) == (["x", "y"], '{"w": 3}')


def test_many_broken_rows_are_summed_up(collection: Collection, folder: Path) -> None:
    lines = [f"none-{number}.jpg,x" for number in range(50)]
    (folder / "metadata.csv").write_text("\n".join(["file,caption", *lines]))
    report = collection.index(folder)
    assert report.skipped == 21
    assert reasons(report, folder)["metadata.csv#more"] == "30 more places could not be used"


def test_a_table_that_names_no_pictures_is_told_once(collection: Collection, folder: Path) -> None:
    (folder / "metadata.csv").write_text("name,age\nx,1\ny,2\n")
    assert list(reasons(collection.index(folder), folder)) == ["metadata.csv"]
    assert collection.columns == {"stars": "int64"}


def test_a_damaged_parquet_file_is_told(collection: Collection, folder: Path) -> None:
    (folder / "metadata.parquet").write_bytes(b"PAR1 and no more")
    (reason,) = reasons(collection.index(folder), folder).values()
    assert "cannot be read" in reason


def test_changed_metadata_is_brought_up_to_date(
    collection: Collection, folder: Path, encoder: CountingEncoder
) -> None:
    metadata = folder / "metadata.csv"
    metadata.write_text("file_name;caption;stars\na.jpg;a boat;5\nb.JPG;a dog;1\nc.png;a cat;2\n")
    collection.index(folder)
    encoder.texts.clear()
    metadata.write_text("file_name;caption;stars\na.jpg;a boat;3\nb.JPG;a horse;1\n")
    assert collection.index(folder).captions == 1
    assert encoder.texts == ["a horse"]
    assert sorted(captions(collection).values()) == ["a boat", "a horse"]
    assert text(collection, folder / "c.png") is None
    assert collection.get([str(folder / "a.jpg")])[0].metadata["stars"] == 3
    metadata.unlink()
    collection.index(folder)
    assert captions(collection) == {}


def test_several_rows_of_one_picture_are_several_captions(collection: Collection, folder: Path) -> None:
    rows = ["a.jpg,first", "b.JPG,other", "a.jpg,second", "a.jpg,first"]
    (folder / "metadata.csv").write_text("\n".join(["file_name,caption", *rows]))
    (folder / "a.txt").write_text("beside it")
    assert collection.index(folder).captions == 4
    assert text(collection, folder / "a.jpg") == "beside it\nfirst\nsecond"


def test_two_metadata_files_may_speak_of_one_picture(collection: Collection, folder: Path) -> None:
    draw(folder / "sub" / "d.jpg", 4)
    (folder / "metadata.csv").write_text("file_name,caption\nsub/d.jpg,from above\n")
    (folder / "sub" / "metadata.csv").write_text("file_name,caption\nd.jpg,from beside\n")
    assert collection.index(folder).captions == 2
    (folder / "metadata.csv").unlink()
    collection.index(folder)
    assert list(captions(collection).values()) == ["from beside"]


def test_columns_that_cannot_be_are_left_out(collection: Collection, folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,width,select,1st,STARS,empty\na.jpg,7,x,y,2,\n")
    report = collection.index(folder)
    assert set(reasons(report, folder)) == {"metadata.csv#column select", "metadata.csv#column 1st"}
    item = collection.get([str(folder / "a.jpg")])[0]
    assert (item.metadata["width"], item.metadata["stars"]) == (24, 2)
    assert set(collection.columns) == {"stars"}

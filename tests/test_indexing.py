from __future__ import annotations

import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import clipkit.pipeline
import clipkit.writing
from clipkit import Collection
from clipkit.encoder import Pixels, Vectors
from clipkit.errors import InvalidInput, ModelUnavailable
from clipkit.folders import Selection
from clipkit.lance import Table
from clipkit.reports import IndexInterrupted, IndexReport, Progress
from clipkit.testing import FakeEncoder
from tests.pictures import draw, draw_folder


class CountingEncoder(FakeEncoder):
    """Counts the pictures that are preprocessed and encoded, and can do something before each batch."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.preprocessed = 0
        self.encoded = 0
        self.before = before

    def preprocess(self, image: Image.Image) -> Pixels:
        self.preprocessed += 1
        return super().preprocess(image)

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
        self.before()
        self.encoded += len(pixels)
        return super().encode_pixels(pixels)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "photos", 40)
    return tmp_path / "photos"


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def collection(tmp_path: Path, encoder: CountingEncoder) -> Collection:
    return Collection.create(db=tmp_path / "db", encoder=encoder, columns={"rating": int})


def counts(report: IndexReport) -> dict[str, int]:
    names = ("added", "updated", "moved", "removed", "unchanged", "skipped", "embedded", "kept_missing")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def ids(collection: Collection) -> set[str]:
    return set(collection.to_arrow(columns=["id"])["id"].to_pylist())


def rate(collection: Collection, path: Path, rating: int) -> None:
    collection.add_images([path], metadata=[{"rating": rating}])


def rating(collection: Collection, path: Path) -> object:
    return collection.get([str(path)])[0].metadata["rating"]


def test_first_run_adds_every_file_under_its_path(collection: Collection, photos: Path) -> None:
    assert counts(collection.index(photos)) == {"added": 40, "embedded": 40}
    assert ids(collection) == {str(path) for path in photos.rglob("*.jpg")}


def test_rows_say_what_the_file_is(collection: Collection, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "Pinhole 3"
    exif[0x0112] = 6  # lies on its side
    exif.get_ifd(0x8769)[0x9003] = "2024:06:01 12:30:00"
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    Image.new("RGB", (30, 20), "red").save(path, exif=exif)

    collection.index(path.parent)
    item = collection.get([str(path)])[0]
    assert (item.kind, item.uri, item.text) == ("image", str(path), None)
    assert (item.metadata["width"], item.metadata["height"]) == (20, 30)
    assert item.metadata["camera"] == "Pinhole 3"
    assert item.metadata["taken_at"].isoformat() == "2024-06-01T12:30:00"
    assert item.metadata["size_bytes"] == path.stat().st_size
    assert item.metadata["mtime_ns"] == path.stat().st_mtime_ns
    with Image.open(io.BytesIO(collection.thumbnails([item.id])[item.id])) as thumbnail:
        assert thumbnail.size == (20, 30)


def test_vectors_are_those_of_add_images(collection: Collection, photos: Path, tmp_path: Path) -> None:
    collection.index(photos)
    other = Collection.create("other", db=tmp_path / "db", encoder=FakeEncoder())
    paths = sorted(photos.rglob("*.jpg"))
    other.add_images(paths)
    for ours, theirs in zip(collection.get([*map(str, paths)]), other.get([*map(str, paths)]), strict=True):
        assert np.array_equal(ours.vector, theirs.vector)
        assert ours.metadata["content_hash"] == theirs.metadata["content_hash"]


def test_unchanged_files_are_not_opened(
    collection: Collection, photos: Path, encoder: CountingEncoder
) -> None:
    collection.index(photos)
    opened: list[str] = []
    watching = True

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(photos)):
            opened.append(str(arguments[0]))

    sys.addaudithook(note)
    assert counts(collection.index(photos)) == {"unchanged": 40}
    watching = False
    assert opened == []
    assert encoder.encoded == 40


def test_an_unchanged_folder_loads_no_torch(photos: Path, tmp_path: Path) -> None:
    db = str(tmp_path / "of-bundled")
    Collection.create(db=db, encoder="bundled").index(photos / "0")
    arguments = ["index", str(photos / "0"), "--db", db]
    code = (
        f"import sys; from clipkit.cli import main; assert main({arguments}) == 0; "
        "print([name for name in ('torch', 'open_clip', 'torchvision', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, loaded = done.stdout.splitlines()
    assert first.startswith("added 0, updated 0, moved 0, removed 0, unchanged 6, skipped 0 in ")
    assert loaded == "[]"


@pytest.mark.parametrize("captioned", [False, True])
def test_unchanged_files_are_compared_in_one_pass(
    captioned: bool, photos: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files there are, the tables are read as often."""
    for picture in photos.rglob("*.jpg") if captioned else ():
        picture.with_suffix(".txt").write_text("a picture\n", encoding="utf-8")
    collection.index(photos)
    reads: list[str | None] = []
    read = Table.read

    def counted(table: Table, columns: Sequence[str], where: str | None = None) -> pa.Table:
        reads.append(where)
        return read(table, columns, where)

    monkeypatch.setattr(Table, "read", counted)
    assert counts(collection.index(photos / "0")) == {"unchanged": 6}
    of_few = len(reads)
    reads.clear()
    assert counts(collection.index(photos)) == {"unchanged": 40}
    assert len(reads) == of_few


def test_an_unchanged_folder_loads_no_model(photos: Path, tmp_path: Path) -> None:
    Collection.create(db=tmp_path / "db", encoder=FakeEncoder()).index(photos)
    shutil.copytree(photos / "0", photos / "copies")
    again = Collection.open(db=tmp_path / "db")
    assert counts(again.index(photos)) == {"unchanged": 40, "added": 6}
    assert again._model._encoder is None


def test_a_changed_file_is_embedded_again_and_keeps_the_users_columns(
    collection: Collection, photos: Path
) -> None:
    collection.index(photos)
    path = next(photos.rglob("*.jpg"))
    rate(collection, path, 5)
    before = collection.get([str(path)])[0]
    draw(path, seed=999)
    assert counts(collection.index(photos)) == {"updated": 1, "embedded": 1, "unchanged": 39}
    after = collection.get([str(path)])[0]
    assert not np.array_equal(before.vector, after.vector)
    assert after.metadata["rating"] == 5


def test_a_touched_file_is_not_embedded_again(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    path = next(photos.rglob("*.jpg"))
    rate(collection, path, 5)
    os.utime(path, ns=(1, 1))
    assert counts(collection.index(photos)) == {"updated": 1, "unchanged": 39}
    assert rating(collection, path) == 5
    assert counts(collection.index(photos)) == {"unchanged": 40}


def test_moved_files_keep_vector_thumbnail_and_columns(
    collection: Collection, photos: Path, encoder: CountingEncoder
) -> None:
    collection.index(photos)
    path = next(photos.rglob("*.jpg"))
    rate(collection, path, 4)
    encoder.preprocessed = 0
    before = collection.get([str(path)])[0]
    thumbnail = collection.thumbnails([str(path)])[str(path)]
    target = photos / "elsewhere" / "renamed.jpg"
    target.parent.mkdir()
    path.rename(target)

    assert counts(collection.index(photos)) == {"moved": 1, "unchanged": 39}
    assert encoder.preprocessed == 0
    after = collection.get([str(target)])[0]
    assert np.array_equal(before.vector, after.vector)
    assert after.uri == str(target)
    assert after.metadata["rating"] == 4
    assert collection.thumbnails([str(target)]) == {str(target): thumbnail}
    assert str(path) not in ids(collection)
    assert collection.thumbnails([str(path)]) == {}


def test_a_moved_folder_moves_everything_in_it(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    (photos / "0").rename(photos / "zero")
    report = collection.index(photos)
    assert counts(report) == {"moved": 6, "unchanged": 34}


def test_a_copied_file_is_an_item_of_its_own(
    collection: Collection, photos: Path, encoder: CountingEncoder
) -> None:
    collection.index(photos)
    path = next(photos.rglob("*.jpg"))
    rate(collection, path, 3)
    encoder.preprocessed = 0
    shutil.copy(path, photos / "copy.jpg")
    assert counts(collection.index(photos)) == {"added": 1, "unchanged": 40}
    assert encoder.preprocessed == 0
    assert rating(collection, path) == 3
    assert rating(collection, photos / "copy.jpg") is None  # a copy is not the item that was rated
    assert {str(path), str(photos / "copy.jpg")} <= ids(collection)
    assert str(photos / "copy.jpg") in collection.thumbnails([str(photos / "copy.jpg")])


def test_two_files_of_equal_content_are_two_items(collection: Collection, tmp_path: Path) -> None:
    a = draw(tmp_path / "photos" / "a.jpg", 1)
    shutil.copy(a, a.with_name("b.jpg"))
    assert counts(collection.index(a.parent)) == {"added": 2, "embedded": 2}


def test_swapped_files_are_told_apart(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    a, b = sorted(photos.rglob("*.jpg"))[:2]
    vectors = [item.vector for item in collection.get([str(a), str(b)])]
    a.rename(photos / "spare")
    b.rename(a)
    (photos / "spare").rename(b)
    os.utime(a, ns=(1, 1))
    os.utime(b, ns=(2, 2))
    assert counts(collection.index(photos)) == {"updated": 2, "unchanged": 38}
    swapped = [item.vector for item in collection.get([str(b), str(a)])]
    assert np.array_equal(vectors, swapped)


def test_vanished_files_are_removed_with_their_thumbnails(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    gone = sorted(photos.rglob("*.jpg"))[:8]  # a fifth
    for path in gone:
        path.unlink()
    assert counts(collection.index(photos)) == {"removed": 8, "unchanged": 32}
    assert collection.thumbnails([*map(str, gone)]) == {}


def test_more_than_a_fifth_vanish_only_with_prune(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    for path in sorted(photos.rglob("*.jpg"))[:9]:
        path.unlink()
    assert counts(collection.index(photos)) == {"kept_missing": 9, "unchanged": 31}
    assert collection.count() == 40
    assert counts(collection.index(photos, prune=True)) == {"removed": 9, "unchanged": 31}
    assert collection.count() == 31


def test_an_unmounted_disk_loses_nothing(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    away = photos.rename(photos.with_name("away"))
    with pytest.raises(InvalidInput, match=r"photos does not exist.*not mounted"):
        collection.index(photos)
    photos.mkdir()  # its empty mount point
    assert counts(collection.index(photos)) == {"kept_missing": 40}
    photos.rmdir()
    away.rename(photos)
    assert counts(collection.index(photos)) == {"unchanged": 40}


def test_files_that_vanished_and_come_back_are_found_again(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    path = next(photos.rglob("*.jpg"))
    away = path.rename(photos.parent / "away.jpg")
    assert counts(collection.index(photos)) == {"removed": 1, "unchanged": 39}
    away.rename(path)
    assert counts(collection.index(photos)) == {"added": 1, "embedded": 1, "unchanged": 39}


def test_a_file_that_moved_to_another_root_moves(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    path = next(photos.rglob("*.jpg"))
    other = photos.parent / "archive"
    other.mkdir()
    path.rename(other / path.name)
    assert counts(collection.index(other)) == {"moved": 1}
    assert counts(collection.index(photos)) == {"unchanged": 39}


def test_a_copy_of_a_file_on_a_missing_disk_leaves_the_item_there(
    collection: Collection, photos: Path
) -> None:
    collection.index(photos)
    copies = photos.parent / "copies"
    shutil.copytree(photos / "0", copies)
    photos.rename(photos.with_name("unplugged"))
    assert counts(collection.index(copies)) == {"added": 6}
    assert collection.count() == 46


def test_other_roots_and_other_items_are_left_alone(collection: Collection, photos: Path) -> None:
    collection.index(photos / "0")
    collection.add_texts(["a caption"], ids=[str(photos / "1" / "caption")])
    collection.add_images([Image.new("RGB", (8, 8), "red")], ids=[str(photos / "1" / "not-a-file")])
    assert counts(collection.index(photos / "1", prune=True)) == {"added": 6, "embedded": 6}
    assert collection.count() == 14


def test_a_folder_inside_an_indexed_one_needs_no_second_item(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    assert counts(collection.index(photos / "0")) == {"unchanged": 6}
    assert counts(collection.index([photos, photos / "0", photos])) == {"unchanged": 40}


def test_a_file_given_itself_is_known_again(collection: Collection, photos: Path) -> None:
    path = next(photos.rglob("*.jpg"))
    assert counts(collection.index(path)) == {"added": 1, "embedded": 1}
    assert counts(collection.index([path])) == {"unchanged": 1}
    draw(path, seed=999)
    assert counts(collection.index(path)) == {"updated": 1, "embedded": 1}


def test_a_neighbour_whose_name_starts_alike_is_not_below(collection: Collection, photos: Path) -> None:
    draw(photos.with_name("photos-old") / "a.jpg", 77)
    collection.index([photos, photos.with_name("photos-old")])
    shutil.rmtree(photos.with_name("photos-old"))
    assert counts(collection.index(photos, prune=True)) == {"unchanged": 40}
    assert collection.count() == 41


def test_files_left_out_by_a_later_pattern_stay(collection: Collection, photos: Path) -> None:
    collection.index(photos)
    report = collection.index(photos, selection=Selection(patterns=("0/*",)), prune=True)
    assert counts(report) == {"unchanged": 6}
    assert collection.count() == 40


def test_unreadable_files_are_skipped_listed_and_tried_again_when_they_change(
    collection: Collection, photos: Path
) -> None:
    whole = next(photos.rglob("*.jpg")).read_bytes()
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "cut.jpg").write_bytes(whole[: len(whole) * 9 // 10])
    (photos / "text.png").write_text("not a picture")

    report = collection.index(photos)
    assert counts(report) == {"added": 40, "embedded": 40, "skipped": 3}
    reasons = {Path(failure.id).name: failure.reason for failure in report.failures}
    assert reasons["empty.jpg"] == "is empty (0 bytes)"
    assert "truncated" in reasons["cut.jpg"]
    assert "not an image" in reasons["text.png"]
    assert {failure.id for failure in collection.failures()} == {
        str(photos / name) for name in ("empty.jpg", "cut.jpg", "text.png")
    }

    again = collection.index(photos)
    assert counts(again) == {"unchanged": 40, "skipped": 3}
    assert set(again.failures) == set(report.failures)

    (photos / "cut.jpg").write_bytes(draw(photos.parent / "new.jpg", 500).read_bytes())
    (photos / "empty.jpg").unlink()
    assert counts(collection.index(photos)) == {"added": 1, "embedded": 1, "unchanged": 40, "skipped": 1}
    assert [Path(failure.id).name for failure in collection.failures()] == ["text.png"]


def test_a_file_that_becomes_unreadable_keeps_its_item_and_is_listed(
    collection: Collection, photos: Path
) -> None:
    collection.index(photos)
    path = next(photos.rglob("*.jpg"))
    path.write_bytes(b"")
    assert counts(collection.index(photos)) == {"unchanged": 39, "skipped": 1}
    assert counts(collection.index(photos)) == {"unchanged": 39, "skipped": 1}
    assert collection.count() == 40


def test_pictures_over_the_pixel_limit_are_reported_and_a_higher_limit_takes_them(
    collection: Collection, tmp_path: Path
) -> None:
    draw(tmp_path / "photos" / "small.png", 1)
    draw(tmp_path / "photos" / "large.png", 2, edge=200)
    report = collection.index(tmp_path / "photos", max_pixels=10_000)
    assert counts(report) == {"added": 1, "embedded": 1, "skipped": 1}
    assert "200x200 pixels, over the limit of 10000 (--max-pixels)" in report.failures[0].reason
    again = collection.index(tmp_path / "photos", max_pixels=40_000)
    assert counts(again) == {"added": 1, "embedded": 1, "unchanged": 1}
    assert collection.failures() == []


def test_a_file_that_changes_while_it_is_read_is_tried_again(
    collection: Collection, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = next(photos.rglob("*.jpg"))
    real_fstat = os.fstat
    calls = 0

    def fstat_beside_a_writer(descriptor: int) -> os.stat_result:
        nonlocal calls
        if os.path.samestat(status := real_fstat(descriptor), victim.stat()):
            calls += 1
            if calls == 2:  # just before the second look, somebody writes
                with victim.open("ab") as stream:
                    stream.write(b"more")
                return real_fstat(descriptor)
        return status

    monkeypatch.setattr(os, "fstat", fstat_beside_a_writer)
    report = collection.index(photos)
    assert [(failure.id, failure.reason) for failure in report.failures] == [
        (str(victim), "changed while it was being read")
    ]
    assert counts(collection.index(photos)) == {"added": 1, "embedded": 1, "unchanged": 39}


def test_a_file_that_disappears_after_the_walk_is_skipped(collection: Collection, photos: Path) -> None:
    draw_folder(photos, 400, first=1000)  # more than is read ahead
    last = draw(photos / "zzz" / "last.jpg", 9)
    report = collection.index(photos, progress=lambda _: last.unlink(missing_ok=True))
    assert report.added == 440
    assert [failure.reason for failure in report.failures] == ["cannot be read: No such file or directory"]
    assert collection.index(photos).skipped == 0


def test_names_that_are_not_utf8(collection: Collection, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    draw(folder / "a.jpg", 1)
    odd = os.fsencode(folder) + b"/caf\xe9.jpg"
    shutil.copy(draw(tmp_path / "b.jpg", 2), os.fsdecode(odd))
    assert counts(collection.index(folder)) == {"added": 2, "embedded": 2}
    assert f"file://{folder}/caf%E9.jpg" in ids(collection)
    assert counts(collection.index(folder)) == {"unchanged": 2}
    os.rename(odd, os.fsencode(folder) + b"/th\xe9.jpg")
    assert counts(collection.index(folder)) == {"moved": 1, "unchanged": 1}


def test_names_with_quotes_newlines_and_emoji(collection: Collection, tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "here"'
    for seed, name in enumerate(["o'brien.jpg", 'a "b".jpg', "line\nbreak.jpg", "🐈%_.jpg"]):
        draw(folder / name, seed)
    assert counts(collection.index(folder)) == {"added": 4, "embedded": 4}
    assert counts(collection.index(folder)) == {"unchanged": 4}
    (folder / "o'brien.jpg").rename(folder / "o''b.jpg")
    assert counts(collection.index(folder)) == {"moved": 1, "unchanged": 3}


def test_an_empty_folder_is_no_error(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert counts(collection.index(tmp_path / "empty")) == {}


def test_interruption_keeps_what_was_embedded(photos: Path, tmp_path: Path) -> None:
    draw_folder(photos, 400, first=1000)
    batches = 0

    def interrupt_on_third() -> None:
        nonlocal batches
        batches += 1
        if batches == 3:
            signal.raise_signal(signal.SIGINT)

    collection = Collection.create(db=tmp_path / "db", encoder=CountingEncoder(interrupt_on_third))
    with pytest.raises(IndexInterrupted, match="run it again") as caught:
        collection.index(photos)
    assert caught.value.report.added == collection.count() == 2 * clipkit.pipeline.ENCODE_BATCH
    report = collection.index(photos)
    assert report.unchanged == 2 * clipkit.pipeline.ENCODE_BATCH
    assert collection.count() == 440


def test_an_encoder_that_fails_loses_nothing_that_was_embedded(photos: Path, tmp_path: Path) -> None:
    draw_folder(photos, 100, first=1000)
    batches = 0

    def fail_on_second() -> None:
        nonlocal batches
        batches += 1
        if batches == 2:
            raise RuntimeError("out of memory")

    collection = Collection.create(db=tmp_path / "db", encoder=CountingEncoder(fail_on_second))
    with pytest.raises(RuntimeError, match="out of memory"):
        collection.index(photos)
    assert collection.count() == clipkit.pipeline.ENCODE_BATCH
    assert collection.index(photos).unchanged == clipkit.pipeline.ENCODE_BATCH


def test_a_picture_that_the_model_cannot_embed_is_skipped_alone(photos: Path, tmp_path: Path) -> None:
    class Overflowing(FakeEncoder):
        def _pixel_batch(self, pixels: list[Pixels]) -> np.ndarray:
            rows = super()._pixel_batch(pixels)
            rows[[picture.max() == 0 for picture in pixels]] = np.nan
            return rows

    for name in ("black-1.png", "black-2.png"):
        Image.new("RGB", (9, 9)).save(photos / name)
    collection = Collection.create(db=tmp_path / "db", encoder=Overflowing())
    report = collection.index(photos)
    assert counts(report) == {"added": 40, "embedded": 40, "skipped": 2}
    assert {failure.reason for failure in report.failures} == {
        "its embedding is not finite, so it has no direction"
    }
    assert counts(collection.index(photos)) == {"unchanged": 40, "skipped": 2}


def test_a_model_that_cannot_be_had_is_not_the_files_fault(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Collection.create(db=tmp_path / "db", encoder=FakeEncoder())
    collection = Collection.open(db=tmp_path / "db")

    def no_network(*_: object, **__: object) -> FakeEncoder:
        raise ModelUnavailable("there is no network")

    monkeypatch.setattr(collection._model, "_load", no_network)
    with pytest.raises(ModelUnavailable, match="no network"):
        collection.index(photos)
    assert collection.failures() == []


def test_progress_counts_up_to_the_total(collection: Collection, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"")
    seen: list[Progress] = []
    collection.index(photos, progress=seen.append)
    assert [progress.done for progress in seen] == list(range(1, 42))
    assert {progress.total for progress in seen} == {41}
    assert seen[-1].skipped == 1


def test_reading_encoding_and_writing_overlap(photos: Path, tmp_path: Path) -> None:
    """While the encoder is at work, other files are read and earlier rows are written."""
    draw_folder(photos, 300, first=1000)
    threads: dict[str, set[str]] = {"read": set(), "encode": set()}
    read_during_encode = threading.Event()
    encoding = threading.Event()

    class SlowEncoder(FakeEncoder):
        def preprocess(self, image: Image.Image) -> Pixels:
            threads["read"].add(threading.current_thread().name)
            if encoding.is_set():
                read_during_encode.set()
            return super().preprocess(image)

        def encode_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
            threads["encode"].add(threading.current_thread().name)
            encoding.set()
            read_during_encode.wait(timeout=10)
            encoding.clear()
            return super().encode_pixels(pixels)

    Collection.create(db=tmp_path / "db", encoder=SlowEncoder()).index(photos)
    assert read_during_encode.is_set()
    assert threads["encode"] == {threading.current_thread().name}
    assert all(name.startswith("clipkit-read") for name in threads["read"])


class TwoLanes(FakeEncoder):
    """An encoder that is busy with two calls at once: the first waits for the second."""

    lanes = 2

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2)
        self.calls = itertools.count()

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
        if next(self.calls) < 2:
            self.both.wait(timeout=30)
        return super().encode_pixels(pixels)


def test_an_encoder_with_lanes_has_two_batches_at_once(photos: Path, tmp_path: Path) -> None:
    draw_folder(photos, 150, first=1000)
    twice = Collection.create(db=tmp_path / "db", encoder=TwoLanes())
    assert twice.index(photos).added == 190
    once = Collection.create("once", db=tmp_path / "db", encoder=FakeEncoder())
    once.index(photos)
    columns = ["id", "vector"]
    assert twice.to_arrow(columns=columns).sort_by("id") == once.to_arrow(columns=columns).sort_by("id")


def test_ctrl_c_saves_what_is_being_encoded(photos: Path, tmp_path: Path) -> None:
    draw_folder(photos, 150, first=1000)

    class Interrupted(TwoLanes):
        pressed = threading.Lock()

        def encode_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
            rows = super().encode_pixels(pixels)
            if self.pressed.acquire(blocking=False):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]
            time.sleep(0.2)  # meanwhile it arrives
            return rows

    collection = Collection.create(db=tmp_path / "db", encoder=Interrupted())
    with pytest.raises(IndexInterrupted, match="run it again"):
        collection.index(photos)
    assert collection.count() == 128


def test_work_is_committed_every_few_seconds(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipkit.writing, "COMMIT_SECONDS", 0.05)
    monkeypatch.setattr(clipkit.pipeline, "ENCODE_BATCH", 8)
    monkeypatch.setattr(FakeEncoder, "batch_size", 8)
    seen: list[int] = []

    def look() -> None:
        time.sleep(0.06)
        seen.append(Collection.open(db=tmp_path / "db", encoder=FakeEncoder()).count())

    collection = Collection.create(db=tmp_path / "db", encoder=CountingEncoder(look))
    collection.index(photos)
    assert len(seen) == 5
    assert seen[-1] > 0


def test_memory_does_not_grow_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded: what is read ahead, and a batch each that fills, is encoded and is written."""
    count, each = 1000, 98_304
    monkeypatch.setattr(clipkit.pipeline, "READ_AHEAD", 128)  # as with four cores

    class HeavyEncoder(FakeEncoder):
        def preprocess(self, image: Image.Image) -> Pixels:
            return np.tile(super().preprocess(image), (512, 1, 1))

        def _pixel_batch(self, pixels: list[Pixels]) -> np.ndarray:
            assert {picture.nbytes for picture in pixels} == {each}
            time.sleep(0.1)  # so that reading is faster
            return super()._pixel_batch([picture[:8] for picture in pixels])

    draw_folder(tmp_path / "pictures", count)
    collection = Collection.create(db=tmp_path / "db", encoder=HeavyEncoder())
    tracemalloc.start()
    collection.index(tmp_path / "pictures")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    bound = clipkit.pipeline.READ_AHEAD + 3 * clipkit.pipeline.ENCODE_BATCH
    assert peak < bound * each < count * each / 3

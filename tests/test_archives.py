from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import clipkit.pipeline
from clipkit import Collection
from clipkit.archives import open_archive
from clipkit.encoder import Pixels, Vectors
from clipkit.folders import FoundFile, Selection, member_of
from clipkit.reading import reopen
from clipkit.reports import IndexInterrupted, IndexReport
from clipkit.testing import FakeEncoder
from tests.pictures import draw

Members = Mapping[str, bytes | str]


class CountingEncoder(FakeEncoder):
    """Counts the pictures and texts that it is given, and can do something before each batch of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures = self.texts = 0
        self.before: Callable[[], None] = lambda: None

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
        self.before()
        self.pictures += len(pixels)
        return super().encode_pixels(pixels)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.texts += len(texts)
        return super().encode_texts(texts)


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def collection(db: Path, encoder: CountingEncoder) -> Collection:
    return Collection.create(db=db, encoder=encoder)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def jpeg(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()


def write_tar(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, object]], group: int = 4) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=group)
    return path


def samples(count: int, first: int = 0) -> dict[str, bytes | str]:
    """A shard as WebDataset has it."""
    members: dict[str, bytes | str] = {}
    for seed in range(first, first + count):
        members[f"{seed:06}.jpg"] = jpeg(seed)
        members[f"{seed:06}.txt"] = f"caption {seed}"
        members[f"{seed:06}.json"] = json.dumps({"key": f"{seed:06}", "size": seed, "width": 999})
    return members


def ids(collection: Collection, kind: str = "image") -> set[str]:
    where = f"kind = '{kind}'"
    return {
        id.rpartition("/")[2] for id in collection.to_arrow(columns=["id"], where=where)["id"].to_pylist()
    }


def reasons(report: IndexReport) -> dict[str, str]:
    return {failure.id.rpartition("/")[2]: failure.reason for failure in report.failures}


# --- tar


def test_a_tar_is_indexed_like_a_folder(collection: Collection, data: Path, encoder: CountingEncoder) -> None:
    shard = write_tar(data / "shard-000.tar", samples(3))
    report = collection.index(data)
    assert (report.added, report.embedded, report.captions, report.failures) == (3, 3, 3, ())
    identity = f"{shard}#000001.jpg"
    item = collection.get([identity])[0]
    assert (item.kind, item.uri, item.text) == ("image", identity, "caption 1")
    assert item.metadata["size"] == 1
    assert item.metadata["key"] == "000001"
    assert item.metadata["width"] == 16  # the picture's own, not what the JSON says
    caption = collection.get([f"{identity}#caption"])[0]
    assert (caption.text, caption.uri, caption.metadata["image_id"]) == ("caption 1", identity, identity)
    assert np.array_equal(item.vector, FakeEncoder().encode_images([jpeg(1)])[0])
    with Image.open(io.BytesIO(collection.thumbnails([identity])[identity])) as thumbnail:
        assert thumbnail.size == (16, 16)
    assert reopen(identity).read() == jpeg(1)


def test_an_unchanged_archive_is_not_opened(
    collection: Collection, data: Path, encoder: CountingEncoder
) -> None:
    write_tar(data / "a.tar", samples(3))
    write_parquet(data / "b.parquet", [{"image": jpeg(50)}])
    collection.index(data)
    opened: list[str] = []
    watching = True

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(data)):
            opened.append(str(arguments[0]))

    sys.addaudithook(note)
    report = collection.index(data)
    watching = False
    assert (report.unchanged, report.added, opened, encoder.pictures) == (4, 0, [], 4)


def test_members_of_one_name_belong_together_wherever_they_are(collection: Collection, data: Path) -> None:
    members: dict[str, bytes | str] = {
        "./x/1.left.jpg": jpeg(1),
        "./x/1.right.PNG": jpeg(2),
        "y/1.jpg": jpeg(3),
        "./x/1.TXT": "both\nof them",
        "x/1.json": '{"caption": "both", "n": 1}',
    }
    shard = write_tar(data / "a.tar", members)
    assert collection.index(shard).captions == 4
    rows = {
        row["id"]: row["text"]
        for row in collection.to_arrow(columns=["id", "text"], where="kind = 'image'").to_pylist()
    }
    assert rows == {
        f"{shard}#x/1.left.jpg": "both\nof them",
        f"{shard}#x/1.right.PNG": "both\nof them",
        f"{shard}#y/1.jpg": None,
    }


def test_what_is_no_picture_of_ours_is_passed_over(collection: Collection, data: Path) -> None:
    with tarfile.open(data / "a.tar", "w") as tar:
        for name in ("._1.jpg", ".cache/1.jpg", "__MACOSX/1.jpg", "readme.md", "1.cls", "alone.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = 2
            tar.addfile(entry, io.BytesIO(b"ab"))
        for kind, name in (
            (tarfile.SYMTYPE, "link.jpg"),
            (tarfile.DIRTYPE, "d.jpg"),
            (tarfile.FIFOTYPE, "p.jpg"),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    write_parquet(data / "numbers.parquet", [{"a": 1}])
    report = collection.index(data)
    assert (report.added, report.failures, collection.count()) == (0, (), 0)
    reports = [collection.index(data / name) for name in ("a.tar", "numbers.parquet")]
    assert [list(reasons(each).values()) for each in reports] == [[], []]  # known, so not opened again


def test_an_archive_that_was_asked_for_and_holds_no_pictures_is_told(
    collection: Collection, data: Path
) -> None:
    shard = write_tar(data / "a.tar", {"readme.md": "words"})
    table = write_parquet(data / "b.parquet", [{"a": 1}])
    assert reasons(collection.index([shard, table])) == {
        "a.tar": "holds no pictures",
        "b.parquet": "holds no pictures",
    }


def test_nothing_is_written_whatever_members_are_called(collection: Collection, data: Path) -> None:
    members = {"../../evil.jpg": jpeg(1), "/tmp/evil.jpg": jpeg(2), "a#b/c.jpg": jpeg(3)}
    write_tar(data / "a.tar", members)
    before = sorted(data.parent.rglob("*.jpg"))
    collection.index(data)
    assert sorted(data.parent.rglob("*.jpg")) == before == []
    assert {id.partition("#")[2] for id in collection.to_arrow(columns=["id"])["id"].to_pylist()} == set(
        members
    )
    assert all(reopen(f"{data / 'a.tar'}#{name}").read() == content for name, content in members.items())


def test_a_changed_tar_costs_only_what_is_new(
    collection: Collection, data: Path, encoder: CountingEncoder
) -> None:
    write_tar(data / "a.tar", samples(10))
    collection.index(data)
    members = samples(12)
    del members["000000.jpg"], members["000000.txt"], members["000000.json"]
    members["000001.txt"] = "another caption"
    write_tar(data / "a.tar", members)
    report = collection.index(data)
    assert (report.added, report.removed, report.embedded, report.captions) == (2, 1, 2, 3)
    assert (encoder.pictures, encoder.texts) == (12, 13)
    assert ids(collection) == {f"a.tar#{n:06}.jpg" for n in range(1, 12)}
    assert ids(collection, "text") == {f"a.tar#{n:06}.jpg#caption" for n in range(1, 12)}
    assert collection.index(data).unchanged == 11


def test_a_tar_that_lost_much_asks_first(collection: Collection, data: Path) -> None:
    write_tar(data / "a.tar", samples(10))
    collection.index(data)
    write_tar(data / "a.tar", samples(5))
    for _ in range(2):
        report = collection.index(data)
        assert (report.kept_missing, report.removed) == (5, 0)
    assert collection.count(kind="image") == 10
    assert collection.index(data, prune=True).removed == 5
    assert ids(collection, "text") == {f"a.tar#{n:06}.jpg#caption" for n in range(5)}


def test_a_moved_archive_reuses_its_vectors(
    collection: Collection, data: Path, encoder: CountingEncoder
) -> None:
    shard = write_tar(data / "a.tar", samples(6))
    collection.index(data)
    shard.rename(data / "b.tar")
    report = collection.index(data)
    assert (report.moved, report.embedded, report.captions, report.removed) == (6, 0, 0, 0)
    assert (encoder.pictures, encoder.texts) == (6, 6)
    assert ids(collection) == {f"b.tar#{n:06}.jpg" for n in range(6)}
    assert collection.get([f"{data / 'b.tar'}#000002.jpg#caption"])[0].text == "caption 2"


def test_a_picture_that_is_also_a_file_is_embedded_once(
    collection: Collection, data: Path, encoder: CountingEncoder
) -> None:
    (data / "x.jpg").write_bytes(jpeg(1))
    collection.index(data)
    write_tar(data / "a.tar", {"000001.jpg": jpeg(1), "000002.jpg": jpeg(2)})
    report = collection.index(data)
    assert (report.added, report.embedded, encoder.pictures) == (2, 1, 2)
    assert ids(collection) == {"x.jpg", "a.tar#000001.jpg", "a.tar#000002.jpg"}


def test_a_vanished_archive_is_dropped_by_the_rules_of_files(collection: Collection, data: Path) -> None:
    for number in range(3):
        write_tar(data / f"{number}.tar", samples(4, first=10 * number))
    write_tar(data / "small.tar", samples(1, first=90))
    collection.index(data)
    (data / "small.tar").unlink()
    assert collection.index(data).removed == 1
    away = (data / "1.tar").rename(data.parent / "1.tar")
    assert collection.index(data).kept_missing == 4
    away.rename(data / "1.tar")
    report = collection.index(data)
    assert (report.unchanged, report.kept_missing, report.embedded) == (12, 0, 0)
    (data / "1.tar").rename(away)
    assert collection.index(data, prune=True).removed == 4
    assert collection.count() == 16
    away.rename(data / "1.tar")
    assert collection.index(data).added == 4


def test_pictures_that_were_deleted_from_a_collection_come_back(collection: Collection, data: Path) -> None:
    write_tar(data / "a.tar", samples(4))
    collection.index(data)
    collection.delete_where("kind = 'image'")
    assert collection.count() == 0
    report = collection.index(data)
    assert (report.added, report.captions) == (4, 4)


def test_a_tar_that_ends_early_gives_what_is_there(collection: Collection, data: Path) -> None:
    whole = write_tar(data / "a.tar", {f"{n}.jpg": jpeg(n) for n in range(6)}).read_bytes()
    collection.index(data)
    entries = open_archive(FoundFile(str(data / "a.tar"), 0, 0))
    assert entries.flaw is None
    cut = whole.index(jpeg(4)) + 100
    (data / "a.tar").write_bytes(whole[:cut])
    (data / "b.tar").write_bytes(whole[:cut])
    report = collection.index(data, prune=True)
    assert report.removed == 0
    assert ids(collection) == {f"a.tar#{n}.jpg" for n in range(6)} | {f"b.tar#{n}.jpg" for n in range(4)}
    told = reasons(report)
    assert set(told) == {"a.tar", "a.tar#4.jpg", "b.tar", "b.tar#4.jpg"}
    assert "ends early, or is damaged, near byte" in told["b.tar"]
    assert told["b.tar#4.jpg"] == f"is cut off: 100 of {len(jpeg(4))} bytes are there"
    again = collection.index(data)
    assert set(again.failures) == set(report.failures)  # as before, and the archive was not opened


def test_a_tar_without_its_end_is_told(collection: Collection, data: Path) -> None:
    whole = write_tar(data / "a.tar", {"1.jpg": jpeg(1), "2.jpg": jpeg(2)}).read_bytes()
    end = whole.index(jpeg(1)) + -(-len(jpeg(1)) // 512) * 512
    (data / "a.tar").write_bytes(whole[:end])
    report = collection.index(data)
    assert reasons(report) == {
        "a.tar": f"ends early, or is damaged, at byte {end}: it has 1 members up to there"
    }
    assert report.added == 1


@pytest.mark.parametrize("name", ["a.tar", "a.parquet"])
def test_what_is_no_archive_is_told_and_tried_again_when_it_changes(
    collection: Collection, data: Path, name: str
) -> None:
    (data / name).write_bytes(b"not an archive " * 100)
    report = collection.index(data)
    assert list(reasons(report)) == [name]
    assert collection.index(data).failures == report.failures
    if name.endswith("tar"):
        write_tar(data / name, samples(1))
    else:
        write_parquet(data / name, [{"image": jpeg(1)}])
    report = collection.index(data)
    assert (report.added, report.failures, collection.failures()) == (1, (), [])


def test_members_that_cannot_be_read_are_listed(collection: Collection, data: Path) -> None:
    members = samples(3) | {
        "bad.jpg": b"no picture",
        "empty.png": b"",
        "000001.json": "{broken",
        "000002.txt": b"caf\xe9",
    }
    write_tar(data / "a.tar", members)
    report = collection.index(data)
    assert (report.added, report.captions) == (3, 2)
    told = reasons(report)
    assert set(told) == {"a.tar#bad.jpg", "a.tar#empty.png", "a.tar#000001.json", "a.tar#000002.txt"}
    assert told["a.tar#empty.png"] == "is empty (0 bytes)"
    assert told["a.tar#000001.json"].startswith("is not JSON")
    assert told["a.tar#000002.txt"] == "is not UTF-8 (line 1)"
    assert set(collection.index(data).failures) == set(report.failures)
    write_tar(data / "a.tar", samples(3))
    assert collection.index(data).failures == ()
    assert collection.failures() == []


def test_a_higher_limit_takes_pictures_that_were_too_large(collection: Collection, data: Path) -> None:
    write_tar(data / "a.tar", {"large.png": draw(data.parent / "x.png", 1, edge=200).read_bytes()})
    assert collection.index(data, max_pixels=1000).skipped == 1
    assert collection.index(data).skipped == 1
    report = collection.index(data, max_pixels=50_000)
    assert (report.added, report.skipped) == (1, 0)


def test_captions_of_archives_can_be_left_alone_and_taken_later(
    collection: Collection, data: Path, encoder: CountingEncoder
) -> None:
    write_tar(data / "a.tar", samples(3))
    assert collection.index(data, selection=Selection(captions=False)).captions == 0
    report = collection.index(data)
    assert (report.captions, report.unchanged, encoder.pictures) == (3, 3, 3)
    assert collection.index(data, selection=Selection(captions=False)).unchanged == 3


def test_patterns_choose_archives_by_their_names(collection: Collection, data: Path) -> None:
    write_tar(data / "a.tar", samples(1))
    write_tar(data / "b.tar", samples(1, first=5))
    draw(data / "c.jpg", 3)
    assert collection.index(data, selection=Selection(patterns=("*.jpg",))).added == 1
    assert collection.index(data, selection=Selection(patterns=("a.*",))).added == 1
    assert collection.index(data, selection=Selection(excludes=("b.tar",))).unchanged == 2


def test_an_interrupted_archive_goes_on_where_it_stopped(
    collection: Collection, data: Path, encoder: CountingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipkit.pipeline, "ENCODE_BATCH", 8)
    encoder.batch_size = 8
    write_tar(data / "a.tar", samples(40))
    write_parquet(data / "b.parquet", [{"image": jpeg(100 + n)} for n in range(40)])

    def interrupt_on_eighth() -> None:
        if encoder.pictures == 56:
            signal.raise_signal(signal.SIGINT)

    encoder.before = interrupt_on_eighth
    with pytest.raises(IndexInterrupted, match="run it again"):
        collection.index(data)
    assert collection.count(kind="image") == 56
    encoder.before = lambda: None
    report = collection.index(data)
    assert (report.unchanged, report.added, encoder.pictures) == (56, 24, 80)


def test_an_archive_that_changes_while_it_is_read_is_read_again(
    collection: Collection, data: Path, encoder: CountingEncoder
) -> None:
    shard = write_tar(data / "a.tar", samples(2))
    encoder.before = lambda: os.utime(shard, ns=(7, 7))
    assert reasons(collection.index(data)) == {"a.tar": "changed while it was being read"}
    encoder.before = lambda: None
    report = collection.index(data)
    assert (report.failures, report.embedded, collection.failures()) == ((), 0, [])


def test_names_that_are_not_utf8(collection: Collection, data: Path) -> None:
    with tarfile.open(data / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        entry = tarfile.TarInfo(os.fsdecode(b"caf\xe9.jpg"))
        entry.size = len(jpeg(1))
        tar.addfile(entry, io.BytesIO(jpeg(1)))
    odd = Path(os.fsdecode(os.fsencode(data) + b"/th\xe9.tar"))
    write_tar(odd, samples(1))
    assert collection.index(data).added == 2
    assert collection.index(data).unchanged == 2
    for row in collection.to_arrow(columns=["uri"], where="kind = 'image'").to_pylist():
        assert reopen(row["uri"]).read()[:2] == b"\xff\xd8"


# --- Parquet


def test_a_parquet_file_is_indexed_like_a_folder(collection: Collection, data: Path) -> None:
    rows = [
        {"image": {"bytes": jpeg(n), "path": f"{n}.jpg"}, "caption": [f"text {n}", "a thing"], "stars": n}
        for n in range(10)
    ]
    table = write_parquet(data / "t.parquet", rows)
    report = collection.index(table)
    assert (report.added, report.captions, report.failures) == (10, 20, ())
    item = collection.get([f"{table}#7"])[0]
    assert (item.uri, item.text, item.metadata["stars"]) == (f"{table}#7", "text 7\na thing", 7)
    assert reopen(item.uri or "").read() == jpeg(7)
    assert collection.index(data).unchanged == 10


def test_classes_of_hugging_face_become_their_names(collection: Collection, data: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "big_dog"]}}
    table = pa.table(
        {"photo": pa.array([{"bytes": jpeg(1), "path": None}, {"bytes": jpeg(2), "path": None}])}
    )
    table = table.append_column("label", pa.array([1, 0]))
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), data / "t.parquet")
    collection.index(data)
    labels = {
        item.id[-1]: item.metadata["label"]
        for item in collection.get([f"{data}/t.parquet#{n}" for n in (0, 1)])
    }
    assert labels == {"0": "big dog", "1": "cat"}


def test_rows_without_a_picture_are_listed(collection: Collection, data: Path) -> None:
    schema = pa.schema([("image", pa.binary()), ("text", pa.string())])
    rows = [
        {"image": jpeg(1), "text": "one"},
        {"image": None, "text": "none"},
        {"image": b"nothing", "text": "three"},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema), data / "t.parquet")
    report = collection.index(data)
    assert (report.added, report.captions) == (1, 1)
    told = reasons(report)
    assert set(told) == {"t.parquet#1", "t.parquet#2"}
    assert told["t.parquet#1"] == "has no picture"


def test_a_changed_parquet_file_costs_only_what_is_new(
    collection: Collection, data: Path, encoder: CountingEncoder
) -> None:
    rows = [{"image": jpeg(n), "text": f"text {n}"} for n in range(10)]
    write_parquet(data / "t.parquet", rows)
    collection.index(data)
    write_parquet(data / "t.parquet", [*rows[:9], {"image": jpeg(77), "text": "new"}])
    report = collection.index(data)
    assert (report.embedded, report.captions, report.removed, encoder.pictures) == (1, 1, 0, 11)
    shutil.copy(data / "t.parquet", data / "copy.parquet")
    assert collection.index(data).embedded == 0


def test_a_damaged_row_group_is_told_and_the_others_taken(collection: Collection, data: Path) -> None:
    path = write_parquet(data / "t.parquet", [{"image": jpeg(n)} for n in range(12)])
    content = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = place.dictionary_page_offset or place.data_page_offset
    content[start : start + 64] = bytes(64)
    path.write_bytes(content)
    report = collection.index(data)
    assert ids(collection) == {f"t.parquet#{n}" for n in (*range(4), *range(8, 12))}
    assert set(reasons(report)) == {f"t.parquet#{n}" for n in range(4, 8)}


# --- ids


def test_a_file_whose_name_looks_like_a_member_is_a_file(collection: Collection, data: Path) -> None:
    path = draw(data / "x.tar#1.jpg", 1)
    assert member_of(str(path)) is None
    assert collection.index(data).added == 1
    assert collection.index(data).unchanged == 1
    assert reopen(str(path)).read() == path.read_bytes()
    path.unlink()
    assert collection.index(data, prune=True).removed == 1

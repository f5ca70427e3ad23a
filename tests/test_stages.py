from __future__ import annotations

import tarfile
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.ahead import read_ahead
from clipkit.encoder import Encoder
from clipkit.errors import ImageError
from clipkit.folders import FoundFile, Walk
from clipkit.reading import Copy, Decoded, KnownHashes, Unreadable, read_file, reopen
from clipkit.stages import compare, reuse
from clipkit.testing import FakeEncoder
from tests.pictures import draw

Stats = dict[str, tuple[int, int]]

stats = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=8
)


def table(rows: Stats) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(rows, pa.string()),
            "size_bytes": pa.array([size for size, _ in rows.values()], pa.int64()),
            "mtime_ns": pa.array([mtime for _, mtime in rows.values()], pa.int64()),
        }
    )


def items(rows: list[tuple[str, str, int]]) -> pa.Table:
    """Item rows of (id, content hash, rating) with the columns that matter here."""
    from clipkit.schema import BUILTIN_COLUMNS

    columns = {name: pa.array([""] * len(rows)) for name in BUILTIN_COLUMNS}
    columns["id"] = pa.array([row[0] for row in rows])
    columns["content_hash"] = pa.array([row[1] for row in rows])
    columns["size_bytes"] = columns["mtime_ns"] = pa.array([0] * len(rows), pa.int64())
    columns["vector"] = pa.array([[float(i)] for i in range(len(rows))], pa.list_(pa.float32()))
    return pa.table({**columns, "rating": pa.array([row[2] for row in rows], pa.int64())})


def copy(identity: str, content_hash: str) -> Copy:
    return Copy(FoundFile(identity, 7, 9), content_hash)


@given(found=stats, known=stats, failed=stats, retry=st.booleans())
def test_compare_sorts_every_file_into_one_heap(
    found: Stats, known: Stats, failed: Stats, retry: bool
) -> None:
    walk = Walk(("/",), [FoundFile(name, *stat) for name, stat in found.items()])
    changes = compare(walk, table(known), table(failed), retry=retry)

    unchanged = {name for name, stat in found.items() if known.get(name) == stat}
    failing = {n for n, stat in found.items() if failed.get(n) == stat and n not in unchanged and not retry}
    todo = set(found) - unchanged - failing
    assert changes.unchanged == len(unchanged)
    assert set(changes.failing) == failing
    assert {file.id for file in changes.new} == todo - set(known)
    assert {file.id for file in changes.changed} == todo & set(known)
    assert set(changes.missing) == set(known) - set(found)
    assert set(changes.settled) == set(failed) - failing
    assert changes.known == len(known)


def test_a_file_without_size_in_the_failures_is_tried_again() -> None:
    walk = Walk(("/",), [FoundFile("a", 0, 0)])
    failures = pa.table(
        {"id": ["a"], "size_bytes": pa.nulls(1, pa.int64()), "mtime_ns": pa.nulls(1, pa.int64())}
    )
    assert [file.id for file in compare(walk, table({}), failures).new] == ["a"]


def test_known_hashes_know_their_own() -> None:
    hashes = [f"{i:064x}" for i in (0, 2**255, 2**200 + 5, 2**256 - 1)]
    known = KnownHashes(pa.chunked_array([[*hashes, None]]))
    assert all(value in known for value in hashes)
    assert f"{2**254:064x}" not in known
    assert hashes[0] not in KnownHashes(pa.chunked_array([[]], pa.string()))


def test_a_copy_of_a_missing_source_moves_it_with_the_users_columns() -> None:
    reused = reuse([copy("new", "h")], items([("old", "h", 5)]), {"old"})
    assert reused.moved_from == ["old"]
    assert reused.moved.select(["id", "uri", "size_bytes", "mtime_ns", "rating"]).to_pylist() == [
        {"id": "new", "uri": "new", "size_bytes": 7, "mtime_ns": 9, "rating": 5}
    ]
    assert reused.copied.num_rows == 0


def test_a_copy_of_a_present_source_takes_the_vector_only() -> None:
    reused = reuse([copy("new", "h")], items([("old", "h", 5)]), set())
    assert reused.copied_from == ["old"]
    assert reused.copied["vector"].to_pylist() == [[0.0]]
    assert "rating" not in reused.copied.schema.names
    assert reused.moved_from == []


def test_one_missing_source_moves_once_and_serves_further_copies() -> None:
    reused = reuse([copy("a", "h"), copy("b", "h")], items([("old", "h", 5)]), {"old"})
    assert (reused.moved["id"].to_pylist(), reused.moved_from) == (["a"], ["old"])
    assert (reused.copied["id"].to_pylist(), reused.copied_from) == (["b"], ["old"])


def test_a_touched_file_is_its_own_source_even_if_another_is_missing() -> None:
    reused = reuse([copy("own", "h")], items([("gone", "h", 1), ("own", "h", 2)]), {"gone"})
    assert reused.copied_from == ["own"]
    assert reused.moved_from == []


def test_a_copy_without_a_source_is_named() -> None:
    lost = copy("new", "other")
    assert reuse([lost], items([("old", "h", 5)]), set()).unfound == [lost]


def test_read_file_reads_only_as_far_as_needed(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 1)
    file = FoundFile(str(path), 0, 0)

    def no_model() -> Encoder:
        pytest.fail("known content needs no model")

    first = read_file(file, FakeEncoder, None, 10**6)
    assert isinstance(first, Decoded)
    assert first.row.size_bytes == path.stat().st_size  # of the open file, not of the walk
    assert first.row.content_hash is not None
    known = KnownHashes(pa.chunked_array([[first.row.content_hash]]))
    assert read_file(file, no_model, known, 10**6) == Copy(
        FoundFile(str(path), path.stat().st_size, path.stat().st_mtime_ns), first.row.content_hash
    )


def test_read_file_says_whether_a_second_try_makes_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    lasting = read_file(FoundFile(str(broken), 0, 0), FakeEncoder, None, 10**6)
    assert isinstance(lasting, Unreadable)
    assert lasting.lasting
    missing = read_file(FoundFile(str(tmp_path / "none.jpg"), 0, 0), FakeEncoder, None, 10**6)
    assert isinstance(missing, Unreadable)
    assert not missing.lasting
    monkeypatch.setattr("clipkit.reading.MAX_FILE_BYTES", 5)
    large = read_file(FoundFile(str(broken), 0, 0), FakeEncoder, None, 10**6)
    assert isinstance(large, Unreadable)
    assert "over the limit" in large.reason


def test_read_ahead_keeps_the_order_and_its_distance() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def read(number: int) -> int:
        with lock:
            started.append(number)
        return -number

    results = read_ahead(iter(range(100)), read, ahead=5)
    seen = []
    for result in results:
        seen.append(result)
        with lock:
            assert len(started) <= len(seen) + 5
    assert seen == [-number for number in range(100)]


def test_read_ahead_stops_reading_when_it_is_closed() -> None:
    started: list[int] = []
    results = read_ahead(iter(range(1000)), started.append, ahead=5)
    next(results)
    results.close()
    assert len(started) <= 7


# --- reopen


def test_reopen_gives_the_bytes_of_a_file_or_of_a_picture_in_an_archive(tmp_path: Path) -> None:
    data = draw(tmp_path / "a#1.png", 1).read_bytes()
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(tmp_path / "a#1.png", arcname="cats/a#1.png")
    row = {"image": {"bytes": data, "path": "x.png"}}
    pq.write_table(pa.Table.from_pylist([row, row, row]), tmp_path / "t.parquet", row_group_size=2)
    for uri in ("a#1.png", "shard.tar#cats/a#1.png", "t.parquet#1", "t.parquet#2"):
        stream = reopen(str(tmp_path / uri))
        assert stream.read() == data
        assert stream.name == str(tmp_path / uri)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("none.jpg", "does not exist"),
        ("none.tar#a.jpg", "does not exist"),
        ("shard.tar#b.png", "no longer in its archive"),
        ("t.parquet#0", "has no picture"),
        ("t.parquet#7", "no longer in its archive"),
        ("t.parquet#x", "no longer in its archive"),
        ("text.tar#a.jpg", "not a tar file"),
        ("text.parquet#0", "not a whole Parquet file"),
        (".", "cannot be read"),
    ],
)
def test_reopen_says_what_it_cannot_give(tmp_path: Path, uri: str, why: str) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(draw(tmp_path / "a.png", 1), arcname="a.png")
    table = pa.table({"image": pa.array([None], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})
    pq.write_table(table, tmp_path / "t.parquet")
    for name in ("text.tar", "text.parquet"):
        (tmp_path / name).write_text("not an archive")
    with pytest.raises(ImageError, match=why):
        reopen(str(tmp_path / uri))

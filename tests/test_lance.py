from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import clipkit.lance.table
from clipkit.errors import CollectionNotFound, FilterError, StorageError
from clipkit.filters import all_of, any_of, id_in, is_in, quoted, starts_with
from clipkit.lance import Database, Table
from tests.rows import SCHEMA, batch, create, handle, names, nearest, unit


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "db")


@pytest.fixture
def table(uri: str) -> Table:
    return create(uri)


def files(uri: str, kind: str = "data") -> int:
    """How many files of one kind the table has on disk."""
    folder = Path(uri) / "t.lance" / kind
    return len(list(folder.iterdir())) if folder.exists() else 0


# --- databases and writes


def test_a_table_is_ensured_whoever_made_it(uri: str) -> None:
    first = Database(uri).ensure("new", SCHEMA)
    first.upsert(batch(["a"]))
    assert Database(uri).ensure("new", SCHEMA).count() == 1


def test_only_new_ids_are_inserted(table: Table) -> None:
    assert table.insert(batch(["a", "b"], n=[1, 2])) == 2
    assert table.insert(batch(["b", "c"], n=[7, 3])) == 1
    assert table.insert(batch(["a"], n=[9])) == 0
    rows = table.read(["id", "n"]).sort_by("id").to_pylist()
    assert rows == [{"id": "a", "n": 1}, {"id": "b", "n": 2}, {"id": "c", "n": 3}]


def test_a_table_is_made_once_and_opened_if_it_is_there(uri: str, table: Table) -> None:
    database = Database(uri)
    assert database.names() == ["t"]
    assert database.create("t", SCHEMA) is None
    assert database.open("t") is not None
    assert database.open("u") is None


def test_an_upsert_inserts_and_replaces(table: Table) -> None:
    assert table.upsert(batch(["a", "b"], n=[1, 2])) == (2, 0)
    assert table.upsert(batch(["b", "c"], n=[3, 4])) == (1, 1)
    assert table.upsert(batch([])) == (0, 0)
    rows = table.read(["id", "n"]).sort_by("id")
    assert rows.to_pydict() == {"id": ["a", "b", "c"], "n": [1, 3, 4]}


def test_columns_that_an_upsert_lacks_are_kept_and_null_in_new_rows(table: Table) -> None:
    table.upsert(batch(["a"], n=[1], Tag=["x"]))
    table.upsert(batch(["a", "b"], n=[2, 3]))
    rows = table.read(["id", "n", "Tag"]).sort_by("id")
    assert rows.to_pydict() == {"id": ["a", "b"], "n": [2, 3], "Tag": ["x", None]}


def test_deleting_counts_what_was_there(uri: str, table: Table) -> None:
    table.upsert(batch(["a", "b", "c"]))
    assert table.delete_ids(["a", "b", "x"]) == 2
    versions = files(uri, "_versions")
    assert table.delete_ids(["a", "x"]) == 0
    assert table.delete_ids([]) == 0
    assert files(uri, "_versions") == versions  # nothing was committed
    assert table.count() == 1


def test_another_handle_sees_each_change_at_once(uri: str, table: Table) -> None:
    other = handle(uri)
    table.upsert(batch(["a"]))
    assert other.count() == 1
    other.add_columns([pa.field("more", pa.int8())])
    assert "more" in table.schema.names
    other.delete("true")
    assert table.read(["id"]).num_rows == 0


# --- filters

AWKWARD = [
    *("it's", "''", "'", 'say "x"', "`x`", "100%", "a_b", "a\\", "\\'", "a\nb", "\r\n", "\t.", "a\0b", "\0"),
    *("😀", "é", "e\u0301", "\u202etxet", "猫.jpg", "'; DROP TABLE t; --", "/* x */", "-- x", "$$"),
    *(") OR (1=1", "x" * 10_000, "NULL", "true", "id"),
]


def test_any_string_is_found_again_as_it_is(table: Table) -> None:
    table.upsert(batch(AWKWARD, Tag=AWKWARD))
    for text in AWKWARD:
        assert table.read(["id"], id_in([text]))["id"].to_pylist() == [text]
        assert table.count(is_in("Tag", [text])) == 1
        assert table.count(starts_with("id", text)) == sum(other.startswith(text) for other in AWKWARD)
    assert table.count(id_in(AWKWARD)) == len(AWKWARD)
    assert table.delete_ids(AWKWARD[:5]) == 5


@settings(max_examples=200)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_quoted_string_is_one_literal_that_holds_it(text: str) -> None:
    literal = quoted(text)
    assert (literal[0], literal[-1]) == ("'", "'")
    assert literal[1:-1].replace("''", "") == text.replace("'", "")
    assert literal[1:-1].count("'") == 2 * text.count("'")


def test_conditions_are_joined_each_in_its_own_parentheses() -> None:
    assert all_of("a OR b", None, "c") == "(a OR b) AND (c)"
    assert any_of("a AND b", "c") == "(a AND b) OR (c)"
    assert all_of(None, None) is None
    assert any_of() == is_in("id", []) == "false"


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Five rows, for all tests that only filter them."""
    table = Database(str(tmp_path_factory.mktemp("five"))).create("t", SCHEMA)
    assert table is not None
    table.upsert(
        batch(
            names(5),
            n=[0, 1, 2, None, 4],
            Tag=["a", "b", None, "it's", "😀"],
            at=[datetime(2024, month, 1, 12) for month in range(1, 6)],
            day=[date(2024, month, 1) for month in range(1, 6)],
            conflict=[True, False, None, True, False],
        )
    )
    return table


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("n > 1", "24"),
        ("N > 1", "24"),
        ("`n` > 1", "24"),
        ("tag = 'b'", "1"),
        ("TAG IN ('a', 'it''s')", "03"),
        ("Tag = '😀'", "4"),
        ("Tag LIKE '%''%'", "3"),
        ("Tag IS NULL", "2"),
        ("n BETWEEN 1 AND 2 OR n IS NULL", "123"),
        ("conflict", "03"),
        ("NOT conflict", "14"),
        ("at > timestamp '2024-04-01 11:59:59'", "34"),
        ("at >= date '2024-05-01'", "4"),
        ("day = date '2024-02-01'", "1"),
        ("date_part('month', at) = 3", "2"),
        ("true", "01234"),
        ("false", ""),
        ("n > 1 -- and a comment", "24"),
        ("n > 1 /* and ) a comment */", "24"),
        ("Tag <> ')' AND (n = 1)", "1"),
        ("Tag = '--' OR n = 1", "1"),
    ],
)
def test_a_filter_finds_what_it_says(five: Table, where: str, expected: str) -> None:
    condition = all_of(five.checked(where), "id <> 'x'")
    found = five.read(["id"], condition)["id"].to_pylist()
    assert sorted(found) == [f"0000{i}" for i in expected]
    assert five.count(condition) == len(expected)


BROKEN = [
    ("widht > 3", "no column 'widht'. "),
    ("nn > 3", "no column 'nn'. Did you mean n"),
    ("vektor IS NULL", "no column 'vektor'. Did you mean vector"),
    ("day.year > 3", "cannot be evaluated"),
    ('Tag = "b"', r"no column 'b'\..* A text goes into single quotes\."),
    ("n = ", "cannot be evaluated: Expected: an expression"),
    ("n = 1 garbage", "found: garbage"),
    ("n = 1; DROP TABLE t", "found: ;"),
    ("n", "does not return a boolean"),
    ("5", "does not return a boolean"),
    ("n + ", "cannot be evaluated"),
    ("no_such_function(n) = 1", "no_such_function"),
    ("n = 'x'", "cannot be evaluated: .*'x'|Utf8"),
    ("at > '2024-01-01'", "A time is written timestamp '2024-12-31 18:00:00', or date '2024-12-31'"),
    ("day > '2024-01-01'", "A date is written date '2024-12-31'"),
    ("count(*) > 1", "cannot be evaluated"),
    ("id IN (SELECT id FROM t)", "not supported"),
    ("Tag = $$b$$", "it uses SQL that LanceDB does not know"),
    ("", "a filter is an SQL condition"),
    ("  \n", "a filter is an SQL condition"),
    (5, "a filter is an SQL condition .* not 5"),
    ("Tag = 'b", "a quote or comment that is not closed"),
    ('"n = 1', "a quote or comment that is not closed"),
    ("`n = 1", "a quote or comment that is not closed"),
    ("n = 1 /* x", "a quote or comment that is not closed"),
    ("n = 1) OR (true", "closes a parenthesis that it did not open"),
    (") OR (", "closes a parenthesis that it did not open"),
    ("n = 1)", "closes a parenthesis that it did not open"),
    ("n = 1 -- (\n) OR (true", "closes a parenthesis that it did not open"),
    ("((n = 1)", "cannot be evaluated"),
]


@pytest.mark.parametrize(("where", "message"), BROKEN)
def test_a_broken_filter_says_what_is_wrong_with_it(five: Table, where: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        five.checked(where)


@pytest.mark.parametrize("where", ["1 / (n - n) = 1", "cast(Tag AS int) > 3"])
def test_a_filter_that_fails_on_a_row_is_no_storage_error(five: Table, where: str) -> None:
    with pytest.raises(FilterError, match=r"cannot be evaluated: .*(Divide by zero|Cast error)"):
        five.count(five.checked(where))


def test_no_filter_reaches_out_of_its_parentheses(five: Table) -> None:
    """Whatever passes as a filter, a condition beside it still binds."""

    @settings(max_examples=100)
    @given(st.text(alphabet="()'\"`-/*\n n=1OR;$", max_size=12))
    @example("true) OR (true")
    @example("true)) OR ((true")
    @example("'(' = '(') OR (')' = ')'")
    @example("true -- (\n) OR (true")
    @example("true /* ( */) OR (true")
    @example("true /* ' */) OR (true /* ' */")
    @example("'--' <> '') OR (true")
    @example("`n` = 1) OR (`n` = 1")
    def check(text: str) -> None:
        try:
            condition = five.checked(text)
        except FilterError:
            return
        assert five.count(all_of("false", condition)) == 0
        assert five.count(all_of(condition, "false")) == 0

    check()


def test_the_word_conflict_is_no_reason_to_wait(five: Table) -> None:
    began = time.monotonic()
    with pytest.raises(FilterError, match=r"does not return a boolean|cannot be evaluated"):
        five.count("conflict + 1")
    with pytest.raises(FilterError, match=r"no column 'conflikt'\. Did you mean conflict"):
        five.count("conflikt")
    assert time.monotonic() - began < clipkit.lance.table.PATIENCE_S / 2


def test_a_write_that_met_another_one_is_done_again(table: Table) -> None:
    # Lance's words to one who writes into a table that another makes at that very time: too rare to wait for
    met = ["This Update transaction is incompatible with concurrent transaction Overwrite at version 2"]

    def write() -> str:
        if met:
            raise RuntimeError(f"lance error: Incompatible transaction: {met.pop()}")
        return "written"

    assert table.write(write) == "written"
    assert not met


# --- compaction


def test_many_small_writes_leave_few_files(uri: str, table: Table) -> None:
    for i in range(60):
        table.upsert(batch([f"{i}"]))
    assert table.count() == 60
    assert files(uri) < 50
    assert files(uri, "_versions") < 50


def test_many_processes_that_write_once_leave_few_files(uri: str, table: Table) -> None:
    for i in range(60):
        handle(uri).upsert(batch([f"{i}"]))
    assert table.count() == 60
    assert files(uri) < 50
    assert files(uri, "_versions") < 50


def test_writing_one_row_again_and_again_leaves_few_files(uri: str, table: Table) -> None:
    table.upsert(batch(names(100)))
    for i in range(60):
        table.upsert(batch(["00007"], n=[i]))
    assert table.read(["n"], "id = '00007'")["n"].to_pylist() == [59]
    assert table.count() == 100
    assert files(uri) < 50
    assert files(uri, "_versions") < 50


def test_deleting_row_by_row_leaves_few_files(uri: str, table: Table) -> None:
    table.upsert(batch(names(100)))
    for name in names(60):
        assert table.delete_ids([name]) == 1
    assert table.count() == 40
    assert files(uri, "_versions") < 50
    assert files(uri, "_deletions") < 50


def test_a_large_table_is_not_rewritten_for_a_few_files(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipkit.lance.table, "ROWS_PER_FILE", 20)
    for i in range(40):
        table.upsert(batch([f"{i}-{j}" for j in range(50)]))
    assert table.handle.stats()["fragment_stats"]["num_fragments"] == 40
    table.optimize()
    assert table.handle.stats()["fragment_stats"]["num_fragments"] == 1
    assert table.count() == 2_000


# --- batches


@pytest.mark.parametrize(("size", "lengths"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_batches_hold_each_row_once(table: Table, size: int, lengths: list[int]) -> None:
    table.upsert(batch(names(7)))
    batches = list(table.batches(["id"], None, size))
    assert [part.num_rows for part in batches] == lengths
    assert sorted(i for part in batches for i in part["id"].to_pylist()) == names(7)


def test_batches_of_nothing_are_none(table: Table) -> None:
    assert list(table.batches(["id"], None, 10)) == []


def changes(other: Table) -> Iterator[None]:
    """What other processes may do between two batches."""
    other.upsert(batch([f"new{i}" for i in range(20)]))
    yield
    other.delete_ids(["00089", "00091", "00092"])
    yield
    other.upsert(batch(names(100)[::3], n=[5] * 34))
    yield
    while True:
        other.optimize()
        yield


def test_batches_hold_each_row_once_while_others_write_delete_and_compact(uri: str, table: Table) -> None:
    table.upsert(batch(names(50)))
    table.upsert(batch(names(100)[50:]))
    change = changes(handle(uri))
    seen: list[str] = []
    for part in table.batches(["id", "vector"], None, 9):
        seen += part["id"].to_pylist()
        next(change)
    assert sorted(seen) == sorted(set(names(100)) - {"00089", "00091", "00092"})


# --- storage that fails


def damage(uri: str, how: str) -> None:
    root = Path(uri) / "t.lance"
    folder = root / ("data" if "data" in how else "_versions")
    for path in list(folder.iterdir()):
        if "removed" in how:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("how", ["manifests truncated", "data truncated", "data removed"])
def test_a_damaged_table_is_an_error_that_says_so_and_no_hang(
    uri: str, table: Table, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipkit.lance.table, "PATIENCE_S", 0.3)
    table.upsert(batch(["a", "b"]))
    damage(uri, how)
    match = r"db/t: .*Files of it are missing or damaged"
    with pytest.raises(StorageError, match=match):
        table.read(["id"])
    with pytest.raises(StorageError, match=match):
        nearest(table, unit(1)[0], 1)
    with pytest.raises(StorageError, match=match):
        table.upsert(batch(["a"]))
    with pytest.raises(StorageError, match=match):
        handle(uri).read(["id"])


@pytest.mark.parametrize("what", ["t.lance", "t.lance/_versions"])
def test_a_table_that_is_gone_is_not_waited_for(uri: str, table: Table, what: str) -> None:
    table.upsert(batch(["a"]))
    shutil.rmtree(Path(uri) / what)
    began = time.monotonic()
    for action in (
        table.count,
        table.optimize,
        lambda: table.schema,
        lambda: table.read(["id"]),
        lambda: table.upsert(batch(["a"])),
        lambda: table.delete("true"),
        lambda: table.checked("n = 1"),
        lambda: nearest(table, unit(1)[0], 1),
    ):
        with pytest.raises(CollectionNotFound, match="db/t is no longer there: it was deleted, or its disk"):
            action()
    assert time.monotonic() - began < clipkit.lance.table.PATIENCE_S


ON_A_SMALL_DISK = """
import subprocess
import sys
from clipkit import Collection
from clipkit.errors import StorageError
from clipkit.testing import FakeEncoder

disk = sys.argv[1]

def mount(*options):
    if subprocess.run(["mount", *options, disk]).returncode:
        sys.exit(77)

def attempt(action):
    try:
        action()
    except StorageError as error:
        print(error)

mount("-t", "tmpfs", "-o", "size=600k", "none")
collection = Collection.create(db=disk, encoder=FakeEncoder())
stored = 0

def fill():
    global stored
    for i in range(1000):
        words = [f"{i} {j}" for j in range(200)]
        collection.add_texts(words, ids=words)
        stored += len(words)

attempt(fill)
attempt(lambda: collection.to_parquet(f"{disk}/all.parquet"))
again = Collection.open(db=disk, encoder=FakeEncoder())
for handle in (collection, again):
    ids = [i for batch in handle.batches(columns=["id"]) for i in batch["id"].to_pylist()]
    assert len(ids) == len(set(ids)) == stored == handle.count() > 0
    assert handle.search("0 7", k=1)[0].id == "0 7"

mount("-o", "remount,size=8m")
assert collection.add_texts(["red"], ids=["red"]).added == 1
collection.optimize()
assert again.count() == stored + 1 == again.to_parquet(f"{disk}/all.parquet")

mount("-o", "remount,ro")
attempt(lambda: collection.add_texts(["blue"]))
attempt(lambda: collection.delete(["red"]))
attempt(lambda: collection.add_columns({"x": int}))
attempt(lambda: Collection.create("other", db=disk, encoder=FakeEncoder()))
attempt(lambda: collection.to_parquet(f"{disk}/other.parquet"))
assert collection.search("red", k=1)[0].id == "red"
assert Collection.open(db=disk, encoder=FakeEncoder()).count() == stored + 1
"""


def test_a_disk_that_fills_up_or_forbids_writing_keeps_what_it_has(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "-rm", sys.executable, "-c", ON_A_SMALL_DISK, str(disk)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare, with which to mount a small disk")
    if run.returncode == 77 or "unshare failed" in run.stderr:
        pytest.skip(f"no small disk can be mounted here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    full, parquet, *refused, written = run.stdout.splitlines()
    assert full.startswith(f"the disk that holds {disk}/default is full. What was stored so far is safe")
    assert parquet == f"{disk}/all.parquet cannot be written: {os.strerror(errno.ENOSPC)}"
    assert len(refused) == 4
    assert all(line.startswith(f"no permission to use {disk}") for line in refused)
    assert written == f"{disk}/other.parquet cannot be written: {os.strerror(errno.EROFS)}"

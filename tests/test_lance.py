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

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import clipkit.lance.table
import clipkit.lance.vectors
from clipkit.errors import CollectionNotFound, FilterError, StorageError
from clipkit.filters import all_of, any_of, id_in, is_in, quoted, starts_with
from clipkit.lance import ROUNDING, Database, Table, VectorColumn

DIM = 16
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False, {"lance-schema:unenforced-primary-key": "true"}),
        pa.field("n", pa.int64()),
        pa.field("Tag", pa.string()),
        pa.field("at", pa.timestamp("us")),
        pa.field("day", pa.date32()),
        pa.field("conflict", pa.bool_()),
        pa.field("vector", pa.list_(pa.float32(), DIM), nullable=False),
    ]
)
Rows = NDArray[np.float32]  # unit rows, (n, DIM)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "db")


@pytest.fixture
def table(uri: str) -> Table:
    made = Database(uri).create("t", SCHEMA)
    assert made is not None
    VectorColumn(made)
    return made


def handle(uri: str) -> Table:
    """The table as another process has it."""
    opened = Database(uri).open("t")
    assert opened is not None
    VectorColumn(opened)
    return opened


def unit(n: int, seed: int = 0, *, clusters: int = 0) -> Rows:
    noise = np.random.default_rng(seed)
    rows = noise.normal(size=(n, DIM))
    if clusters:
        rows = 0.3 * rows + noise.normal(size=(clusters, DIM))[noise.integers(0, clusters, n)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def batch(ids: list[str], vectors: Rows | None = None, **columns: list[Any]) -> pa.Table:
    """Rows to upsert: the ids, the vectors, and those columns that are given."""
    vectors = unit(len(ids)) if vectors is None else vectors
    fields = [field for field in SCHEMA if field.name in ("id", "vector", *columns)]
    given = {
        **{name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()},
        "id": pa.array(ids, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
    }
    return pa.Table.from_arrays([given[field.name] for field in fields], schema=pa.schema(fields))


def names(n: int) -> list[str]:
    return [f"{i:05}" for i in range(n)]


def files(uri: str, kind: str = "data") -> int:
    """How many files of one kind the table has on disk."""
    folder = Path(uri) / "t.lance" / kind
    return len(list(folder.iterdir())) if folder.exists() else 0


# --- databases and writes


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

    @settings(max_examples=100, deadline=None)
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


# --- nearest


def nearest(table: Table, vector: Rows, k: int, where: str | None = None) -> list[tuple[str, float]]:
    found = VectorColumn(table).nearest(vector, k, where=where, columns=["id", "n"])
    assert found.schema.names == ["id", "n", "score"]
    assert found.schema.field("score").type == pa.float32()
    return list(zip(found["id"].to_pylist(), found["score"].to_pylist(), strict=True))


@pytest.mark.parametrize("k", [1, 7, 499, 500, 501, 1200, 2**40])
def test_scores_are_the_cosines_that_numpy_finds(table: Table, k: int) -> None:
    vectors, query = unit(500), unit(1, seed=1)[0]
    table.upsert(batch(names(500), vectors))
    exact = vectors.astype(np.float64) @ query
    found = nearest(table, query, k)
    best = np.argsort(-exact)[:k]
    assert [identity for identity, _ in found] == [f"{i:05}" for i in best]
    np.testing.assert_allclose([score for _, score in found], exact[best], atol=ROUNDING / 2)


def test_a_row_scores_one_to_itself_and_minus_one_to_its_opposite(table: Table) -> None:
    vectors = unit(50)
    table.upsert(batch(names(50), vectors))
    for i in (0, 17, 49):
        (identity, score), *_ = nearest(table, vectors[i], 50)
        assert identity == f"{i:05}"
        assert 1.0 - ROUNDING < score <= 1.0
        identity, score = nearest(table, -vectors[i], 50)[-1]
        assert identity == f"{i:05}"
        assert -1.0 <= score < -1.0 + ROUNDING


@pytest.mark.parametrize("k", [1, 3, 8, 9, 40, 100, 300])
def test_ties_go_by_id_wherever_k_cuts_them(table: Table, k: int) -> None:
    same, other = unit(2)
    shuffled = np.random.default_rng(2).permutation(200)
    table.upsert(batch([f"{i:05}" for i in shuffled[:150]], np.tile(same, (150, 1))))
    table.upsert(batch([f"{i:05}" for i in shuffled[150:]], np.tile(same, (50, 1))))
    table.upsert(batch(["first", "~last"], np.stack([other, other])))
    expected = [*names(200), "first", "~last"][:k]
    assert [identity for identity, _ in nearest(table, same, k)] == expected
    odd = [name for name in names(200) if name[-1] in "13579"]
    found = nearest(table, same, k, where=f"{id_in(odd)}")
    assert [identity for identity, _ in found] == odd[:k]


def test_filters_choose_before_the_best_are_taken(table: Table) -> None:
    vectors, query = unit(300), unit(1, seed=1)[0]
    table.upsert(batch(names(300), vectors, n=list(range(300))))
    allowed = [i for i in range(300) if i % 100 == 7]
    by_score = sorted(allowed, key=lambda i: -float(vectors[i] @ query))
    assert [identity for identity, _ in nearest(table, query, 10, "n % 100 = 7")] == [
        f"{i:05}" for i in by_score
    ]
    assert nearest(table, query, 10, "false") == []


def test_an_empty_table_has_no_nearest(table: Table) -> None:
    assert nearest(table, unit(1)[0], 10) == []


# --- the vector index


@pytest.fixture
def indexed(table: Table, monkeypatch: pytest.MonkeyPatch) -> tuple[Table, Rows]:
    """5,000 clustered rows with an index; n is the id's number."""
    vectors = unit(5_000, clusters=60)
    table.upsert(batch(names(5_000), vectors, n=list(range(5_000))))
    assert table.handle.list_indices() == []
    monkeypatch.setattr(clipkit.lance.vectors, "INDEX_FROM_ROWS", 5_000)
    table.optimize()
    assert [index.columns for index in table.handle.list_indices()] == [["vector"]]
    return table, vectors


def queries(vectors: Rows, n: int) -> Rows:
    """Rows of the table, each a bit off its place."""
    near = vectors[:: len(vectors) // n][:n] + 0.3 * unit(n, seed=9)
    moved: Rows = near / np.linalg.norm(near, axis=1, keepdims=True)
    return moved


def recall(table: Table, vectors: Rows, allowed: NDArray[np.bool_], where: str | None) -> float:
    """Of the ten best for each of 20 queries, the share that is found; scores are checked on the way."""
    hit = 0
    for query in queries(vectors, 20):
        exact = np.where(allowed, vectors.astype(np.float64) @ query, -2)
        best = {f"{i:05}" for i in np.argsort(-exact)[:10]}
        found = nearest(table, query, 10, where)
        assert len(found) == 10
        for identity, score in found:
            assert score == pytest.approx(exact[int(identity)], abs=1e-5)
        hit += len(best & {identity for identity, _ in found})
    return hit / 200


def test_an_index_finds_the_best_and_scores_stay_cosines(indexed: tuple[Table, Rows]) -> None:
    table, vectors = indexed
    everything = np.ones(len(vectors), np.bool_)
    assert recall(table, vectors, everything, None) >= 0.95
    one_percent = np.arange(len(vectors)) % 100 == 7
    assert recall(table, vectors, one_percent, "n % 100 = 7") >= 0.95
    assert len(nearest(table, vectors[0], 100, "n % 100 = 7")) == 50


def test_beside_an_index_new_rows_are_seen_and_deleted_ones_are_not(indexed: tuple[Table, Rows]) -> None:
    table, vectors = indexed
    opposite = -vectors[:2]

    def best(query: Rows) -> str:
        ((identity, score),) = nearest(table, query, 1)
        assert (score > 1 - 1e-5) == (identity in ("new", "00001"))
        return identity

    table.upsert(batch(["new"], opposite[:1]))
    assert best(opposite[0]) == "new"
    table.upsert(batch(["00001"], opposite[1:]))
    assert best(opposite[1]) == "00001"
    assert nearest(table, vectors[1], 1)[0][0] != "00001"
    table.delete_ids(["new"])
    assert best(opposite[0]) not in ("new", "00001")
    table.optimize()
    (index,) = table.handle.list_indices()
    assert table.handle.index_stats(index.name).num_unindexed_rows == 0
    assert best(opposite[1]) == "00001"


def test_more_hits_than_an_index_serves_are_exact(indexed: tuple[Table, Rows]) -> None:
    table, vectors = indexed
    query = queries(vectors, 1)[0]
    found = nearest(table, query, 5_000)
    exact = vectors.astype(np.float64) @ query
    assert len(found) == 5_000
    np.testing.assert_allclose([exact[int(i)] for i, _ in found], np.sort(exact)[::-1], atol=ROUNDING)


def test_a_write_builds_the_index_that_has_come_to_pay(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipkit.lance.vectors, "INDEX_FROM_ROWS", 1_000)
    table.upsert(batch(names(999), unit(999)))
    assert table.handle.list_indices() == []
    handle(table.location.removesuffix("/t")).upsert(batch(["new"]))
    assert [index.index_type for index in table.handle.list_indices()] == ["IvfSq"]


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

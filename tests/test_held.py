"""Rows held in memory are found as Lance's own scan finds them, whatever other processes do meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import clipkit.lance.held
from clipkit.errors import FilterError
from clipkit.filters import id_in
from clipkit.lance import Database, Table, VectorColumn
from clipkit.lance.held import HeldRows
from clipkit.lance.plans import Built, Plan
from tests.rows import DIM, Rows, batch, create, handle, names, unit

COLUMNS = ["id", "n"]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "db")


@pytest.fixture
def table(uri: str) -> Table:
    return create(uri)


def scanned(table: Table, vector: Rows, k: int, where: str | None = None) -> pa.Table:
    """By a column that was never searched before, and so holds nothing."""
    return VectorColumn(table).nearest(vector, k, where=where, columns=COLUMNS)


def from_memory(held: HeldRows, vector: Rows, k: int, where: str | None = None) -> pa.Table | None:
    return held.nearest(vector, k, where=where, columns=COLUMNS)


@pytest.fixture
def held(table: Table) -> HeldRows:
    """500 rows in three files, less some that were deleted and some that were replaced."""
    for i in range(0, 500, 200):
        ids = names(500)[i : i + 200]
        table.upsert(batch(ids, unit(500)[i : i + 200], n=list(range(i, i + len(ids)))))
    table.delete("n % 10 = 3")
    table.upsert(batch(names(50), unit(50, seed=7), n=list(range(50))))
    found = HeldRows(table, "vector")
    assert from_memory(found, unit(1)[0], 1) is None, "the first search of a version may be the only one"
    return found


@pytest.mark.parametrize("k", [1, 7, 454, 455, 456, 2**31 - 9])
@pytest.mark.parametrize("where", [None, "n < 300 AND n % 7 = 1", "n IS NOT NULL", "false"])
def test_what_is_held_is_found_as_by_a_scan(table: Table, held: HeldRows, k: int, where: str | None) -> None:
    for query in unit(3, seed=1):
        expected = scanned(table, query, k, where)
        assert from_memory(held, query, k, where) == expected
        assert (expected.num_rows == 0) == (where == "false")


@pytest.mark.parametrize("k", [1, 9, 40, 150, 200])
def test_ties_go_by_id(table: Table, k: int) -> None:
    same, other = unit(2)
    shuffled = np.random.default_rng(2).permutation(200)
    table.upsert(batch([f"{i:05}" for i in shuffled], np.tile(same, (200, 1))))
    table.upsert(batch(["first", "~last"], np.stack([other, other])))
    held = HeldRows(table, "vector")
    odd = [name for name in names(200) if name[-1] in "13579"]
    found = [from_memory(held, same, k, where) for where in (None, None, id_in(odd))]
    assert found[0] is None
    assert [rows and rows["id"].to_pylist() for rows in found[1:]] == [names(200)[:k], odd[:k]]


def test_a_row_without_a_vector_is_not_found(uri: str) -> None:
    schema = pa.schema([pa.field("id", pa.string()), pa.field("vector", pa.list_(pa.float32(), DIM))])
    table = Database(uri).create("nulls", schema)
    assert table is not None
    given = [row.tolist() if i % 3 else None for i, row in enumerate(unit(30))]
    table.upsert(pa.table({"id": names(30), "vector": given}, schema=schema))
    held = HeldRows(table, "vector")
    _, found = (held.nearest(unit(1)[0], 30, where=None, columns=["id"]) for _ in range(2))
    assert found is not None
    assert sorted(found["id"].to_pylist()) == [name for i, name in enumerate(names(30)) if i % 3]


def test_what_another_process_changed_is_seen(uri: str, table: Table, held: HeldRows) -> None:
    query = unit(1, seed=1)[0]
    assert from_memory(held, query, 5) is not None
    other = handle(uri)
    other.upsert(batch(["new"], query[None], n=[-1]))
    assert from_memory(held, query, 5) is None
    found = from_memory(held, query, 5)
    assert found is not None
    assert found["id"][0].as_py() == "new"
    other.delete("n < 400")
    other.optimize()
    assert from_memory(held, query, 5) is None
    assert from_memory(held, query, 5) == scanned(table, query, 5)


class Interrupted:
    """LanceDB's handle of a table, with something that happens before the first time that it is searched."""

    def __init__(self, handle: Any, happens: Any) -> None:
        self._handle = handle
        self._happens = [happens]

    def __getattr__(self, name: str) -> Any:
        if name == "search" and self._happens:
            self._happens.pop()()
        return getattr(self._handle, name)


@pytest.mark.parametrize("merged", [False, True], ids=["deleted", "merged"])
def test_rows_that_change_under_a_search_are_looked_for_again(uri: str, table: Table, merged: bool) -> None:
    """Merged into one file, other rows may have the numbers of those that pass the filter."""
    some = "id > '00010'"
    for i in range(3):
        table.upsert(batch(names(90)[30 * i : 30 * i + 30], unit(90)[30 * i : 30 * i + 30]))
    query = unit(90)[40]
    column = VectorColumn(table)
    before = [column.nearest(query, 5, where=some, columns=COLUMNS)["id"][0].as_py() for _ in range(2)]
    assert before == ["00040", "00040"]
    other = handle(uri)

    def happens() -> None:
        other.delete("id = '00040' OR id < '00020'")
        if merged:
            other.optimize()

    plain = table.handle
    table.handle = Interrupted(plain, happens)
    found = column.nearest(query, 5, where=some, columns=COLUMNS)
    table.handle = plain
    assert found == scanned(table, query, 5, some)
    assert "00040" not in found["id"].to_pylist()


def test_only_small_tables_are_held(table: Table, held: HeldRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the vectors are too much, nor where they would do but for the other columns."""
    vectors = table.count() * DIM * 4
    others = table.read([name for name in table.schema.names if name != "vector"]).nbytes
    query = unit(1)[0]
    for bound in (vectors - 1, vectors + others // 2):
        monkeypatch.setattr(clipkit.lance.held, "HELD_BYTES", bound)
        found = HeldRows(table, "vector")
        assert [from_memory(found, query, 1) for _ in range(3)] == [None] * 3
    monkeypatch.setattr(clipkit.lance.held, "HELD_BYTES", vectors + 2 * others)
    assert from_memory(held, query, 1) is not None


def test_what_is_too_much_is_not_read_at_each_search(
    table: Table, held: HeldRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipkit.lance.held, "HELD_BYTES", table.count() * DIM * 4)
    assert from_memory(held, unit(1)[0], 1) is None

    def happens() -> None:
        raise AssertionError("it was read again")

    table.handle = Interrupted(table.handle, happens)
    assert from_memory(held, unit(1)[0], 1) is None


def test_a_table_with_an_index_is_not_held(table: Table, held: HeldRows) -> None:
    """`held` shows that otherwise it would be."""
    assert from_memory(held, unit(1)[0], 1) is not None
    column = VectorColumn(table)
    column.index.note(Built(Plan.by_size(100_000), table.count()))
    for _ in range(3):
        assert column.nearest(unit(1)[0], 1, where=None, columns=COLUMNS).num_rows == 1
    assert column._held._rows is None


def test_a_search_for_more_than_is_held_is_left_to_the_scan(held: HeldRows) -> None:
    assert held.nearest(unit(1)[0], 3, where=None, columns=["id"]) is not None
    assert held.nearest(unit(1)[0], 3, where=None, columns=["id", "nowhere"]) is None


def test_a_filter_that_cannot_be_evaluated_is_refused(held: HeldRows) -> None:
    with pytest.raises(FilterError, match="nowhere"):
        from_memory(held, unit(1)[0], 1, "nowhere = 1")


@pytest.mark.timeout(120)
def test_a_row_and_its_score_belong_together_while_others_write(uri: str, table: Table) -> None:
    """`n` says by which seed a row's vector was made."""
    query = unit(1, seed=99)[0]
    made = {seed: unit(40, seed=seed).astype(np.float64) @ query for seed in range(13)}
    table.upsert(batch(names(40), unit(40, seed=0), n=[0] * 40))
    column, done = VectorColumn(table), threading.Event()

    def search() -> int:
        searches = 0
        while not done.is_set() or not searches:
            rows = column.nearest(query, 10, where="n IS NOT NULL", columns=COLUMNS).to_pylist()
            assert len({row["id"] for row in rows}) == len(rows) == 10
            for row in rows:
                assert row["score"] == pytest.approx(made[row["n"]][int(row["id"])], abs=1e-6)
            searches += 1
        return searches

    def write() -> None:
        other = handle(uri)
        for seed in range(1, 13):
            some = np.random.default_rng(seed).permutation(40)[:25]
            other.upsert(batch([f"{i:05}" for i in some], unit(40, seed=seed)[some], n=[seed] * 25))
            if seed % 4 == 0:
                other.optimize()

    with ThreadPoolExecutor(4) as pool:
        searching = [pool.submit(search) for _ in range(3)]
        try:
            pool.submit(write).result()
        finally:
            done.set()
        assert all(job.result() for job in searching)

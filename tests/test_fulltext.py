from __future__ import annotations

import subprocess
import sys
import threading
import unicodedata
from collections.abc import Sequence
from math import log1p
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import clipkit.lance.fulltext
from clipkit.errors import FilterError
from clipkit.lance import Database, FullText, Table, Words

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False, {"lance-schema:unenforced-primary-key": "true"}),
        pa.field("text", pa.string()),
        pa.field("uri", pa.string()),
        pa.field("Note", pa.large_string()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("n", pa.int64()),
    ]
)
ROWS: list[dict[str, Any]] = [
    {"id": "dog", "text": "A dog on the beach", "uri": "/photos/alps-2023/IMG_beach.jpg", "n": 1},
    {
        "id": "café",
        "text": "Zwei Hunde am Café, Müllerstraße",
        "uri": "/photos/Mont.Blanc/DSC01234.JPG",
        "n": 2,
    },
    {"id": "cat", "text": "猫がいる。日本語", "uri": "/photos/Mont.Blanc/DSC01234 copy.JPG", "n": 3},
    {"id": "shoe", "text": "跑步鞋 学習", "uri": "/x/" + unicodedata.normalize("NFD", "Ålesund") + ".png"},
    {"id": "noted", "text": "red boat\nold sea", "Note": "Zephyr, it's", "tags": ["two words", "ÉTÉ"]},
    {"id": "hindi", "text": "हिन्दी ภาษาไทย привет"},
    {"id": "hash", "uri": f"/x/{'ab12' * 16}.webp"},
    {"id": "empty"},
]


def add(table: Table, rows: Sequence[dict[str, Any]]) -> None:
    table.upsert(pa.Table.from_pylist(list(rows), schema=SCHEMA))


def made(folder: Path, rows: Sequence[dict[str, Any]] = ROWS) -> tuple[Table, FullText]:
    table = Database(str(folder)).create("t", SCHEMA)
    assert table is not None
    words = FullText(table, without=("id",))
    add(table, rows)
    return table, words


def reopened(folder: Path) -> tuple[Table, FullText]:
    """The table as another process has it."""
    table = Database(str(folder)).open("t")
    assert table is not None
    return table, FullText(table, without=("id",))


def found(words: FullText, *sought: str | Words, where: str | None = None) -> set[str]:
    texts = [text if isinstance(text, Words) else Words(text) for text in sought]
    return set(words.scores(texts, near=[], limit=100, where=where))


@pytest.fixture(scope="module", params=["indexed", "not indexed yet"])
def words(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FullText:
    """ROWS, in the indexes or written after they were built."""
    folder = tmp_path_factory.mktemp("words")
    if request.param == "indexed":
        return made(folder)[1]
    table, words = made(folder, [{"id": "first", "text": "first"}])
    assert found(words, "first") == {"first"}
    add(table, ROWS)
    return words


# --- what is found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("beach", {"dog"}),
        ("BEACH", {"dog"}),
        ("img_beach.jpg", {"dog"}),
        ("IMG", {"dog"}),
        ("alps", {"dog"}),
        ("2023", {"dog"}),
        ("dsc01234", {"café", "cat"}),
        ("DSC01234.JPG", {"café", "cat"}),
        ("/photos/Mont.Blanc/DSC01234.JPG", {"café", "cat"}),
        ("cafe", {"café"}),
        (unicodedata.normalize("NFD", "CAFÉ"), {"café"}),
        ("müllerstrasse", {"café"}),
        ("ålesund", {"shoe"}),
        ("猫", {"cat"}),
        ("日本語", {"cat"}),
        ("跑步", {"shoe"}),
        ("学習", {"shoe"}),
        ("हिन्दी", {"hindi"}),
        ("ไทย", {"hindi"}),
        ("ПРИВЕТ", {"hindi"}),
        ("zephyr", {"noted"}),
        ("it's", {"noted"}),
        ("été", {"noted"}),
        ("words", {"noted"}),
        ("ab12" * 16, {"hash"}),
        ("hund", set()),
        ("sailboat", set()),
    ],
)
def test_words_of_any_language_are_found_in_every_column(
    words: FullText, text: str, expected: set[str]
) -> None:
    assert found(words, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '"boat',
        "(boat",
        "boat*",
        ":boat",
        "+boat",
        "boat\0",
        "boat~ ^",
        "{boat}",
        "boat\udce9",
        "-boat OR",
        "NOT boat",
    ],
)
def test_a_text_has_no_syntax(words: FullText, text: str) -> None:
    assert found(words, text) == {"noted"}


@pytest.mark.parametrize("text", ["", " ", "!!!", "- -", '"', "\udce9", "\0", "🙂"])
def test_a_text_without_words_finds_nothing(words: FullText, text: str) -> None:
    assert found(words, text) == set()
    assert found(words, text, "boat") == {"noted"}
    assert found(words, Words("boat"), Words(text, -1.0)) == {"noted"}
    assert found(words, Words(text, phrase=True), "boat") == {"noted"}


def test_no_text_is_too_long(words: FullText) -> None:
    assert found(words, "x" * 100_000) == set()
    assert found(words, "x" * 100_000, "boat") == {"noted"}
    assert found(words, Words("boat"), Words("x" * 100_000, -1.0)) == {"noted"}


def test_the_words_of_a_text_may_be_in_several_columns(words: FullText) -> None:
    scores = words.scores([Words("zephyr sea red")], near=[], limit=100, where=None)
    assert set(scores) == {"noted"}
    assert scores["noted"] > words.scores([Words("zephyr")], near=[], limit=100, where=None)["noted"] > 0


def test_a_filter_chooses_among_what_has_the_words(words: FullText) -> None:
    assert found(words, "dsc01234", where="n = 3") == {"cat"}
    assert found(words, "dsc01234", where="n = 1 OR n IS NULL") == set()
    with pytest.raises(FilterError, match="no column 'm'"):
        found(words, "dsc01234", where="m = 3")


def test_a_phrase_has_its_words_in_order(words: FullText) -> None:
    assert found(words, Words("red boat", phrase=True)) == {"noted"}
    assert found(words, Words("boat red", phrase=True)) == set()
    assert found(words, Words("IMG_beach.jpg", phrase=True)) == {"dog"}
    assert found(words, Words("the beach", phrase=True), Words("boat")) == {"dog"}
    assert found(words, Words("the beach", phrase=True), Words("red boat", phrase=True)) == set()


def test_the_words_of_a_minus_term_rule_out(words: FullText) -> None:
    assert found(words, Words("dsc01234"), Words("copy", -0.1)) == {"café"}
    assert found(words, Words("dsc01234"), Words("hunde copy", -1.0)) == {"café", "cat"}
    assert found(words, Words("boat"), Words("red boat", -1.0, phrase=True)) == set()
    assert found(words, Words("boat"), Words("boat red", -1.0, phrase=True)) == {"noted"}
    assert found(words, Words("boat", -1.0)) == set()
    assert found(words, Words("boat", 0.0)) == set()


def test_weights_weigh_words(words: FullText) -> None:
    lean = words.scores([Words("beach", 2.0), Words("boat", 1.0)], near=[], limit=100, where=None)
    assert lean["dog"] > lean["noted"]
    lean = words.scores([Words("beach", 1e-300), Words("boat", 1e300)], near=[], limit=100, where=None)
    assert lean["noted"] > lean["dog"]


# --- common words


def test_common_words_alone_find_nothing_beside_a_rare_one(tmp_path: Path) -> None:
    rows = [{"id": f"{i:03}", "text": f"a thing{i} on the shore"} for i in range(100)]
    rows += [{"id": "boat", "text": "the boat"}, {"id": "half", "text": "on a"}]
    _, words = made(tmp_path, rows)
    assert found(words, "a boat on the shore") == {"boat"}
    assert found(words, "a ship on the sea") == set()
    assert len(found(words, "on the shore")) == 100  # all are common: so all have to be there
    assert found(words, "thing3 shore") == {"003"}
    assert found(words, "boat shore thing5") == {"boat", "005"}
    assert found(words, "shore", where="id < '050'") == {f"{i:03}" for i in range(50)}
    assert found(words, "thing3 shore", where="id < '005'") == {
        f"{i:03}" for i in range(5)
    }  # rare among five


def test_rare_words_count_by_how_rare_they_are(tmp_path: Path) -> None:
    rows = [
        {"id": f"{i}", "text": ["boat", "boat boat, a boat", "boat hill", "hill"][i % 4]} for i in range(8)
    ]
    _, words = made(tmp_path, [*rows, {"id": "wind", "uri": "/wind.jpg"}])
    scores = words.scores([Words("boat hill wind")], near=[], limit=100, where=None)
    boat, hill, wind = log1p(9 / 6), log1p(9 / 4), log1p(9 / 1)
    assert scores == pytest.approx(
        {
            **dict.fromkeys("0145", boat),  # however often it is said
            **dict.fromkeys("26", boat + hill),
            **dict.fromkeys("37", hill),
            "wind": wind,
        }
    )
    half = words.scores([Words("boat", 2.0), Words("hill boat", 1.0)], near=[], limit=100, where=None)
    assert half["2"] == pytest.approx(boat + hill / 2)


def test_of_many_rows_with_common_words_those_near_are_among_the_found(tmp_path: Path) -> None:
    _, words = made(tmp_path, [{"id": f"{i:03}", "text": "a boat"} for i in range(100)] + [{"id": "x"}])
    near = ["003", "050", "099", "x"]
    for texts in ([Words("boat")], [Words("a boat")], [Words("a boat", phrase=True)]):
        scores = words.scores(texts, near=near, limit=5, where=None)
        assert set(near[:3]) <= set(scores)
        assert len(scores) <= 8
        assert set(scores.values()) == {1.0}


def test_a_long_text_is_cut(words: FullText, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipkit.lance.fulltext, "MOST_WORDS", 3)
    assert found(words, "one two three boat", "0.5*beach") == {"noted"}  # "two" is a tag of it
    assert found(words, "three four five boat") == set()


# --- the indexes


def columns(table: Table) -> set[str]:
    return {index.columns[0] for index in table.handle.list_indices() if index.index_type == "FTS"}


def unindexed(table: Table) -> int:
    return int(max(table.handle.index_stats(i.name).num_unindexed_rows for i in table.handle.list_indices()))


def test_indexes_are_built_when_words_are_first_looked_for(tmp_path: Path) -> None:
    table, words = made(tmp_path)
    assert not words.is_due()
    table.optimize()
    assert columns(table) == set()
    assert found(words, "!!!") == set()
    assert columns(table) == set()
    assert found(words, "boat") == {"noted"}
    assert columns(table) == {"text", "uri", "Note", "tags"}


def test_an_empty_table_gets_no_index(tmp_path: Path) -> None:
    table, words = made(tmp_path, [])
    assert found(words, "boat") == set()
    assert columns(table) == set()


def test_what_is_written_later_is_found_at_once_and_indexed_by_optimize(tmp_path: Path) -> None:
    table, words = made(tmp_path)
    assert found(words, "boat") == {"noted"}
    other, others = reopened(tmp_path)
    add(other, [{"id": "new", "text": "a ship"}, {"id": "noted", "text": "a ship, too"}])
    assert found(words, "ship") == {"new", "noted"}
    assert found(words, "boat") == set()
    assert unindexed(other) == 2
    other.optimize()
    assert unindexed(other) == 0
    assert found(words, "ship") == found(others, "ship") == {"new", "noted"}
    table.delete_ids(["new"])
    assert found(others, "ship") == {"noted"}


def test_columns_that_come_later_are_indexed_by_the_next_search_or_optimize(tmp_path: Path) -> None:
    table, words = made(tmp_path)
    table.add_columns([pa.field("title", pa.string()), pa.field("stars", pa.int64())])
    assert not words.is_due()
    assert found(words, "boat") == {"noted"}
    assert "title" in columns(table)
    table.add_columns([pa.field("second", pa.string())])
    assert words.is_due()
    table.optimize()
    assert not words.is_due()
    assert columns(table) == {"text", "uri", "Note", "tags", "title", "second"}
    row = pa.table(
        {"id": ["dog"], "second": ["Quixote"]},
        schema=pa.schema([SCHEMA.field("id"), ("second", pa.string())]),
    )
    table.upsert(row)
    assert found(words, "quixote") == {"dog"}


def test_threads_that_search_first_build_one_set_of_indexes(tmp_path: Path) -> None:
    table, words = made(tmp_path)
    answers: list[set[str]] = []
    threads = [threading.Thread(target=lambda: answers.append(found(words, "boat"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"noted"}] * 4
    assert columns(table) == {"text", "uri", "Note", "tags"}


SEARCHER = """
import sys
import pyarrow as pa
from clipkit.lance import Database, FullText, Words

table = Database(sys.argv[1]).open("t")
words = FullText(table, without=("id",))
print("ready", flush=True)
sys.stdin.readline()
schema = pa.schema([table.schema.field("id"), table.schema.field("text")])
table.upsert(pa.table({"id": [sys.argv[2]], "text": [f"boat {sys.argv[2]}"]}, schema=schema))
found = words.scores([Words(sys.argv[2])], near=[], limit=100, where=None)
print(list(found), len(words.scores([Words("boat")], near=[], limit=100, where=None)) > 1, flush=True)
"""


def test_processes_that_write_and_search_first_at_once_all_find_what_is_there(tmp_path: Path) -> None:
    made(tmp_path)
    names = ["alpha", "beta"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SEARCHER, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process, name in zip(running, names, strict=True):
        assert process.communicate(timeout=120)[0] == f"['{name}'] True\n"
    table, words = reopened(tmp_path)
    assert found(words, "boat") == {"noted", *names}
    assert columns(table) == {"text", "uri", "Note", "tags"}
    assert len(table.handle.list_indices()) == 4

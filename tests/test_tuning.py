from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import clipkit.lance.plans
import clipkit.lance.upkeep
import clipkit.lance.vectors
import clipkit.tuning
from clipkit import Collection, Query
from clipkit.cli import main
from clipkit.errors import InvalidInput
from clipkit.reports import Progress
from clipkit.schema import ItemRow
from clipkit.tuning import Tuning, trials

DIM = 32
ROWS = 2_000
SAMPLE = 1_200

Vectors = NDArray[np.float32]


def clustered(n: int, seed: int = 0) -> Vectors:
    """Unit rows (n, DIM), in clusters of 20."""
    noise = np.random.default_rng(seed)
    rows = noise.normal(size=(n // 20, DIM))[noise.integers(0, n // 20, n)] + 0.6 * noise.normal(
        size=(n, DIM)
    )
    scaled: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.fixture(scope="module")
def small() -> Any:
    """Collections are large from 2,000 items on, and little is tried, with few queries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clipkit.lance.upkeep, "INDEX_FROM_ROWS", ROWS)
        patch.setattr(clipkit.lance.plans, "ROWS_PER_PARTITION", 50)
        patch.setattr(clipkit.lance.vectors, "EXACT_UP_TO_ROWS", 10)
        patch.setattr(clipkit.tuning, "KINDS", (("sq", 3), ("rq1", 10)))
        patch.setattr(clipkit.tuning, "QUERIES", 40)
        patch.setattr(clipkit.tuning, "TIMED", 3)
        yield


def filled(db: Path, vectors: Vectors) -> Collection:
    """A collection of images with these vectors, by number."""
    made = Collection.create(db=db, encoder="fake")  # of 32 dimensions
    rows = [ItemRow(id=f"{i}", kind="image") for i in range(len(vectors))]
    made._store.write(rows, vectors, made_by=made.encoder)
    return made


@pytest.fixture(scope="module")
def tuned(small: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Collection, Vectors, Tuning]:
    vectors = clustered(ROWS)
    collection = filled(tmp_path_factory.mktemp("tuned"), vectors)
    return collection, vectors, collection.tune(0.9, sample=SAMPLE)


def test_each_choice_is_measured_until_it_reaches_the_recall(
    tuned: tuple[Collection, Vectors, Tuning],
) -> None:
    _, _, found = tuned
    assert (found.target, found.rows, found.pays_from, found.sampled) == (0.9, ROWS, ROWS, SAMPLE)
    assert found.queries == {"image": 40, "text": len(clipkit.tuning.PHRASES)}
    exact, *others = found.trials
    assert (exact.plan.kind, exact.recall, exact.size_bytes) == ("exact", 1.0, 0)
    assert {trial.plan.kind for trial in others} == {"sq", "rq1"}
    for trial in found.trials:
        assert trial.recall == min(trial.recalls.values())
        assert 0 < trial.p50_ms <= trial.p95_ms
    for kind in ("sq", "rq1"):
        series = [trial for trial in others if trial.plan.kind == kind]
        assert all(trial.recall < 0.9 for trial in series[:-1])
        assert [trial.plan.probes for trial in series] == sorted({trial.plan.probes for trial in series})
        assert all(trial.size_bytes > 0 for trial in series)
        assert all(trial.plan.partitions == SAMPLE // 50 for trial in series)


def test_the_fastest_choice_that_is_good_enough_is_what_the_collection_has(
    tuned: tuple[Collection, Vectors, Tuning],
) -> None:
    collection, _, found = tuned
    assert found.chosen is not None
    good = [trial for trial in found.trials if trial.recall >= 0.9]
    (best,) = [trial for trial in good if trial.plan.kind == found.chosen.plan.kind][:1]
    assert best.p50_ms <= clipkit.tuning.MUCH_ALIKE * min(trial.p50_ms for trial in good)
    assert found.chosen.recall >= 0.9
    index = collection.status().index
    if found.chosen.plan.kind == "exact":
        assert index is None
        return
    assert index is not None
    assert index.recall == found.chosen.recall
    assert (index.partitions, index.probes) == (ROWS // 50, found.chosen.plan.probes)
    assert (index.indexed, index.unindexed) == (ROWS, 0)


def test_searches_find_as_much_as_was_measured_and_score_true_cosines(
    tuned: tuple[Collection, Vectors, Tuning],
) -> None:
    collection, vectors, _ = tuned
    found = 0
    for query in clustered(ROWS, seed=0)[:400:20] + 0.02:
        true = vectors.astype(np.float64) @ (query / np.linalg.norm(query))
        hits = collection.search(Query.vector(query), k=10)
        np.testing.assert_allclose(
            [hit.score for hit in hits], [true[int(hit.id)] for hit in hits], atol=1e-6
        )
        found += len({hit.id for hit in hits} & {f"{i}" for i in np.argsort(-true)[:10]})
        edge = hits[4].score
        above = collection.search(Query.vector(query), k=10, min_score=edge)
        assert [hit.id for hit in above] == [hit.id for hit in hits if hit.score >= edge - 1e-6]
    assert found / 200 >= 0.8


def test_rows_of_equal_score_are_as_right_as_each_other(small: Any) -> None:
    """Ten photos in thirty copies each: whichever ten of them are found."""
    copies = np.repeat(clustered(40), 30, axis=0)
    exact, *others = trials(copies, {"image": clustered(40)}, recall=1.0)
    assert exact.recall == 1.0
    assert max(trial.recall for trial in others) == 1.0


def test_texts_are_the_stored_ones_or_those_that_are_given(small: Any, tmp_path: Path) -> None:
    vectors = clustered(ROWS)
    collection = filled(tmp_path, vectors)
    rows = [ItemRow(id=f"{i}", kind="text", text="x") for i in range(500)]
    collection._store.write(rows, vectors[:500], made_by=collection.encoder)
    assert collection.tune(0.5, sample=ROWS).queries == {"image": 40, "text": 40}
    given = collection.tune(0.5, sample=SAMPLE, texts=["red", "blue"])
    assert given.queries == {"image": 40, "text": 2}
    assert given.sampled == SAMPLE


def test_a_small_collection_is_left_as_it_is(tmp_path: Path) -> None:
    collection = filled(tmp_path, clustered(100))
    version = collection._store.items.handle.version
    found = collection.tune()
    assert (found.rows, found.trials, found.chosen) == (100, (), None)
    assert found.pays_from > 100
    assert collection._store.items.handle.version == version
    assert collection.status().index is None


def test_an_interruption_leaves_nothing_behind_and_nothing_changed(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(tmp_path / "db", clustered(ROWS))
    before = collection.status()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    seen: list[Path] = []

    def interrupt(now: Progress) -> None:
        seen.extend(scratch.iterdir())
        assert collection.search(Query.vector(clustered(20)[0]), k=5)  # goes on meanwhile
        if now.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        collection.tune(0.9, sample=SAMPLE, progress=interrupt)
    assert seen
    assert list(scratch.iterdir()) == []
    assert collection.status() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recall": 0}, "a recall is a number above 0 and up to 1, not 0"),
        ({"recall": 95}, "a recall is a number above 0 and up to 1, not 95"),
        ({"recall": True}, "a recall is a number above 0 and up to 1, not True"),
        ({"recall": "high"}, "a recall is a number above 0 and up to 1, not 'high'"),
        ({"sample": 0}, "sample is a whole number of at least 1, not 0"),
        ({"sample": 10}, "a sample of 10 rows says too little: take at least 1000"),
        ({"texts": "a dog"}, r"a list is wanted, not one string: \['a dog'\]"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    collection: Collection, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        collection.tune(**arguments)


# --- the command


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return (code, *capsys.readouterr())


def test_the_command_shows_each_choice_and_what_was_chosen(
    small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = tmp_path / "db"
    filled(db, clustered(ROWS))
    searches = tmp_path / "searches.txt"
    searches.write_text("red\n\n blue \n", encoding="utf-8")
    tune = ("tune", "--db", db, "--recall", 0.5, "--sample", SAMPLE, "--queries", searches)
    code, out, err = run(capsys, *tune)
    assert code == 0
    *choices, last = out.splitlines()
    assert list(dict.fromkeys(line.split("\t")[0] for line in choices)) == ["exact", "IVF_SQ", "IVF_RQ 1 bit"]
    assert all(len(line.split("\t")) == 11 for line in choices)
    assert "recall@10 " in last
    assert f"tried on {SAMPLE} of {ROWS} items, with 40 pictures and 2 texts as queries" in err
    code, out, err = run(capsys, *tune, "--json")
    document = json.loads(out)
    assert (code, document["queries"]) == (0, {"image": 40, "text": 2})
    kinds = [trial["plan"]["kind"] for trial in document["trials"]]
    assert list(dict.fromkeys(kinds)) == ["exact", "sq", "rq1"]
    assert document["chosen"]["plan"]["kind"] in kinds
    assert document["chosen"]["recall"] >= 0.5


def test_status_reports_the_index(small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collection = filled(tmp_path, clustered(ROWS - 1))
    _, out, _ = run(capsys, "status", "--db", tmp_path)
    assert re.search(r"^search +exact$", out, re.MULTILINE)
    collection.add_texts(["red"])
    collection.optimize()
    collection.add_texts(["blue"])
    _, out, _ = run(capsys, "status", "--db", tmp_path)
    expected = (
        rf"^search +by IVF_SQ of {ROWS} items and 1 not yet in it, .*B; \d+ of 40 partitions read, \d+ cand"
    )
    assert re.search(expected, out, re.MULTILINE)
    assert "tuned" not in out
    collection.tune(0.5, sample=SAMPLE, texts=["red"])
    index = json.loads(run(capsys, "status", "--db", tmp_path, "--json")[1])["index"]
    tuned = collection.status().index
    assert index == (None if tuned is None else asdict(tuned))
    if tuned is not None:
        assert f"recall@10 {tuned.recall:.3f} when tuned" in run(capsys, "status", "--db", tmp_path)[1]


def test_the_command_says_that_a_small_collection_needs_no_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collection = filled(tmp_path, clustered(100))
    code, out, _ = run(capsys, "tune", "--db", tmp_path)
    assert code == 0
    assert re.fullmatch(
        r"100 items: every search is exact. An index pays from \d+ on; nothing was changed\n", out
    )
    assert collection.status().index is None


def test_a_file_of_searches_that_cannot_be_used_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path / "db", clustered(100))
    file = tmp_path / "searches.txt"
    for content, message in ((b"\n \n", "has no line with a search in it"), (b"\xff\xfe", "is not UTF-8")):
        file.write_bytes(content)
        code, _, err = run(capsys, "tune", "--db", tmp_path / "db", "--queries", file)
        assert (code, message in err) == (2, True)
    code, _, err = run(capsys, "tune", "--db", tmp_path / "db", "--queries", tmp_path / "none.txt")
    assert code == 1
    assert "No such file" in err


def test_the_command_line_keeps_lance_quiet_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANCEDB_LOG", "info")
    run(capsys, "--version")
    assert os.environ["LANCEDB_LOG"] == "info"
    monkeypatch.delenv("LANCEDB_LOG")
    run(capsys, "--version")
    assert os.environ["LANCEDB_LOG"] == "error"

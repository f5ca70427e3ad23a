from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clipkit import Collection
from clipkit.cli import main
from clipkit.lance import snapshots
from tests.pictures import draw_folder


@dataclass(frozen=True)
class Run:
    """Runs a command line in this process: (exit code, stdout, stderr)."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self.capture.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *self.capture.readouterr()

    def json(self, *arguments: object) -> Any:
        _, out, _ = self(*arguments, "--json")
        return json.loads(out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


@pytest.fixture
def filled(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Collection:
    monkeypatch.setattr(snapshots, "SETTLE_S", 0.0)  # nobody else cleans up
    collection = Collection.create(encoder="fake")
    draw_folder(tmp_path / "photos", 12)
    collection.index(tmp_path / "photos")
    collection.add_texts(["red"], ids=["t"])
    return collection


def test_a_model_is_tried_changed_undone_and_the_old_one_dropped(filled: Collection, run: Run) -> None:
    code, out, err = run("reindex", "--model", "fake:48", "--no-switch")
    assert (code, out.splitlines()[0].startswith("embedded 13 with fake:48 in ")) == (0, True)
    assert "of the 10 best hits the two models share" in out
    assert "for 12 stored pictures" in out
    assert "for 1 stored text" in out
    assert "searches use fake\n" in out
    assert "to switch:  clipkit reindex --model fake:48" in err

    code, out, err = run("reindex", "--model", "fake:48", "--yes")
    assert (code, "searches use fake:48" in out) == (0, True)
    assert "to undo it:  clipkit reindex --back" in err
    assert filled.encoder_name == "fake:48"

    found = run.json("reindex", "--back")
    assert (found["model"], found["embedded"], found["switched"]) == ("fake", 0, True)
    assert filled.encoder_name == "fake"

    code, _, err = run("reindex", "--drop-old")
    assert (code, "say --yes if you are sure" in err) == (2, True)
    assert run.json("reindex", "--drop-old", "--yes") == {"collection": "default", "dropped": ["fake:48"]}
    assert run("reindex", "--drop-old", "--yes")[1] == "there are no old vectors\n"
    code, _, err = run("reindex", "--back")
    assert (code, "no vectors but those of fake to go back to" in err) == (2, True)


def test_without_a_terminal_a_switch_needs_a_yes_and_the_work_is_kept(filled: Collection, run: Run) -> None:
    code, _, err = run("reindex", "--model", "fake:48")
    assert (code, "no terminal to ask on: say --yes" in err) == (2, True)
    assert "of the 10 best hits the two models share" in err
    assert filled.encoder_name == "fake"
    found = run.json("reindex", "--model", "fake:48", "--yes")
    assert (found["embedded"], found["switched"]) == (0, True)
    assert found["comparison"]["queries"] == 12


def test_without_a_model_what_lacks_a_vector_gets_one(filled: Collection, run: Run) -> None:
    found = run.json("reindex")
    assert (found["model"], found["embedded"], found["comparison"]) == ("fake", 0, None)


@pytest.mark.parametrize("more", [["--back"], ["--drop-old"], ["--back", "--no-switch"]])
def test_one_thing_at_a_time(filled: Collection, run: Run, more: list[str]) -> None:
    given = more if len(more) > 1 else ["--model", "fake:48", *more]
    code, _, err = run("reindex", *given)
    assert (code, "choose one: --model with or without --no-switch" in err) == (2, True)


def test_an_unknown_model_is_a_wrong_call(filled: Collection, run: Run) -> None:
    code, _, err = run("reindex", "--model", "fak:48")
    assert (code, "no kind of model is called 'fak'" in err) == (2, True)


def test_a_snapshot_is_taken_listed_compared_and_restored(
    filled: Collection, run: Run, tmp_path: Path
) -> None:
    assert run("snapshots")[1:] == ("", "there is none; to take one:  clipkit snapshot NAME\n")
    assert run("snapshot", "spring")[1] == "spring keeps 13 items\n"
    filled.delete(["t"])
    filled.add_texts(["blue"], ids=["u"])
    assert run("changes", "spring")[1:] == ("+ u\n- t\n", "1 added, 1 removed, 0 changed\n")
    assert run.json("changes", "spring") == {"added": ["u"], "removed": ["t"], "changed": []}
    code, _, err = run("restore", "spring")
    assert (code, "say --yes if you are sure" in err) == (2, True)
    code, out, err = run("restore", "spring", "--yes")
    assert (code, out) == (0, "restored spring: 13 items\n")
    undo = err.removeprefix("to undo it:  clipkit restore ").strip()
    assert run.json("changes", undo, "spring") == {"added": ["t"], "removed": ["u"], "changed": []}
    listed = run.json("snapshots")["snapshots"]
    assert [(each["name"], each["items"]) for each in listed] == [("spring", 13), (undo, 13)]
    assert [line.split("\t")[0] for line in run("snapshots")[1].splitlines()] == ["spring", undo]
    assert run.json("restore", undo, "--yes")["restored"] == undo
    assert run("snapshot", "spring", "--delete")[1] == "deleted the snapshot spring\n"
    code, _, err = run("restore", "spring", "--yes")
    assert (code, "there is no snapshot 'spring'" in err) == (2, True)

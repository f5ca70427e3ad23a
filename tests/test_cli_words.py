from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clipkit.cli import main
from tests.corpora import royal_sentences, vectors_file


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def model(tmp_path: Path) -> str:
    vectors = {"a": [1.0, 0.0], "b": [0.8, 0.6], "c": [0.6, 0.8], "d": [-1.0, 0.0]}
    return f"words:{vectors_file(tmp_path / 'few.txt', vectors)}"


def test_words_are_trained_and_asked(tmp_path: Path, run: Run) -> None:
    corpus, out = tmp_path / "corpus.txt", tmp_path / "royal.bin"
    corpus.write_text("\n".join(royal_sentences()), encoding="utf-8")
    trained = run(
        "words", "train", corpus, out, "--dim", 24, "--min-count", 2, "--method", "cbow", "--seed", 3
    )
    assert trained.code == 0
    assert trained.out.endswith(f"words in {out}\n")
    assert trained.err == f"to see them:  clipkit words similar WORD --model words:{out}\n"
    best = run("words", "analogy", "king", "man", "woman", "--model", f"words:{out}", "-k", 2)
    assert best.out.splitlines()[0].split("\t")[1] == "queen"
    assert len(best.out.splitlines()) == 2
    again = run("words", "train", corpus, out, "--json", "--dim", 8).json
    assert again == {"file": str(out), "words": again["words"], "dim": 8, "corpus": again["corpus"]}
    assert again["corpus"] == sum(len(sentence.split()) for sentence in royal_sentences())


def test_similar_words_are_printed_with_their_scores(model: str, run: Run) -> None:
    assert run("words", "similar", "a", "--model", model).out == "0.800\tb\n0.600\tc\n-1.000\td\n"
    found = run("words", "similar", "a", "--model", model, "-k", 1, "--json").json["words"]
    assert found == [{"word": "b", "score": pytest.approx(0.8, abs=1e-6)}]


def test_the_odd_one_out_is_printed(model: str, run: Run) -> None:
    assert run("words", "odd-one-out", "a", "b", "c", "d", "--model", model).out == "d\n"
    told = run("words", "odd-one-out", "a", "b", "d", "--model", model, "--json").json
    assert told == {"words": ["a", "b", "d"], "odd_one_out": "d"}


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("similar", "x"), 2, "few.txt has no vector for the word 'x'"),
        (("analogy", "a", "b"), 2, "Missing argument 'WORD'"),
        (("odd-one-out", "a", "b"), 2, "the odd one out is one of three words or more"),
    ],
)
def test_a_wrong_call_is_told(
    model: str, run: Run, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    done = run("words", *arguments, "--model", model)
    assert done.code == code
    assert complaint in " ".join(done.err.split())


def test_a_file_that_is_not_there_fails(tmp_path: Path, run: Run) -> None:
    done = run("words", "similar", "a", "--model", f"words:{tmp_path / 'none.txt'}", "--json")
    assert done.code == 1
    assert done.json["error"]["type"] == "ModelUnavailable"


def test_help_loads_no_gensim() -> None:
    code = (
        "import sys; from clipkit.cli import main; main(['words', '--help']); print('gensim' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "odd-one-out" in done.stdout

"""`clipkit models` with filters, and `clipkit reduce`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit import Collection
from clipkit.cli import main
from clipkit.testing import COLOURS
from tests.terminal import Terminal

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def names(run: Run, *options: object) -> set[str]:
    code, out, _ = run("models", *options, "--json")
    assert code == 0
    return {model["name"] for model in json.loads(out)["models"]}


def test_models_are_filtered_by_what_they_embed(run: Run) -> None:
    assert {"bundled", "fast", "ViT-B-32/openai"} <= names(run, "--modality", "image")
    texts = names(run, "--modality", "text")
    assert {"st:all-MiniLM-L6-v2", "api:text-embedding-v3", "GPT-3", "GloVe"} <= texts
    assert not texts & names(run, "--modality", "image")
    assert texts | names(run, "--modality", "image") == names(run)


def test_models_are_filtered_by_language_licence_size_and_place(run: Run) -> None:
    german = names(run, "--language", "German", "--modality", "text", "--local-only")
    assert german == {
        "st:paraphrase-multilingual-mpnet-base-v2",
        "st:paraphrase-multilingual-MiniLM-L12-v2",
        "st:distiluse-base-multilingual-cased-v1",
        "st:distiluse-base-multilingual-cased-v2",
    }
    assert names(run, "--licence", "pddl") == {"GloVe"}
    small = names(run, "--max-size", 61, "--local-only")
    assert small == {"bundled", "st:paraphrase-albert-small-v2", "st:paraphrase-MiniLM-L3-v2"}
    assert names(run, "--max-size", 60) - names(run, "--max-size", 60, "--local-only") == {
        *(f"api:text-embedding-{name}" for name in ("v3", "v2", "v1", "async-v2", "async-v1")),
        *(f"api:text-embedding-3-{name}" for name in ("small", "large")),
    }


def test_no_model_that_is_so_is_no_error(run: Run) -> None:
    assert run("models", "--language", "Klingon", "--licence", "pddl") == (
        0,
        "",
        "no model here is like that\n",
    )


def test_a_model_and_filters_are_one_too_many(run: Run) -> None:
    code, _, err = run("models", "fast", "--local-only")
    assert (code, "name a model, or say what to list: not both" in err) == (2, True)


def test_what_a_card_of_each_kind_tells(run: Run) -> None:
    service = run("models", "text-embedding-v3")[1]
    assert "1024 dimensions, or 512, 768 with ?dimensions=; reads 8192 tokens" in service
    assert "up to 10 texts" in service
    assert "1536 dimensions, or 1 to 1535 with ?dimensions=" in run("models", "text-embedding-3-small")[1]
    assert "nowhere that clipkit can reach" in run("models", "GPT-3")[1]
    sentences = run("models", "all-MiniLM-L6-v2")[1]
    assert "68.06%" in sentences
    assert "14200 sentences a second" in sentences
    [card] = json.loads(run("models", "text-embedding-3-small", "--json")[1])["models"]
    assert card["dimensions"] == {"from": 1, "to": 1536}
    assert (card["modalities"], card["local"]) == (["text"], False)


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    with Terminal("models", environment={"COLUMNS": "80"}) as terminal:
        assert terminal.wait() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.seen).splitlines()
    assert max(map(len, lines)) <= 80
    whole = [line.split()[0] for line in lines if line.strip()]
    assert {"fast", "st:all-MiniLM-L6-v2", "api:text-embedding-v3", "st:multi-qa-mpnet-base-dot-v1"} <= {
        *whole
    }


# --- reduce


@pytest.fixture
def filled(own_home: Path) -> Collection:
    collection = Collection.create(encoder="fake:64")
    random = np.random.default_rng(3)
    words = [*COLOURS]
    texts = [" ".join(random.choice(words, 5)) for _ in range(300)]
    collection.add_texts(texts, ids=[f"t{i}" for i in range(300)])
    return collection


def test_what_each_length_costs_is_printed_and_changes_nothing(filled: Collection, run: Run) -> None:
    code, out, err = run("reduce")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert [row[:4] for row in rows[:2]] == [["64", "whole", "float32", "256"], ["64", "whole", "int8", "64"]]
    assert {(row[0], row[1]) for row in rows} == {("64", "whole"), ("32", "axes"), ("32", "cut")}
    assert "measured on 225 items, with 75 texts as queries" in err
    assert Collection.open().dim == 64

    told: Any = json.loads(run("reduce", "--sample", "50", "--json")[1])
    assert (told["sampled"], len(told["costs"])) == (50, 9)


def test_a_collection_is_reduced_searched_and_brought_back(filled: Collection, run: Run) -> None:
    before = filled.search("red blue", k=1)[0].text or ""
    code, out, err = run("reduce", "--dimensions", 12)
    assert code == 0
    assert out.startswith("300 vectors of 64 dimensions made to 12\n")
    assert "to undo it:  clipkit reindex --back" in err
    reduced = Collection.open()
    axes = Path(reduced.db) / "default-12.axes.safetensors"
    assert (reduced.dim, reduced.encoder_name) == (12, f"reduced:{axes}")
    assert Collection.names() == ["default"], "the file beside it is no collection"
    assert run("search", "red blue", "--kind", "text", "-k", 1)[1].strip().endswith(before)
    assert run("reduce", "--dimensions", 64)[0] == 2

    assert run("reindex", "--back")[0] == 0
    assert Collection.open().dim == 64
    code, _, err = run("reduce", "--dimensions", 12)
    assert (code, "is there already, and vectors may depend on it" in err) == (2, True)
    assert run("reduce", "--dimensions", 11, "--axes", axes.with_name("mine"), "--json")[0] == 0
    assert Collection.open().encoder_name == f"reduced:{axes.with_name('mine')}"


def test_axes_without_dimensions_mean_nothing(filled: Collection, run: Run) -> None:
    code, _, err = run("reduce", "--axes", "file")
    assert (code, "--axes goes with --dimensions" in err) == (2, True)

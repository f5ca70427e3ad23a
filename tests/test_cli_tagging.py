from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from clipkit import Collection
from clipkit.cli import main
from clipkit.sidecars import read_keywords
from clipkit.testing import FakeEncoder

COLOURS = ("red", "green", "brown")


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("# colours\nred: red\ngreen\n", encoding="utf-8")
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Plain pictures, in a collection."""
    paths = [tmp_path / "pictures" / f"{colour}.png" for colour in COLOURS]
    paths[0].parent.mkdir()
    for colour, path in zip(COLOURS, paths, strict=True):
        Image.new("RGB", (24, 24), colour).save(path)
    Collection.create(encoder=FakeEncoder()).index(tmp_path / "pictures")
    return paths


def test_tags_are_shown_where_no_target_is_named(
    pictures: list[Path], words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tag", "--vocabulary", str(words)]) == 0
    lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert lines[str(pictures[2])] == ""
    assert lines[str(pictures[0])].startswith("red ")
    assert Collection.open().columns == {}
    assert main(["tag", "--vocabulary", str(words), "--json"]) == 0
    images = json.loads(capsys.readouterr().out)["images"]
    assert {image["id"]: [tag["label"] for tag in image["tags"]] for image in images} == {
        str(path): [path.stem] if path.stem != "brown" else [] for path in pictures
    }


def test_tags_go_into_a_column(pictures: list[Path], words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tag", "--vocabulary", str(words), "--to", "column"]) == 0
    shown = capsys.readouterr()
    assert sorted(shown.out.splitlines()) == ["green\t1", "red\t1"]
    assert "3 pictures written, with 2 labels" in shown.err
    assert Collection.open().count(where="array_has(tags, 'red')") == 1
    command = ["tag", "--vocabulary", str(words), "--to", "column", "--column", "colours", "--json"]
    assert main([*command, "--where", "array_has(tags, 'green')"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "collection": "default",
        "images": 1,
        "labels": {"green": 1},
        "failures": [],
    }


def test_tags_go_into_a_csv_file(
    pictures: list[Path], words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tags.csv"
    assert main(["tag", "--vocabulary", str(words), "--to", "csv", "--out", str(out), "--top", "1"]) == 0
    with open(out, newline="", encoding="utf-8") as file:
        rows = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert rows == {str(path): path.stem for path in pictures[:2]}
    assert "3 pictures written, with 2 labels" in capsys.readouterr().err


def test_a_high_threshold_leaves_nothing(
    pictures: list[Path], words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tag", "--vocabulary", str(words), "--threshold", "1000", "--json"]) == 0
    assert [image["tags"] for image in json.loads(capsys.readouterr().out)["images"]] == [[], [], []]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "csv"], "--to csv and --out FILE go together"),
        (["--out", "tags.csv"], "--to csv and --out FILE go together"),
        (["--probe", "x.probe"], "either --vocabulary or --probe says what labels there are, not both"),
        (["--top", "0"], "top, the number of tags wanted, is a whole number of at least 1, not 0"),
        (["--to", "column", "--column", "width"], "the column 'width' is built in"),
        (["--where", "colour = 1"], "colour"),
    ],
)
def test_a_wrong_call_ends_with_2(
    pictures: list[Path],
    words: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tag", "--vocabulary", str(words), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the vocabulary is empty: give at least one label"),
        ("red\nblue\nRed\n", "line 1 and line 3 are the same label"),
    ],
)
def test_a_vocabulary_that_will_not_do_ends_with_2(
    words: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words.write_text(text)
    assert main(["tag", "--vocabulary", str(words)]) == 2
    assert message in capsys.readouterr().err


def test_tags_go_into_sidecars(pictures: list[Path], words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in pictures}
    pictures[1].unlink()
    assert main(["tag", "--vocabulary", str(words), "--to", "xmp", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "collection": "default",
        "images": 1,
        "labels": {"red": 1, "green": 1},
        "failures": [
            {"id": str(pictures[1]), "reason": "is no file: there is nothing to put a sidecar beside"}
        ],
    }
    assert read_keywords(pictures[0]) == ("red",)
    assert sorted(path.name for path in pictures[0].parent.iterdir()) == [
        "brown.png",
        "red.png",
        "red.png.xmp",
    ]
    assert all(path.read_bytes() == before[path] for path in (pictures[0], pictures[2]))


# --- classifiers


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    for colour in ("red", "blue"):
        (tmp_path / "examples" / colour).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20 + number, 20), colour).save(tmp_path / f"examples/{colour}/{number}.png")
    (tmp_path / "examples" / "red" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "examples"


def test_a_classifier_is_trained_measured_and_used(
    pictures: list[Path], examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = str(tmp_path / "colours.probe")
    assert main(["train", str(examples), "--out", probe]) == 0
    shown = capsys.readouterr()
    assert "accuracy    1.000 ± 0.000" in shown.out
    assert "broken.png" in shown.err
    assert main(["tag", "--probe", probe, "--threshold", "0.9", "--json"]) == 0
    images = json.loads(capsys.readouterr().out)["images"]
    tags = {Path(image["id"]).stem: [tag["label"] for tag in image["tags"]] for image in images}
    assert tags["red"] == ["red"]
    assert main(["classify", probe, str(pictures[0]), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["predictions"]
    assert (said["input"], said["label"]) == (str(pictures[0]), "red")
    assert said["probability"] > 0.9


def test_texts_are_classified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, probe = tmp_path / "texts.csv", str(tmp_path / "texts.probe")
    data.write_text("text,label\n" + "red rose,warm\nblue sky,cold\n" * 3)
    assert main(["train", str(data), "--out", probe, "--model", "fake", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["classes"], told["model"], told["scores"]["accuracy"]) == (["cold", "warm"], "fake", 1.0)
    assert main(["classify", probe, "a red thing", "something blue", "--text"]) == 0
    lines = [line.split("\t")[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [["a red thing", "warm"], ["something blue", "cold"]]


def test_a_probe_of_another_model_ends_with_2(
    pictures: list[Path], examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = str(tmp_path / "colours.probe")
    assert main(["train", str(examples), "--out", probe, "--model", "fake:40"]) == 0
    capsys.readouterr()
    assert main(["tag", "--probe", probe]) == 2
    assert "the probe was trained on vectors of fake:40" in capsys.readouterr().err

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit import Collection
from clipkit.cli import main
from clipkit.testing import FakeEncoder


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture that is red on the whole, in a collection with a text; it lies in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "red.png"
    image = Image.new("RGB", (60, 40), "red")
    image.paste("blue", (45, 0, 60, 40))
    image.save(path)
    collection = Collection.create(encoder=FakeEncoder())
    collection.index(path)
    collection.add_texts(["a red car"], ids=["car"])
    return path


def test_parts_and_words_are_lines(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "red car - 0.5*blue", str(picture)]) == 0
    shown = capsys.readouterr()
    first, second = (line.split("\t") for line in shown.out.splitlines())
    assert first[2:4] == ["1", "red car"]
    assert first[4].startswith("red +0.")
    assert ", car -0." in first[4]
    assert second[2:] == ["-0.5", "blue", ""]
    score = float(first[0]) + float(second[0])
    assert f"score {score:.2f}"[:-1] in shown.err
    assert "heat map by colours (clipkit.testing); --save FILE draws it" in shown.err


def test_an_item_is_named_by_its_id_or_a_path(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for name in (str(picture), "red.png", "./red.png"):
        assert main(["explain", "red", name, "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    assert documents[0] == documents[1] == documents[2]
    assert main(["explain", "red", "other.png"]) == 2
    message = capsys.readouterr().err
    assert "'default' holds neither an item with the id 'other.png' nor the file" in message
    assert str(picture.with_name("other.png")) in message


def test_json_has_it_all(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "red car - blue", "red.png", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (hit,) = Collection.open(encoder=FakeEncoder()).search("red car - blue", kind="image")
    assert document["id"] == hit.id
    assert document["score"] == pytest.approx(hit.score, abs=1e-6)
    assert sum(part["share"] for part in document["parts"]) == pytest.approx(document["score"])
    assert [part["part"] for part in document["parts"]] == ["red car", "blue"]
    assert [word["text"] for word in document["parts"][0]["words"]] == ["red", "car"]
    assert document["why_no_heat"] is None
    assert np.shape(document["heat"]["values"]) == (8, 8)
    assert document["heat"]["box"] == [0, 0, 1, 1]
    assert not document["heat"]["from_thumbnail"]


def test_the_heat_map_is_saved(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "red", "red.png", "--save", "why.png"]) == 0
    assert ": why.png" in capsys.readouterr().err
    saved = Image.open(tmp_path / "why.png")
    assert (saved.format, saved.size) == ("PNG", (60, 40))
    assert saved.getpixel((58, 20)) == (0, 0, 255)
    assert saved.getpixel((5, 20)) != (255, 0, 0)
    assert main(["explain", "red", "red.png", "--save", "no/such/folder.png"]) == 1
    assert "no/such/folder.png cannot be written" in capsys.readouterr().err


def test_a_thumbnail_is_told_of(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture.unlink()
    assert main(["explain", "red", str(picture)]) == 0
    assert "its thumbnail was looked at" in capsys.readouterr().err


def test_a_text_has_parts_but_no_heat(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "red", "car", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["heat"] is None
    assert "only pictures have places" in document["why_no_heat"]
    assert main(["explain", "red", "car"]) == 0
    assert "no heat map: 'car' is a text" in capsys.readouterr().err
    assert main(["explain", "red", "car", "--save", "why.png"]) == 2
    assert "only pictures have places" in capsys.readouterr().err
    assert not Path("why.png").exists()

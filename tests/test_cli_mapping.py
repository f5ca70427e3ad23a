from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipkit import Collection
from clipkit.cli import main
from clipkit.maps import project
from clipkit.testing import FakeEncoder

COLOURS = ("red", "green", "blue")


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """The ids of pictures in a folder for each colour, indexed."""
    paths = [tmp_path / "pictures" / colour / f"{at}.png" for colour in COLOURS for at in range(4)]
    for at, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24 + at, 24), path.parent.name).save(path)
    Collection.create(encoder=FakeEncoder()).index(tmp_path / "pictures")
    return sorted(map(str, paths))


def traces(page: str) -> list[dict[str, Any]]:
    """The points in a page that plotly has written."""
    data, _ = json.JSONDecoder().raw_decode(page, re.search(r"Plotly\.newPlot\(\s*\S+\s*", page).end())  # type: ignore[union-attr]
    return list(data)


def test_a_map_is_a_page_that_needs_nothing_else(
    pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "map.html"
    assert main(["map", str(file), "--method", "pca"]) == 0
    assert capsys.readouterr().out == f"12 items on {file}, by pca\n"
    page = file.read_text(encoding="utf-8")
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=", page), "nothing is fetched"
    drawn = traces(page)
    assert sorted(trace["name"] for trace in drawn) == sorted(COLOURS)
    for trace in drawn:
        assert trace["type"] == "scattergl"
        assert trace["text"] == [f"{trace['name']}/{at}.png" for at in range(4)]
    found = project(Collection.open(), method="pca")
    drawn_at = np.array([place for trace in drawn for place in zip(trace["x"], trace["y"], strict=True)])
    np.testing.assert_array_equal(np.sort(drawn_at.astype(np.float32), axis=0), np.sort(found.xy, axis=0))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_map_is_a_table(pictures: list[str], tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"map{suffix}"
    assert main(["map", str(file)]) == 0
    if suffix == ".csv":
        rows: list[dict[str, Any]] = list(csv.DictReader(file.open(encoding="utf-8")))
    else:
        rows = pq.read_table(file).to_pylist()
    assert list(rows[0]) == ["id", "uri", "text", "x", "y"]
    assert [row["id"] for row in rows] == pictures
    found = project(Collection.open())
    np.testing.assert_array_equal(np.array([(row["x"], row["y"]) for row in rows], np.float32), found.xy)


def test_labels_are_text_and_no_markup(tmp_path: Path) -> None:
    collection = Collection.create(encoder=FakeEncoder())
    collection.add_texts(["<b>red</b> & </script><script>alert(1)", "blue " * 60], ids=["one", "two"])
    file = tmp_path / "map.html"
    assert main(["map", str(file), "--method", "pca", "--kind", "text"]) == 0
    page = file.read_text(encoding="utf-8")
    assert "</script><script>alert" not in page
    (trace,) = traces(page)
    assert trace["text"] == [
        "one<br>&lt;b&gt;red&lt;/b&gt; &amp; &lt;/script&gt;&lt;script&gt;alert(1)",
        f"two<br>{('blue ' * 60)[:120]}…",
    ]


def test_folders_without_a_colour_of_their_own_are_drawn_together(tmp_path: Path) -> None:
    collection = Collection.create(encoder=FakeEncoder())
    for at in range(12):
        folder = tmp_path / "many" / f"folder{at:02}"
        folder.mkdir(parents=True)
        for number in range(2 if at < 9 else 1):
            Image.new("RGB", (24 + at, 24 + number), "red").save(folder / f"{number}.png")
    collection.index(tmp_path / "many")
    assert main(["map", str(tmp_path / "map.html"), "--method", "pca"]) == 0
    drawn = traces((tmp_path / "map.html").read_text(encoding="utf-8"))
    assert sorted(trace["name"] for trace in drawn) == [*(f"folder{at:02}" for at in range(9)), "others"]
    (others,) = [trace for trace in drawn if trace["name"] == "others"]
    assert others["text"] == [f"folder{at:02}/0.png" for at in (9, 10, 11)]


def test_a_sample_and_a_filter_are_told(
    pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "map.csv"
    assert main(["map", str(file), "--method", "pca", "--limit", "5", "--where", "width > 25"]) == 0
    assert "chosen at random of 10: --limit 10 shows all" in capsys.readouterr().err
    command = ["map", str(file), "--method", "pca", "--limit", "5", "--json", "--force"]
    assert main(command) == 0
    found = project(Collection.open(), method="pca", limit=5)
    assert json.loads(capsys.readouterr().out) == {
        "collection": "default",
        "file": str(file),
        "items": 5,
        "total": 12,
        "method": "pca",
        "explained": list(found.explained or ()),
        "settings": {},
    }


def test_an_empty_collection_is_a_page_without_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Collection.create(encoder=FakeEncoder())
    file = tmp_path / "map.html"
    assert main(["map", str(file)]) == 0
    assert capsys.readouterr().out == f"0 items on {file}, by pca\n"
    assert traces(file.read_text(encoding="utf-8")) == []


def test_what_cannot_be_written_is_told_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Collection.create(encoder=FakeEncoder())
    assert main(["map", str(tmp_path / "map.png")]) == 2
    assert "no format is known for 'map.png'" in capsys.readouterr().err
    assert main(["map", str(tmp_path / "no" / "map.csv")]) == 2
    assert f"there is no folder {tmp_path / 'no'}" in capsys.readouterr().err
    (tmp_path / "map.csv").touch()
    assert main(["map", str(tmp_path / "map.csv")]) == 2
    assert "map.csv is there already: --force replaces it" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert main(["map", str(tmp_path / "map.html"), "--method", "pca"]) == 1
    assert "pip install 'clipkit[web]'" in capsys.readouterr().err

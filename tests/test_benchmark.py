from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from clipkit import Collection
from clipkit.benchmark import Benchmark, Figure, chart, measure, number
from clipkit.benchmark.measuring import SHARES, joint, limit_of, rate
from clipkit.cli import main
from clipkit.encoder import Pixels, Vectors
from clipkit.errors import InvalidInput
from clipkit.folders import FoundFile, walk
from clipkit.reports import Progress
from clipkit.testing import FakeEncoder
from tests.pictures import draw_folder

UNITS = {
    **dict.fromkeys(("read", "decode", "model", "index"), "images/s"),
    **{"texts": "texts/s", "write": "rows/s", "query": "ms"},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    draw_folder(folder, 40)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def result(photos: Path) -> Benchmark:
    return measure(FakeEncoder(), walk([photos]).files, seconds=0.5)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; empty again in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


def figures(**values: float) -> dict[str, Figure]:
    return {name: Figure(name, value, "images/s", value, "itself") for name, value in values.items()}


# --- what is measured


def test_there_is_a_figure_and_its_ceiling_for_each_part(result: Benchmark) -> None:
    assert {name: figure.unit for name, figure in result.figures.items()} == UNITS
    assert all(figure.name == name for name, figure in result.figures.items())
    assert all(figure.value > 0 and figure.ceiling > 0 for figure in result.figures.values())
    assert (result.model, result.device, result.pictures) == ("fake", "cpu", 41)
    assert result.seconds > 0


def test_the_ceiling_of_indexing_is_what_its_parts_allow_together(result: Benchmark) -> None:
    decode, model = result.figures["decode"].value, result.figures["model"].value
    assert result.figures["index"].ceiling == joint(decode, model, shared=True) < min(decode, model)


def test_the_fastest_moment_is_no_slower_than_all(result: Benchmark) -> None:
    for name in ("model", "texts"):
        assert result.figures[name].share <= 1


def test_without_a_collection_the_sample_is_searched(result: Benchmark) -> None:
    assert 0 < result.searched <= 40, "the broken one is none"


def test_a_collection_is_searched_and_left_as_it_is(photos: Path, collection: Collection) -> None:
    collection.index(photos / "0")
    before = collection._store.items.version
    result = measure(FakeEncoder(), walk([photos]).files, collection=collection, seconds=0.1)
    assert result.searched == collection.count() == 6
    assert collection._store.items.version == before


def test_progress_tells_of_each_stage(photos: Path) -> None:
    told: list[Progress] = []
    measure(FakeEncoder(), walk([photos]).files, seconds=0.1, progress=told.append)
    assert told == [Progress(done, len(SHARES), 0) for done in range(len(SHARES))]


@pytest.mark.usefixtures("temporary")
def test_ctrl_c_leaves_nothing_behind(photos: Path) -> None:
    class Stopped(FakeEncoder):
        def encode_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        measure(Stopped(), walk([photos]).files, seconds=0.1)


@pytest.mark.usefixtures("temporary")
def test_nothing_to_measure_with_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    file = FoundFile(str(broken), 10, 0)
    with pytest.raises(InvalidInput, match="there is no picture to measure with"):
        measure(FakeEncoder(), [])
    with pytest.raises(InvalidInput, match="none of the pictures of the sample can be read"):
        measure(FakeEncoder(), [file], seconds=0.1)
    with pytest.raises(InvalidInput, match="takes some seconds, not 0"):
        measure(FakeEncoder(), [file], seconds=0)


def test_a_rate_is_bounded_by_time_and_by_what_there_is() -> None:
    done: list[int] = []
    value, best = rate(done.extend, iter([[1], [2, 3], [4]]), 60)
    assert done == [1, 2, 3, 4]
    assert 0 < value <= best
    endless: list[int] = []
    rate(endless.extend, iter(lambda: [5], None), 0)
    assert endless == [5, 5], "two batches at least, and then there is no time"


# --- what follows


def test_what_shares_the_cores_adds_up_and_what_does_not_overlaps() -> None:
    assert joint(100, 100, shared=True) == 50
    assert joint(100, 300, shared=False) == 100


@pytest.mark.parametrize(
    ("rates", "limit"),
    [
        ({"decode": 100, "model": 300, "index": 70}, "decode"),
        ({"decode": 300, "model": 100, "index": 70}, "model"),
        ({"decode": 300, "model": 100, "index": 30}, "overhead"),
        ({"decode": 300, "model": 100, "index": 30, "read": 40}, "disk"),
        ({"decode": 300, "model": 100, "index": 30, "write": 60}, "disk"),
    ],
)
def test_what_takes_the_time_is_said_to_limit(rates: dict[str, float], limit: str) -> None:
    assert limit_of(figures(**{"read": 10_000, "write": 10_000, **rates}), shared=True) == limit


def test_a_share_is_of_the_ceiling_also_for_times() -> None:
    assert Figure("index", 80, "images/s", 100, "all").share == 0.8
    assert Figure("query", 10, "ms", 8, "words").share == 0.8


# --- the chart


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_chart_is_a_picture_in_its_format(result: Benchmark, suffix: str) -> None:
    data = chart(replace(result, model="a <model> & more"), suffix)
    if suffix == ".png":
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "PNG"
            colours = {colour for _, colour in image.getcolors(1 << 20) or []}
        assert {(0x2F, 0x6F, 0xDE), (0xD6, 0xE4, 0xFB)} <= colours
        return
    root = ElementTree.fromstring(data)
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == f"a <model> & more on {result.cores} cores"
    for figure in result.figures.values():
        told = f"{number(figure.value)} {figure.unit}, {figure.share:.0%} of {number(figure.ceiling)}"
        assert told in texts
    assert result.advice.startswith(texts[-2] if texts[-1] not in result.advice[:110] else texts[-1])


def test_numbers_are_told_to_what_matters() -> None:
    assert [number(value) for value in (0.123, 9.87, 142.4, 12_400)] == ["0.1", "9.9", "142", "12,400"]


# --- the command


@pytest.mark.usefixtures("temporary")
def test_the_command_prints_one_document(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(photos), "--model", "fake", "--seconds", "0.2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == [
        *("model", "device", "cores", "pictures", "searched", "figures", "limit", "advice", "seconds")
    ]
    assert set(document["figures"]) == set(UNITS)
    for name, figure in document["figures"].items():
        assert list(figure) == ["name", "value", "unit", "ceiling", "of", "share"]
        assert (figure["name"], figure["unit"]) == (name, UNITS[name])


@pytest.mark.usefixtures("temporary")
def test_the_command_draws_its_own_pictures_and_a_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipkit.cli.benching.SCENES", 8)
    file = tmp_path / "bench.svg"
    command = ["bench", "--model", "fake", "--seconds", "0.2", "--chart", str(file)]
    assert main(command) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.partition("\t")[0] for line in out[:-1]] == [
        *("read", "decode", "model", "texts", "write", "index", "query")
    ]
    assert out[-1].startswith("limit: ")
    assert ElementTree.parse(file).getroot().tag.endswith("svg")
    assert main(command) == 2
    assert f"{file} is there already: --force replaces it" in capsys.readouterr().err


def test_the_collection_of_the_same_model_is_what_the_command_searches(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", str(photos / "0"), "--model", "fake"]) == 0
    for model, searched in (("fake", 6), ("fake:64", None)):
        capsys.readouterr()
        assert main(["bench", str(photos), "--model", model, "--seconds", "0.1", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["searched"] == 6) == (searched == 6)


def test_the_driver_beside_the_peers_explains_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.speed", "--help"], capture_output=True, text=True, check=True
    )
    assert "--peers-script" in done.stdout

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import ExifTags, Image
from pyarrow import feather

from clipkit.cli import app, main
from clipkit.collection import Collection
from clipkit.encoders.devices import cpu_has_bf16
from clipkit.testing import FakeEncoder
from tests.command_line import Run
from tests.terminal import IN_A_PROCESS, Terminal

GROUPED = {
    name: getattr(command, "commands", {"": command})
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
}
COMMANDS = {
    f"{name} {each}".strip(): command for name, group in GROUPED.items() for each, command in group.items()
}
RED_SCORE = "0.970"  # of the text red against a red picture, see FakeEncoder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "home"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures, two of each colour, and a file that is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        for number in (1, 2):
            Image.new("RGB", (40 + number, 30), colour).save(folder / f"{colour}-{number}.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def indexed(pictures: Path, run: Run) -> Path:
    assert run("index", pictures, "--model", "fake").code == 0
    return pictures


# --- help, version, completion


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = run(*name.split(), "--help")
    assert (result.code, result.err) == (0, "")
    command = COMMANDS[name]
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
    assert "--json" in options
    for option in options:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", result.out), f"{option} is not explained"
    example = result.out.partition("Example: ")[2].partition("╭")[0]
    assert f"clipkit {name}" in example
    assert set(re.findall(r"(?<=\s)--?[a-z][\w-]*", example)) <= set(options)
    assert all(parameter.help for parameter in command.params if parameter.name != "help")


def test_without_a_command_the_commands_are_listed(run: Run) -> None:
    result = run()
    assert result.code == 0
    assert all(name in result.out for name in GROUPED)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["search", "--help"], ["models"]])
def test_nothing_heavy_is_loaded_for_an_answer_at_hand(arguments: list[str]) -> None:
    heavy = ("torch", "lancedb", "open_clip", "pyarrow", "numpy", "PIL", "huggingface_hub")
    code = (
        f"import sys; from clipkit.cli import main; assert main({arguments}) == 0; "
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_the_shell_completes_commands_and_models() -> None:
    def complete(words: str, position: int) -> str:
        environment = {"_CLIPKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(position)}
        return subprocess.run(
            IN_A_PROCESS, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        ).stdout

    assert complete("clipkit sea", 1).split() == ["search", "search-documents"]
    assert complete("clipkit models mul", 2).split() == ["multilingual"]


# --- index


def test_index_counts_what_it_does(pictures: Path, run: Run) -> None:
    def index(**expected: int) -> None:
        result = run("index", pictures, "--model", "fake", "--json")
        assert result.code == 0
        counts = {name: value for name, value in result.json.items() if isinstance(value, int)}
        names = ["added", "updated", "moved", "removed", "unchanged", "skipped", "embedded", "kept_missing"]
        names.append("captions")
        assert counts == dict.fromkeys(names, 0) | {"skipped": 1} | expected
        [failure] = result.json["failures"]
        assert failure["id"] == str(pictures / "broken.jpg")
        assert "not an image" in failure["reason"]

    index(added=6, embedded=6)
    index(unchanged=6)
    (pictures / "red-1.png").rename(pictures / "scarlet.png")
    index(moved=1, unchanged=5)
    (pictures / "red-2.png").unlink()
    Image.new("RGB", (50, 50), "yellow").save(pictures / "blue-1.png")
    index(removed=1, updated=1, embedded=1, unchanged=4)


def test_index_sums_up_in_a_line_and_warns_apart_from_it(pictures: Path, run: Run) -> None:
    for number in range(6):
        (pictures / f"broken-{number}.png").write_bytes(b"")
    result = run("index", pictures, "--model", "fake")
    assert result.code == 0
    assert re.fullmatch(
        r"added 6, updated 0, moved 0, removed 0, unchanged 0, skipped 7 in \d+\.\d s\n", result.out
    )
    assert "7 files or parts of files could not be used" in result.err
    assert result.err.count(str(pictures)) == 5
    assert "2 more; all of them:  clipkit status --failures" in result.err


def test_index_takes_captions_and_search_shows_their_picture(run: Run, pictures: Path) -> None:
    run("index", pictures / "blue-1.png", "--model", "bundled")
    (pictures / "red-1.txt").write_text("a red square")
    (pictures / "metadata.csv").write_text("file_name,stars\ngreen-1.png,5\ngone.png,1\n")
    result = run("index", pictures, "--no-captions", "--json")
    assert (result.json["added"], result.json["captions"]) == (5, 0)
    result = run("index", pictures)
    assert "skipped 2, captions 1 in" in result.out
    assert f"{pictures}/metadata.csv#line 3: there is no picture {pictures}/gone.png" in result.err
    assert run("index", pictures, "--json").json["captions"] == 0

    shown = f"a red square  ({pictures / 'red-1.png'})"
    assert run("search", "a red square", "--kind", "text").out.rstrip().endswith(shown)
    assert run("describe", pictures / "red-2.png").out.rstrip().endswith(shown)
    (hit,) = run("describe", pictures / "red-2.png", "--json").json["hits"]
    assert hit["metadata"]["image_id"] == hit["uri"] == str(pictures / "red-1.png")
    found = run("search", "square", "--kind", "image", "--where", "stars = 5", "--paths")
    assert found.out == f"{pictures / 'green-1.png'}\n"


def test_missing_files_are_kept_until_prune(indexed: Path, run: Run) -> None:
    for path in indexed.glob("*-1.png"):
        path.unlink()
    result = run("index", indexed)
    assert "removed 0" in result.out
    assert "3 files gone from disk and kept" in result.err
    again = f"clipkit index --prune {indexed}"
    assert again in result.err
    result = run(*again.split()[1:], "--json")
    assert (result.json["removed"], result.json["kept_missing"]) == (3, 0)


def test_index_takes_what_it_is_told_to(pictures: Path, run: Run) -> None:
    (pictures / ".cache").mkdir()
    Image.new("RGB", (9, 9), "pink").save(pictures / ".cache" / "pink.png")
    Image.new("RGB", (400, 300), "pink").save(pictures / "large.png")

    def added(name: str, *options: object) -> int:
        result = run("index", pictures, "--model", "fake", "--name", name, "--json", *options)
        return int(result.json["added"])

    assert added("all") == 7
    assert added("red", "--pattern", "red*", "--pattern", "blue-1*") == 3
    assert added("others", "--exclude", "red*") == 5
    assert added("hidden", "--hidden") == 8
    assert added("small", "--max-pixels", 2000) == 6
    assert run("status", "--failures", "--name", "small").out.count("--max-pixels") == 1


def test_an_empty_folder_is_no_error_but_is_told(tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()
    result = run("index", tmp_path / "empty", "--model", "fake")
    assert result.code == 0
    assert "no pictures were found" in result.err


def test_a_wrong_path_leaves_no_collection_behind(tmp_path: Path, run: Run) -> None:
    assert run("index", tmp_path / "nowhere", "--model", "fake").code == 2
    assert Collection.names() == []


# --- search


def test_search_prints_scores_and_paths_without_colours(indexed: Path, run: Run) -> None:
    result = run("search", "red", "-k", 2)
    assert result.code == 0
    assert result.out == "".join(f"{RED_SCORE}\t{indexed}/red-{n}.png\n" for n in (1, 2))
    assert result.err == ""


@pytest.mark.parametrize(
    "arguments", [["red - blue"], ["red", "-", "blue"], ["--", "-blue +red"], ["- blue + red"]]
)
def test_a_query_may_be_one_word_of_the_shell_or_several(
    indexed: Path, run: Run, arguments: list[str]
) -> None:
    result = run("search", "--json", "-k", 1, *arguments)
    assert result.code == 0
    assert result.json["query"] in ("red - blue", "-blue + red")
    [hit] = result.json["hits"]
    assert hit["score"] == pytest.approx(0.970 / 2**0.5, abs=1e-3)
    assert hit["uri"] == str(indexed / "red-1.png")


def test_search_by_picture_by_item_and_minus(indexed: Path, run: Run) -> None:
    def first(query: str, *options: object) -> str:
        return Path(run("search", query, "--paths", "-k", 1, *options).out.strip()).name

    assert first(f"image:{indexed}/blue-2.png").startswith("blue")
    assert first(f"id:{indexed}/blue-2.png") == "blue-1.png"
    assert first(f"image:{indexed}/blue-2.png - 2*blue + green").startswith("green")
    assert first("red", "--where", "width = 42") == "red-2.png"


@pytest.fixture
def journey(tmp_path: Path, run: Run) -> Path:
    """Three pictures with their time, camera and place: north-1, north-2 and south/3."""
    folder = tmp_path / "journey"
    (folder / "south").mkdir(parents=True)
    shots = {
        "north-1.jpg": ("2024:05:31 23:59:59", "EOS R5", ("N", 48.0), ("E", 16.0)),
        "north-2.jpg": ("2024:06:01 08:00:00", "NIKON Z 6", ("N", 48.5), ("E", 16.0)),
        "south/3.jpg": ("2025:01:02 03:04:05", "eos 5d", ("S", 33.0), ("W", 71.0)),
    }
    for name, (taken_at, model, latitude, longitude) in shots.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = model
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken_at
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {1: latitude[0], 2: (latitude[1], 0.0, 0.0), 3: longitude[0], 4: (longitude[1], 0.0, 0.0)}
        )
        Image.new("RGB", (40, 30), "red").save(folder / name, exif=exif)
    assert run("index", folder, "--model", "fake").code == 0
    return folder


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--since", "2024-06"], "23"),
        (["--until", "2024-05"], "1"),
        (["--since", "2024-05-31", "--until", "2024-06-01"], "12"),
        (["--under", "journey/south"], "3"),
        (["--under", "elsewhere"], ""),
        (["--camera", "eos"], "13"),
        (["--near", "48.0,16.0,50km"], "1"),
        (["--near", "48, 16, 60 km"], "12"),
        (["--near", "-33,-71,1m"], "3"),
        (["--camera", "eos", "--since", "2024", "--where", "width = 1 OR uri LIKE '%3.jpg'"], "3"),
        (["--camera", "eos", "--where", "uri LIKE '%1.jpg' -- the first"], "1"),
    ],
)
def test_short_filters_choose_by_time_folder_camera_and_place(
    journey: Path, run: Run, monkeypatch: pytest.MonkeyPatch, options: list[str], expected: str
) -> None:
    monkeypatch.chdir(journey.parent)
    result = run("search", "red", "--json", *options)
    assert result.code == 0, result.err
    assert "".join(sorted(Path(hit["uri"]).stem[-1] for hit in result.json["hits"])) == expected
    exported = run("export", "items.csv", "--json", "--force", *options)
    assert exported.json["items"] == len(expected)


def test_short_filters_choose_what_is_deleted_and_described_with(journey: Path, run: Run) -> None:
    assert run("delete", "--camera", "eos", "--until", "2024", "--yes").out == "deleted 1\n"
    assert run("delete", "--under", journey / "south", "--yes").out == "deleted 1\n"
    assert run("delete", "--under", journey / "south", "--yes").out == "deleted 0\n"
    escape = run("delete", "--camera", "leica", "--where", "false) OR (true", "--yes")
    assert escape.code == 2
    assert "closes a parenthesis that it did not open" in escape.err
    assert run("status", "--json").json["images"] == 1
    with_texts = run("describe", journey / "north-2.jpg", "--since", "2024", "--json")
    assert with_texts.json["hits"] == []


def test_search_hybrid_finds_names(indexed: Path, run: Run) -> None:
    def found(*arguments: object) -> list[str]:
        hits = run("search", "--json", *arguments).json["hits"]
        return [Path(hit["uri"]).name for hit in hits]

    assert found("green-2.png", "--hybrid", "-k", 1) == ["green-2.png"]
    assert found("green-2 + 9*red", "--hybrid", "-k", 1) == ["green-2.png"]
    assert found("green-2 + 9*red", "-k", 1) != ["green-2.png"]
    assert found("blue-1", "--hybrid", "--min-score", 0.99, "--where", "width = 41") == ["blue-1.png"]


def test_search_json_has_every_hit_with_its_metadata(indexed: Path, run: Run) -> None:
    result = run("search", "green", "--min-score", 0.5, "--json", "--where", "width = 41")
    assert result.json == {
        "query": "green",
        "hits": [
            {
                "id": str(indexed / "green-1.png"),
                "uri": str(indexed / "green-1.png"),
                "kind": "image",
                "text": None,
                "score": pytest.approx(0.970, abs=1e-3),
                "metadata": result.json["hits"][0]["metadata"],
            }
        ],
    }
    metadata = result.json["hits"][0]["metadata"]
    assert (metadata["width"], metadata["height"], metadata["camera"]) == (41, 30, None)


def test_json_survives_values_that_json_has_no_words_for(run: Run) -> None:
    collection = Collection.create(encoder=FakeEncoder(), columns={"price": float, "day": pa.date32()})
    day = datetime.date(2024, 5, 1)
    collection.add_texts(["red"], ids=["a"], metadata=[{"price": float("nan"), "day": day}])
    [hit] = run("search", "red", "--json").json["hits"]
    assert (hit["metadata"]["price"], hit["metadata"]["day"]) == (None, "2024-05-01")


def test_nothing_found_is_no_error(indexed: Path, run: Run) -> None:
    result = run("search", "red", "--min-score", "0.99")
    assert (result.code, result.out, result.err) == (0, "", "nothing found\n")
    assert run("search", "red", "--min-score", "0.99", "--json").json["hits"] == []
    assert run("search", "red", "--min-score", "0.99", "-0").out == ""


def test_search_cuts_off_by_itself(tmp_path: Path, run: Run) -> None:
    collection = Collection.create(encoder=FakeEncoder())
    collection.add_texts(["red"], ids=["red"])
    assert run("search", "red blue", "--min-score", "auto").out == f"{1 / 2**0.5:.3f}\tred\n", "too few"
    collection.add_texts([f"word{i}" for i in range(40)])
    found = run("search", "red", "-k", 30, "--min-score", "auto", "--json").json
    assert [hit["id"] for hit in found["hits"]] == ["red"]
    assert found["cutoffs"] == collection.cutoffs("red")
    nothing = run("search", "green", "--min-score", "auto")
    least = collection.cutoffs("green")["text"]
    assert (nothing.code, nothing.out) == (0, "")
    assert nothing.err == f"nothing found above the automatic cut-off, {least:.3f} for texts\n"
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    assert run("describe", tmp_path / "red.png", "--min-score", "auto").out == f"{RED_SCORE}\tred\n"


def test_paths_are_of_pictures_only_and_fit_xargs(indexed: Path, run: Run) -> None:
    Collection.open().add_texts(["red"])
    paths = [str(indexed / f"red-{n}.png") for n in (1, 2)]
    assert run("search", "red", "-k", 2, "--paths").out == "".join(f"{path}\n" for path in paths)
    assert run("search", "red", "-k", 2, "-0").out == "".join(f"{path}\0" for path in paths)
    assert run("search", "red", "--paths", "--kind", "text").out == ""


def test_a_file_name_as_a_query_is_pointed_out(
    indexed: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(indexed)
    result = run("search", "red-1.png", "-k", 1)
    assert result.code == 0
    assert "image:red-1.png shows it instead" in result.err


def test_a_text_cannot_steer_the_terminal_or_break_the_lines(run: Run) -> None:
    collection = Collection.create(encoder=FakeEncoder())
    collection.add_texts(["red\nred \x1b[31mred\tred"])
    assert run("search", "red").out.count("\n") == 1
    assert "\x1b" not in run("search", "red").out


# --- describe, add-texts


def test_texts_describe_pictures(indexed: Path, tmp_path: Path, run: Run) -> None:
    assert "has no texts to choose from" in run("describe", indexed / "red-1.png").err
    labels = tmp_path / "labels.txt"
    labels.write_text("\ufeffred\n\nblue\n  grün  \n", encoding="utf-8")
    result = run("add-texts", labels, "--json")
    assert result.json == {"collection": "default", "added": 3, "updated": 0, "removed": 0, "cut": 0}
    result = run("describe", indexed / "blue-1.png", "-k", 1)
    assert (result.code, result.out) == (0, f"{RED_SCORE}\tblue\n")
    [hit] = run("describe", indexed / "red-1.png", "--json", "--min-score", 0.5).json["hits"]
    assert (hit["id"], hit["text"], hit["kind"]) == (f"{labels}:1", "red", "text")


def test_a_second_run_updates_texts_and_drops_lines_that_are_gone(tmp_path: Path, run: Run) -> None:
    labels = tmp_path / "it's labels.txt"
    labels.write_text("red\nblue\ngreen\n")
    Collection.create(encoder=FakeEncoder()).add_texts(["other"], ids=[f"{labels}:other:7"])
    assert run("add-texts", labels).out == "added 3, updated 0, removed 0\n"
    labels.write_text("red\npink\n")
    assert run("add-texts", labels).out == "added 0, updated 2, removed 1\n"
    assert run("status", "--json").json["texts"] == 3
    assert Collection.open().get([f"{labels}:2"])[0].text == "pink"


def test_texts_and_pictures_from_a_pipe(pictures: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    given(b"red\nblue")
    assert run("add-texts", "-", "--model", "fake", "--source", "animals").out.startswith("added 2,")
    assert Collection.open().get(["animals:2"])[0].text == "blue"
    given((pictures / "red-1.png").read_bytes())
    assert run("describe", "-", "-k", 1).out == f"{RED_SCORE}\tred\n"


def test_long_texts_are_counted_once_for_all(tmp_path: Path, run: Run) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(("red " * 100 + "\n") * 3)
    result = run("add-texts", labels, "--model", "fake")
    assert result.code == 0
    assert result.err == "3 texts longer than the model reads, so only the beginning counts\n"


def test_a_long_query_is_cut_with_a_note(indexed: Path, run: Run) -> None:
    result = run("search", "red " * 100, "-k", 1)
    assert result.code == 0
    assert result.err.startswith("1 of 1 texts are longer than the context of fake")
    assert "\n  " not in result.err  # not the source line that Python's warnings add


# --- status, delete, export


def test_status_tells_what_there_is(indexed: Path, run: Run, home: Path) -> None:
    run("index", indexed, "--name", "second", "--model", "fake")
    result = run("status")
    assert result.code == 0
    assert re.search(rf"collection +default in {home}\n", result.out)
    assert re.search(r"model +fake, 32 dimensions\n", result.out)
    assert re.search(r"images +6\ntexts +0\nunreadable +1 file\n", result.out)
    assert re.search(r"beside it +second\n", result.out)
    assert "clipkit status --failures" in result.err
    status = run("status", "--json").json
    assert (status["images"], status["failures"], status["encoder"]) == (6, 1, "fake")
    assert status["size_bytes"] > 1000


def test_status_lists_failures(indexed: Path, run: Run) -> None:
    path = str(indexed / "broken.jpg")
    result = run("status", "--failures")
    assert result.out.split("\t")[0] == path
    assert result.out.count("\n") == 1
    assert [failure["id"] for failure in run("status", "--failures", "--json").json["failed"]] == [path]


def test_delete_by_id_path_and_filter(indexed: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(indexed)
    result = run("delete", indexed / "red-1.png", "red-2.png", "red-2.png", "it's gone 🙂", "--yes")
    assert (result.code, result.out) == (0, "deleted 2\n")
    assert result.err == "not in the collection: it's gone 🙂\n"
    assert run("delete", "--where", "width = 41", "-y", "--json").json == {
        "collection": "default",
        "deleted": 2,
    }
    assert run("status", "--json").json["images"] == 2
    assert (indexed / "red-1.png").exists()


def test_delete_without_a_terminal_needs_yes(indexed: Path, run: Run) -> None:
    result = run("delete", "--where", "width = 41")
    assert (result.code, result.out) == (2, "")
    assert "say --yes" in result.err
    assert run("status", "--json").json["images"] == 6


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "csv", "PARQUET"])
def test_export_writes_what_other_tools_read(indexed: Path, tmp_path: Path, run: Run, suffix: str) -> None:
    file = tmp_path / f"items.{suffix}"
    result = run("export", file, "--where", "width = 41", "--json")
    assert result.json == {"collection": "default", "file": str(file), "items": 3}
    assert run("export", file).code == 2
    assert run("export", file, "--force").out == f"6 items written to {file}\n"
    if suffix == "csv":
        with file.open() as lines:
            rows = list(csv.DictReader(lines))
        assert "vector" not in rows[0]
        ids = [row["id"] for row in rows]
    else:
        reader = pq.read_table if suffix.lower() == "parquet" else feather.read_table
        table = reader(file)
        ids = table["id"].to_pylist()
        assert np.stack(table["vector"].to_pylist()).shape == (6, 32)
    assert sorted(ids) == sorted(str(path) for path in indexed.glob("*.png"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_export_that_fails_leaves_nothing(indexed: Path, tmp_path: Path, run: Run) -> None:
    for suffix in ("csv", "arrow", "parquet"):
        result = run("export", tmp_path / f"items.{suffix}", "--where", "widht > 3")
        assert result.code == 2
        assert "Did you mean width?" in result.err
    assert not list(tmp_path.glob("*items*"))


# --- models, doctor


def test_models_are_listed_and_told_in_full(run: Run) -> None:
    rows = [line.split("\t") for line in run("models").out.splitlines()]
    assert {"fast", "best", "multilingual"} <= {row[0] for row in rows}
    assert len({len(row) for row in rows}) == 1
    told = run("models", "best").out
    assert re.search(r"licence +Apache", told)
    assert "pip install 'clipkit[text]'" in told
    [card] = run("models", "fast", "--json").json["models"]
    assert (card["name"], card["dim"]) == ("fast", 512)
    assert len(run("models", "--json").json["models"]) == len(rows)


def test_bundled_is_listed_and_shows_its_card(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipkit.encoders.sources.BUNDLED", tmp_path)
    assert run("models").out.startswith("bundled\t")
    missing = run("models", "bundled")
    assert missing.code == 1
    assert "the card of the bundled model is missing from this installation" in missing.err
    (tmp_path / "card.md").write_text("# A card\n", encoding="utf-8")
    assert run("models", "bundled").out == "# A card\n"
    assert run("models", "bundled", "--json").json["models"][0]["card"] == "# A card"


def test_doctor_tells_what_is_here(run: Run, home: Path) -> None:
    Collection.create("mine", encoder=FakeEncoder())
    result = run("doctor", "--device", "cpu", "--json")
    assert result.code == 0
    report = result.json
    assert report["missing"] == []
    assert {"python", "clipkit", "torch", "lancedb", "open-clip-torch"} <= set(report["versions"])
    assert report["device"]["device"] == "cpu"
    assert report["device"]["precision"] == ("bf16" if cpu_has_bf16() else "fp32")
    assert set(report["models"]) == {"bundled", "fast", "best", "multilingual"}
    assert report["collections"] == {"place": str(home), "names": ["mine"]}
    told = run("doctor").out
    assert re.search(rf"collections +mine in {home}\n", told)
    assert re.search(r"fast \((in the cache|not here)\)", told)


@pytest.mark.parametrize("there", [True, False])
def test_doctor_names_int8_where_it_would_be_quicker(
    run: Run, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr("clipkit.encoders.devices.cpu_has_int8", lambda: there)
    result = run("doctor", "--device", "cpu", "--precision", "fp32")
    assert result.code == 0
    assert ("--precision int8" in result.err) is there


def test_doctor_knows_every_extra(run: Run) -> None:
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))
    extras = set(project["project"]["optional-dependencies"]) - {"all"}
    assert set(run("doctor", "--json").json["extras"]) == extras


def test_doctor_fails_where_nothing_can_be_kept(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("doctor", "--db", tmp_path / "file" / "below", "--json")
    assert result.code == 1
    assert "cannot be written" in result.json["missing"][0]


# --- wrong calls and failed jobs


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "message"),
    [
        (["search", "red + "], 2, "QueryError", "nothing stands behind this +"),
        (["search", ""], 2, "QueryError", "the query is empty"),
        (["search", "red", "--foo"], 2, "UsageError", "No such option: --foo"),
        (["search", "-people"], 2, "UsageError", "clipkit search -- -people"),
        (["search"], 2, "UsageError", "Missing argument 'QUERY'"),
        (["search", "red", "-k", "0"], 2, "InvalidInput", "at least 1, not 0"),
        (["search", "red", "--min-score", "high"], 2, "UsageError", "'high' is neither a number nor auto"),
        (["search", "red", "-k", "many"], 2, "UsageError", "valid integer"),
        (["search", "red", "--kind", "video"], 2, "UsageError", "'image', 'text'"),
        (["search", "red", "--min-score", "3"], 2, "InvalidInput", "from -1 to 1, or 'auto', not 3.0"),
        (["search", "red", "--where", "widht > 3"], 2, "FilterError", "Did you mean width?"),
        (["search", "red", "--where", " "], 2, "FilterError", "SQL condition"),
        (["search", "red", "--since", "2024-02-30"], 2, "FilterError", "2024-06-01 18:30"),
        (["search", "red", "--until", "now"], 2, "FilterError", "'now' is no date: write 2024"),
        (["search", "red", "--near", "48.2,16.4,20"], 2, "FilterError", "such as 48.2,16.4,20km"),
        (["search", "red", "--near", "100,16.4,20km"], 2, "FilterError", "from -90 to 90 degrees"),
        (["search", "red", "--camera", ""], 2, "FilterError", "such as canon"),
        (["search", "red", "--under", ""], 2, "InvalidInput", "'' is not a path"),
        (["search", "red", "--since", "2024", "--where", "widht > 3"], 2, "FilterError", "mean width?"),
        (["search", "id:nobody"], 2, "InvalidInput", "nobody"),
        (["search", "image:gone.jpg"], 2, "ImageError", "gone.jpg does not exist"),
        (["search", "red", "--name", "defualt"], 2, "CollectionNotFound", "Did you mean default?"),
        (["search", "red", "--name", "no/name"], 2, "InvalidInput", "no/name"),
        (["doctor", "--device", "gpu"], 2, "InvalidInput", "no device is called 'gpu'"),
        (["describe", "gone.jpg"], 2, "ImageError", "gone.jpg does not exist"),
        (["index", "gone"], 2, "UsageError", "gone"),
        (["index", ".", "--max-pixels", "0"], 2, "UsageError", "--max-pixels"),
        (["index", ".", "--model", "fake:64"], 2, "CollectionMismatch", "32 dimensions"),
        (["index", ".", "--name", "new", "--model", "fsat"], 2, "UnknownModel", "fast"),
        (["index", ".", "--name", "new", "--model", "local-dir:gone"], 1, "ModelUnavailable", "gone"),
        (["add-texts", "gone.txt"], 2, "InvalidInput", "there is no file gone.txt"),
        (["delete"], 2, "InvalidInput", "either ids, or a filter"),
        (["delete", "x", "--where", "width > 3"], 2, "InvalidInput", "either ids, or a filter"),
        (["export", "items.xlsx"], 2, "InvalidInput", ".parquet"),
        (["export", "gone/items.csv"], 2, "InvalidInput", "there is no folder gone"),
        (["models", "fsat"], 2, "UnknownModel", "Did you mean fast?"),
        (["serach", "red"], 2, "UsageError", "serach"),
    ],
)
def test_an_error_is_told_to_people_and_programs(
    indexed: Path, run: Run, arguments: list[str], code: int, kind: str, message: str
) -> None:
    result = run(*arguments)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("error: ")
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.err.count("\n") <= 4
    told = run(*arguments, "--json")
    assert told.code == code
    assert told.json["error"]["type"] == kind
    assert message in told.json["error"]["message"]


def test_an_error_points_at_the_character(indexed: Path, run: Run) -> None:
    assert run("search", 'red + "blue').err.splitlines()[1:] == ['  red + "blue', "        ^"]


def test_without_a_collection_the_next_step_is_named(run: Run, tmp_path: Path) -> None:
    result = run("search", "red", "--db", tmp_path / "my db", "--name", "trip")
    assert result.code == 2
    assert f"clipkit index --db '{tmp_path}/my db' --name trip FOLDER" in result.err


def test_texts_that_are_not_utf8_are_told_by_line(tmp_path: Path, run: Run) -> None:
    (tmp_path / "labels.txt").write_bytes("red\ngrün\n".encode("latin-1"))
    result = run("add-texts", tmp_path / "labels.txt", "--model", "fake")
    assert result.code == 2
    assert "line 2: not UTF-8" in result.err
    assert Collection.names() == []
    (tmp_path / "labels.txt").write_bytes(b" \n\n")
    assert "holds no text" in run("add-texts", tmp_path / "labels.txt", "--model", "fake").err


def test_a_place_that_cannot_be_written_is_a_failed_job(pictures: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").touch()
    result = run("index", pictures, "--db", tmp_path / "file", "--model", "fake", "--json")
    assert result.code == 1
    assert result.json["error"]["type"] == "StorageError"


# --- processes: pipes, terminals, Ctrl-C, names that are no text


def test_a_reader_that_has_enough_is_no_error(indexed: Path, run: Run) -> None:
    Collection.open().add_texts([f"red {number} {'x' * 500}" for number in range(500)])
    process = subprocess.Popen(
        [*IN_A_PROCESS, "search", "red", "-k", "500"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(5)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


def test_names_that_are_not_utf8_pass_through(
    pictures: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = os.fsencode(pictures) + b"/caf\xe9 [1]\n.png"
    try:
        os.rename(pictures / "red-1.png", strange)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (pictures / "red-2.png").unlink()
    assert run("index", pictures, "--model", "fake").code == 0

    def search(*options: str, encoding: str = "utf-8") -> bytes:
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
        assert main(["search", "red", "-k", "1", *options]) == 0
        return out.getvalue()

    assert search("-0") == strange + b"\0"
    assert search("--paths", encoding="ascii") == strange + b"\n"
    assert search().endswith(b"caf\xe9 [1] .png\n")
    assert search(encoding="ascii").endswith(b"caf\\udce9 [1] .png\n")
    assert json.loads(search("--json"))["hits"][0]["id"].startswith("file://")


def test_a_terminal_gets_a_bar_and_a_table(pictures: Path) -> None:
    with Terminal("index", pictures, "--model", "fake") as index:
        assert index.wait() == 0
    assert "\x1b[" in index.seen
    assert re.search(r"indexing .*7/7.* 1 skipped", index.seen)
    assert "added 6, updated 0" in index.seen
    with Terminal("search", "[red]", "-k", "1") as search:
        assert search.wait() == 0
    assert "score" in search.seen
    assert "\x1b[" in search.seen
    assert str(pictures / "red-1.png") in search.seen


def test_delete_asks_on_a_terminal(indexed: Path) -> None:
    with Terminal("delete", "--where", "width = 41") as delete:
        delete.wait_for(r"Delete 3 items from 'default'\? \[y/N\]")
        assert Collection.open().count() == 6
        delete.type("y\r")
        assert delete.wait() == 0
    assert Collection.open().count() == 3


@pytest.fixture(scope="module")
def slow_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred files that are read at once, and then four that hold the run up on any machine."""
    folder = tmp_path_factory.mktemp("slow")
    for names, edge in ((range(100), 16), ("wxyz", 6000)):
        Image.new("RGB", (edge, edge), "red").save(folder / "picture.png")
        content = (folder / "picture.png").read_bytes()
        for name in names:  # what stands behind the end of a picture makes it another file
            (folder / f"{name}.png").write_bytes(content + str(name).encode())
    (folder / "picture.png").unlink()
    return folder


def test_ctrl_c_saves_and_says_how_to_go_on(slow_pictures: Path) -> None:
    command = ["index", str(slow_pictures), "--model", "fake"]
    with Terminal(*command) as index:
        index.wait_for(r"10[0-3]/104")  # by then, a batch of 64 has gone through the model
        index.type("\x03")
        assert index.wait() == 1
    assert f"To go on:\r\n  clipkit {' '.join(command)}" in index.seen
    assert "Traceback" not in index.seen
    saved = int(re.findall(r"interrupted; (\d+) files saved", index.seen)[-1])
    assert 64 <= saved < 104
    assert Collection.open().count() == saved


def test_ctrl_c_leaves_one_json_document(slow_pictures: Path) -> None:
    screen, stderr = pty.openpty()
    process = subprocess.Popen(
        [*IN_A_PROCESS, "index", str(slow_pictures), "--model", "fake", "--json"],
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    os.close(stderr)
    seen = ""
    while not re.search(r"10[0-3]/104", seen):
        assert select.select([screen], [], [], 60)[0], seen
        seen += os.read(screen, 65536).decode(errors="replace")
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # how Linux says that the other side is closed
        while os.read(screen, 65536):  # a terminal that is not read would hold the bar up
            pass
    out, _ = process.communicate(timeout=60)
    os.close(screen)
    assert process.returncode == 1
    document = json.loads(out)
    assert document["error"]["type"] == "Interrupted"
    assert document["added"] == Collection.open().count() >= 64


# --- duplicates


def test_duplicates_are_printed_in_groups_and_could_go(indexed: Path, run: Run) -> None:
    result = run("duplicates")
    assert (result.code, result.out) == (0, "")
    assert result.err == "no duplicates among 6 items\n"
    result = run("duplicates", "--strength", "resaved")
    lines = [line.split("\t") for line in result.out.splitlines()]
    assert [(number, role, Path(path).name) for number, role, _, path in lines] == [
        (str(number), role, f"{colour}-{of}.png")
        for number, colour in enumerate(("blue", "green", "red"), 1)
        for role, of in (("keep", 2), ("", 1))
    ]
    assert result.err.startswith("3 groups; 3 items could go, ")
    could_go = run("duplicates", "--strength", "resaved", "-0").out.removesuffix("\0").split("\0")
    assert sorted(could_go) == [str(indexed / f"{colour}-1.png") for colour in ("blue", "green", "red")]


def test_duplicates_as_json(indexed: Path, run: Run) -> None:
    document = run("duplicates", "--strength", "edited", "--where", "uri LIKE '%red%'", "--json").json
    [group] = document.pop("groups")
    assert document == {"strength": "edited", "items": 2, "unseen": []}
    assert group["keep"]["id"] == str(indexed / "red-2.png")
    assert [hit["id"] for hit in group["others"]] == [str(indexed / "red-1.png")]
    assert run("duplicates", "--kind", "text", "--json").json["items"] == 0
    result = run("duplicates", "--where", "colour = 3", "--json")
    assert (result.code, result.json["error"]["type"]) == (2, "FilterError")
    assert run("duplicates", "--strength", "same").code == 2


# --- clusters, outliers, recommend


def test_clusters_show_what_is_in_their_middle(indexed: Path, tmp_path: Path, run: Run) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("blue\n\nred\n green \n", encoding="utf-8")
    lines = run("clusters", "-n", 3, "--vocabulary", labels).out.splitlines()
    rows = [line.split("\t") for line in lines]
    assert [size for size, *_ in rows] == ["2", "2", "2"]
    assert {names.split(", ")[0] for _, _, names, _ in rows} == {"red", "green", "blue"}
    assert all(Path(path).name.startswith(names.split(", ")[0]) for _, _, names, path in rows)
    document = run("clusters", "-n", 2, "--json").json["clusters"]
    assert sum(len(cluster["ids"]) for cluster in document) == 6
    labels.write_text("\n")
    assert run("clusters", "--vocabulary", labels).code == 2
    assert run("clusters", "--kind", "text").err == "there is nothing to cluster\n"


def test_outliers_are_the_least_like_others(indexed: Path, run: Run) -> None:
    Image.new("RGB", (50, 50), "pink").save(indexed / "pink.png")
    run("index", indexed)
    score, path = run("outliers", "-n", 1).out.rstrip("\n").split("\t")
    assert path == str(indexed / "pink.png")
    [hit] = run("outliers", "-n", 1, "--json").json["outliers"]
    assert (hit["id"], f"{hit['score']:.3f}") == (path, score)
    assert run("outliers", "--kind", "text").err == "nothing found\n"


def test_recommend_finds_more_of_the_same(indexed: Path, run: Run) -> None:
    red, blue = indexed / "red-1.png", indexed / "blue-1.png"
    [hit] = run("recommend", "--like", red, "--unlike", blue, "-k", 1, "--json").json["hits"]
    assert hit["id"] == str(indexed / "red-2.png")
    result = run("recommend", "--like", red, "--like", blue, "-k", 2, "--diversity", 0.5)
    found = {Path(line.split("\t")[1]).name for line in result.out.splitlines()}
    assert found == {"red-2.png", "blue-2.png"}
    assert run("recommend", "--like", "nothing").code == 2
    assert run("recommend").code == 2

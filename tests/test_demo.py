from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipkit import demo, gallery
from clipkit.cli import main
from clipkit.collection import Collection
from clipkit.errors import InvalidInput
from clipkit.reports import Progress
from clipkit.testing import FakeEncoder
from tests import pictures

SCENES = 12


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(gallery, "EDGE", 32)
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: object) -> int:
    return main(["demo", "--model", "fake", "--scenes", str(SCENES), *map(str, arguments)])


def test_the_demo_draws_indexes_and_asks(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out, err = capsys.readouterr()
    assert len(list((home / "demo-pictures").glob("*.jpg"))) == SCENES
    collection = Collection.open("demo")
    assert (collection.count(kind="image"), collection.count(kind="text")) == (SCENES, SCENES)
    assert len(collection.thumbnails(collection.to_arrow(where="kind = 'image'")["id"].to_pylist())) == SCENES
    blocks = [block.splitlines() for block in out.strip().split("\n\n")]
    assert [block[0][:2] for block in blocks] == ["1 ", "2 ", "3 ", "4 ", "5 ", "6 "]
    assert all(len(block) == 2 + demo.HITS for block in blocks)
    assert "clipkit search 'a tent - snow' --name demo --kind image -k 4" in blocks[2][1]
    assert f"The pictures are in {home / 'demo-pictures'}" in err
    assert "clipkit search 'a lighthouse at night' --name demo --kind image -k 10" in err


def test_the_commands_it_prints_find_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    document = json.loads(capsys.readouterr().out)
    for answer in document["answers"]:
        call = [
            "search",
            answer["query"],
            "--name",
            document["collection"],
            "--kind",
            answer["kind"],
            "-k",
            "4",
        ]
        assert main([*call, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["hits"]
        assert [hit["score"] for hit in found] == pytest.approx([score for score, _ in answer["hits"]])


def test_the_second_run_loads_no_model_and_shows_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    first = capsys.readouterr()
    monkeypatch.setattr("clipkit.encoders.load_encoder", None)
    assert run() == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert "nothing has changed since the last time" in second.err


def test_a_change_is_seen_and_mended(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    first = capsys.readouterr().out
    for mischief in ("picture", "item", "text", "answers"):
        if mischief == "picture":
            next((home / "demo-pictures").glob("*.jpg")).unlink()
        elif mischief == "answers":
            (home / "demo-pictures" / "answers.json").write_text("[")
        else:
            kind = "image" if mischief == "item" else "text"
            Collection.open("demo").delete_where(f"kind = '{kind}'")
        assert run() == 0
        again = capsys.readouterr()
        assert again.out == first
        assert "nothing has changed" not in again.err
        assert Collection.open("demo").count() == 2 * SCENES


def test_another_model_gets_a_collection_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    capsys.readouterr()
    assert run("--model", "fake:64") == 0
    assert "--name demo-2 " in capsys.readouterr().out
    assert Collection.names() == ["demo", "demo-2"]
    assert Collection.open("demo").encoder_name == "fake"
    assert run("--model", "fake:64") == 0
    assert Collection.names() == ["demo", "demo-2"]


def test_another_number_of_scenes_makes_another_gallery(home: Path) -> None:
    run()
    assert main(["demo", "--model", "fake", "--scenes", "5"]) == 0
    assert len(list((home / "demo-pictures").glob("*.jpg"))) == 5
    assert Collection.open("demo").count() == 10


def test_photos_of_ones_own_are_shown_below_their_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "my photos"
    pictures.draw_folder(photos, 8)
    assert run(photos, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    name = document["collection"]
    assert name.startswith("demo-my-photos-")
    assert document["folder"] == str(photos)
    assert len(document["answers"]) == 6
    assert {what for _, what in document["answers"][0]["hits"]} <= {
        str(path.relative_to(photos)) for path in photos.rglob("*.jpg")
    }
    assert {what for _, what in document["answers"][4]["hits"]} <= set(demo.WORDS)
    assert Collection.open(name).count(kind="text") == len(demo.WORDS)

    pictures.draw(photos / "later.jpg", 99)
    assert run(photos) == 0
    assert Collection.open(name).count(kind="image") == 9


def test_folders_of_one_name_do_not_share_a_collection(tmp_path: Path) -> None:
    names = [demo.collection_name(tmp_path / place / "Pictures") for place in "ab"]
    assert len(set(names)) == 2
    assert demo.collection_name(Path("/")).startswith("demo-")


def test_a_folder_without_pictures_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == 2
    assert f"no picture in {tmp_path / 'empty'} could be indexed" in capsys.readouterr().err
    assert run(tmp_path / "nowhere") == 2


def test_a_home_that_is_no_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", "s3://bucket/home")
    with pytest.raises(InvalidInput, match=r"\$CLIPKIT_HOME, which is no folder: s3://bucket/home"):
        demo.gallery_folder()


def test_an_interruption_while_indexing_keeps_what_is_done(tmp_path: Path) -> None:
    drawings = gallery.gallery(tmp_path / "gallery", scenes=SCENES)
    gallery.draw_gallery(drawings)
    collection = demo.open_demo("demo", FakeEncoder())

    def stop(now: Progress) -> None:
        if now.done == SCENES:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="run it again"):
        demo.fill(collection, tmp_path / "gallery", demo.captions(drawings), progress=stop)
    assert collection.count(kind="text") == 0
    demo.fill(demo.open_demo("demo", FakeEncoder()), tmp_path / "gallery", demo.captions(drawings))
    assert Collection.names() == ["demo"]
    assert collection.count() == 2 * SCENES


def test_captions_that_have_changed_are_replaced(tmp_path: Path) -> None:
    gallery.draw_gallery(gallery.gallery(tmp_path / "gallery", scenes=2))
    collection = demo.open_demo("demo", FakeEncoder())
    for texts in ({"caption:0": "red", "caption:1": "blue"}, {"caption:0": "green"}):
        demo.fill(collection, tmp_path / "gallery", texts)
        stored = collection.to_arrow(columns=["id", "text"], where="kind = 'text'").to_pylist()
        assert {row["id"]: row["text"] for row in stored} == texts


@pytest.mark.slow
def test_ctrl_c_ends_the_command_and_the_next_one_goes_on(home: Path) -> None:
    command = [sys.executable, "-m", "clipkit", "demo", "--model", "fake", "--scenes", "36"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    started = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    folder = home / "demo-pictures"
    while started.poll() is None and not list(folder.glob("*.jpg")):
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)
    _, err = started.communicate(timeout=120)
    assert started.returncode == 1
    assert "interrupted; what is done stays. To go on:\n  clipkit demo --model fake --scenes 36" in err
    assert "Traceback" not in err
    drawn = {path: path.stat().st_mtime_ns for path in folder.glob("*.jpg")}
    assert drawn
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    assert len(list(folder.glob("*.jpg"))) == 36

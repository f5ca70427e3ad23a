from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from clipkit import gallery as gallery_module
from clipkit import sketch
from clipkit.errors import InvalidInput, StorageError
from clipkit.gallery import draw_gallery, gallery
from clipkit.reports import Progress

TOGETHER = 40  # enough for several processes


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_module, "EDGE", 32)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.jpg")}


def test_a_gallery_is_planned_before_it_is_drawn(tmp_path: Path) -> None:
    drawings = gallery(tmp_path, scenes=3)
    assert [drawing.seed for drawing in drawings] == [0, 1, 2]
    assert [d.caption for d in drawings] == [sketch.caption(sketch.scene(seed)) for seed in range(3)]
    assert (
        drawings[2].path == tmp_path / "0002-a-large-brown-turtle-to-the-right-of-a-medium-sized-red-ring.jpg"
    )
    assert not names(tmp_path)
    with pytest.raises(InvalidInput, match="at least one scene, not 0"):
        gallery(tmp_path, scenes=0)


def test_every_picture_is_drawn_and_shows_its_scene(tmp_path: Path) -> None:
    drawings = gallery(tmp_path / "new" / "folder", scenes=3)
    told: list[Progress] = []
    assert draw_gallery(drawings, progress=told.append) == 3
    assert told == [Progress(done, 3, 0) for done in (1, 2, 3)]
    assert names(tmp_path / "new" / "folder") == {"about.json", *(d.path.name for d in drawings)}
    with Image.open(drawings[1].path) as picture:
        assert picture.size == (32, 32)
        exact = sketch.draw(sketch.scene(1), size=32).resize((1, 1), Image.Resampling.BOX)
        near = picture.resize((1, 1), Image.Resampling.BOX)
    assert all(abs(a - b) < 8 for a, b in zip(exact.getpixel((0, 0)), near.getpixel((0, 0)), strict=True))  # type: ignore[arg-type]


def test_what_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    drawings = gallery(tmp_path, scenes=4)
    draw_gallery(drawings)
    before = stamps(tmp_path)
    drawings[2].path.unlink()
    told: list[Progress] = []
    assert draw_gallery(drawings, progress=told.append) == 1
    assert told == [Progress(4, 4, 0)]
    after = stamps(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {drawings[2].path.name}
    assert draw_gallery(drawings) == 0


def test_several_processes_draw_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    together = gallery(tmp_path / "together", scenes=TOGETHER)
    monkeypatch.setattr(gallery_module, "EDGE", 512)  # what the processes know
    assert draw_gallery(together) == TOGETHER
    alone = gallery(tmp_path / "alone", scenes=2)
    draw_gallery(alone)
    for a, b in zip(together, alone, strict=False):
        assert a.path.read_bytes() == b.path.read_bytes()


def test_a_gallery_of_another_version_is_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_gallery(gallery(tmp_path, scenes=3))
    (tmp_path / "mine.jpg").write_bytes(b"not ours")
    monkeypatch.setattr(gallery_module, "__version__", "99")
    assert draw_gallery(gallery(tmp_path, scenes=2)) == 2
    assert names(tmp_path) == {"about.json", "mine.jpg", *(d.path.name for d in gallery(tmp_path, scenes=2))}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"the pictures cannot be drawn into .*file"):
        draw_gallery(gallery(tmp_path / "file", scenes=1))


def test_an_interruption_leaves_whole_files_only(tmp_path: Path) -> None:
    drawings = gallery(tmp_path, scenes=6)

    def stop(now: Progress) -> None:
        if now.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        draw_gallery(drawings, progress=stop)
    assert names(tmp_path) == {"about.json", *(d.path.name for d in drawings[:3])}
    assert draw_gallery(drawings) == 3


DRAW = f"""
from clipkit.gallery import draw_gallery, gallery
import os, sys
os.cpu_count = lambda: 2
if __name__ == "__main__":
    draw_gallery(gallery(sys.argv[1], scenes={TOGETHER}), progress=lambda now: print(now.done, flush=True))
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_the_processes_end_with_the_one_that_started_them(tmp_path: Path, blow: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(DRAW)
    folder = tmp_path / "gallery"
    run = subprocess.Popen(
        [sys.executable, script, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline()
    if blow == signal.SIGINT:
        os.killpg(run.pid, blow)  # as a terminal does
    else:
        run.send_signal(blow)
    run.communicate(timeout=60)
    assert _gone(run.pid)
    for path in folder.glob("*.jpg"):
        with Image.open(path) as picture:
            picture.load()
    drawn = len(list(folder.glob("*.jpg")))
    assert 0 < drawn < TOGETHER


def _gone(group: int) -> bool:
    """Whether all of a process group end within a while."""
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False

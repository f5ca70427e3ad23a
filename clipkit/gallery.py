"""A gallery of drawn scenes as files: drawn by several processes, and continued where it stopped.

A file is either whole or not there. `about.json` says which scenes the folder is for, so that one of another
version is drawn anew and not mixed with this one.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from clipkit import __version__, sketch
from clipkit.errors import InvalidInput, StorageError
from clipkit.reports import Progress

EDGE = 512  # pixels
_QUALITY = 90
_ABOUT = "about.json"
_OURS = re.compile(r"\d{4}-[a-z0-9-]+\.jpg")
_WORDS_IN_NAME = 60  # characters; names stay readable in a listing
_POOL_PAYS = 16  # pictures: a process takes about as long to start as a few take to draw


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture of the gallery: its file, there or not yet, and what it shows."""

    path: Path
    seed: int
    caption: str


def gallery(folder: str | os.PathLike[str], *, scenes: int) -> tuple[Drawing, ...]:
    """The pictures that a gallery of so many scenes in `folder` has, in the order of their seeds."""
    if scenes < 1:
        raise InvalidInput(f"a gallery has at least one scene, not {scenes}")
    captions = [sketch.caption(sketch.scene(seed)) for seed in range(scenes)]
    return tuple(Drawing(Path(folder, _name(seed, text)), seed, text) for seed, text in enumerate(captions))


def draw_gallery(
    drawings: Sequence[Drawing], *, progress: Callable[[Progress], None] = lambda _: None
) -> int:
    """The number of pictures that had to be drawn, on all cores; the others were there.

    What is in the folder of an earlier version is deleted first. Ctrl-C at any time leaves whole files only,
    and the next call draws the rest. Raises StorageError if the folder cannot be written.
    """
    folder = drawings[0].path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _begin(folder, drawings)
        there = set(os.listdir(folder))
        missing = [drawing for drawing in drawings if drawing.path.name not in there]
        before = len(drawings) - len(missing)
        for done, _ in enumerate(_drawn(missing), before + 1):
            progress(Progress(done, len(drawings), 0))
    except OSError as error:
        raise StorageError(
            f"the pictures cannot be drawn into {folder}: {error.strerror or error}"
        ) from error
    return len(missing)


def _name(seed: int, caption: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", caption.lower())
    return f"{seed:04}-{words[:_WORDS_IN_NAME].strip('-')}.jpg"


def _begin(folder: Path, drawings: Sequence[Drawing]) -> None:
    """Empties the folder of pictures unless they are these, and writes down which they are going to be."""
    captions = hashlib.sha256("\n".join(drawing.caption for drawing in drawings).encode()).hexdigest()
    about = json.dumps({"clipkit": __version__, "edge": EDGE, "captions": captions})
    file = folder / _ABOUT
    if file.is_file() and file.read_text(encoding="utf-8", errors="replace") == about:
        return
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            path.unlink()
    part = folder / f".{_ABOUT}.{os.getpid()}.part"
    part.write_text(about, encoding="utf-8")
    part.replace(file)


def _drawn(missing: Sequence[Drawing]) -> Iterator[None]:
    """Yields as often as a picture is done."""
    left = list(missing)
    workers = min(os.cpu_count() or 1, len(left) // _POOL_PAYS)
    if workers > 1:
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks without the threads
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
        try:
            for _ in pool.map(_draw, missing, chunksize=4):
                left.pop(0)
                yield
        except BrokenProcessPool:
            pass  # a worker was killed, for memory perhaps: go on alone
        finally:
            pool.shutdown(cancel_futures=True)
    for drawing in left:
        _draw(drawing)
        yield


def _draw(drawing: Drawing) -> None:
    part = drawing.path.with_name(f".{drawing.path.name}.{os.getpid()}.part")
    try:
        picture = sketch.draw(sketch.scene(drawing.seed), size=EDGE)
        picture.save(part, "JPEG", quality=_QUALITY)
        part.replace(drawing.path)
    finally:
        part.unlink(missing_ok=True)


def _start_worker() -> None:
    """Ctrl-C reaches the whole process group, and is the parent's to handle; without a parent nothing is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)

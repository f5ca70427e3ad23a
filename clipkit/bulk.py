"""Many files read for a model on a GPU, which is faster than what one Python process can read.

Processes beside this one read the files, a chunk at a time, and leave JPEGs as they are; these are decoded
where the model runs, and here if that fails. A process that dies has its chunk read here as well.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

from numpy.typing import NDArray

import clipkit
from clipkit.ahead import read_ahead
from clipkit.folders import FoundFile
from clipkit.reading import (
    Copy,
    Decoded,
    Eye,
    KnownHashes,
    Undecoded,
    Unreadable,
    decode_left,
    read_undecoded,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipkit.encoder import Pixels

MANY = 4096  # files; for fewer, it is not worth while to start the processes
MOST_FILES = 256  # of a chunk; more at once are decoded no faster
MOST_BYTES = 32 << 20  # of a chunk, which is in memory as a whole
MOST_PIXELS = 50_000_000  # decoded at once: with all that is made of them, 1 GB on the device
_DECODING = 6  # chunks that are decoded at the same time; thumbnails are written by the threads that do it
_PIPE = 1 << 20  # bytes; with the usual 64 KiB, each JPEG would come in several pieces
_START = "import sys; sys.path.insert(0, sys.argv[1]); from clipkit.bulk import serve; serve()"

Read: TypeAlias = "Decoded | Copy | Unreadable"


class Preprocess(Protocol):
    """What a process is told of a model; pickled, it needs no torch, which takes seconds to load."""

    def resized(self, image: Image) -> NDArray[Any]: ...


class JpegDecoding(Protocol):
    """What decodes JPEGs where a model runs; see `encoders.jpegs`."""

    @property
    def preprocessing(self) -> Preprocess: ...
    def decode(
        self, jpegs: Sequence[bytearray | memoryview], orientations: Sequence[int]
    ) -> Sequence[tuple[Pixels, bytes]]: ...


class Task:
    """How files are read: all that a process needs to know."""

    def __init__(
        self, encoder: Eye, preprocessing: Preprocess, known: KnownHashes | None, max_pixels: int
    ) -> None:
        self.image_size = encoder.image_size
        self.upright = encoder.upright
        self._known = known
        self._max_pixels = max_pixels
        self._preprocessing = preprocessing

    def preprocess(self, image: Image) -> Pixels:
        return self._preprocessing.resized(image)

    def read(self, files: Sequence[FoundFile]) -> list[Undecoded | Read]:
        return [read_undecoded(file, lambda: self, self._known, self._max_pixels) for file in files]

    def decode(self, left: Undecoded) -> Decoded | Unreadable:
        return decode_left(left, lambda: self, self._max_pixels)


def read_many(files: Iterable[FoundFile], task: Task, decoder: JpegDecoding) -> Generator[Read, None, None]:
    """What `read_file` gives of each of the files, in their order."""
    readers = Readers(task)
    cores = os.cpu_count() or 1
    try:
        with (
            closing(read_ahead(chunks(files), readers.read, 2 * cores, threads=cores)) as read,
            closing(
                read_ahead(read, partial(_finished, task, decoder), _DECODING, threads=_DECODING)
            ) as all_,
        ):
            for chunk in all_:
                yield from chunk
    finally:
        readers.close()


def chunks(files: Iterable[FoundFile]) -> Iterator[list[FoundFile]]:
    """The files in lists of no more than MOST_FILES files and MOST_BYTES bytes, but of one at least."""
    chunk: list[FoundFile] = []
    size = 0
    for file in files:
        if chunk and (len(chunk) == MOST_FILES or size + file.size_bytes > MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(file)
        size += file.size_bytes
    if chunk:
        yield chunk


class Readers:
    """Processes that read files, one for each thread that asks."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._mine = threading.local()
        self._all: list[_Reader] = []

    def read(self, files: Sequence[FoundFile]) -> list[Undecoded | Read]:
        reader: _Reader | None = getattr(self._mine, "reader", None)
        try:
            if reader is None:
                reader = self._mine.reader = _Reader(self._task)
                self._all.append(reader)
            return reader.read(files)
        except (OSError, EOFError, pickle.UnpicklingError):  # it has died, or cannot be started
            self._mine.reader = None
            return self._task.read(files)

    def close(self) -> None:
        for reader in self._all:
            reader.close()


class _Reader:
    """One process, which ends when this one does."""

    def __init__(self, task: Task) -> None:
        package = str(Path(clipkit.__file__).parents[1])
        self._process = subprocess.Popen(  # noqa: S603 - this very Python, with the path above
            [sys.executable, "-c", _START, package], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        _widen(self._process.stdout)
        self._send(task)

    def read(self, files: Sequence[FoundFile]) -> list[Undecoded | Read]:
        self._send(files)
        stream = self._process.stdout
        assert stream is not None
        read, sizes = pickle.load(stream)  # noqa: S301 - from our own process
        data = bytearray(sum(sizes))
        if stream.readinto(data) < len(data):  # type: ignore[attr-defined]
            raise EOFError
        ends = accumulate(sizes)
        return [
            replace(item, data=memoryview(data)[end - size : end]) if isinstance(item, Undecoded) else item
            for item, size, end in zip(read, sizes, ends, strict=True)
        ]

    def _send(self, value: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(value, self._process.stdin)
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _widen(pipe: Any) -> None:
    """Let more into a pipe at once, where the system has that and still grants it."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def serve() -> None:
    """The life of such a process: a task, then files, for as long as some come."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed must not come among the answers
    with suppress(EOFError, BrokenPipeError):
        task: Task = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
        while True:
            _answer(answers, task.read(pickle.load(sys.stdin.buffer)))  # noqa: S301


def _answer(stream: BinaryIO, read: Sequence[Undecoded | Read]) -> None:
    """The bytes of JPEGs come behind all else, and in one piece, so that they are taken up at one go."""
    data = [item.data if isinstance(item, Undecoded) else b"" for item in read]
    rest = [replace(item, data=b"") if isinstance(item, Undecoded) else item for item in read]
    pickle.dump((rest, [len(part) for part in data]), stream, protocol=pickle.HIGHEST_PROTOCOL)
    for part in data:
        stream.write(part)
    stream.flush()


def _finished(task: Task, decoder: JpegDecoding, chunk: Sequence[Undecoded | Read]) -> list[Read]:
    """The chunk with its JPEGs decoded."""
    left = [item for item in chunk if isinstance(item, Undecoded)]
    decoded = iter([done for some in _portions(left) for done in _decoded(task, decoder, some)])
    return [next(decoded) if isinstance(item, Undecoded) else item for item in chunk]


def _portions(left: Iterable[Undecoded]) -> Iterator[list[Undecoded]]:
    """In lists of no more than MOST_PIXELS, but of one picture at least."""
    portion: list[Undecoded] = []
    pixels = 0
    for item in left:
        more = (item.row.width or 0) * (item.row.height or 0)
        if portion and pixels + more > MOST_PIXELS:
            yield portion
            portion, pixels = [], 0
        portion.append(item)
        pixels += more
    if portion:
        yield portion


def _decoded(task: Task, decoder: JpegDecoding, left: Sequence[Undecoded]) -> Sequence[Decoded | Unreadable]:
    try:
        jpegs = [bytearray(item.data) if isinstance(item.data, bytes) else item.data for item in left]
        done = decoder.decode(jpegs, [item.orientation for item in left])
    except RuntimeError:  # one of the files is broken, and which is not said; or memory does not suffice
        return [task.decode(item) for item in left]
    return [item.decoded(*made) for item, made in zip(left, done, strict=True)]

"""Asking the resident, and starting one for the next question."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import clipkit
from clipkit.resident.meeting import Meeting, is_private, is_same_user
from clipkit.resident.words import LONGEST_ANSWER, NOT_AS_AGREED, Words, read_words, write_words

TURN_S = 0.25  # how long to wait for one's turn: answering alone takes a second
ANSWER_S = 20.0
PAUSE_S = 60.0  # before another is started in place of one that did not leave by itself

# What changes how an answer looks, and is handed over with each question.
_LOOKS = (
    "COLORTERM",
    "COLUMNS",
    "FORCE_COLOR",
    "LINES",
    "NO_COLOR",
    "TERM",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
)

_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from clipkit.cli.residing import reside; "
    "reside(*sys.argv[2:])"
)


def ask(place: Meeting, arguments: Sequence[str]) -> int | None:
    """0 for a command that the resident ran, its output printed; None where it is to be run here."""
    try:
        answer = _answer(place, _question(arguments))
    except (OSError, *NOT_AS_AGREED):
        return None
    if answer is None:
        return None
    for stream, data in answer:
        _write((sys.stdout, sys.stderr)[stream - 1], data)
    return 0


def start(place: Meeting, arguments: Sequence[str], seconds: float) -> None:
    """Start a resident that stays until nobody has asked for so many seconds, if there is none.

    It runs the question `arguments` for itself, so that it has at hand what the next one needs.
    """
    with suppress(OSError, *NOT_AS_AGREED):
        lock = _locked(place.lock)
        if lock is None:
            return
        try:
            _launch(place, lock, _question(arguments), seconds)
        finally:
            os.close(lock)  # the resident has it now


def _locked(path: Path) -> int | None:
    """The lock of a resident that is to be started; None if one lives, or one has died just now."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(path, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(lock)
        died = found.st_size and abs(time.time() - found.st_mtime) < PAUSE_S
        if is_private(path, stat.S_ISREG) and not died:
            return os.dup(lock)
    except BlockingIOError:
        return None
    finally:
        os.close(lock)
    return None


def _launch(place: Meeting, lock: int, question: Words, seconds: float) -> None:
    """Start the resident, in a session of its own and without a terminal."""
    package = str(Path(clipkit.__file__).parents[1])
    command = [sys.executable, "-c", _START, package, str(place.socket), str(lock), str(seconds)]
    started = subprocess.Popen(  # noqa: S603 - this very Python, with the paths above
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        pass_fds=[lock],
        start_new_session=True,
    )
    assert started.stdin is not None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(started.pid).encode(), 0)  # whoever leaves in order empties it
    with suppress(BrokenPipeError), started.stdin as pipe:
        pipe.write(json.dumps(question).encode() + b"\n")
    started.returncode = 0  # nobody waits for it, and Python need not warn of that


def _answer(place: Meeting, question: Words) -> list[tuple[int, bytes]] | None:
    """What the resident printed, and on which stream; None where it did not, or has not to the end."""
    if not is_private(place.socket, stat.S_ISSOCK):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TURN_S)
        connection.connect(str(place.socket))
        if not is_same_user(connection):
            return None
        write_words(connection, question)
        with connection.makefile("rb") as stream:
            if read_words(stream) != {"begun": True}:
                return None
            connection.settimeout(ANSWER_S)
            return _checked(read_words(stream, LONGEST_ANSWER))


def _checked(answer: Words) -> list[tuple[int, bytes]] | None:
    """The whole output, looked at before any of it is printed."""
    if answer["code"] != 0:
        return None
    output = [(stream, text.encode("latin-1")) for stream, text in answer["output"]]
    return output if all(stream in (1, 2) for stream, _ in output) else None


def _question(arguments: Sequence[str]) -> Words:
    looks = {name: os.environ[name] for name in _LOOKS if name in os.environ}
    for number in (0, 2, 1):  # in this order rich looks for a terminal
        with suppress(OSError):
            size = os.get_terminal_size(number)
            looks = {"COLUMNS": str(size.columns), "LINES": str(size.lines), **looks}
            break
    return {
        "arguments": list(arguments),
        "folder": os.getcwd(),
        "looks": looks,
        "streams": [_like(stream) for stream in (sys.stdout, sys.stderr)],
    }


def _like(stream: TextIO) -> Words:
    return {"encoding": stream.encoding, "errors": stream.errors, "terminal": stream.isatty()}


def _write(stream: TextIO, data: bytes) -> None:
    stream.flush()
    stream.buffer.write(data)
    stream.flush()

"""What the resident does: one question after the other, until nobody has asked for a while."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TypeAlias

from clipkit.resident.meeting import is_same_user
from clipkit.resident.words import LONGEST_ANSWER, NOT_AS_AGREED, Words, read_words, write_words

Run: TypeAlias = Callable[[list[str]], int]
"""What runs a command line, prints what there is to print, and gives the exit code."""

WORDS_S = 1.0  # for a question to be said, or an answer to be heard: all is here, or its asker is not
QUEUE = 8  # askers; whoever waits for longer than `client.TURN_S` does it without the resident


def serve(listening: socket.socket, run: Run, seconds: float) -> None:
    """Answer who asks, one after the other; come back when nobody has for `seconds`."""
    listening.settimeout(seconds)
    while True:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            return
        with connection, suppress(OSError, *NOT_AS_AGREED):
            connection.settimeout(WORDS_S)
            if is_same_user(connection):
                _converse(connection, run)


def listen(path: str) -> socket.socket:
    """A socket at `path` that only this user can connect to. The caller holds the lock beside it."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # of one that did not leave in order
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(path)
    finally:
        os.umask(before)
    listening.listen(QUEUE)
    return listening


def _converse(connection: socket.socket, run: Run) -> None:
    with connection.makefile("rb") as stream:
        question = read_words(stream)
    write_words(connection, {"begun": True})
    write_words(connection, answered(question, run))


def answered(question: Words, run: Run) -> Words:
    """What the command of `question` printed, in order, and its exit code.

    The output is left out unless the code is 0: who asked then runs the command, for the error to be its own.
    """
    printed: list[tuple[int, bytes]] = []
    out, err = (_Stream(printed, number + 1, like) for number, like in enumerate(question["streams"]))
    try:
        with _in_place_of(question), redirect_stdout(out), redirect_stderr(err):
            code = run([str(argument) for argument in question["arguments"]])
            out.flush()
            err.flush()
    except BaseException:  # noqa: BLE001 - whatever it is, the one who asked will meet it too, and say it
        code = 1
    if code != 0 or sum(len(data) for _, data in printed) > LONGEST_ANSWER // 8:  # \u00ff is six bytes long
        return {"code": code or 1, "output": []}
    return {"code": 0, "output": [(stream, data.decode("latin-1")) for stream, data in printed]}


@contextmanager
def _in_place_of(question: Words) -> Iterator[None]:
    """Be where the asker is, with its terminal's looks, as long as it takes."""
    before = dict(os.environ)
    try:
        os.environ.update(question["looks"])
        os.chdir(question["folder"])
        yield
    finally:
        os.chdir("/")  # so that no disk is kept from being taken out
        os.environ.clear()
        os.environ.update(before)


class _Stream(io.TextIOWrapper):
    """A text stream that looks like the asker's own, and keeps what is written to it."""

    def __init__(self, printed: list[tuple[int, bytes]], number: int, like: Mapping[str, Any]) -> None:
        self._terminal = bool(like["terminal"])
        super().__init__(
            io.BufferedWriter(_Printed(printed, number)),
            encoding=like["encoding"],
            errors=like["errors"],
            line_buffering=self._terminal or number == 2,  # as Python has it
        )

    def isatty(self) -> bool:
        return self._terminal


class _Printed(io.RawIOBase):
    def __init__(self, printed: list[tuple[int, bytes]], number: int) -> None:
        self._printed, self._number = printed, number

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._printed.append((self._number, bytes(data)))
        return len(data)

"""A terminal of its own for a command: what people see, and what terminals answer."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Mapping

IN_A_PROCESS = [sys.executable, "-m", "clipkit"]
CELLS = (50, 200)  # rows, columns
CELL_PIXELS = (20, 10)
_PROGRAMS_OWN = ("COLORTERM", "NO_COLOR", "FORCE_COLOR", "TERM_PROGRAM", "TTY_COMPATIBLE")


class Terminal:
    """A command that runs on a terminal of its own; its output arrives in `seen`.

    `answers` are what the terminal types back when it is asked, by question, and `environment` what the
    command finds set.
    """

    def __init__(
        self,
        *arguments: object,
        answers: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            for name in _PROGRAMS_OWN:
                os.environ.pop(name, None)
            os.environ.update({"TERM": "xterm-256color", "COLUMNS": str(CELLS[1]), **(environment or {})})
            os.execv(sys.executable, [*IN_A_PROCESS, *map(str, arguments)])
        size = struct.pack("HHHH", *CELLS, CELLS[1] * CELL_PIXELS[1], CELLS[0] * CELL_PIXELS[0])
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, size)
        self.seen = ""
        self._answers = dict(answers or {})

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        """What matched in the output."""
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, f"{pattern!r} has not come: {self.seen!r}"
            assert self._read(), f"{pattern!r} did not come: {self.seen!r}"
        return match[0]

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def wait(self) -> int:
        """The exit code."""
        while self._read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        select.select([self._fd], [], [], 60)
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.seen += data.decode(errors="replace")
        for question in [question for question in self._answers if question in self.seen]:
            self.type(self._answers.pop(question))
        return bool(data)

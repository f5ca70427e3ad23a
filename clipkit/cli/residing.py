"""The resident's own end: what `clipkit.resident.client` starts.

It never imports torch, and so takes neither a gigabyte of memory nor any of a GPU's while it waits: questions
that need all of a model are for whoever asks them.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from clipkit.cli import commands
from clipkit.cli.sparing import spare
from clipkit.resident.server import answered, listen, serve
from clipkit.resident.words import read_words


def reside(path: str, lock: str, seconds: str) -> None:
    """Warm up with the question on stdin, then answer at the socket `path` until nobody has asked for long.

    `lock` is the number of a file descriptor: it is locked as long as this process lives.
    """
    first = read_words(sys.stdin.buffer)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    spare()
    sys.modules["torch"] = None  # type: ignore[assignment] # which says: there is none
    if answered(first, commands.run)["code"] != 0:
        return
    with listen(path) as listening:
        try:
            serve(listening, commands.run, float(seconds))
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.ftruncate(int(lock), 0)

"""What is said over the socket: one JSON object a line, of bounded length."""

from __future__ import annotations

import json
import socket
from typing import Any, BinaryIO, TypeAlias

Words: TypeAlias = dict[str, Any]

LONGEST_QUESTION = 1 << 20  # bytes; a command line may have two million on Linux, and that is no question
LONGEST_ANSWER = 64 << 20  # bytes; a hundred thousand hits

NOT_AS_AGREED = (ValueError, LookupError, TypeError, AttributeError)
"""What reading words raises that are none, or lack something."""


def read_words(stream: BinaryIO, longest: int = LONGEST_QUESTION) -> Words:
    """The next object. Raises ValueError if there is none, or what there is is no such line."""
    line = stream.readline(longest + 1)
    if not line.endswith(b"\n"):
        raise ValueError("no whole line")
    words = json.loads(line)
    if not isinstance(words, dict):
        raise ValueError("no object")
    return words


def write_words(connection: socket.socket, words: Words) -> None:
    connection.sendall(json.dumps(words).encode() + b"\n")

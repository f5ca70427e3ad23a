"""The command line: arguments in, tables and bars out. The only place in the library that prints and exits.

Results go to stdout, everything else to stderr. With --json, stdout holds exactly one JSON document, also
after an error: {"error": {"type", "message"}}. Exit codes: 0 done, 1 the job failed, 2 the call was wrong.
Nothing heavy is imported before a command needs it, so --help and completion answer at once; and nothing at
all for a question that the resident answers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipkit.cli.commands import app

__all__ = ["app", "main"]

STAYS_S = 600.0  # that a resident stays after the last question
_QUESTIONS = (["search"], ["recommend"], ["album", "show"])
_ALONE = {"--show", "--help", "-h"}  # what these print depends on the terminal


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clipkit.cli import commands

    return commands.app


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code after running the command line `arguments`, by default those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    seconds = _stays(given)
    return _asked(given, seconds) if seconds else _run(given)


def _run(given: list[str]) -> int:
    from clipkit.cli import commands
    from clipkit.cli.sparing import spare

    spare()
    return commands.run(given)


def _asked(given: list[str], seconds: float) -> int:
    """As `_run`, by the resident if there is one; else there is one afterwards, for so many seconds."""
    from clipkit.resident import client
    from clipkit.resident.meeting import meeting

    place = meeting()  # first of all: running a command changes the environment
    if place is None:
        return _run(given)
    try:
        answered = client.ask(place, given)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        from clipkit.cli.output import failed

        return failed(error, json="--json" in given)
    if answered is not None:
        return answered
    code = _run(given)
    if code == 0 and "torch" not in sys.modules:  # else a resident would be of no use
        client.start(place, given, seconds)
    return code


def _stays(given: Sequence[str]) -> float:
    """For how many seconds a resident is to stay for such a command; 0 where there is to be none."""
    wanted = os.environ.get("CLIPKIT_RESIDENT", "")
    question = any(list(given[: len(words)]) == words for words in _QUESTIONS)
    if wanted == "off" or not question or os.environ.get("CLIPKIT_DEBUG") or os.name != "posix":
        return 0.0
    if _ALONE.intersection(given) or not _plain_streams():
        return 0.0
    return float(wanted) if wanted.isdecimal() else STAYS_S


def _plain_streams() -> bool:
    return all(hasattr(stream, "buffer") for stream in (sys.stdout, sys.stderr))

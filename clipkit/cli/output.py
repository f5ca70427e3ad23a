"""How results, notes and errors look: JSON, plain lines or tables on stdout, the rest on stderr."""

from __future__ import annotations

import contextlib
import errno
import json as json_module
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import typer

from clipkit.errors import ClipkitError, CollectionError, InvalidInput, StorageError, UnknownModel

if TYPE_CHECKING:
    from clipkit.reports import Progress

PLAIN_PROGRESS_SECONDS = 10.0  # between two lines where there is no terminal: enough for a log


def survive_any_text() -> None:
    """File names need not be valid Unicode, and stdout need not be UTF-8; neither may end a command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def flush() -> None:
    """Writes out what is buffered, so that a closed pipe is noticed here and not at exit."""
    sys.stdout.flush()


def print_json(document: object) -> None:
    """`document` as the one JSON document on stdout."""
    indent = 2 if is_terminal() else None
    print(json_module.dumps(_finite(document), default=_plain, allow_nan=False, indent=indent))


def _finite(value: Any) -> Any:
    """`value` with null for NaN and the infinities, which JSON has no words for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy
        return value.tolist()
    return sorted(value) if isinstance(value, frozenset) else str(value)


def print_paths(paths: Sequence[str], *, separator: str) -> None:
    """The paths byte for byte, each followed by `separator`."""
    flush()
    sys.stdout.buffer.write(b"".join(os.fsencode(path + separator) for path in paths))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table on a terminal; elsewhere one line per row, columns separated by tabs, without a header."""
    clean = [[one_line(cell) for cell in row] for row in rows]
    if not is_terminal():
        for row in clean:
            print("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in clean:
        table.add_row(*map(Text, row))  # Text: a path may hold [brackets], which are no markup
    Console(highlight=False).print(table)


def print_facts(facts: Mapping[str, str]) -> None:
    """One line per fact, its name first."""
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {one_line(value)}")


def one_line(text: str) -> str:
    """`text` without line breaks and control characters: a caption must not steer a terminal."""
    return "".join(c if c.isprintable() or 0xDC80 <= ord(c) <= 0xDCFF else " " for c in text)


def note(message: str) -> None:
    """A line on stderr that is no error."""
    print(message, file=sys.stderr)


def is_terminal() -> bool:
    """Whether stdout is looked at by a person."""
    return sys.stdout.isatty()


def failed(error: BaseException, *, json: bool) -> int:
    """Says what went wrong, in a few lines on stderr and with `json` on stdout; gives the exit code."""
    if _pipe_is_closed(error):
        # The reader has what it wanted (`| head`). Python would complain when it flushes stdout at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    kind, message, code = _told(error)
    if json:
        print_json({"error": {"type": kind, "message": message}})
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    note(message)
    return code


def _told(error: BaseException) -> tuple[str, str, int]:
    """(type, message, exit code)"""
    kind = type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted", str(error) or "interrupted", 1
    if hasattr(error, "format_message"):  # typer's own: an unknown option, a missing argument
        return "UsageError", _usage(error), 2
    if isinstance(error, typer.Abort):
        return "Aborted", "aborted", 1
    if isinstance(error, InvalidInput | UnknownModel | CollectionError) and not isinstance(
        error, StorageError
    ):
        return kind, str(error), 2
    if isinstance(error, ClipkitError):
        return kind, str(error), 1
    if isinstance(error, OSError) and error.strerror:
        return kind, f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1
    return kind, f"{kind}: {error}\n  CLIPKIT_DEBUG=1 in the environment shows where", 1


def _usage(error: Any) -> str:
    command = error.ctx.command_path if getattr(error, "ctx", None) else "clipkit"
    if not error.format_message():
        return f"a command is missing\n  {command} --help  lists them"
    message = f"{error.format_message()}\n  {command} --help  shows how"
    if command.endswith(" search") and hasattr(error, "option_name"):
        message += "\n  a query that begins with a minus goes behind --:  clipkit search -- -people"
    return message


def _pipe_is_closed(error: BaseException) -> bool:
    return isinstance(error, BrokenPipeError) or getattr(error, "errno", None) == errno.EPIPE


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[Progress], None]]:
    """A callback that shows progress on stderr: a bar on a terminal, elsewhere a line now and then."""
    if not sys.stderr.isatty():
        yield _lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[skipped]}"),
        console=Console(stderr=True),
        transient=True,
    )
    pace = _Pace()
    with bar:
        task = bar.add_task(what, total=None, rate="", skipped="")

        def show(now: Progress) -> None:
            skipped = f"{now.skipped} skipped" if now.skipped else ""
            rate = pace.rate(now.done)
            bar.update(
                task,
                completed=now.done,
                total=now.total,
                rate=f"{rate:.0f}/s" if rate else "",
                skipped=skipped,
            )

        yield show


def _lines(what: str) -> Callable[[Progress], None]:
    pace, last = _Pace(), time.monotonic()

    def show(now: Progress) -> None:
        nonlocal last
        rate = pace.rate(now.done)
        if time.monotonic() - last < PLAIN_PROGRESS_SECONDS or not rate:
            return
        last = time.monotonic()
        left = duration((now.total - now.done) / rate)
        note(f"{what}: {now.done} of {now.total}, {rate:.0f}/s, about {left} left")

    return show


class _Pace:
    """Items a second since the first call: what came before it was loading the model."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def rate(self, done: int) -> float:
        now = time.monotonic()
        self._first = self._first or (now, done)
        began, before = self._first
        return (done - before) / (now - began) if now > began else 0.0


def duration(seconds: float) -> str:
    """`seconds` as people say it: 4.2 s, 3 min, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(n_bytes: float) -> str:
    """A number of bytes as people say it: 512 B, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def plural(count: int, noun: str) -> str:
    """`3 files`, `1 file`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

"""Thumbnails on a terminal, through textual-image: as pixels where it can show them, else as half blocks."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import select
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clipkit.cli.output import is_terminal, one_line, print_table
from clipkit.errors import MissingExtra

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS, ROWS = 18, 6  # the most character cells that a picture takes: half as wide again as high
ANSWER_SECONDS = 4.0  # a terminal far away answers late; one that does not know the last question never

# Two questions: kitty's, whether it shows pictures (other terminals overlook it), and what every terminal
# answers, its attributes, so that there is an end to wait for.
_QUESTIONS = "\x1b_Gi=1,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
_ATTRIBUTES = re.compile(r"\x1b\[\?([0-9;]*)c")
_SIXEL = "4"  # among the attributes
_NO_PLACES = "WarpTerminal"  # says yes to kitty's question, but cannot place pictures in lines of text


def are_wanted(show: bool) -> bool:
    """Whether stdout gets pictures: only if asked to, and only where a person looks at it.

    Raises MissingExtra where it should but cannot.
    """
    if not (show and is_terminal()):
        return False
    if importlib.util.find_spec("textual_image") is None:
        raise MissingExtra("--show", "terminal")
    return True


def print_pictures(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    pictures: Sequence[bytes | None],
    *,
    right: Sequence[str] = (),
) -> None:
    """As `print_table`, each row with its picture (the bytes of an image file) before it.

    Without pictures where the terminal has neither colours nor a way to show them.
    """
    from rich.console import Console

    console = Console(highlight=False)
    kind = _kind(console)
    if kind is None:
        print_table(columns, rows, right=right)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 1, 0), pad_edge=True)  # without its edge, pictures would touch
    table.add_column(width=COLUMNS)
    for column in columns:
        table.add_column(justify="right" if column in right else "left", overflow="fold")
    for row, picture in zip(rows, pictures, strict=True):
        shown = "" if picture is None else _shown(kind, picture)
        table.add_row(shown, *(Text(one_line(cell)) for cell in row))
    console.print(table)


def _kind(console: Console) -> Any:
    """What of textual-image draws a picture here; None where nothing does."""
    answers = "" if console.is_dumb_terminal else _answers()
    attributes = _ATTRIBUTES.search(answers)
    library = _library()
    # In this order: of those that know both, most know only a part of kitty's protocol.
    if attributes and _SIXEL in attributes[1].split(";"):
        return library.SixelImage
    if console.encoding != "utf-8":
        return None
    if "_Gi=1;OK" in answers and os.environ.get("TERM_PROGRAM") != _NO_PLACES:
        return library.TGPImage
    return library.HalfcellImage if answers and console.color_system else None


def _library() -> Any:
    """textual_image.renderable, kept from asking the terminal itself, for it does not wait long enough."""
    logging.getLogger("textual_image").setLevel(logging.ERROR)  # it warns where it has to guess a cell's size
    stdout, sys.__stdout__ = sys.__stdout__, None  # type: ignore[misc]
    try:
        from textual_image import renderable
    finally:
        sys.__stdout__ = stdout  # type: ignore[misc]
    return renderable


def _answers() -> str:
    """What the terminal answers to the questions; empty if it does not, or cannot be asked."""
    if not sys.stdin.isatty():
        return ""
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    answers = ""
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        tty.setcbreak(terminal)  # answers come as if typed: not echoed, and without waiting for a line's end
        sys.stdout.write(_QUESTIONS)
        sys.stdout.flush()
        while not _ATTRIBUTES.search(answers):
            if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
                break
            answers += os.read(terminal, 1024).decode(errors="replace")
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
    return answers


def _shown(kind: Any, picture: bytes) -> Any:
    """The picture as large as fits into COLUMNS and ROWS; one that is very narrow gets a whole cell."""
    from clipkit.images import open_image

    image = open_image(picture)
    ratio = image.width / image.height
    if ratio > COLUMNS / (2 * ROWS):  # a cell is about twice as high as wide
        return kind(image, COLUMNS, "auto" if ratio < COLUMNS / 2 else 1)
    return kind(image, "auto" if ratio > 1 / ROWS else 1, ROWS)

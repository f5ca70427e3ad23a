"""A benchmark as a picture: a bar for each figure, on a paler one for its ceiling."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from PIL import Image, ImageDraw, ImageFont

from clipkit.benchmark.measuring import Benchmark, Figure

WIDTH, MARGIN = 900, 32
LABELS, BARS = 150, 470  # the widths of both columns; the numbers have what is left
BAR, SLIM, GAP, LINE = 24, 12, 14, 24
TITLE, TEXT = 22, 15  # sizes of type
INK, PAPER, GREY = "#1d2433", "#ffffff", "#667085"
REACHED, CEILING = "#2f6fde", "#d6e4fb"
FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
SCALED_TOGETHER = ("decode", "model", "index")  # what can be compared: pictures a second
NAMES = {
    "read": "read files",
    "decode": "decode",
    "model": "model",
    "index": "all of indexing",
    "texts": "texts",
    "write": "write",
    "query": "query",
}


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class Words:
    x: float
    y: float  # of their middle
    text: str
    size: int
    colour: str


def chart(benchmark: Benchmark, suffix: str) -> bytes:
    """The chart as the bytes of a file: SVG for ".svg", else PNG."""
    shapes, height = _laid_out(benchmark)
    return _svg(shapes, height) if suffix.lower() == ".svg" else _png(shapes, height)


def _laid_out(benchmark: Benchmark) -> tuple[list[Bar | Words], int]:
    """(what to draw, how high it becomes)"""
    y = MARGIN + TITLE / 2
    cores = f"{benchmark.cores} cores" if benchmark.device == "cpu" else benchmark.device
    shapes: list[Bar | Words] = [Words(MARGIN, y, f"{benchmark.model} on {cores}", TITLE, INK)]
    y += 2 * LINE
    top = max(max(benchmark.figures[name].value, benchmark.figures[name].ceiling) for name in SCALED_TOGETHER)
    for name in NAMES:
        figure = benchmark.figures[name]
        own = max(figure.value, figure.ceiling)
        shapes += _row(figure, y, top if name in SCALED_TOGETHER else own)
        y += BAR + GAP
    y += GAP / 2
    shapes += [
        Bar(MARGIN, y + (BAR - SLIM) / 2, BAR, SLIM, REACHED),
        Words(MARGIN + BAR + 8, y + BAR / 2, "reached", TEXT, INK),
        Bar(MARGIN + 130, y, BAR, BAR, CEILING),
        Words(MARGIN + 130 + BAR + 8, y + BAR / 2, "its ceiling", TEXT, INK),
        Words(MARGIN + 280, y + BAR / 2, "decode, model and all of indexing have one scale", TEXT, GREY),
    ]
    y += BAR + LINE
    for line in textwrap.wrap(benchmark.advice, 100):
        shapes.append(Words(MARGIN, y, line, TEXT, INK))
        y += LINE
    return shapes, round(y + MARGIN / 2)


def _row(figure: Figure, y: float, scale: float) -> Iterator[Bar | Words]:
    """The bar of what was reached is the slimmer one: so both show, whichever is longer."""
    left = MARGIN + LABELS
    yield Words(MARGIN, y + BAR / 2, NAMES[figure.name], TEXT, INK)
    yield Bar(left, y, BARS * figure.ceiling / scale, BAR, CEILING)
    yield Bar(left, y + (BAR - SLIM) / 2, BARS * figure.value / scale, SLIM, REACHED)
    told = f"{number(figure.value)} {figure.unit}, {figure.share:.0%} of {number(figure.ceiling)}"
    yield Words(left + BARS + 14, y + BAR / 2, told, TEXT, GREY)


def number(value: float) -> str:
    """As people write it: 8.3, 142, 12,400."""
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _svg(shapes: list[Bar | Words], height: int) -> bytes:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family={quoteattr(FONT)}>',
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
    ]
    for shape in shapes:
        if isinstance(shape, Bar):
            lines.append(
                f'<rect x="{shape.x:g}" y="{shape.y:g}" width="{shape.width:.1f}" height="{shape.height:g}" '
                f'rx="3" fill="{shape.colour}"/>'
            )
        else:
            lines.append(
                f'<text x="{shape.x:g}" y="{shape.y:g}" font-size="{shape.size}" fill="{shape.colour}" '
                f'dominant-baseline="central">{escape(shape.text)}</text>'
            )
    return "\n".join([*lines, "</svg>", ""]).encode()


def _png(shapes: list[Bar | Words], height: int) -> bytes:
    twice = 2  # for screens with fine pixels
    image = Image.new("RGB", (twice * WIDTH, twice * height), PAPER)
    canvas = ImageDraw.Draw(image)
    for shape in shapes:
        x, y = twice * shape.x, twice * shape.y
        if isinstance(shape, Bar):
            corner = (x + max(2.0, twice * shape.width), y + twice * shape.height)
            canvas.rounded_rectangle((x, y, *corner), 6, shape.colour)
        else:
            font = ImageFont.load_default(twice * shape.size)
            canvas.text((x, y), shape.text, shape.colour, font, anchor="lm")
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()

"""Primitives of the drawn world: a palette per colour, a pen on a unit square, and soft shading of a tile."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

RGB = tuple[int, int, int]
RGBA = tuple[int, int, int, int]
Fill = RGB | RGBA
Point = tuple[float, float]

INK: RGB = (44, 40, 52)
CREAM: RGB = (255, 247, 228)
WOOD: RGB = (150, 104, 66)
WOOD_DARK: RGB = (112, 74, 46)
STEEL: RGB = (176, 184, 194)
GLASS: RGB = (196, 230, 246)
LEAF: RGB = (92, 158, 74)

# Far apart in hue or lightness, so that twelve names stay tellable in a thing ten pixels wide.
BASES: dict[str, RGB] = {
    "red": (222, 38, 44),
    "orange": (250, 132, 22),
    "yellow": (253, 213, 44),
    "green": (44, 158, 62),
    "blue": (38, 88, 218),
    "purple": (130, 62, 184),
    "pink": (250, 142, 188),
    "brown": (128, 78, 42),
    "black": (40, 40, 46),
    "white": (250, 250, 248),
    "grey": (146, 149, 156),
    "turquoise": (32, 196, 192),
}

MARGIN = 0.1  # of a tile's side, room for the outline, the shadow and a tilt


@dataclass(frozen=True, slots=True)
class Palette:
    """The shades one thing is painted in; `line` is readable on `base`, `rim` is the outline."""

    base: RGB
    light: RGB
    pale: RGB
    dark: RGB
    line: RGB
    rim: RGB


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`a` with `share` (0 to 1) of `b` in it."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def palette(colour: str, *, on_dark: bool = False) -> Palette:
    """The palette of a named colour; on a dark ground dark things get a light rim."""
    base = BASES[colour]
    dark = mix(base, (24, 14, 48), 0.3)
    line = mix(base, (20, 10, 40), 0.55)
    rim = mix(base, (24, 14, 40), 0.6)
    if colour == "white":
        dark, line, rim = (206, 211, 222), (138, 146, 166), (112, 120, 142)
    if colour == "black":
        dark, line, rim = (16, 16, 20), (112, 112, 124), (10, 10, 14)
    if on_dark and colour in ("black", "blue", "purple", "brown"):
        rim = mix(base, (236, 240, 255), 0.75)
    return Palette(base, mix(base, (255, 255, 255), 0.3), mix(base, (255, 255, 255), 0.68), dark, line, rim)


class Pen:
    """Draws on a transparent tile in unit coordinates: x to the right, y down, both 0 to 1."""

    def __init__(self, px: int, colours: Palette, rng: Random, *, flip: bool = False) -> None:
        self.colours = colours
        self.rng = rng
        self.flip = flip
        self.tile = Image.new("RGBA", (px, px), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.tile)
        self._scale = px * (1 - 2 * MARGIN)
        self._origin = px * MARGIN
        self._px = px

    def _at(self, point: Point) -> Point:
        x = self._origin + point[0] * self._scale
        return (self._px - x if self.flip else x, self._origin + point[1] * self._scale)

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        a, b = self._at((x0, y0)), self._at((x1, y1))
        return (min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))

    def poly(self, points: Iterable[Point], fill: Fill) -> None:
        self._draw.polygon([self._at(p) for p in points], fill=fill)

    def blob(self, points: Sequence[Point], fill: Fill) -> None:
        """A closed smooth curve through the points."""
        self.poly(smooth(points, closed=True), fill)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Fill) -> None:
        self._draw.ellipse(self._box(x - rx, y - ry, x + rx, y + ry), fill=fill)

    def ring(self, x: float, y: float, rx: float, ry: float, fill: Fill, *, width: float) -> None:
        px = max(1, round(width * self._scale))
        self._draw.ellipse(self._box(x - rx, y - ry, x + rx, y + ry), outline=fill, width=px)

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: Fill, *, r: float = 0.0) -> None:
        box = self._box(x0, y0, x1, y1)
        self._draw.rounded_rectangle(box, radius=r * self._scale, fill=fill)

    def line(self, points: Sequence[Point], fill: Fill, *, width: float) -> None:
        px = max(1, round(width * self._scale))
        at = [self._at(p) for p in points]
        self._draw.line(at, fill=fill, width=px, joint="curve")
        if px > 3:
            for x, y in (at[0], at[-1]):
                self._draw.ellipse((x - px / 2, y - px / 2, x + px / 2, y + px / 2), fill=fill)

    def curve(self, points: Sequence[Point], fill: Fill, *, width: float) -> None:
        """An open smooth line through the points."""
        self.line(smooth(points, closed=False), fill, width=width)

    def pie(self, x: float, y: float, rx: float, ry: float, fill: Fill, *, span: tuple[float, float]) -> None:
        """A slice of an ellipse; `span` in degrees, clockwise from three o'clock."""
        start, end = span
        turns = [math.radians(start + (end - start) * i / 24) for i in range(25)]
        whole = end - start >= 360
        rim = [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns]
        self.poly(rim if whole else [(x, y), *rim], fill)

    def eye(self, x: float, y: float, r: float) -> None:
        self.oval(x, y, r, r, (255, 255, 255))
        self.oval(x + r * 0.2, y + r * 0.1, r * 0.62, r * 0.62, INK)
        self.oval(x - r * 0.02, y - r * 0.2, r * 0.22, r * 0.22, (255, 255, 255))


Painter = Callable[[Pen], None]


def smooth(points: Sequence[Point], *, closed: bool, steps: int = 6) -> list[Point]:
    """Points on a Catmull-Rom curve through `points`."""
    n = len(points)
    out: list[Point] = []
    for i in range(n if closed else n - 1):
        if closed:
            a, b, c, d = (points[(i + k) % n] for k in (-1, 0, 1, 2))
        else:
            a, b, c, d = (points[min(max(i + k, 0), n - 1)] for k in (-1, 0, 1, 2))
        for s in range(steps):
            t = s / steps
            out.append((_spline(a[0], b[0], c[0], d[0], t), _spline(a[1], b[1], c[1], d[1], t)))
    if not closed:
        out.append(points[-1])
    return out


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def regular(x: float, y: float, r: float, *, n: int, turn: float = -90.0) -> list[Point]:
    """The corners of a regular n-gon, the first at `turn` degrees."""
    turns = [math.radians(turn + 360 * i / n) for i in range(n)]
    return [(x + r * math.cos(t), y + r * math.sin(t)) for t in turns]


def stamp(canvas: Image.Image, tile: Image.Image, at: tuple[int, int], *, rim: RGB, lift: float) -> None:
    """Puts a tile on the canvas with puffy shading, an outline and a soft shadow.

    Shading comes from the tile's own blurred shape at low resolution, so it costs the same for every
    painter and nothing per primitive.
    """
    px = tile.width
    step = max(1, px // 40)
    alpha = tile.getchannel("A")
    # Glass is shaded as if it were solid, or it would look dirty.
    low = alpha.point([0] + [255] * 255).reduce(step)
    soft = low.filter(ImageFilter.BoxBlur(max(1.0, low.width * 0.045)))
    d = max(1, low.width // 20)
    shade = ImageChops.offset(soft, -d, -d).point([150 + v * 105 // 255 for v in range(256)])
    glow = ImageChops.offset(soft, d, d).point([max(0, 62 - v * 62 // 200) for v in range(256)])
    size = tile.size
    rgb = tile.convert("RGB")
    rgb = ImageChops.multiply(rgb, Image.merge("RGB", [shade.resize(size, Image.Resampling.BILINEAR)] * 3))
    rgb = ImageChops.screen(rgb, Image.merge("RGB", [glow.resize(size, Image.Resampling.BILINEAR)] * 3))
    shadow = (
        ImageChops.multiply(soft, alpha.reduce(step))
        .point([v * 75 // 255 for v in range(256)])
        .resize(size, Image.Resampling.BILINEAR)
    )
    x, y = at
    canvas.paste((16, 16, 44), (x + round(px * lift * 0.6), y + round(px * lift)), shadow)
    # Only the band outside the shape: glass must not show the outline's colour through it.
    canvas.paste(rim, at, ImageChops.subtract(_grown(alpha, canvas.width), alpha))
    canvas.paste(rgb, at, alpha)


def _grown(alpha: Image.Image, canvas_px: int) -> Image.Image:
    """The mask grown by about the width of an outline, by shifting it round a circle."""
    r = max(1.0, canvas_px / 200)
    grown = alpha
    for i in range(8):
        t = math.pi * i / 4
        grown = ImageChops.lighter(
            grown, ImageChops.offset(alpha, round(r * math.cos(t)), round(r * math.sin(t)))
        )
    return grown

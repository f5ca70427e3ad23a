"""Painters of plants, fruit and things of the sky."""

import math

from clipkit.sketch.paint import CREAM, INK, LEAF, WOOD, WOOD_DARK, Painter, Pen, mix, regular


def _tree(pen: Pen) -> None:
    c = pen.colours
    pen.poly([(0.42, 1.0), (0.46, 0.55), (0.54, 0.55), (0.6, 1.0)], WOOD)
    pen.poly([(0.52, 1.0), (0.51, 0.6), (0.54, 0.55), (0.6, 1.0)], WOOD_DARK)
    if pen.rng.random() < 0.5:
        for x, y, r in ((0.28, 0.47, 0.22), (0.72, 0.47, 0.22), (0.5, 0.27, 0.27), (0.5, 0.52, 0.24)):
            pen.oval(x, y, r, r, c.base)
    else:
        pen.oval(0.5, 0.36, 0.36, 0.36, c.base)
    for x, y, r in ((0.4, 0.24, 0.1), (0.25, 0.42, 0.08), (0.62, 0.4, 0.09), (0.44, 0.5, 0.06)):
        pen.oval(x, y, r, r * 0.8, c.light)
    pen.oval(0.66, 0.56, 0.07, 0.05, c.dark)


def _flower(pen: Pen) -> None:
    c = pen.colours
    pen.curve([(0.5, 0.45), (0.53, 0.7), (0.49, 1.0)], LEAF, width=0.05)
    pen.blob([(0.5, 0.86), (0.62, 0.7), (0.82, 0.68), (0.7, 0.84)], LEAF)
    pen.blob([(0.5, 0.94), (0.38, 0.78), (0.2, 0.77), (0.31, 0.91)], mix(LEAF, (255, 255, 255), 0.15))
    n = pen.rng.choice((5, 6, 7))
    for x, y in regular(0.5, 0.34, 0.21, n=n, turn=pen.rng.uniform(0, 60)):
        pen.oval(x, y, 0.145, 0.145, c.line)
        pen.oval(x, y, 0.13, 0.13, c.base)
        pen.oval((x + 0.5) / 2, (y + 0.34) / 2, 0.05, 0.05, c.light)
    core = (
        (252, 206, 66) if sum(abs(a - b) for a, b in zip(c.base, (253, 213, 44), strict=True)) > 60 else WOOD
    )
    pen.oval(0.5, 0.34, 0.11, 0.11, core)
    pen.oval(0.47, 0.31, 0.04, 0.03, mix(core, (255, 255, 255), 0.5))


def _mushroom(pen: Pen) -> None:
    c = pen.colours
    pen.blob(
        [(0.38, 0.5), (0.62, 0.5), (0.62, 0.75), (0.68, 0.96), (0.5, 1.0), (0.32, 0.96), (0.38, 0.75)], CREAM
    )
    pen.oval(0.5, 0.54, 0.36, 0.09, mix(CREAM, WOOD, 0.4))
    pen.pie(0.5, 0.54, 0.48, 0.5, c.base, span=(180, 360))
    spot = CREAM if c.base[2] < 230 or c.base[0] < 230 else c.dark
    for x, y, r in ((0.3, 0.38, 0.07), (0.5, 0.22, 0.08), (0.7, 0.36, 0.075), (0.5, 0.44, 0.05)):
        pen.oval(x, y, r, r * 0.85, spot)


def _cactus(pen: Pen) -> None:
    c = pen.colours
    pen.line([(0.5, 0.66), (0.2, 0.66), (0.2, 0.42)], c.base, width=0.15)
    pen.line([(0.5, 0.56), (0.8, 0.56), (0.8, 0.28)], c.base, width=0.15)
    pen.rect(0.37, 0.03, 0.63, 1.0, c.base, r=0.13)
    for x in (0.44, 0.5, 0.56):
        pen.line([(x, 0.14), (x, 0.95)], c.line, width=0.014)
    pen.line([(0.43, 0.12), (0.42, 0.6)], c.light, width=0.03)
    for x, y in ((0.5, 0.05), (0.8, 0.25), (0.2, 0.4)):
        pen.oval(x, y, 0.05, 0.04, (250, 120, 160))


def _leaf(pen: Pen) -> None:
    c = pen.colours
    pen.curve([(0.3, 0.72), (0.16, 0.86), (0.06, 0.97)], c.line, width=0.05)
    pen.blob([(0.2, 0.8), (0.16, 0.45), (0.42, 0.14), (0.95, 0.05), (0.88, 0.55), (0.58, 0.84)], c.base)
    pen.blob([(0.24, 0.76), (0.2, 0.48), (0.42, 0.2), (0.9, 0.1), (0.55, 0.44)], c.light)
    pen.line([(0.2, 0.8), (0.85, 0.15)], c.line, width=0.025)
    for t in (0.25, 0.45, 0.65):
        x, y = 0.2 + 0.65 * t, 0.8 - 0.65 * t
        pen.line([(x, y), (x - 0.02, y - 0.24)], c.line, width=0.016)
        pen.line([(x, y), (x + 0.24, y + 0.02)], c.line, width=0.016)


def _star(pen: Pen) -> None:
    c = pen.colours
    outer = regular(0.5, 0.53, 0.52, n=5)
    inner = regular(0.5, 0.53, 0.25, n=5, turn=-54)
    pen.poly([p for pair in zip(outer, inner, strict=True) for p in pair], c.base)
    for i in range(5):
        pen.poly([(0.5, 0.53), outer[i], inner[i]], c.dark if i in (0, 1, 2) else c.base)
        pen.poly([(0.5, 0.53), outer[i], inner[i - 1]], c.light)


def _moon(pen: Pen) -> None:
    c = pen.colours
    outer = [math.radians(a) for a in range(60, 301, 10)]
    inner = [math.radians(a) for a in range(278, 81, -7)]
    left = [(0.58 + 0.48 * math.cos(t), 0.5 + 0.48 * math.sin(t)) for t in outer]
    right = [(0.76 + 0.42 * math.cos(t), 0.5 + 0.42 * math.sin(t)) for t in inner]
    pen.poly(left + right, c.base)
    for x, y, r in ((0.24, 0.42, 0.05), (0.3, 0.66, 0.06), (0.38, 0.22, 0.04), (0.42, 0.84, 0.035)):
        pen.oval(x, y, r, r, c.dark)
        pen.oval(x - 0.01, y - 0.01, r * 0.75, r * 0.75, c.light)


def _apple(pen: Pen) -> None:
    c = pen.colours
    pen.blob(
        [
            (0.5, 0.3),
            (0.72, 0.22),
            (0.93, 0.42),
            (0.86, 0.78),
            (0.64, 0.98),
            (0.5, 0.94),
            (0.36, 0.98),
            (0.14, 0.78),
            (0.07, 0.42),
            (0.28, 0.22),
        ],
        c.base,
    )
    pen.oval(0.5, 0.3, 0.13, 0.045, c.dark)
    pen.curve([(0.5, 0.31), (0.51, 0.18), (0.56, 0.05)], WOOD_DARK, width=0.05)
    pen.blob([(0.54, 0.2), (0.66, 0.06), (0.86, 0.08), (0.74, 0.2)], LEAF)
    pen.blob([(0.2, 0.44), (0.27, 0.34), (0.33, 0.38), (0.25, 0.52), (0.22, 0.64)], c.pale)


def _strawberry(pen: Pen) -> None:
    c = pen.colours
    pen.blob(
        [
            (0.5, 0.2),
            (0.8, 0.22),
            (0.92, 0.42),
            (0.74, 0.78),
            (0.5, 1.0),
            (0.26, 0.78),
            (0.08, 0.42),
            (0.2, 0.22),
        ],
        c.base,
    )
    seed = (255, 236, 150) if c.base[1] < 200 else c.line
    for x, y in (
        (0.3, 0.42),
        (0.5, 0.48),
        (0.7, 0.42),
        (0.38, 0.62),
        (0.62, 0.62),
        (0.5, 0.78),
        (0.2, 0.5),
        (0.8, 0.5),
    ):
        pen.oval(x, y, 0.022, 0.032, seed)
    for a, b in (
        ((0.1, 0.24), (0.3, 0.4)),
        ((0.9, 0.24), (0.7, 0.4)),
        ((0.3, 0.05), (0.5, 0.4)),
        ((0.7, 0.05), (0.5, 0.4)),
    ):
        pen.blob([(0.5, 0.18), a, b], LEAF)
    pen.line([(0.5, 0.2), (0.53, 0.03)], mix(LEAF, INK, 0.3), width=0.05)


def _carrot(pen: Pen) -> None:
    c = pen.colours
    for tip in ((0.62, 0.02), (0.8, 0.0), (0.97, 0.12), (0.99, 0.32)):
        pen.blob(
            [
                (0.72, 0.3),
                ((tip[0] + 0.6) / 2, (tip[1] + 0.2) / 2),
                tip,
                ((tip[0] + 0.82) / 2, (tip[1] + 0.34) / 2),
            ],
            LEAF,
        )
    pen.blob([(0.6, 0.18), (0.78, 0.22), (0.84, 0.42), (0.6, 0.7), (0.02, 0.99), (0.34, 0.44)], c.base)
    for a, b in (
        ((0.46, 0.36), (0.56, 0.44)),
        ((0.66, 0.6), (0.57, 0.53)),
        ((0.3, 0.56), (0.38, 0.62)),
        ((0.42, 0.78), (0.36, 0.71)),
    ):
        pen.line([a, b], c.line, width=0.025)
    pen.line([(0.3, 0.62), (0.56, 0.28)], c.light, width=0.045)


def _heart(pen: Pen) -> None:
    c = pen.colours
    turns = [2 * math.pi * i / 48 for i in range(48)]
    pen.poly(
        [
            (
                0.5 + 0.03 * 16 * math.sin(t) ** 3,
                0.46
                - 0.031 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
            )
            for t in turns
        ],
        c.base,
    )
    pen.blob([(0.14, 0.38), (0.2, 0.22), (0.32, 0.17), (0.26, 0.28), (0.19, 0.44)], c.pale)


PAINTERS: dict[str, Painter] = {
    "tree": _tree,
    "flower": _flower,
    "mushroom": _mushroom,
    "cactus": _cactus,
    "leaf": _leaf,
    "star": _star,
    "moon": _moon,
    "apple": _apple,
    "strawberry": _strawberry,
    "carrot": _carrot,
    "heart": _heart,
}

"""Painters of things that hold other things, with the part of the unit box where these go."""

import math

from clipkit.sketch.paint import Painter, Pen, mix

# kind: (left, top, right, bottom) of the room inside, in the painter's unit box
ROOMS: dict[str, tuple[float, float, float, float]] = {
    "frame": (0.14, 0.14, 0.86, 0.86),
    "bubble": (0.2, 0.2, 0.8, 0.8),
    "ring": (0.2, 0.2, 0.8, 0.8),
    "box": (0.18, 0.35, 0.82, 0.9),
    "jar": (0.16, 0.28, 0.84, 0.92),
    "basket": (0.18, 0.26, 0.82, 0.82),
}


def _frame(pen: Pen) -> None:
    c = pen.colours
    pen.rect(0.0, 0.0, 1.0, 1.0, c.base, r=0.03)
    for bevel in ([(0, 0), (1, 0), (0.86, 0.14), (0.14, 0.14)], [(0, 0), (0, 1), (0.14, 0.86), (0.14, 0.14)]):
        pen.poly(bevel, c.light)
    pen.rect(0.05, 0.05, 0.95, 0.95, c.base, r=0.02)
    pen.rect(0.1, 0.1, 0.9, 0.9, c.dark)
    pen.rect(0.13, 0.13, 0.87, 0.87, mix(c.pale, (255, 252, 242), 0.75))
    for x, y in ((0.05, 0.05), (0.95, 0.05), (0.05, 0.95), (0.95, 0.95)):
        pen.oval(x, y, 0.035, 0.035, c.line)


def _bubble(pen: Pen) -> None:
    c = pen.colours
    pen.oval(0.5, 0.5, 0.49, 0.49, c.base)
    pen.oval(0.5, 0.5, 0.43, 0.43, (*c.light, 190))
    pen.oval(0.5, 0.5, 0.4, 0.4, (*c.pale, 130))
    pen.blob([(0.14, 0.46), (0.2, 0.24), (0.36, 0.13), (0.3, 0.24), (0.2, 0.38)], (255, 255, 255, 235))
    pen.oval(0.74, 0.8, 0.05, 0.03, (255, 255, 255, 220))


def _ring(pen: Pen) -> None:
    c = pen.colours
    pen.oval(0.5, 0.5, 0.5, 0.5, c.base)
    for i in range(8):
        a = math.radians(45 * i + 10)
        x, y = math.cos(a), math.sin(a)
        pen.line([(0.5 + 0.39 * x, 0.5 + 0.39 * y), (0.5 + 0.48 * x, 0.5 + 0.48 * y)], c.pale, width=0.05)
    pen.oval(0.5, 0.5, 0.37, 0.37, (0, 0, 0, 0))


def _box(pen: Pen) -> None:
    c = pen.colours
    pen.poly([(0.2, 0.3), (0.28, 0.1), (0.72, 0.1), (0.8, 0.3)], c.dark)
    pen.poly([(0.09, 0.3), (0.0, 0.04), (0.26, 0.0), (0.36, 0.28)], c.light)
    pen.poly([(0.91, 0.3), (1.0, 0.04), (0.74, 0.0), (0.64, 0.28)], c.light)
    pen.rect(0.07, 0.26, 0.93, 1.0, c.base, r=0.02)
    pen.rect(0.15, 0.33, 0.85, 0.93, c.dark)
    pen.rect(0.17, 0.35, 0.83, 0.91, mix(c.pale, (250, 240, 220), 0.3))
    for x in (0.11, 0.89):
        pen.line([(x, 0.4), (x, 0.86)], c.dark, width=0.012)
    for x in (0.11, 0.89):
        for y in (0.3, 0.96):
            pen.oval(x, y, 0.018, 0.018, c.line)


def _jar(pen: Pen) -> None:
    c = pen.colours
    pen.rect(0.06, 0.16, 0.94, 1.0, c.base, r=0.16)
    pen.rect(0.1, 0.2, 0.9, 0.96, (*mix(c.pale, (255, 255, 255), 0.55), 205), r=0.13)
    pen.rect(0.16, 0.0, 0.84, 0.14, c.base, r=0.03)
    pen.rect(0.2, 0.14, 0.8, 0.2, c.dark)
    for x in (0.26, 0.38, 0.5, 0.62, 0.74):
        pen.line([(x, 0.03), (x, 0.11)], c.line, width=0.016)
    pen.rect(0.12, 0.32, 0.155, 0.8, (255, 255, 255), r=0.02)


def _basket(pen: Pen) -> None:
    c = pen.colours
    pen.ring(0.5, 0.4, 0.4, 0.4, c.dark, width=0.06)
    pen.oval(0.5, 0.58, 0.5, 0.42, c.base)
    for i in range(28):
        a = 2 * math.pi * i / 28
        x, y = math.cos(a), math.sin(a)
        tone = c.line if i % 2 else c.light
        pen.line([(0.5 + 0.42 * x, 0.58 + 0.34 * y), (0.5 + 0.47 * x, 0.58 + 0.39 * y)], tone, width=0.03)
    pen.oval(0.5, 0.57, 0.41, 0.335, c.dark)
    pen.oval(0.5, 0.585, 0.39, 0.31, mix(c.pale, (255, 246, 226), 0.4))


PAINTERS: dict[str, Painter] = {
    "frame": _frame,
    "bubble": _bubble,
    "ring": _ring,
    "box": _box,
    "jar": _jar,
    "basket": _basket,
}

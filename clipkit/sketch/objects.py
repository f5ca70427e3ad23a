"""Painters of buildings and of things from the house."""

import math

from clipkit.sketch.paint import CREAM, GLASS, INK, STEEL, WOOD, WOOD_DARK, Painter, Pen, regular

GOLD = (236, 184, 62)


def _house(pen: Pen) -> None:
    c = pen.colours
    pen.rect(0.7, 0.1, 0.82, 0.36, c.dark)
    pen.rect(0.12, 0.42, 0.88, 1.0, c.base)
    pen.poly([(0.0, 0.47), (0.5, 0.03), (1.0, 0.47)], c.dark)
    pen.poly([(0.11, 0.44), (0.5, 0.1), (0.56, 0.15), (0.22, 0.44)], c.line)
    pen.rect(0.42, 0.64, 0.6, 1.0, WOOD_DARK, r=0.03)
    pen.oval(0.56, 0.83, 0.018, 0.018, GOLD)
    for x in (0.19, 0.66):
        pen.rect(x, 0.56, x + 0.17, 0.74, CREAM, r=0.01)
        pen.rect(x + 0.02, 0.58, x + 0.15, 0.72, GLASS)
        pen.line([(x + 0.085, 0.57), (x + 0.085, 0.73)], CREAM, width=0.016)
        pen.line([(x + 0.01, 0.65), (x + 0.16, 0.65)], CREAM, width=0.016)


def _castle(pen: Pen) -> None:
    c = pen.colours
    for x in (0.16, 0.84):
        pen.poly([(x - 0.18, 0.3), (x, 0.0), (x + 0.18, 0.3)], c.dark)
        pen.rect(x - 0.14, 0.28, x + 0.14, 1.0, c.base)
        pen.rect(x - 0.04, 0.42, x + 0.04, 0.58, INK, r=0.04)
    pen.rect(0.28, 0.5, 0.72, 1.0, c.base)
    for x in (0.3, 0.44, 0.58):
        pen.rect(x, 0.42, x + 0.1, 0.52, c.base)
    pen.rect(0.3, 0.56, 0.7, 0.6, c.light)
    pen.pie(0.5, 0.78, 0.13, 0.13, WOOD_DARK, span=(180, 360))
    pen.rect(0.37, 0.78, 0.63, 1.0, WOOD_DARK)
    for x in (0.44, 0.5, 0.56):
        pen.line([(x, 0.7), (x, 0.99)], WOOD, width=0.016)


def _lighthouse(pen: Pen) -> None:
    c = pen.colours
    stripe = (255, 255, 255) if min(c.base) < 225 else STEEL
    pen.pie(0.5, 0.16, 0.17, 0.16, c.dark, span=(180, 360))
    pen.rect(0.39, 0.15, 0.61, 0.3, (255, 236, 140))
    for x in (0.39, 0.5, 0.59):
        pen.line([(x, 0.15), (x, 0.3)], INK, width=0.02)
    pen.rect(0.29, 0.29, 0.71, 0.35, c.dark, r=0.02)
    pen.poly([(0.36, 0.35), (0.64, 0.35), (0.74, 0.96), (0.26, 0.96)], c.base)
    pen.poly([(0.335, 0.5), (0.665, 0.5), (0.683, 0.6), (0.317, 0.6)], stripe)
    pen.poly([(0.3, 0.74), (0.7, 0.74), (0.712, 0.82), (0.288, 0.82)], stripe)
    pen.rect(0.44, 0.84, 0.56, 0.97, WOOD_DARK, r=0.05)
    pen.rect(0.16, 0.94, 0.84, 1.0, c.dark, r=0.03)


def _tent(pen: Pen) -> None:
    c = pen.colours
    pen.line([(0.44, 0.06), (0.5, 0.14), (0.56, 0.06)], WOOD_DARK, width=0.03)
    pen.poly([(0.5, 0.12), (0.0, 0.95), (1.0, 0.95)], c.base)
    pen.poly([(0.5, 0.12), (0.0, 0.95), (0.14, 0.95)], c.light)
    pen.poly([(0.5, 0.12), (1.0, 0.95), (0.84, 0.95)], c.dark)
    pen.poly([(0.5, 0.4), (0.33, 0.95), (0.67, 0.95)], INK)
    pen.blob([(0.5, 0.38), (0.33, 0.95), (0.27, 0.93), (0.38, 0.66)], c.pale)
    pen.blob([(0.5, 0.38), (0.67, 0.95), (0.73, 0.93), (0.62, 0.66)], c.pale)


def _umbrella(pen: Pen) -> None:
    c = pen.colours
    pen.curve([(0.5, 0.08), (0.5, 0.84), (0.54, 0.95), (0.64, 0.95), (0.67, 0.85)], WOOD_DARK, width=0.045)
    pen.pie(0.5, 0.54, 0.49, 0.46, c.base, span=(180, 360))
    pen.poly([(0.5, 0.08), (0.34, 0.54), (0.66, 0.54)], c.light)
    pen.poly([(0.5, 0.08), (0.99, 0.54), (0.82, 0.54)], c.dark)
    pen.poly([(0.5, 0.08), (0.01, 0.54), (0.18, 0.54)], c.dark)
    for x in (0.1, 0.26, 0.42, 0.58, 0.74, 0.9):
        pen.oval(x, 0.55, 0.08, 0.045, (0, 0, 0, 0))
    pen.rect(0.478, 0.5, 0.522, 0.66, WOOD_DARK)
    pen.line([(0.5, 0.02), (0.5, 0.1)], WOOD_DARK, width=0.03)


def _balloon(pen: Pen) -> None:
    c = pen.colours
    pen.curve([(0.5, 0.72), (0.54, 0.82), (0.46, 0.9), (0.5, 1.0)], c.line, width=0.022)
    pen.blob(
        [
            (0.5, 0.01),
            (0.77, 0.11),
            (0.85, 0.36),
            (0.7, 0.6),
            (0.5, 0.71),
            (0.3, 0.6),
            (0.15, 0.36),
            (0.23, 0.11),
        ],
        c.base,
    )
    pen.poly([(0.5, 0.68), (0.57, 0.77), (0.43, 0.77)], c.dark)
    pen.blob([(0.26, 0.36), (0.31, 0.19), (0.43, 0.11), (0.38, 0.23), (0.31, 0.4)], c.pale)


def _kite(pen: Pen) -> None:
    c = pen.colours
    pen.curve([(0.42, 0.7), (0.34, 0.82), (0.2, 0.82), (0.12, 0.96)], c.line, width=0.022)
    for x, y in ((0.33, 0.82), (0.18, 0.85)):
        pen.poly(
            [(x - 0.07, y - 0.05), (x - 0.07, y + 0.05), (x + 0.07, y - 0.05), (x + 0.07, y + 0.05)], c.dark
        )
    top, right, bottom, left, mid = (0.66, 0.0), (0.98, 0.36), (0.4, 0.74), (0.24, 0.2), (0.57, 0.29)
    pen.poly([top, right, mid], c.base)
    pen.poly([right, bottom, mid], c.dark)
    pen.poly([bottom, left, mid], c.base)
    pen.poly([left, top, mid], c.light)
    pen.line([top, bottom], c.line, width=0.018)
    pen.line([left, right], c.line, width=0.018)


def _chair(pen: Pen) -> None:
    c = pen.colours
    for x in (0.3, 0.86):
        pen.line([(x, 0.6), (x, 0.9)], c.dark, width=0.07)
    for x in (0.2, 0.72):
        pen.line([(x, 0.6), (x, 0.96)], c.base, width=0.08)
    pen.rect(0.16, 0.04, 0.78, 0.5, c.base, r=0.08)
    pen.rect(0.26, 0.14, 0.68, 0.42, c.light, r=0.05)
    pen.poly([(0.14, 0.64), (0.2, 0.5), (0.8, 0.5), (0.92, 0.64)], c.light)
    pen.rect(0.12, 0.62, 0.93, 0.71, c.base, r=0.04)


def _cup(pen: Pen) -> None:
    c = pen.colours
    for x in (0.3, 0.5):
        pen.curve(
            [(x, 0.24), (x + 0.05, 0.16), (x - 0.02, 0.1), (x + 0.03, 0.02)], (232, 236, 242), width=0.035
        )
    pen.ring(0.76, 0.56, 0.19, 0.19, c.dark, width=0.075)
    pen.blob([(0.1, 0.36), (0.76, 0.36), (0.73, 0.72), (0.62, 0.93), (0.24, 0.93), (0.13, 0.72)], c.base)
    pen.oval(0.43, 0.36, 0.345, 0.09, c.light)
    pen.oval(0.43, 0.37, 0.29, 0.065, WOOD_DARK)
    pen.blob([(0.19, 0.5), (0.25, 0.5), (0.26, 0.7), (0.3, 0.84), (0.22, 0.76)], c.pale)


def _teapot(pen: Pen) -> None:
    c = pen.colours
    pen.ring(0.17, 0.56, 0.17, 0.2, c.dark, width=0.07)
    pen.blob([(0.7, 0.66), (0.84, 0.5), (0.88, 0.3), (1.0, 0.28), (0.96, 0.56), (0.76, 0.84)], c.dark)
    pen.blob(
        [(0.5, 0.3), (0.76, 0.4), (0.84, 0.66), (0.68, 0.9), (0.32, 0.9), (0.16, 0.66), (0.24, 0.4)], c.base
    )
    pen.pie(0.5, 0.34, 0.22, 0.13, c.light, span=(180, 360))
    pen.rect(0.26, 0.33, 0.74, 0.37, c.line, r=0.02)
    pen.oval(0.5, 0.17, 0.06, 0.06, c.dark)
    pen.rect(0.34, 0.9, 0.66, 0.94, c.dark, r=0.02)
    pen.blob([(0.27, 0.56), (0.33, 0.43), (0.4, 0.43), (0.33, 0.56), (0.31, 0.68)], c.pale)


def _book(pen: Pen) -> None:
    c = pen.colours
    pen.poly([(0.0, 0.28), (0.5, 0.36), (1.0, 0.28), (1.0, 0.88), (0.5, 0.96), (0.0, 0.88)], c.base)
    pen.poly([(0.0, 0.8), (0.5, 0.88), (1.0, 0.8), (1.0, 0.88), (0.5, 0.96), (0.0, 0.88)], c.dark)
    pen.blob([(0.09, 0.2), (0.3, 0.17), (0.5, 0.27), (0.5, 0.81), (0.3, 0.72), (0.09, 0.74)], CREAM)
    pen.blob([(0.91, 0.2), (0.7, 0.17), (0.5, 0.27), (0.5, 0.81), (0.7, 0.72), (0.91, 0.74)], CREAM)
    pen.poly([(0.5, 0.28), (0.66, 0.21), (0.72, 0.2), (0.72, 0.6), (0.66, 0.55), (0.6, 0.62)], c.base)
    for y in (0.34, 0.44, 0.54):
        pen.line([(0.16, y - 0.02), (0.42, y + 0.03)], c.line, width=0.022)
    pen.line([(0.5, 0.28), (0.5, 0.94)], c.line, width=0.02)


def _key(pen: Pen) -> None:
    c = pen.colours
    pen.line([(0.4, 0.4), (0.9, 0.9)], c.base, width=0.13)
    pen.line([(0.68, 0.7), (0.82, 0.56)], c.base, width=0.11)
    pen.line([(0.84, 0.86), (0.97, 0.73)], c.base, width=0.11)
    pen.oval(0.28, 0.28, 0.27, 0.27, c.base)
    pen.oval(0.27, 0.27, 0.21, 0.21, c.light)
    pen.oval(0.28, 0.28, 0.19, 0.19, c.base)
    pen.oval(0.22, 0.22, 0.1, 0.1, (0, 0, 0, 0))
    pen.line([(0.46, 0.43), (0.84, 0.81)], c.light, width=0.03)


def _clock(pen: Pen) -> None:
    c = pen.colours
    for x in (0.24, 0.76):
        pen.line([(x, 0.84), (x + (x - 0.5) * 0.3, 0.97)], c.dark, width=0.07)
        pen.oval(x, 0.16, 0.15, 0.12, c.dark)
    pen.line([(0.5, 0.02), (0.5, 0.14)], c.dark, width=0.06)
    pen.oval(0.5, 0.54, 0.43, 0.43, c.base)
    pen.oval(0.5, 0.54, 0.29, 0.29, CREAM)
    for x, y in regular(0.5, 0.54, 0.235, n=12):
        pen.oval(x, y, 0.018, 0.018, INK)
    turn = pen.rng.uniform(0, 2 * math.pi)
    for a, r, w in ((turn, 0.13, 0.04), (turn * 12, 0.2, 0.028)):
        pen.line([(0.5, 0.54), (0.5 + r * math.sin(a), 0.54 - r * math.cos(a))], INK, width=w)


def _guitar(pen: Pen) -> None:
    c = pen.colours
    pen.line([(0.5, 0.44), (0.5, 0.14)], WOOD_DARK, width=0.09)
    pen.rect(0.42, 0.0, 0.58, 0.16, c.dark, r=0.03)
    for y in (0.04, 0.1):
        pen.line([(0.38, y), (0.62, y)], STEEL, width=0.022)
    pen.oval(0.5, 0.54, 0.2, 0.17, c.base)
    pen.oval(0.5, 0.77, 0.29, 0.22, c.base)
    pen.blob([(0.28, 0.74), (0.33, 0.64), (0.39, 0.64), (0.33, 0.76), (0.32, 0.86)], c.pale)
    pen.oval(0.5, 0.64, 0.085, 0.08, INK)
    pen.rect(0.39, 0.82, 0.61, 0.86, WOOD_DARK, r=0.02)
    for x in (0.475, 0.525):
        pen.line([(x, 0.06), (x, 0.84)], CREAM, width=0.01)


def _hat(pen: Pen) -> None:
    c = pen.colours
    pen.oval(0.5, 0.8, 0.5, 0.15, c.base)
    pen.oval(0.5, 0.78, 0.48, 0.12, c.light)
    pen.blob([(0.24, 0.76), (0.24, 0.2), (0.5, 0.14), (0.76, 0.2), (0.76, 0.76), (0.5, 0.84)], c.base)
    pen.oval(0.5, 0.19, 0.25, 0.08, c.light)
    band = (255, 255, 255) if max(c.base) < 240 or min(c.base) < 60 else INK
    pen.blob([(0.235, 0.6), (0.5, 0.67), (0.765, 0.6), (0.765, 0.74), (0.5, 0.82), (0.235, 0.74)], band)
    pen.line([(0.32, 0.28), (0.32, 0.58)], c.pale, width=0.04)


def _gift(pen: Pen) -> None:
    c = pen.colours
    ribbon = CREAM if min(c.base) < 200 else (214, 70, 90)
    pen.rect(0.08, 0.38, 0.92, 1.0, c.base, r=0.03)
    pen.rect(0.02, 0.27, 0.98, 0.47, c.base, r=0.03)
    pen.rect(0.08, 0.47, 0.92, 0.51, c.dark)
    pen.rect(0.43, 0.27, 0.57, 1.0, ribbon)
    for side in (-1, 1):
        pen.blob(
            [(0.5, 0.27), (0.5 + side * 0.1, 0.06), (0.5 + side * 0.3, 0.06), (0.5 + side * 0.26, 0.24)],
            ribbon,
        )
        pen.blob([(0.5 + side * 0.06, 0.24), (0.5 + side * 0.13, 0.12), (0.5 + side * 0.22, 0.14)], c.dark)
    pen.oval(0.5, 0.24, 0.06, 0.05, ribbon)
    pen.rect(0.13, 0.56, 0.18, 0.92, c.light, r=0.02)


def _crown(pen: Pen) -> None:
    c = pen.colours
    pen.poly(
        [(0.04, 0.26), (0.27, 0.52), (0.5, 0.14), (0.73, 0.52), (0.96, 0.26), (0.88, 0.9), (0.12, 0.9)],
        c.base,
    )
    pen.poly([(0.04, 0.26), (0.27, 0.52), (0.2, 0.78), (0.11, 0.78)], c.light)
    pen.poly([(0.5, 0.14), (0.73, 0.52), (0.64, 0.78), (0.5, 0.78)], c.light)
    pen.rect(0.1, 0.76, 0.9, 0.93, c.dark, r=0.04)
    for x, y in ((0.04, 0.24), (0.5, 0.12), (0.96, 0.24)):
        pen.oval(x, y, 0.06, 0.06, c.base)
    for x, gem in ((0.26, GLASS), (0.5, (255, 120, 150)), (0.74, GLASS)):
        pen.oval(x, 0.845, 0.045, 0.045, gem)


PAINTERS: dict[str, Painter] = {
    "house": _house,
    "castle": _castle,
    "lighthouse": _lighthouse,
    "tent": _tent,
    "umbrella": _umbrella,
    "balloon": _balloon,
    "kite": _kite,
    "chair": _chair,
    "cup": _cup,
    "teapot": _teapot,
    "book": _book,
    "key": _key,
    "clock": _clock,
    "guitar": _guitar,
    "hat": _hat,
    "gift": _gift,
    "crown": _crown,
}

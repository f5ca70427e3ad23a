"""Painters of animals."""

from clipkit.sketch.paint import CREAM, INK, Painter, Pen, mix

BLUSH = (255, 160, 170)


def _cat(pen: Pen) -> None:
    c = pen.colours
    pen.curve([(0.72, 0.92), (0.93, 0.84), (0.92, 0.62), (0.84, 0.52)], c.base, width=0.09)
    pen.blob([(0.5, 0.5), (0.72, 0.66), (0.78, 0.96), (0.5, 1.0), (0.22, 0.96), (0.28, 0.66)], c.base)
    pen.oval(0.5, 0.8, 0.13, 0.17, c.light)
    for side in (-1, 1):
        pen.poly([(0.5 + side * 0.3, 0.0), (0.5 + side * 0.08, 0.14), (0.5 + side * 0.32, 0.36)], c.base)
        pen.poly([(0.5 + side * 0.27, 0.07), (0.5 + side * 0.14, 0.16), (0.5 + side * 0.28, 0.28)], BLUSH)
    pen.oval(0.5, 0.36, 0.34, 0.27, c.base)
    for side in (-1, 1):
        pen.eye(0.5 + side * 0.14, 0.33, 0.075)
        for dy in (-0.03, 0.03):
            pen.line(
                [(0.5 + side * 0.14, 0.46 + dy / 2), (0.5 + side * 0.38, 0.45 + dy)], c.line, width=0.012
            )
        pen.oval(0.5 + side * 0.14, 0.97, 0.1, 0.04, c.light)
    pen.poly([(0.46, 0.43), (0.54, 0.43), (0.5, 0.48)], (240, 110, 130))
    pen.curve([(0.43, 0.5), (0.465, 0.53), (0.5, 0.49), (0.535, 0.53), (0.57, 0.5)], c.line, width=0.018)


def _fish(pen: Pen) -> None:
    c = pen.colours
    pen.blob([(0.28, 0.5), (0.02, 0.22), (0.1, 0.5), (0.02, 0.78)], c.dark)
    pen.blob([(0.45, 0.28), (0.5, 0.1), (0.74, 0.16), (0.72, 0.3)], c.dark)
    pen.blob([(0.48, 0.7), (0.46, 0.88), (0.64, 0.84), (0.62, 0.7)], c.dark)
    pen.blob(
        [(0.2, 0.5), (0.4, 0.26), (0.68, 0.22), (0.95, 0.42), (0.97, 0.54), (0.7, 0.78), (0.4, 0.74)], c.base
    )
    pen.blob([(0.3, 0.58), (0.6, 0.64), (0.9, 0.6), (0.68, 0.76), (0.42, 0.72)], c.light)
    for x in (0.36, 0.46, 0.56):
        pen.curve([(x, 0.4), (x + 0.05, 0.49), (x, 0.58)], c.line, width=0.018)
    pen.eye(0.8, 0.42, 0.07)
    pen.curve([(0.94, 0.56), (0.88, 0.6), (0.84, 0.58)], c.line, width=0.018)


def _bird(pen: Pen) -> None:
    c = pen.colours
    pen.poly([(0.26, 0.6), (0.0, 0.5), (0.04, 0.64), (0.0, 0.74), (0.3, 0.76)], c.dark)
    for x in (0.46, 0.58):
        pen.line([(x, 0.84), (x, 0.98), (x + 0.08, 0.98)], (240, 150, 40), width=0.03)
    pen.poly([(0.84, 0.28), (1.0, 0.36), (0.84, 0.42)], (250, 165, 35))
    pen.blob(
        [
            (0.2, 0.64),
            (0.4, 0.5),
            (0.5, 0.26),
            (0.68, 0.13),
            (0.87, 0.26),
            (0.86, 0.5),
            (0.7, 0.84),
            (0.42, 0.88),
        ],
        c.base,
    )
    pen.blob([(0.58, 0.84), (0.78, 0.66), (0.84, 0.48), (0.68, 0.6), (0.5, 0.84)], c.pale)
    if pen.rng.random() < 0.5:
        pen.blob([(0.6, 0.5), (0.24, 0.14), (0.1, 0.2), (0.2, 0.5), (0.46, 0.7)], c.dark)
        pen.blob([(0.54, 0.5), (0.26, 0.22), (0.2, 0.3), (0.3, 0.48), (0.44, 0.6)], c.light)
    else:
        pen.blob([(0.62, 0.5), (0.4, 0.52), (0.18, 0.7), (0.4, 0.78), (0.6, 0.68)], c.dark)
    pen.eye(0.73, 0.3, 0.07)


def _butterfly(pen: Pen) -> None:
    c = pen.colours
    for side in (-1, 1):

        def at(x: float, y: float, side: int = side) -> tuple[float, float]:
            return (0.5 + side * x, y)

        pen.blob([at(0.02, 0.46), at(0.2, 0.1), at(0.44, 0.06), at(0.48, 0.3), at(0.3, 0.54)], c.base)
        pen.blob([at(0.02, 0.52), at(0.3, 0.52), at(0.4, 0.72), at(0.26, 0.94), at(0.1, 0.76)], c.dark)
        pen.oval(0.5 + side * 0.32, 0.26, 0.085, 0.1, c.pale)
        pen.oval(0.5 + side * 0.25, 0.7, 0.06, 0.08, c.light)
        pen.curve([at(0.0, 0.3), at(0.08, 0.12), at(0.15, 0.06)], c.line, width=0.02)
    pen.rect(0.455, 0.26, 0.545, 0.82, INK, r=0.045)
    pen.oval(0.5, 0.26, 0.065, 0.065, INK)


def _rabbit(pen: Pen) -> None:
    c = pen.colours
    for side in (-1, 1):
        x = 0.5 + side * 0.14
        pen.blob(
            [
                (x - 0.08, 0.34),
                (x - 0.09 + side * 0.03, 0.1),
                (x + side * 0.06, 0.0),
                (x + 0.09 + side * 0.03, 0.1),
                (x + 0.08, 0.34),
            ],
            c.base,
        )
        pen.blob([(x - 0.035, 0.3), (x + side * 0.04, 0.06), (x + 0.045, 0.3)], BLUSH)
    pen.oval(0.83, 0.86, 0.09, 0.09, c.pale)
    pen.oval(0.5, 0.8, 0.3, 0.2, c.base)
    pen.oval(0.5, 0.84, 0.16, 0.13, c.light)
    pen.oval(0.5, 0.46, 0.27, 0.22, c.base)
    for side in (-1, 1):
        pen.eye(0.5 + side * 0.11, 0.42, 0.06)
        pen.oval(0.5 + side * 0.18, 0.53, 0.05, 0.03, BLUSH)
        pen.oval(0.5 + side * 0.17, 0.97, 0.13, 0.05, c.light)
    pen.oval(0.5, 0.51, 0.035, 0.025, (240, 110, 130))
    pen.rect(0.465, 0.56, 0.535, 0.63, (255, 255, 255), r=0.01)
    pen.line([(0.5, 0.56), (0.5, 0.62)], INK, width=0.01)


def _snail(pen: Pen) -> None:
    c = pen.colours
    skin = mix(CREAM, (196, 150, 100), 0.55)
    for x in (0.84, 0.94):
        pen.line([(0.86, 0.6), (x, 0.36)], skin, width=0.035)
        pen.oval(x, 0.35, 0.04, 0.04, INK)
    pen.blob(
        [(0.02, 0.93), (0.3, 0.78), (0.62, 0.8), (0.76, 0.58), (0.93, 0.56), (0.96, 0.74), (0.8, 0.95)], skin
    )
    pen.oval(0.42, 0.5, 0.36, 0.36, c.base)
    spiral = [
        (0.42, 0.5),
        (0.5, 0.46),
        (0.5, 0.58),
        (0.36, 0.62),
        (0.28, 0.48),
        (0.38, 0.32),
        (0.6, 0.36),
        (0.66, 0.56),
        (0.5, 0.76),
    ]
    pen.curve(spiral, c.line, width=0.04)
    pen.oval(0.3, 0.3, 0.07, 0.045, c.pale)
    pen.curve([(0.86, 0.72), (0.9, 0.74), (0.94, 0.7)], INK, width=0.015)


def _turtle(pen: Pen) -> None:
    c = pen.colours
    skin = mix(LIME, c.base, 0.15)
    pen.blob([(0.7, 0.62), (0.8, 0.4), (0.95, 0.38), (0.99, 0.52), (0.86, 0.62), (0.8, 0.74)], skin)
    for x in (0.2, 0.62):
        pen.rect(x - 0.09, 0.66, x + 0.09, 0.9, skin, r=0.07)
    pen.poly([(0.12, 0.68), (0.0, 0.78), (0.16, 0.76)], skin)
    pen.pie(0.42, 0.72, 0.4, 0.54, c.base, span=(180, 360))
    pen.rect(0.0, 0.68, 0.84, 0.77, c.dark, r=0.045)
    for x, y, r in ((0.42, 0.42, 0.12), (0.2, 0.58, 0.08), (0.64, 0.58, 0.08)):
        pen.poly(_hexagon(x, y, r), c.line)
        pen.poly(_hexagon(x, y, r * 0.8), c.light)
    pen.eye(0.9, 0.46, 0.045)


LIME = (168, 200, 96)


def _hexagon(x: float, y: float, r: float) -> list[tuple[float, float]]:
    return [
        (x - r, y),
        (x - r / 2, y - r),
        (x + r / 2, y - r),
        (x + r, y),
        (x + r / 2, y + r),
        (x - r / 2, y + r),
    ]


def _whale(pen: Pen) -> None:
    c = pen.colours
    drop = (120, 200, 245)
    pen.curve([(0.64, 0.3), (0.64, 0.14), (0.52, 0.06)], drop, width=0.04)
    pen.curve([(0.64, 0.3), (0.66, 0.14), (0.77, 0.06)], drop, width=0.04)
    pen.blob([(0.16, 0.52), (0.02, 0.34), (0.0, 0.2), (0.13, 0.26), (0.24, 0.18), (0.26, 0.32)], c.base)
    pen.blob(
        [
            (0.12, 0.38),
            (0.3, 0.5),
            (0.5, 0.34),
            (0.76, 0.28),
            (0.98, 0.5),
            (0.92, 0.8),
            (0.6, 0.93),
            (0.28, 0.82),
        ],
        c.base,
    )
    pen.blob(
        [(0.4, 0.78), (0.66, 0.78), (0.96, 0.64), (0.9, 0.82), (0.6, 0.93)], mix(c.pale, (255, 255, 255), 0.4)
    )
    for y in (0.82, 0.87):
        pen.line([(0.52, y), (0.86, y - 0.03)], c.light, width=0.014)
    pen.blob([(0.5, 0.7), (0.62, 0.72), (0.5, 0.98), (0.4, 0.96)], c.dark)
    pen.eye(0.8, 0.55, 0.05)


def _crab(pen: Pen) -> None:
    c = pen.colours
    for side in (-1, 1):
        for dx, y in ((0.4, 0.72), (0.43, 0.82), (0.36, 0.92)):
            pen.line(
                [(0.5 + side * 0.2, 0.68), (0.5 + side * dx, y - 0.1), (0.5 + side * (dx + 0.05), y + 0.04)],
                c.dark,
                width=0.04,
            )
        pen.line([(0.5 + side * 0.24, 0.58), (0.5 + side * 0.4, 0.42)], c.base, width=0.07)
        x = 0.5 + side * 0.37
        pen.oval(x, 0.26, 0.14, 0.15, c.base)
        pen.poly([(x, 0.26), (x - 0.06, 0.06), (x + 0.06, 0.06)], (0, 0, 0, 0))
        pen.line([(0.5 + side * 0.09, 0.5), (0.5 + side * 0.1, 0.36)], c.base, width=0.04)
    pen.oval(0.5, 0.66, 0.32, 0.22, c.base)
    pen.oval(0.4, 0.56, 0.12, 0.05, c.light)
    for side in (-1, 1):
        pen.eye(0.5 + side * 0.1, 0.34, 0.065)
    pen.curve([(0.38, 0.72), (0.5, 0.78), (0.62, 0.72)], c.line, width=0.025)


def _elephant(pen: Pen) -> None:
    c = pen.colours
    pen.curve([(0.08, 0.46), (0.02, 0.58), (0.04, 0.68)], c.dark, width=0.03)
    for x in (0.26, 0.54):
        pen.rect(x - 0.09, 0.6, x + 0.09, 0.95, c.dark, r=0.04)
    pen.blob(
        [(0.06, 0.5), (0.2, 0.28), (0.5, 0.24), (0.68, 0.4), (0.66, 0.72), (0.36, 0.8), (0.1, 0.72)], c.base
    )
    for x in (0.16, 0.46):
        pen.rect(x - 0.09, 0.6, x + 0.09, 0.99, c.base, r=0.04)
        pen.rect(x - 0.07, 0.94, x + 0.07, 0.985, c.pale, r=0.02)
    pen.curve([(0.84, 0.4), (0.91, 0.58), (0.86, 0.8), (0.94, 0.88)], c.base, width=0.11)
    pen.oval(0.74, 0.36, 0.2, 0.21, c.base)
    pen.curve([(0.78, 0.54), (0.83, 0.64), (0.92, 0.64)], CREAM, width=0.045)
    pen.blob([(0.66, 0.16), (0.5, 0.1), (0.38, 0.3), (0.46, 0.56), (0.62, 0.54)], c.dark)
    pen.blob([(0.62, 0.22), (0.52, 0.18), (0.45, 0.32), (0.5, 0.46), (0.6, 0.46)], c.light)
    pen.eye(0.79, 0.31, 0.045)


def _frog(pen: Pen) -> None:
    c = pen.colours
    for side in (-1, 1):
        pen.blob(
            [
                (0.5 + side * 0.2, 0.6),
                (0.5 + side * 0.46, 0.62),
                (0.5 + side * 0.42, 0.9),
                (0.5 + side * 0.48, 0.97),
                (0.5 + side * 0.2, 0.96),
            ],
            c.dark,
        )
    pen.oval(0.5, 0.7, 0.32, 0.27, c.base)
    pen.oval(0.5, 0.78, 0.2, 0.16, c.pale)
    pen.oval(0.5, 0.42, 0.38, 0.25, c.base)
    for side in (-1, 1):
        pen.oval(0.5 + side * 0.21, 0.22, 0.14, 0.14, c.base)
        pen.eye(0.5 + side * 0.21, 0.2, 0.095)
        pen.oval(0.5 + side * 0.27, 0.48, 0.055, 0.035, BLUSH)
        pen.oval(0.5 + side * 0.15, 0.96, 0.09, 0.035, c.light)
    pen.curve([(0.28, 0.46), (0.4, 0.56), (0.6, 0.56), (0.72, 0.46)], c.line, width=0.028)


def _octopus(pen: Pen) -> None:
    c = pen.colours
    for x, bend in ((0.14, -0.08), (0.32, -0.04), (0.68, 0.04), (0.86, 0.08), (0.5, 0.03)):
        mid = 0.5 + (x - 0.5) * 0.7
        pen.curve(
            [(mid, 0.56), (x + bend * 0.2, 0.78), (x, 0.92), (x + bend, 0.95)],
            c.dark if x == 0.5 else c.base,
            width=0.1,
        )
        pen.oval(x, 0.86, 0.02, 0.02, c.pale)
    pen.blob(
        [(0.5, 0.02), (0.78, 0.12), (0.84, 0.4), (0.72, 0.64), (0.28, 0.64), (0.16, 0.4), (0.22, 0.12)],
        c.base,
    )
    for side in (-1, 1):
        pen.eye(0.5 + side * 0.13, 0.4, 0.085)
        pen.oval(0.5 + side * 0.22, 0.52, 0.045, 0.03, BLUSH)
    pen.curve([(0.43, 0.54), (0.5, 0.58), (0.57, 0.54)], c.line, width=0.025)
    pen.oval(0.36, 0.16, 0.08, 0.05, c.pale)


PAINTERS: dict[str, Painter] = {
    "cat": _cat,
    "fish": _fish,
    "bird": _bird,
    "butterfly": _butterfly,
    "rabbit": _rabbit,
    "snail": _snail,
    "turtle": _turtle,
    "whale": _whale,
    "crab": _crab,
    "elephant": _elephant,
    "frog": _frog,
    "octopus": _octopus,
}

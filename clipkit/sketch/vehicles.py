"""Painters of vehicles."""

from clipkit.sketch.paint import CREAM, GLASS, INK, STEEL, WOOD_DARK, Painter, Pen


def _wheel(pen: Pen, x: float, y: float, r: float) -> None:
    pen.oval(x, y, r, r, INK)
    pen.oval(x, y, r * 0.55, r * 0.55, STEEL)
    pen.oval(x, y, r * 0.2, r * 0.2, INK)


def _sailboat(pen: Pen) -> None:
    c = pen.colours
    pen.line([(0.5, 0.04), (0.5, 0.76)], WOOD_DARK, width=0.035)
    pen.blob([(0.54, 0.06), (0.74, 0.34), (0.94, 0.64), (0.54, 0.66)], c.base)
    pen.poly([(0.46, 0.14), (0.46, 0.66), (0.1, 0.66), (0.3, 0.42)], c.light)
    for y in (0.36, 0.5):
        pen.line([(0.56, y), (0.6 + y * 0.4, y + 0.02)], c.dark, width=0.016)
    pen.blob([(0.02, 0.72), (0.5, 0.75), (0.98, 0.72), (0.84, 0.94), (0.5, 0.98), (0.18, 0.94)], c.base)
    pen.line(
        [(0.08, 0.79), (0.92, 0.79)], CREAM if c.base[0] < 240 or c.base[2] < 200 else c.dark, width=0.03
    )


def _car(pen: Pen) -> None:
    c = pen.colours
    pen.blob([(0.18, 0.5), (0.28, 0.24), (0.5, 0.19), (0.66, 0.26), (0.8, 0.5)], c.base)
    pen.poly([(0.27, 0.47), (0.33, 0.3), (0.47, 0.27), (0.47, 0.47)], GLASS)
    pen.poly([(0.52, 0.47), (0.52, 0.27), (0.61, 0.3), (0.71, 0.47)], GLASS)
    pen.line([(0.31, 0.45), (0.38, 0.31)], (255, 255, 255), width=0.025)
    pen.rect(0.02, 0.46, 0.98, 0.77, c.base, r=0.11)
    pen.rect(0.05, 0.5, 0.92, 0.54, c.light, r=0.02)
    pen.rect(0.03, 0.69, 0.97, 0.77, c.dark, r=0.04)
    pen.line([(0.5, 0.5), (0.5, 0.7)], c.line, width=0.014)
    pen.line([(0.54, 0.56), (0.6, 0.56)], c.line, width=0.02)
    pen.oval(0.93, 0.57, 0.04, 0.05, (255, 240, 160))
    for x in (0.25, 0.76):
        _wheel(pen, x, 0.77, 0.135)


def _rocket(pen: Pen) -> None:
    c = pen.colours
    pen.blob([(0.4, 0.78), (0.6, 0.78), (0.58, 0.9), (0.5, 1.0), (0.42, 0.9)], (255, 150, 30))
    pen.blob([(0.45, 0.78), (0.55, 0.78), (0.5, 0.93)], (255, 230, 90))
    pen.blob([(0.36, 0.54), (0.16, 0.68), (0.14, 0.88), (0.36, 0.76)], c.dark)
    pen.blob([(0.64, 0.54), (0.84, 0.68), (0.86, 0.88), (0.64, 0.76)], c.dark)
    pen.blob(
        [(0.5, 0.0), (0.64, 0.18), (0.69, 0.46), (0.62, 0.78), (0.38, 0.78), (0.31, 0.46), (0.36, 0.18)],
        c.base,
    )
    pen.blob([(0.44, 0.14), (0.4, 0.3), (0.38, 0.6), (0.43, 0.6), (0.46, 0.3)], c.light)
    pen.poly([(0.38, 0.16), (0.5, 0.0), (0.62, 0.16)], c.dark)
    pen.oval(0.5, 0.36, 0.115, 0.115, STEEL)
    pen.oval(0.5, 0.36, 0.085, 0.085, GLASS)
    pen.oval(0.47, 0.33, 0.03, 0.025, (255, 255, 255))


def _train(pen: Pen) -> None:
    c = pen.colours
    puff = (238, 240, 244)
    for x, y, r in ((0.7, 0.12, 0.06), (0.6, 0.07, 0.07)):
        pen.oval(x, y, r, r * 0.8, puff)
    pen.poly([(0.69, 0.2), (0.87, 0.2), (0.83, 0.42), (0.73, 0.42)], INK)
    pen.rect(0.4, 0.38, 0.92, 0.72, c.base, r=0.09)
    pen.rect(0.06, 0.2, 0.46, 0.74, c.base, r=0.03)
    pen.rect(0.01, 0.14, 0.51, 0.23, c.dark, r=0.03)
    pen.rect(0.14, 0.3, 0.38, 0.5, GLASS, r=0.03)
    pen.rect(0.46, 0.42, 0.86, 0.47, c.light, r=0.02)
    for x in (0.58, 0.72):
        pen.line([(x, 0.4), (x, 0.7)], c.line, width=0.018)
    pen.rect(0.04, 0.7, 0.96, 0.79, c.dark, r=0.03)
    pen.poly([(0.92, 0.74), (1.0, 0.94), (0.84, 0.94)], STEEL)
    pen.oval(0.92, 0.5, 0.045, 0.06, (255, 236, 140))
    for x, r in ((0.2, 0.13), (0.48, 0.11), (0.73, 0.11)):
        _wheel(pen, x, 0.96 - r, r)


def _bicycle(pen: Pen) -> None:
    c = pen.colours
    for x in (0.22, 0.78):
        pen.ring(x, 0.7, 0.22, 0.22, INK, width=0.045)
        for a, b in (((x - 0.19, 0.7), (x + 0.19, 0.7)), ((x, 0.51), (x, 0.89))):
            pen.line([a, b], STEEL, width=0.014)
    for pts in (
        [(0.22, 0.7), (0.38, 0.38), (0.68, 0.38), (0.48, 0.72), (0.22, 0.7)],
        [(0.34, 0.28), (0.48, 0.72)],
        [(0.78, 0.7), (0.66, 0.22)],
    ):
        pen.line(pts, c.base, width=0.085)
    pen.line([(0.55, 0.2), (0.66, 0.22), (0.76, 0.15)], c.dark, width=0.06)
    pen.rect(0.23, 0.22, 0.45, 0.29, c.dark, r=0.035)
    pen.oval(0.48, 0.72, 0.06, 0.06, STEEL)


def _aeroplane(pen: Pen) -> None:
    c = pen.colours
    pen.poly([(0.06, 0.46), (0.0, 0.16), (0.13, 0.16), (0.26, 0.42)], c.dark)
    pen.poly([(0.42, 0.42), (0.34, 0.14), (0.45, 0.14), (0.62, 0.42)], c.dark)
    pen.blob(
        [(0.02, 0.46), (0.3, 0.37), (0.76, 0.36), (0.97, 0.46), (0.96, 0.55), (0.74, 0.63), (0.3, 0.6)],
        c.base,
    )
    pen.blob([(0.78, 0.39), (0.9, 0.43), (0.87, 0.48), (0.76, 0.47)], GLASS)
    for x in (0.3, 0.41, 0.52, 0.63):
        pen.oval(x, 0.46, 0.03, 0.033, GLASS)
    pen.poly([(0.4, 0.55), (0.66, 0.55), (0.36, 0.9), (0.22, 0.9)], c.light)
    pen.poly([(0.36, 0.9), (0.22, 0.9), (0.24, 0.86), (0.4, 0.86)], c.dark)


def _helicopter(pen: Pen) -> None:
    c = pen.colours
    pen.rect(0.57, 0.14, 0.63, 0.32, STEEL)
    pen.rect(0.2, 0.1, 1.0, 0.15, INK, r=0.025)
    pen.poly([(0.46, 0.42), (0.06, 0.38), (0.04, 0.46), (0.46, 0.62)], c.base)
    pen.line([(0.07, 0.24), (0.07, 0.56)], INK, width=0.035)
    pen.blob([(0.04, 0.46), (0.0, 0.28), (0.08, 0.28), (0.13, 0.42)], c.dark)
    pen.oval(0.62, 0.53, 0.3, 0.24, c.base)
    pen.pie(0.66, 0.53, 0.24, 0.19, GLASS, span=(-90, 0))
    pen.line([(0.7, 0.4), (0.76, 0.5)], (255, 255, 255), width=0.025)
    pen.oval(0.52, 0.42, 0.1, 0.05, c.light)
    for x in (0.5, 0.74):
        pen.line([(x, 0.74), (x, 0.9)], STEEL, width=0.03)
    pen.curve([(0.3, 0.9), (0.62, 0.91), (0.88, 0.9), (0.95, 0.84)], INK, width=0.04)


def _submarine(pen: Pen) -> None:
    c = pen.colours
    pen.line([(0.6, 0.36), (0.6, 0.08), (0.74, 0.08)], c.dark, width=0.06)
    pen.rect(0.4, 0.22, 0.68, 0.46, c.base, r=0.07)
    pen.line([(0.06, 0.46), (0.06, 0.8)], STEEL, width=0.06)
    pen.poly([(0.18, 0.63), (0.02, 0.42), (0.02, 0.84)], c.dark)
    pen.blob(
        [(0.08, 0.63), (0.26, 0.42), (0.7, 0.39), (0.95, 0.54), (0.96, 0.7), (0.74, 0.87), (0.28, 0.85)],
        c.base,
    )
    pen.blob([(0.16, 0.72), (0.5, 0.78), (0.92, 0.74), (0.74, 0.86), (0.3, 0.84)], c.dark)
    for x in (0.36, 0.56, 0.76):
        pen.oval(x, 0.6, 0.08, 0.08, STEEL)
        pen.oval(x, 0.6, 0.056, 0.056, GLASS)
        pen.oval(x - 0.02, 0.58, 0.02, 0.018, (255, 255, 255))
    pen.rect(0.26, 0.44, 0.7, 0.47, c.light, r=0.015)


PAINTERS: dict[str, Painter] = {
    "sailboat": _sailboat,
    "car": _car,
    "rocket": _rocket,
    "train": _train,
    "bicycle": _bicycle,
    "aeroplane": _aeroplane,
    "helicopter": _helicopter,
    "submarine": _submarine,
}

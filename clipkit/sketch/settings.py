"""Painters of the seven settings; nothing in a background looks like a kind of thing."""

import math
from collections.abc import Callable
from random import Random

from PIL import Image, ImageDraw

from clipkit.sketch.paint import RGB, mix

SETTINGS: tuple[str, ...] = ("sky", "sea", "meadow", "desert", "snow", "night", "room")

Backdrop = Callable[[Image.Image, Random], None]


def backdrop(setting: str, px: int, rng: Random) -> Image.Image:
    """A square picture of the empty setting."""
    canvas = Image.new("RGB", (px, px))
    _PAINTERS[setting](canvas, rng)
    return canvas


def _gradient(canvas: Image.Image, top: RGB, bottom: RGB, *, y0: float = 0.0, y1: float = 1.0) -> None:
    canvas.paste(
        _ramp(canvas.width, round((y1 - y0) * canvas.height), top, bottom), (0, round(y0 * canvas.height))
    )


def _ramp(width: int, height: int, top: RGB, bottom: RGB) -> Image.Image:
    steps = 64
    column = Image.new("RGB", (1, steps))
    column.putdata([mix(top, bottom, i / (steps - 1)) for i in range(steps)])
    return column.resize((width, max(1, height)), Image.Resampling.BILINEAR)


def _ridge(rng: Random, y: float, swing: float, *, waves: float = 1.5) -> list[tuple[float, float]]:
    a, b = rng.uniform(0, 6.3), rng.uniform(0, 6.3)
    f, g = rng.uniform(0.7, 1.3) * waves, rng.uniform(1.6, 2.4) * waves
    xs = [i / 40 for i in range(41)]
    return [
        (x, y + swing * (0.65 * math.sin(f * x * 6.28 + a) + 0.35 * math.sin(g * x * 6.28 + b))) for x in xs
    ]


def _land(canvas: Image.Image, ridge: list[tuple[float, float]], top: RGB, bottom: RGB) -> None:
    """Fills all below the ridge line with a gradient."""
    px = canvas.width
    y0 = max(0, math.floor(min(y for _, y in ridge) * px))
    mask = Image.new("L", (px, px - y0))
    shape = [(x * px, y * px - y0) for x, y in ridge]
    ImageDraw.Draw(mask).polygon([*shape, (px, px), (0, px)], fill=255)
    canvas.paste(_ramp(px, px - y0, top, bottom), (0, y0), mask)


def _cloud(canvas: Image.Image, rng: Random, x: float, y: float, w: float, tone: RGB) -> None:
    px = canvas.width
    draw = ImageDraw.Draw(canvas)
    puffs = [
        (x + w * (i - 2) * 0.2, y - w * rng.uniform(0.0, 0.1) * (2 - abs(i - 2)), w * rng.uniform(0.14, 0.2))
        for i in range(5)
    ]
    under = mix(tone, (120, 150, 200), 0.18)
    for shift, fill in ((0.02, under), (0.0, tone)):
        for cx, cy, r in puffs:
            top = cy + shift
            draw.ellipse(
                ((cx - r) * px, (top - r * 0.7) * px, (cx + r) * px, (top + r * 0.55) * px), fill=fill
            )


def _clouds(canvas: Image.Image, rng: Random, n: int, *, low: float, tone: RGB) -> None:
    for _ in range(n):
        _cloud(canvas, rng, rng.uniform(0, 1), rng.uniform(0.05, low), rng.uniform(0.2, 0.42), tone)


def _dots(
    canvas: Image.Image,
    rng: Random,
    n: int,
    *,
    y: tuple[float, float],
    r: tuple[float, float],
    tones: tuple[RGB, ...],
) -> None:
    px = canvas.width
    draw = ImageDraw.Draw(canvas)
    for _ in range(n):
        x, yy, rr = rng.uniform(0, px), rng.uniform(*y) * px, rng.uniform(*r) * px
        draw.ellipse((x - rr, yy - rr, x + rr, yy + rr), fill=rng.choice(tones))


def _sky(canvas: Image.Image, rng: Random) -> None:
    top = rng.choice(((120, 190, 246), (140, 204, 250), (128, 196, 238)))
    _gradient(canvas, top, (232, 246, 255))
    _clouds(canvas, rng, rng.randint(4, 6), low=0.95, tone=(250, 253, 255))


def _sea(canvas: Image.Image, rng: Random) -> None:
    horizon = rng.uniform(0.32, 0.42)
    _gradient(canvas, (176, 222, 248), (252, 244, 226), y1=horizon + 0.02)
    _clouds(canvas, rng, rng.randint(1, 3), low=horizon * 0.7, tone=(255, 255, 255))
    if rng.random() < 0.5:
        x, w = rng.uniform(0, 1), rng.uniform(0.1, 0.2)
        isle = [(i / 40, horizon + 0.01 - 0.06 * math.exp(-(((i / 40 - x) / w) ** 2) * 4)) for i in range(41)]
        _land(canvas, isle, (150, 182, 178), (150, 182, 178))
    tones: tuple[RGB, ...] = (
        (126, 196, 226),
        (104, 182, 218),
        (84, 166, 208),
        (66, 148, 196),
        (54, 132, 184),
    )
    for i, tone in enumerate(tones):
        y = horizon + (1 - horizon) * (i / len(tones)) ** 1.15
        swing = 0.0 if i == 0 else 0.008 + 0.004 * i
        _land(
            canvas, _ridge(rng, y - 0.006, swing, waves=5 - i * 0.6), mix(tone, (255, 255, 255), 0.55), tone
        )
        _land(
            canvas, _ridge(rng, y + 0.008, swing, waves=5 - i * 0.6), mix(tone, (255, 255, 255), 0.12), tone
        )


def _meadow(canvas: Image.Image, rng: Random) -> None:
    _gradient(canvas, (152, 212, 248), (250, 248, 224), y1=0.7)
    _clouds(canvas, rng, rng.randint(1, 3), low=0.25, tone=(255, 255, 255))
    y = rng.uniform(0.46, 0.54)
    _land(canvas, _ridge(rng, y, 0.05), (176, 216, 160), (150, 204, 130))
    _land(canvas, _ridge(rng, y + 0.12, 0.04), (164, 214, 112), (132, 196, 92))
    _land(canvas, _ridge(rng, y + 0.24, 0.03), (150, 208, 92), (112, 180, 74))
    px = canvas.width
    draw = ImageDraw.Draw(canvas)
    for _ in range(26):
        x, gy, h = rng.uniform(0, 1) * px, rng.uniform(y + 0.28, 1.0) * px, rng.uniform(0.015, 0.03) * px
        tone = rng.choice(((96, 164, 62), (178, 224, 120)))
        for dx in (-0.5, 0.0, 0.5):
            draw.line((x, gy, x + dx * h, gy - h), fill=tone, width=max(1, px // 200))
    _dots(canvas, rng, 22, y=(y + 0.3, 1.0), r=(0.003, 0.006), tones=((255, 255, 240), (255, 232, 140)))


def _desert(canvas: Image.Image, rng: Random) -> None:
    _gradient(canvas, rng.choice(((132, 200, 226), (150, 196, 232))), (255, 232, 196), y1=0.66)
    y = rng.uniform(0.5, 0.58)
    px = canvas.width
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 2)):
        x, w, h = rng.uniform(0, 1), rng.uniform(0.1, 0.2), rng.uniform(0.07, 0.13)
        mesa = [(x - w, y + 0.05), (x - w * 0.72, y - h), (x + w * 0.66, y - h), (x + w, y + 0.05)]
        draw.polygon([(a * px, b * px) for a, b in mesa], fill=(214, 154, 122))
        draw.polygon(
            [(a * px, (b + 0.02) * px) for a, b in mesa[1:3]]
            + [(px * (x + w), px * y), (px * (x - w), px * y)],
            fill=(222, 168, 136),
        )
    _land(canvas, _ridge(rng, y, 0.03), (248, 216, 158), (238, 196, 132))
    _land(canvas, _ridge(rng, y + 0.12, 0.05, waves=0.9), (252, 222, 164), (236, 190, 124))
    _land(canvas, _ridge(rng, y + 0.27, 0.05, waves=0.8), (250, 214, 148), (228, 178, 108))
    for _ in range(5):
        line = _ridge(rng, rng.uniform(y + 0.3, 0.98), 0.006, waves=3)
        i, n = rng.randint(0, 28), rng.randint(7, 12)
        draw.line(
            [(a * px, b * px) for a, b in line[i : i + n]], fill=(222, 172, 104), width=max(1, px // 220)
        )


def _snow(canvas: Image.Image, rng: Random) -> None:
    _gradient(canvas, (158, 184, 216), (226, 236, 246), y1=0.7)
    y = rng.uniform(0.46, 0.54)
    px = canvas.width
    draw = ImageDraw.Draw(canvas)
    x = rng.uniform(-0.2, 0.1)
    while x < 1.1:
        w, h = rng.uniform(0.16, 0.28), rng.uniform(0.14, 0.28)
        top = y + 0.06 - h
        draw.polygon(
            [((x - w) * px, (y + 0.1) * px), (x * px, top * px), ((x + w) * px, (y + 0.1) * px)],
            fill=(168, 186, 212),
        )
        cap = 0.35
        draw.polygon(
            [
                ((x - w * cap) * px, (top + (h + 0.04) * cap) * px),
                (x * px, top * px),
                ((x + w * cap) * px, (top + (h + 0.04) * cap) * px),
            ],
            fill=(240, 246, 252),
        )
        x += w * rng.uniform(0.8, 1.3)
    _land(canvas, _ridge(rng, y, 0.03), (222, 232, 244), (212, 224, 240))
    _land(canvas, _ridge(rng, y + 0.13, 0.03), (236, 242, 250), (222, 232, 245))
    _land(canvas, _ridge(rng, y + 0.28, 0.03), (244, 248, 253), (224, 234, 246))
    _dots(canvas, rng, 46, y=(0, 1), r=(0.003, 0.0075), tones=((255, 255, 255), (246, 250, 255)))


def _night(canvas: Image.Image, rng: Random) -> None:
    top = rng.choice(((18, 22, 58), (24, 20, 62), (14, 28, 62)))
    _gradient(canvas, top, (78, 78, 134))
    _dots(
        canvas,
        rng,
        60,
        y=(0, 0.75),
        r=(0.0018, 0.005),
        tones=((255, 255, 255), (255, 244, 200), (200, 214, 255)),
    )
    y = rng.uniform(0.68, 0.76)
    _land(canvas, _ridge(rng, y, 0.05), (54, 58, 104), (42, 46, 88))
    _land(canvas, _ridge(rng, y + 0.13, 0.04), (38, 44, 84), (24, 28, 60))


def _room(canvas: Image.Image, rng: Random) -> None:
    wall, floor = rng.choice(
        (
            ((250, 232, 206), (206, 162, 116)),
            ((226, 236, 224), (198, 154, 112)),
            ((246, 222, 216), (190, 148, 112)),
        )
    )
    y = rng.uniform(0.64, 0.7)
    _gradient(canvas, mix(wall, (255, 255, 255), 0.25), wall, y1=y)
    _gradient(canvas, mix(floor, (255, 255, 255), 0.15), mix(floor, (60, 30, 10), 0.2), y0=y)
    px = canvas.width
    draw = ImageDraw.Draw(canvas)
    stripe = mix(wall, (150, 100, 80), 0.1)
    n = rng.choice((9, 11, 13))
    for i in range(n):
        draw.rectangle(((i + 0.3) / n * px, 0, (i + 0.6) / n * px, y * px), fill=stripe)
    plank = mix(floor, (60, 30, 10), 0.28)
    for i in range(-8, 18):
        draw.line(
            (0.5 * px + (i - 5) * 0.07 * px, y * px, 0.5 * px + (i - 5) * 0.2 * px, px),
            fill=plank,
            width=max(1, px // 256),
        )
    tone = rng.choice(((214, 176, 190), (170, 196, 206), (188, 198, 160)))
    for rx, ry, fill in (
        (0.42, 0.12, mix(tone, (90, 70, 80), 0.2)),
        (0.39, 0.105, tone),
        (0.3, 0.075, mix(tone, (255, 255, 255), 0.3)),
    ):
        draw.ellipse(((0.5 - rx) * px, (0.87 - ry) * px, (0.5 + rx) * px, (0.87 + ry) * px), fill=fill)
    draw.rectangle((0, (y - 0.035) * px, px, y * px), fill=(252, 248, 240))
    draw.rectangle((0, (y - 0.006) * px, px, y * px), fill=mix(wall, (120, 90, 70), 0.3))
    _curtains(canvas, rng)


def _curtains(canvas: Image.Image, rng: Random) -> None:
    px = canvas.width
    draw = ImageDraw.Draw(canvas)
    tone = rng.choice(((198, 206, 224), (226, 200, 178), (204, 216, 190)))
    for side in (0, 1):
        for i, w in enumerate((0.11, 0.085, 0.055, 0.03)):
            edge = [(side + (1 - 2 * side) * (w + 0.012 * math.sin(k / 3)), k / 20) for k in range(15)]
            shape = [(x * px, y * px) for x, y in [(float(side), 0.0), *edge, (float(side), 0.7)]]
            draw.polygon(shape, fill=mix(tone, (255, 255, 255), 0.3) if i % 2 else tone)
    draw.rectangle((0, 0, px, 0.025 * px), fill=(164, 122, 84))


_PAINTERS: dict[str, Backdrop] = {
    "sky": _sky,
    "sea": _sea,
    "meadow": _meadow,
    "desert": _desert,
    "snow": _snow,
    "night": _night,
    "room": _room,
}

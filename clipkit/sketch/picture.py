"""Where the things of a scene go, and the picture of it."""

from dataclasses import dataclass
from random import Random

from PIL import Image

from clipkit.sketch.containers import ROOMS
from clipkit.sketch.paint import MARGIN, Pen, palette, stamp
from clipkit.sketch.scenes import GAP, HOLDER, PAINTERS, ROOM, SIDE, Grid, Scene, Thing, arrangements
from clipkit.sketch.settings import backdrop

# Where they look at home: in the air, or on the ground.
_AIR = frozenset(
    ("star", "moon", "bird", "butterfly", "rocket", "aeroplane", "helicopter", "balloon", "kite", "bubble")
)
_BORDER = (1 - ROOM) / 2
# Their painters turn well; a tilted house or jar would look like a mistake.
_TILTING = frozenset(
    [
        "leaf",
        "star",
        "apple",
        "strawberry",
        "carrot",
        "heart",
        "fish",
        "butterfly",
        "bird",
        "rocket",
        "aeroplane",
        "balloon",
        "kite",
        "key",
        "umbrella",
        "guitar",
        "hat",
        "gift",
        "book",
        "moon",
        "octopus",
        "whale",
        "crown",
    ]
)
# Things grow by up to this much where there is room; small then stays below medium, and medium below large.
_GROWTH = 1.18


@dataclass(frozen=True, slots=True)
class Place:
    """The box of one drawn thing, its group's number in the scene, and its pose."""

    group: int
    x: float
    y: float
    side: float
    flip: bool
    tilt: float


@dataclass(slots=True)
class _Block:
    group: int
    grid: Grid
    w: float
    h: float
    x: float = 0.0
    y: float = 0.0


def draw(scene: Scene, *, size: int = 512) -> Image.Image:
    """The picture of a scene, RGB, `size` pixels square; the same scene gives the same pixels."""
    if size < 16:
        raise ValueError(
            f"size must be at least 16 pixels, not {size}; 64 is the least that shows the things"
        )
    zoom = 4 if size <= 96 else 3
    px = size * zoom
    rng = Random(f"pose {scene.seed} {scene.setting}")
    canvas = backdrop(scene.setting, px, rng)
    for place in sorted(layout(scene), key=lambda p: (p.side < HOLDER - 0.1, p.y)):
        _put(canvas, scene.things[place.group], place, rng, on_dark=scene.setting == "night")
    return canvas.reduce(zoom)


def _put(canvas: Image.Image, thing: Thing, place: Place, rng: Random, *, on_dark: bool) -> None:
    px = canvas.width
    colours = palette(thing.colour, on_dark=on_dark)
    side = round(place.side * px / (1 - 2 * MARGIN))
    pen = Pen(side, colours, rng, flip=place.flip)
    PAINTERS[thing.kind](pen)
    tile = pen.tile.rotate(place.tilt, Image.Resampling.BILINEAR) if place.tilt else pen.tile
    at = (round((place.x - side / px * MARGIN) * px), round((place.y - side / px * MARGIN) * px))
    stamp(canvas, tile, at, rim=colours.rim, lift=0.03)


def layout(scene: Scene) -> list[Place]:
    """The box of every thing in the scene, in shares of the picture's side."""
    rng = Random(f"layout {scene.seed}")
    flat, grids = rng.choice(arrangements(scene.things, scene.relation))
    grow = _growth(scene, flat, grids)
    blocks = [
        _Block(i, g, g[0] * SIDE[t.size] * grow, g[1] * SIDE[t.size] * grow)
        for i, (g, t) in enumerate(zip(grids, scene.things, strict=True))
    ]
    if scene.relation == "inside":
        return _inside(scene, blocks, rng)
    order = _order(scene, rng)
    _along([blocks[i] for i in order], flat, rng)
    _across(scene, blocks, flat, rng)
    return [place for block in blocks for place in _fill(scene.things[block.group], block, rng)]


def _growth(scene: Scene, flat: bool, grids: tuple[Grid, ...]) -> float:
    """How much larger than SIDE all things of the scene can be drawn."""
    sides = [(g[0] * SIDE[t.size], g[1] * SIDE[t.size]) for g, t in zip(grids, scene.things, strict=True)]
    if scene.relation == "inside":
        left, top, right, bottom = ROOMS[scene.things[1].kind]
        (w, h), _ = sides
        return min(_GROWTH, (right - left) * HOLDER / w, (bottom - top) * HOLDER / h)
    along = sum(s[0 if flat else 1] for s in sides)
    across = max(s[1 if flat else 0] for s in sides)
    return min(_GROWTH, (ROOM - GAP * (len(sides) - 1)) / along, ROOM / across)


def _order(scene: Scene, rng: Random) -> list[int]:
    """The groups from left to right, or from top to bottom."""
    if scene.relation in ("left of", "above"):
        return [0, 1]
    if scene.relation in ("right of", "below"):
        return [1, 0]
    if scene.relation == "between":
        return rng.choice(([1, 0, 2], [2, 0, 1]))
    return rng.sample(range(len(scene.things)), len(scene.things))


def _along(blocks: list[_Block], flat: bool, rng: Random) -> None:
    """Sets the blocks one after the other, the free room shared out between them by chance."""
    free = ROOM - GAP * (len(blocks) - 1) - sum(b.w if flat else b.h for b in blocks)
    cuts = [rng.uniform(0.4, 1.0) for _ in range(len(blocks) + 1)]
    at = _BORDER
    for block, cut in zip(blocks, cuts, strict=False):
        at += free * cut / sum(cuts)
        if flat:
            block.x = at
        else:
            block.y = at
        at += (block.w if flat else block.h) + GAP


def _across(scene: Scene, blocks: list[_Block], flat: bool, rng: Random) -> None:
    """Sets the other coordinate: near one common line, so that the relation is plain to see."""
    line = rng.uniform(0.35, 0.65)
    for block in blocks:
        want = line + rng.uniform(-0.08, 0.08)
        if flat and scene.setting != "sky":
            at_home = 0.3 if scene.things[block.group].kind in _AIR else 0.72
            want = (0.35 * want + 0.65 * at_home) if len(blocks) == 1 else (want + at_home) / 2
        span = block.h if flat else block.w
        start = min(max(want - span / 2, _BORDER), 1 - _BORDER - span)
        if flat:
            block.y = start
        else:
            block.x = start


def _fill(thing: Thing, block: _Block, rng: Random) -> list[Place]:
    """The things of a group in the cells of its grid, each a little off its centre."""
    cols, rows = block.grid
    cell = block.w / cols
    flip = rng.random() < 0.5
    tilted = thing.kind in _TILTING
    cells = [(i % cols, i // cols) for i in range(thing.count)]
    lone = cols * rows - thing.count  # one short of a full grid: its last row is centred
    places = []
    for c, r in cells:
        scale = rng.uniform(0.86, 0.93) if thing.count > 1 else rng.uniform(0.88, 1.0)
        side = cell * scale
        slack = cell - side
        x = block.x + (c + (0.5 * lone if r == rows - 1 else 0.0)) * cell + rng.uniform(0, slack)
        y = block.y + r * cell + rng.uniform(0, slack)
        tilt = rng.uniform(-12, 12) if tilted else 0.0
        places.append(Place(block.group, x, y, side, flip, tilt))
    return places


def _inside(scene: Scene, blocks: list[_Block], rng: Random) -> list[Place]:
    room = ROOMS[scene.things[1].kind]
    held, holder = blocks
    free = ROOM - HOLDER
    x, y = _BORDER + rng.uniform(0, free), _BORDER + rng.uniform(0, free)
    held.x = x + HOLDER * (room[0] + room[2]) / 2 - held.w / 2
    held.y = y + HOLDER * (room[1] + room[3]) / 2 - held.h / 2
    return [Place(holder.group, x, y, HOLDER, rng.random() < 0.5, 0.0), *_fill(scene.things[0], held, rng)]

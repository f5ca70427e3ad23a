"""What a drawn scene says: groups of alike things, a relation between them, a setting; made from a seed.

Distribution of `scene(seed)`: 10% of the scenes hold one group, 60% two, 30% three. Two groups stand in one
of the five relations of two (11% of all scenes each) nine times in ten, three groups in `between` (22%) three
times in four; else, like a group alone, in no relation (24%). Settings, kinds and colours are drawn evenly,
held-out pairs left out; what is inside something is held by one of the six container kinds, which is single
and large. Counts 1 to 4 are drawn with weights 36, 26, 20, 18 and sizes evenly, but what does not fit the
picture is drawn again: of all groups 43, 27, 17, 13% have these counts, and 40% are small, 35% medium, 25%
large. Kinds in a scene differ, colours may be alike.
"""

from dataclasses import dataclass
from random import Random

from clipkit.sketch import animals, containers, nature, objects, vehicles
from clipkit.sketch.paint import BASES, Painter
from clipkit.sketch.settings import SETTINGS

PAINTERS: dict[str, Painter] = {
    **nature.PAINTERS,
    **animals.PAINTERS,
    **vehicles.PAINTERS,
    **objects.PAINTERS,
    **containers.PAINTERS,
}
KINDS: tuple[str, ...] = tuple(PAINTERS)
COLOURS: tuple[str, ...] = tuple(BASES)
SIZES: tuple[str, ...] = ("small", "medium", "large")
RELATIONS: tuple[str, ...] = ("above", "below", "left of", "right of", "inside", "between")

# One colour of each kind, and a second of every fifth: about a tenth, spread evenly over both.
HELD_OUT_PAIRS: frozenset[tuple[str, str]] = frozenset(
    [(COLOURS[(5 * i + 3) % 12], kind) for i, kind in enumerate(KINDS)]
    + [(COLOURS[(7 * i + 2) % 12], kind) for i, kind in enumerate(KINDS) if i % 5 == 0]
)

# The least side of one thing as a share of the picture's; a thing that holds others is HOLDER wide.
SIDE: dict[str, float] = {"small": 0.16, "medium": 0.24, "large": 0.37}
HOLDER = 0.8
ROOM = 0.95  # of the picture's side, what is left after its border
GAP = 0.03  # at least, between two groups


@dataclass(frozen=True, slots=True)
class Thing:
    """One group of `count` (1 to 4) alike things; ValueError for a name that is not known."""

    kind: str
    colour: str
    size: str
    count: int

    def __post_init__(self) -> None:
        _known("kind", self.kind, KINDS)
        _known("colour", self.colour, COLOURS)
        _known("size", self.size, SIZES)
        _countable(self.count)


@dataclass(frozen=True, slots=True)
class Scene:
    """One to three groups in a setting; `things[0]` stands in `relation` to the others, in their order.

    The seed decides what the words leave open, such as the exact places. ValueError for groups that the
    relation cannot join or the picture cannot hold.
    """

    seed: int
    setting: str
    things: tuple[Thing, ...]
    relation: str | None

    def __post_init__(self) -> None:
        _known("setting", self.setting, SETTINGS)
        groups = {None: (1, 2, 3), "between": (3,)}.get(self.relation, (2,))
        if self.relation is not None:
            _known("relation", self.relation, RELATIONS)
        if len(self.things) not in groups:
            needed = " or ".join(map(str, groups))
            raise ValueError(f"relation {self.relation!r} takes {needed} groups, not {len(self.things)}")
        if self.relation == "inside":
            _holder(self.things[1])
        if not arrangements(self.things, self.relation):
            raise ValueError("the things do not fit the picture; make them fewer or smaller")


def _known(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}; known are: {', '.join(known)}")


def _countable(count: int) -> None:
    if count not in range(1, 5):
        raise ValueError(f"count must be 1, 2, 3 or 4, not {count!r}")


def _holder(thing: Thing) -> None:
    if thing.kind not in containers.ROOMS or thing.size != "large" or thing.count != 1:
        known = ", ".join(containers.ROOMS)
        raise ValueError(f"things go inside one large thing of these: {known}; not inside {thing}")


def scene(seed: int, *, held_out: bool = False) -> Scene:
    """The scene of a seed; with `held_out`, all its (colour, kind) pairs are from HELD_OUT_PAIRS."""
    rng = Random(f"clipkit.sketch {seed} {held_out}")
    groups = rng.choices((1, 2, 3), weights=(10, 60, 30))[0]
    relation = None
    if groups == 2 and rng.random() < 0.9:
        relation = rng.choice(RELATIONS[:5])
    if groups == 3 and rng.random() < 0.75:
        relation = "between"
    setting = rng.choice(SETTINGS)
    while True:
        things = tuple(_thing(rng, held_out, holder=relation == "inside" and i == 1) for i in range(groups))
        if len({t.kind for t in things}) == groups and arrangements(things, relation):
            return Scene(seed, setting, things, relation)


def _thing(rng: Random, held_out: bool, *, holder: bool) -> Thing:
    while True:
        kind = rng.choice(tuple(containers.ROOMS) if holder else KINDS)
        colour = rng.choice(COLOURS)
        if ((colour, kind) in HELD_OUT_PAIRS) is held_out:
            break
    if holder:
        return Thing(kind, colour, "large", 1)
    return Thing(kind, colour, rng.choice(SIZES), rng.choices((1, 2, 3, 4), weights=(36, 26, 20, 18))[0])


Grid = tuple[int, int]  # columns, rows
Plan = tuple[bool, tuple[Grid, ...]]  # side by side (or one above the other), and the grid of each group

_GRIDS: dict[int, tuple[Grid, ...]] = {
    1: ((1, 1),),
    2: ((2, 1), (1, 2)),
    3: ((3, 1), (2, 2), (1, 3)),
    4: ((4, 1), (2, 2), (1, 4)),
}


def arrangements(things: tuple[Thing, ...], relation: str | None) -> list[Plan]:
    """Every way to set the groups in rows and columns that fits the picture and shows the relation."""
    if relation == "inside":
        left, top, right, bottom = containers.ROOMS[things[1].kind]
        side = SIDE[things[0].size]
        fits = [
            g
            for g in _GRIDS[things[0].count]
            if g[0] * side <= (right - left) * HOLDER and g[1] * side <= (bottom - top) * HOLDER
        ]
        return [(True, (g, (1, 1))) for g in fits]
    beside = {"left of": (True,), "right of": (True,), "above": (False,), "below": (False,)}
    plans = []
    for flat in beside.get(relation or "", (True, False)):
        for grids in _product([_GRIDS[t.count] for t in things]):
            along = sum(g[0 if flat else 1] * SIDE[t.size] for g, t in zip(grids, things, strict=True))
            across = max(g[1 if flat else 0] * SIDE[t.size] for g, t in zip(grids, things, strict=True))
            if along + GAP * (len(things) - 1) <= ROOM and across <= ROOM:
                plans.append((flat, grids))
    return plans


def _product(options: list[tuple[Grid, ...]]) -> list[tuple[Grid, ...]]:
    rows: list[tuple[Grid, ...]] = [()]
    for choices in options:
        rows = [(*row, g) for row in rows for g in choices]
    return rows


def matches(
    scene: Scene,
    *,
    kind: str | None = None,
    colour: str | None = None,
    setting: str | None = None,
    count: int | None = None,
    relation: str | None = None,
) -> bool:
    """Whether some one group has all the given attributes of a thing, in that setting and relation.

    What is None is not asked for. The relation is the scene's own, as `Scene.relation` names it.
    """
    for what, value, known in (
        ("kind", kind, KINDS),
        ("colour", colour, COLOURS),
        ("setting", setting, SETTINGS),
        ("relation", relation, RELATIONS),
    ):
        if value is not None:
            _known(what, value, known)
    if count is not None:
        _countable(count)
    if setting not in (None, scene.setting) or relation not in (None, scene.relation):
        return False
    return any(
        kind in (None, t.kind) and colour in (None, t.colour) and count in (None, t.count)
        for t in scene.things
    )

"""True sentences about a drawn scene: one canonical, and any number of varied ones from a grammar."""

from random import Random

from clipkit.sketch.scenes import Scene, Thing
from clipkit.sketch.words import (
    ADJECTIVES,
    CONVERSE,
    COUNT_WORDS,
    NAMES,
    OPENINGS,
    RELATION_WORDS,
    SETTING_WORDS,
    SIZE_WORDS,
    article,
    plural,
)

_FULL = 0.6  # share of captions that say enough to find the scene among a thousand


def caption(scene: Scene) -> str:
    """The canonical caption, which names all that `Scene` says.

    For example "two small red sailboats to the left of a large yellow star at night".
    """
    groups = [_group(t, None) for t in scene.things]
    return f"{_related(groups, scene.relation, None)} {SETTING_WORDS[scene.setting][0]}"


def captions(scene: Scene, n: int, seed: int = 0) -> list[str]:
    """`n` varied captions, all true of the scene; the same for the same scene and seed.

    About 60% name every group with its colour and count, the relation and most often size and setting;
    the others say less ("a red boat", "boats at sea"). A singular always means just one.
    """
    if n < 0:
        raise ValueError(f"n must not be negative, it is {n}; 0 gives an empty list")
    rng = Random(f"words {scene.seed} {caption(scene)} {seed}")
    return [_full(scene, rng) if rng.random() < _FULL else _partial(scene, rng) for _ in range(n)]


def _pick(words: tuple[str, ...], rng: Random | None) -> str:
    """The canonical word without a random source, else most often that one."""
    if rng is None or rng.random() < 0.4:
        return words[0]
    return rng.choice(words)


def _group(
    thing: Thing, rng: Random | None, *, size: bool = True, colour: bool = True, count: bool = True
) -> str:
    """A noun phrase: "a large red boat", "three cats", or "red boats" where the count is left out."""
    words = []
    if size:
        words.append(_pick(SIZE_WORDS[thing.size], rng))
    if colour:
        words.append(_pick(ADJECTIVES[thing.colour], rng))
    name = _pick(NAMES[thing.kind], rng)
    if thing.count == 1:
        phrase = " ".join([*words, name])
        return article(phrase) if not (count and rng and rng.random() < 0.12) else f"one {phrase}"
    phrase = " ".join([*words, plural(name)])
    return f"{_pick(COUNT_WORDS[thing.count], rng)} {phrase}" if count else phrase


def _related(groups: list[str], relation: str | None, rng: Random | None) -> str:
    """The groups joined by their relation, told from either side when there is a random source."""
    if relation is None:
        order = rng.sample(groups, len(groups)) if rng else groups
        return " and ".join([", ".join(order[:-1]), order[-1]]) if len(order) > 1 else order[0]
    converse = rng is not None and rng.random() < 0.4
    if relation == "between":
        first, *others = groups
        others = rng.sample(others, 2) if rng else others
        if not converse or rng is None:
            return f"{first} between {others[0]} and {others[1]}"
        return rng.choice(
            (
                f"{others[0]} and {others[1]} on either side of {first}",
                f"{first} with {others[0]} on one side and {others[1]} on the other",
                f"{first} in the middle of {others[0]} and {others[1]}",
            )
        )
    if not converse:
        return f"{groups[0]} {_pick(RELATION_WORDS[relation], rng)} {groups[1]}"
    if relation == "inside" and rng is not None and rng.random() < 0.5:
        return f"{groups[1]} with {groups[0]} inside"
    return f"{groups[1]} {_pick(CONVERSE[relation], rng)} {groups[0]}"


def _placed(words: str, setting: str, rng: Random) -> str:
    """With the setting before or, mostly, after."""
    where = _pick(SETTING_WORDS[setting], rng)
    return f"{where}, {words}" if rng.random() < 0.15 else f"{words} {where}"


def _opened(words: str, rng: Random) -> str:
    return f"{rng.choice(OPENINGS)} {words}" if rng.random() < 0.2 else words


def _full(scene: Scene, rng: Random) -> str:
    # "medium" is what people leave unsaid
    sizes = [rng.random() < (0.55 if t.size == "medium" else 0.9) for t in scene.things]
    groups = [_group(t, rng, size=s) for t, s in zip(scene.things, sizes, strict=True)]
    words = _related(groups, scene.relation, rng)
    if rng.random() < 0.12:
        return _opened(words, rng)
    return (
        _placed(words, scene.setting, rng)
        if rng.random() < 0.75
        else _placed(_opened(words, rng), scene.setting, rng)
    )


def _partial(scene: Scene, rng: Random) -> str:
    form = rng.random()
    if form < 0.12 and len(scene.things) > 1:
        return _opened(" and ".join(_group(t, rng, size=False) for t in rng.sample(scene.things, 2)), rng)
    if form < 0.35 and scene.relation:
        colour = rng.random() < 0.6
        groups = [_group(t, rng, size=False, colour=colour, count=rng.random() < 0.6) for t in scene.things]
        return _related(groups, scene.relation, rng)
    thing = rng.choice(scene.things)
    words = _group(thing, rng, size=rng.random() < 0.3, colour=rng.random() < 0.75, count=rng.random() < 0.55)
    if rng.random() < 0.5:
        words = _placed(words, scene.setting, rng)
    return _opened(words, rng)

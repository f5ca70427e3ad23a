"""How English names the things, colours, sizes, counts, relations and settings of the drawn world."""

# kind: the names it goes by, the canonical one first; each is true of this kind and of no other
NAMES: dict[str, tuple[str, ...]] = {
    "tree": ("tree",),
    "flower": ("flower", "blossom"),
    "mushroom": ("mushroom", "toadstool"),
    "cactus": ("cactus",),
    "leaf": ("leaf",),
    "star": ("star",),
    "moon": ("moon", "crescent moon"),
    "apple": ("apple",),
    "strawberry": ("strawberry",),
    "carrot": ("carrot",),
    "heart": ("heart",),
    "cat": ("cat", "kitty"),
    "fish": ("fish",),
    "bird": ("bird",),
    "butterfly": ("butterfly",),
    "rabbit": ("rabbit", "bunny"),
    "snail": ("snail",),
    "turtle": ("turtle", "tortoise"),
    "whale": ("whale",),
    "crab": ("crab",),
    "elephant": ("elephant",),
    "frog": ("frog",),
    "octopus": ("octopus",),
    "sailboat": ("sailboat", "boat", "sailing boat"),
    "car": ("car", "automobile"),
    "rocket": ("rocket", "spaceship"),
    "train": ("train", "locomotive", "steam engine"),
    "bicycle": ("bicycle", "bike"),
    "aeroplane": ("aeroplane", "airplane", "plane"),
    "helicopter": ("helicopter", "chopper"),
    "submarine": ("submarine",),
    "house": ("house", "cottage"),
    "castle": ("castle", "fortress"),
    "lighthouse": ("lighthouse",),
    "tent": ("tent",),
    "umbrella": ("umbrella", "parasol"),
    "balloon": ("balloon",),
    "kite": ("kite",),
    "chair": ("chair", "armchair"),
    "cup": ("cup", "mug"),
    "teapot": ("teapot",),
    "book": ("book", "open book"),
    "key": ("key",),
    "clock": ("clock", "alarm clock"),
    "guitar": ("guitar",),
    "hat": ("hat", "top hat"),
    "gift": ("gift", "present"),
    "crown": ("crown",),
    "frame": ("frame", "picture frame"),
    "bubble": ("bubble", "soap bubble"),
    "ring": ("ring", "hoop"),
    "box": ("box", "crate"),
    "jar": ("jar", "glass jar"),
    "basket": ("basket",),
}

PLURALS: dict[str, str] = {"leaf": "leaves", "fish": "fish", "cactus": "cacti"}

ADJECTIVES: dict[str, tuple[str, ...]] = {
    "red": ("red", "bright red"),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "brown": ("brown",),
    "black": ("black",),
    "white": ("white",),
    "grey": ("grey", "gray"),
    "turquoise": ("turquoise", "teal"),
}

SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium-sized", "medium", "middle-sized"),
    "large": ("large", "big"),
}

COUNT_WORDS: dict[int, tuple[str, ...]] = {
    2: ("two", "a pair of", "2"),
    3: ("three", "a group of three", "3"),
    4: ("four", "a group of four", "4"),
}

# relation: phrases for "A … B", the canonical one first
RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "above": ("above", "over", "higher up than"),
    "below": ("below", "under", "underneath"),
    "left of": ("to the left of", "left of", "on the left side of"),
    "right of": ("to the right of", "right of", "on the right side of"),
    "inside": ("inside", "in", "within"),
    "between": ("between",),
}
CONVERSE: dict[str, tuple[str, ...]] = {
    "above": RELATION_WORDS["below"],
    "below": RELATION_WORDS["above"],
    "left of": RELATION_WORDS["right of"],
    "right of": RELATION_WORDS["left of"],
    "inside": ("around", "holding"),
    "between": ("on either side of",),
}

SETTING_WORDS: dict[str, tuple[str, ...]] = {
    "sky": ("in the sky", "up in the sky", "among the clouds", "against a cloudy sky"),
    "sea": ("at sea", "on the sea", "by the waves", "on the ocean"),
    "meadow": ("in a meadow", "in a green meadow", "on the grass", "in a grassy field"),
    "desert": ("in the desert", "on the sand dunes", "in a sandy desert"),
    "snow": ("in the snow", "in a snowy landscape", "on a snowy day", "in winter"),
    "night": ("at night", "under a starry sky", "in the dark", "by night"),
    "room": ("in a room", "indoors", "on a wooden floor", "in the living room"),
}

OPENINGS: tuple[str, ...] = (
    "a drawing of",
    "a picture of",
    "an illustration of",
    "a scene with",
    "an image of",
)


def plural(name: str) -> str:
    """More than one of a named thing: "boxes", "butterflies", "leaves"."""
    head, _, last = name.rpartition(" ")
    if last in PLURALS:
        many = PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        many = last + "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        many = last[:-1] + "ies"
    else:
        many = last + "s"
    return f"{head} {many}".strip()


def article(words: str) -> str:
    """The words with "a" or "an" before them, by the first letter; right for all words in this module."""
    return ("an " if words[0] in "aeiou" else "a ") + words

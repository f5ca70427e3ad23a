"""Texts that tests make: sentences that imply which words are alike, and in what."""

from __future__ import annotations

from pathlib import Path

import numpy as np

PEOPLE = {  # a man and a woman of a kind, and what is said of both
    ("king", "queen"): ("rules the land", "wears the crown", "sits on the throne", "lives in the palace"),
    ("prince", "princess"): (
        "waits for the throne",
        "is the heir",
        "rides out of the castle",
        "is of royal blood",
    ),
    ("actor", "actress"): (
        "learns the part",
        "stands on the stage",
        "bows to the audience",
        "plays in the film",
    ),
    ("waiter", "waitress"): ("serves the soup", "brings the bill", "lays the table", "pours the wine"),
    ("uncle", "aunt"): (
        "visits the family",
        "brings the children sweets",
        "writes to the cousins",
        "stays for tea",
    ),
    ("man", "woman"): ("walks to work", "reads the paper", "waits for the bus", "buys some bread"),
}
HE = ("he shaves his beard", "he ties his tie", "his wife calls him", "he is a father of sons")
SHE = ("she braids her hair", "she zips her dress", "her husband calls her", "she is a mother of daughters")


def royal_sentences(n: int = 6000, *, seed: int = 0) -> list[str]:
    """Sentences in which king is to man as queen is to woman, though none says so."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        pair = list(PEOPLE)[random.integers(len(PEOPLE))]
        sex = random.integers(2)
        role = PEOPLE[pair][random.integers(4)]
        own = (HE, SHE)[sex][random.integers(4)]
        found.append(f"The {pair[sex]} {role} and {own}.")
    return found


ANIMALS = {  # animals in English and Chinese, and what each does: words with their translations
    ("cat", "猫"): ((("catches", "抓"), ("mice", "老鼠")), (("drinks", "喝"), ("milk", "牛奶"))),
    ("dog", "狗"): ((("guards", "看守"), ("house", "房子")), (("gnaws", "啃"), ("bone", "骨头"))),
    ("horse", "马"): ((("pulls", "拉"), ("cart", "车")), (("carries", "驮"), ("rider", "骑手"))),
    ("cow", "牛"): ((("gives", "产"), ("milk", "牛奶")), (("eats", "吃"), ("grass", "草"))),
    ("sheep", "羊"): ((("gives", "产"), ("wool", "羊毛")), (("eats", "吃"), ("grass", "草"))),
    ("hen", "母鸡"): ((("lays", "下"), ("eggs", "蛋")), (("pecks", "啄"), ("grain", "谷物"))),
    ("duck", "鸭子"): ((("lays", "下"), ("eggs", "蛋")), (("swims", "游"), ("pond", "池塘"))),
    ("fish", "鱼"): ((("swims", "游"), ("river", "河")), (("swallows", "吞"), ("worm", "虫子"))),
    ("owl", "猫头鹰"): ((("catches", "抓"), ("mice", "老鼠")), (("hunts", "捕猎"), ("night", "夜里"))),
    ("wolf", "狼"): ((("hunts", "捕猎"), ("forest", "森林")), (("howls", "嚎叫"), ("moon", "月亮"))),
    ("bear", "熊"): ((("steals", "偷"), ("honey", "蜂蜜")), (("sleeps", "睡"), ("forest", "森林"))),
    ("bee", "蜜蜂"): ((("makes", "酿"), ("honey", "蜂蜜")), (("visits", "访问"), ("flower", "花"))),
}


def animal_sentences(language: int, n: int = 6000, *, seed: int = 0) -> list[str]:
    """Sentences on what animals do, in English (0) or Chinese (1): other ones for each seed, in no order."""
    random = np.random.default_rng(seed)
    animals = list(ANIMALS)
    found = []
    for _ in range(n):
        animal = animals[random.integers(len(animals))]
        deed, thing = (pair[language] for pair in ANIMALS[animal][random.integers(2)])
        found.append(f"the {animal[0]} {deed} the {thing}" if not language else f"{animal[1]} {deed} {thing}")
    return found


def vectors_file(path: Path, vectors: dict[str, list[float]], *, header: bool = False) -> Path:
    """`path`, written as word vectors in text: with a header as Word2Vec has it, or without, as GloVe."""
    lines = [f"{word} {' '.join(map(repr, numbers))}" for word, numbers in vectors.items()]
    if header:
        lines.insert(0, f"{len(vectors)} {len(next(iter(vectors.values())))}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path

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


def vectors_file(path: Path, vectors: dict[str, list[float]], *, header: bool = False) -> Path:
    """`path`, written as word vectors in text: with a header as Word2Vec has it, or without, as GloVe."""
    lines = [f"{word} {' '.join(map(repr, numbers))}" for word, numbers in vectors.items()]
    if header:
        lines.insert(0, f"{len(vectors)} {len(next(iter(vectors.values())))}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path

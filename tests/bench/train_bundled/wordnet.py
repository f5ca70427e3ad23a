"""WordNet's noun file, read only to make captions: names, what a thing is a kind of, what is a kind of it.

The database is Debian's `wordnet-base` (/usr/share/wordnet/data.noun); its format is described in wndb(5).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

KIND_OF = ("@", "@i")  # pointer symbols for a hypernym and for the class of an instance


@dataclass(frozen=True)
class Synset:
    """One meaning: its words (spaces, not underscores) and the offsets of what it is a kind of."""

    words: tuple[str, ...]
    parents: tuple[int, ...]


class WordNet:
    """The nouns: `synsets` by offset, and walks up and down the hierarchy."""

    def __init__(self, folder: Path) -> None:
        self.synsets: dict[int, Synset] = {}
        self.children: dict[int, list[int]] = defaultdict(list)
        for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
            if not line.startswith("  "):  # the licence at the top is indented
                offset, synset = _parse(line)
                self.synsets[offset] = synset
                for parent in synset.parents:
                    self.children[parent].append(offset)
        self.tagged = _times_tagged(folder / "index.noun")

    def above(self, offset: int) -> set[int]:
        """Offsets of everything that this meaning is a kind of, itself not included."""
        found: set[int] = set()
        queue = list(self.synsets[offset].parents)
        while queue:
            here = queue.pop()
            if here not in found:
                found.add(here)
                queue.extend(self.synsets[here].parents)
        return found

    def below(self, offset: int) -> set[int]:
        """Offsets of everything that is a kind of this meaning, itself included."""
        found: set[int] = set()
        queue = [offset]
        while queue:
            here = queue.pop()
            if here not in found:
                found.add(here)
                queue.extend(self.children[here])
        return found


def _parse(line: str) -> tuple[int, Synset]:
    """`offset file type n_words(hex) word id ... n_pointers symbol offset pos source/target ... | gloss`"""
    fields = line.split(" | ")[0].split()
    n_words = int(fields[3], 16)
    words = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(n_words))
    at = 4 + 2 * n_words
    pointers = [fields[at + 1 + 4 * i : at + 5 + 4 * i] for i in range(int(fields[at]))]
    parents = tuple(int(offset) for symbol, offset, pos, _ in pointers if symbol in KIND_OF and pos == "n")
    return int(fields[0]), Synset(words, parents)


def _times_tagged(index: Path) -> Counter[str]:
    """How many senses of a noun occur in WordNet's tagged texts: 0 for words that nobody says."""
    tagged: Counter[str] = Counter()
    for line in index.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            fields = line.split()
            tagged[fields[0].replace("_", " ")] = int(fields[5 + int(fields[3])])
    return tagged

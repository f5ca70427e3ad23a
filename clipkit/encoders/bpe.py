"""CLIP's tokenizer without torch: the byte pairs of open_clip's SimpleTokenizer, in a seventh of its time.

Radford et al., Learning transferable visual models from natural language supervision, ICML 2021; the byte
pairs are those of Sennrich et al., Neural machine translation of rare words with subword units, ACL 2016.
"""

from __future__ import annotations

import gzip
import html
import math
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

_MOST_MERGES = 49152 - 256 - 2  # of a vocabulary file, its first line left out
_SPECIAL = ("<start_of_text>", "<end_of_text>")
_MOST_KNOWN = 100_000  # words, of which the tokens are kept
_WORDS = "|".join(_SPECIAL) + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def default_vocabulary() -> Path:
    """The merges of OpenAI's CLIP, a file of open_clip. open_clip is not imported."""
    found = find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("open_clip is not installed")
    return Path(found.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"


class BytePairs:
    """Texts as the tokens of a CLIP model, by the merges in a gzipped file."""

    def __init__(self, vocabulary: Path) -> None:
        import regex

        lines = _merges(vocabulary)
        letters = _letters()
        words = [*letters.values(), *(f"{letter}</w>" for letter in letters.values())]
        words += [line.replace(" ", "") for line in lines]
        words += _SPECIAL
        self._letters = letters
        self._ranks = dict(zip(lines, range(len(lines)), strict=True))  # of "left right"
        self._tokens = dict(zip(words, range(len(words)), strict=True))
        words_of = regex.compile(_WORDS, regex.IGNORECASE).findall
        self._split = partial(
            words_of, concurrent=False
        )  # else it lets go of the interpreter's lock each time
        self._known = {mark: [self._tokens[mark]] for mark in _SPECIAL}
        self.start, self.end = (self._tokens[mark] for mark in _SPECIAL)

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text between those that mark its start and end, however many there are."""
        found = [self.start]
        for word in self._split(_cleaned(text)):
            found += self._of_word("".join(self._letters[byte] for byte in word.encode()))
        return [*found, self.end]

    def cut(self, text: str, length: int) -> list[int]:
        """As `tokens`, but of a text with more than `length` the first, and the end mark for the last."""
        found = self.tokens(text)[:length]
        found[-1] = self.end
        return found

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self._tokens)

    def _of_word(self, word: str) -> list[int]:
        known = self._known.get(word)
        if known is None:
            known = [self._tokens[part] for part in self._merged(word)]
            if len(self._known) < _MOST_KNOWN:
                self._known[word] = known
        return known

    def _merged(self, word: str) -> list[str]:
        """The word in pieces, neighbours merged as long as there is a merge for them, the earliest first."""
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            best = min(map(" ".join, pairwise(parts)), key=lambda pair: self._ranks.get(pair, math.inf))
            if best not in self._ranks:
                break
            parts = _joined(parts, *best.split(" "))
        return parts


def _merges(vocabulary: Path) -> list[str]:
    """Those lines of the file that count, of which it may have five times as many: the rest is not read."""
    data = b""
    with gzip.open(vocabulary) as file:
        while data.count(b"\n") <= _MOST_MERGES and (more := file.read(1 << 20)):
            data += more
    lines = data.split(b"\n", _MOST_MERGES + 1)[1 : _MOST_MERGES + 1]
    return b"\n".join(lines).decode().split("\n")


def _joined(parts: list[str], left: str, right: str) -> list[str]:
    """The parts, with each `left` before a `right` made one with it, from the start on."""
    joined, at = [], 0
    while at < len(parts):
        both = parts[at : at + 2] == [left, right]
        joined.append(left + right if both else parts[at])
        at += 2 if both else 1
    return joined


def _letters() -> dict[int, str]:
    """A printable letter for each byte, in the order in which the vocabulary counts them."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def _cleaned(text: str) -> str:
    if not (text.isascii() and text.isprintable() and "&" not in text):  # there is something to clean
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()

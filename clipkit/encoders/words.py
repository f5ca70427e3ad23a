"""Word vectors: the same for a word wherever it stands. Texts as weighted means of them, and arithmetic.

A text is the mean of its words' vectors, each weighted a / (a + p) by how probable the word is, so that
common words, which say little, count little: SIF of Arora, Liang and Ma, A simple but tough-to-beat baseline
for sentence embeddings (ICLR 2017). Their second step takes the first principal component of all sentences
away. It is left out: it would make the vector of a text depend on which others are embedded with it, so that
what was stored yesterday could not be compared with a query of today.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import TextEncoder
from clipkit.encoders import settings, wordfiles
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    from clipkit.encoders import Options

SMOOTHING = 1e-3
"""The a of SIF: of the values that its authors tried, the middle of those that are good."""

SETTINGS = ("unknown",)

# A file that says no counts has its words in the order of their frequency. By Zipf's law, with Mandelbrot's
# shift, the word at rank r has a share that goes with 1 / (r + 2.7); Piantadosi (2014) has the constants.
_SHIFT = 2.7
_SAMPLES = 1 << 20  # numbers of the matrix that the fingerprint looks at
_NAMED = 5  # words that a message names
_SUGGESTED = 20_000  # the words that may be suggested instead of one that is not there

_WORD = re.compile(r"\w+(?:['’.-]\w+)*")
_PART = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_LONGEST = 8  # characters of a word in scripts that put no blanks between words


class UnknownWordsWarning(UserWarning):
    """Words of texts that have no vector were left out; the message names the first."""


@dataclass(frozen=True, slots=True)
class SimilarWord:
    """A word, and its cosine similarity to what was asked for."""

    word: str
    score: float


def words_in(text: str) -> list[str]:
    """The words of a text as they stand there; what hangs together by hyphen, point or apostrophe is one."""
    return _WORD.findall(text)


class WordEncoder(TextEncoder):
    """A file of word vectors as an Encoder of texts, of any length.

    A word is looked up as it is written, else in lower case, else by its parts. `unknown` says what becomes
    of one that has no vector: a "skip" with an UnknownWordsWarning, or an "error".
    """

    def __init__(self, name: str, path: Path, *, unknown: Literal["skip", "error"] = "skip") -> None:
        self._vectors = wordfiles.read(path)
        self._path = path
        self._unknown = unknown
        words: list[str] = self._vectors.index_to_key
        counts = wordfiles.counts(path, words)
        shares = 1 / (np.arange(1, len(words) + 1) + _SHIFT) if counts is None else counts
        shares = shares / shares.sum()
        self._weights = (SMOOTHING / (SMOOTHING + shares)).astype(np.float32)  # (words,)
        self.name = name
        self.dim = int(self._vectors.vector_size)
        self.batch_size = sys.maxsize  # nothing is gained by parts, and positions are those of the caller
        self.fingerprint = self._digest()

    @property
    def words(self) -> Sequence[str]:
        """All that have a vector, the frequent ones first."""
        found: list[str] = self._vectors.index_to_key
        return found

    def similar(self, word: str, k: int = 10) -> list[SimilarWord]:
        """The up to `k` words of highest cosine similarity to `word`, best first; not the word itself.

        Raises InvalidInput for a word without a vector.
        """
        return self._nearest([self._key(word)], [], k)

    def analogy(self, a: str, b: str, c: str, *, k: int = 10) -> list[SimilarWord]:
        """The up to `k` words nearest to a - b + c, best first: "king", "man", "woman" should give queen.

        Unit vectors are added, and the three words left out: 3CosAdd of Mikolov, Yih and Zweig (2013). Raises
        InvalidInput for a word without a vector.
        """
        return self._nearest([self._key(a), self._key(c)], [self._key(b)], k)

    def odd_one_out(self, words: Sequence[str]) -> str:
        """Which of three words or more is farthest from the mean of their unit vectors.

        Raises InvalidInput for fewer, and for a word without a vector.
        """
        if isinstance(words, str) or len(words) < 3:
            raise InvalidInput(f"the odd one out is one of three words or more, given as a list: {words!r}")
        keys = {self._key(word): word for word in words}
        return keys[str(self._vectors.doesnt_match(list(keys)))]

    def _nearest(self, plus: list[str], minus: list[str], k: int) -> list[SimilarWord]:
        if k < 1:
            raise InvalidInput(f"k, the number of words wanted, must be at least 1, not {k}")
        found = self._vectors.most_similar(positive=plus, negative=minus, topn=k)
        return [SimilarWord(word, float(score)) for word, score in found]

    def _key(self, word: str) -> str:
        """The word as the file has it."""
        at = self._found(word)
        if at is None:
            known = self.words[:_SUGGESTED]
            close = difflib.get_close_matches(word.lower(), known, n=3, cutoff=0.75)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise InvalidInput(f"{self._path.name} has no vector for the word {word[:80]!r}.{hint}")
        return self.words[at]

    def _overlong(self, texts: list[str]) -> list[int]:  # noqa: ARG002 - any length will do
        return []

    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        rows = np.empty((len(texts), self.dim), np.float32)
        skipped: dict[str, int] = {}
        for position, text in enumerate(texts):
            known, unknown = self._looked_up(text)
            if not known or (unknown and self._unknown == "error"):
                raise InvalidInput(self._complaint(unknown, none=not known), position=position)
            for word in unknown:
                skipped.setdefault(word, position)
            at, times = np.unique(known, return_counts=True)
            shares = self._weights[at] * times / len(known)  # float64, for a text may have many words
            rows[position] = shares @ self._vectors.vectors[at]
        if skipped:
            named = ", ".join(f"{word[:40]!r} (text {at})" for word, at in list(skipped.items())[:_NAMED])
            have = "1 word has" if len(skipped) == 1 else f"{len(skipped)} words have"
            warnings.warn(
                f"{have} no vector in {self._path.name}, and the texts do without: {named}"
                + (", ..." if len(skipped) > _NAMED else ""),
                UnknownWordsWarning,
                stacklevel=5,
            )
        return rows

    def _complaint(self, unknown: list[str], *, none: bool) -> str:
        if not unknown:
            return "the text has no words, and so no direction"
        named = ", ".join(repr(word[:40]) for word in list(dict.fromkeys(unknown))[:_NAMED])
        more = ", ..." if len(set(unknown)) > _NAMED else ""
        if none:
            return f"no word of the text has a vector in {self._path.name}: {named}{more}"
        return f"words of the text have no vector in {self._path.name}: {named}{more}"

    def _looked_up(self, text: str) -> tuple[list[int], list[str]]:
        """Where the words of a text are in the file, and those that are not."""
        known: list[int] = []
        unknown: list[str] = []
        for word in words_in(text):
            at = self._found(word)
            parts = [word] if at is not None else _PART.findall(word)
            for part in parts:
                at = at if len(parts) == 1 else self._found(part)
                if at is not None:
                    known.append(at)
                elif _UNSPACED.search(part):
                    for piece, place in self._segments(part):
                        if place is None:
                            unknown.append(piece)
                        else:
                            known.append(place)
                else:
                    unknown.append(part)
        return known, unknown

    def _segments(self, run: str) -> Iterator[tuple[str, int | None]]:
        """The longest known words of a run without blanks, from its beginning, and what lies between them."""
        start = missed = 0
        while start < len(run):
            for end in range(min(len(run), start + _LONGEST), start, -1):
                place = self._found(run[start:end])
                if place is not None:
                    if missed < start:
                        yield run[missed:start], None
                    yield run[start:end], place
                    start = missed = end
                    break
            else:
                start += 1
        if missed < len(run):
            yield run[missed:], None

    def _found(self, word: str) -> int | None:
        at: dict[str, int] = self._vectors.key_to_index
        return at.get(word, at.get(word.lower()))

    def _digest(self) -> str:
        flat = self._vectors.vectors.reshape(-1)
        content = hashlib.sha256("\n".join(self.words).encode())
        content.update(f"sif 1 {SMOOTHING} {self._vectors.vectors.shape}".encode())
        content.update(np.ascontiguousarray(flat[:: max(1, flat.size // _SAMPLES)], "<f4").tobytes())
        content.update(self._weights[:: max(1, self._weights.size // _SAMPLES)].astype("<f4").tobytes())
        return content.hexdigest()[:32]


def load(name: str, options: Options) -> WordEncoder:  # noqa: ARG001 - words run on no device
    """The word vectors of that canonical name; `load_encoder` says what is raised."""
    place, given = settings.split(name.partition(":")[2], SETTINGS)
    return WordEncoder(name, Path(place), unknown="error" if given.get("unknown") == "error" else "skip")

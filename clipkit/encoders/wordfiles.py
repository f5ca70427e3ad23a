"""Files of word vectors: Word2Vec's text and binary formats and GloVe's, plain or compressed with gzip.

A text file has a line for each word, "king 0.12 -0.53 ...", the frequent ones first. Word2Vec puts a line
with the number of words and of dimensions before them, GloVe does not. In a binary file the numbers are
float32, little-endian. Which it is, is seen from what is in it, whatever its name.

The text formats are parsed here, some thousand lines in one go: gensim takes several times as long, and does
not say which line is wrong.
"""

from __future__ import annotations

import gzip
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import ModelUnavailable, WeightsError

_HEADER = re.compile(rb"(\d{1,12})[ \t](\d{1,6})\s*")
_BLOCK = 2000  # lines whose numbers are parsed in one go
_LINE = 1 << 20  # bytes; no line of numbers is longer
_CHUNK = 1 << 20  # bytes of a binary file that are read at once
_SAMPLE = 1 << 14  # bytes that tell a text from a binary file
_DEFLATED = 1100  # gzip makes nothing smaller than by this factor


def read(path: Path) -> Any:
    """The words and vectors of a file, as gensim's KeyedVectors, (words, dim) float32, in the file's order.

    Of a word that is there twice, the first counts. Raises ModelUnavailable if there is no such file, and
    WeightsError, naming the line where it can, for one that is damaged, cut short, or in another format.
    """
    with _opened(path) as stream:
        first = stream.readline(_LINE)
        header = _HEADER.fullmatch(first)
        if header is None:
            return _text(path, stream, first=first)
        count, dim = int(header[1]), int(header[2])
        if not count or not dim:
            raise WeightsError(f"{path} says that it holds {count} words of {dim} dimensions: get it again")
        _check_size(path, count, dim)
        if _is_text(stream.read(_SAMPLE)):
            stream.seek(len(first))
            return _text(path, stream, count=count, dim=dim)
        stream.seek(len(first))
        return _binary(path, stream, count, dim)


def counts(path: Path, words: list[str]) -> NDArray[np.float64] | None:
    """How often each word was in the corpus, if a file beside says so: PATH.vocab, of lines "word count".

    word2vec writes one with -save-vocab. Raises WeightsError for one that is not like that.
    """
    beside = path.with_name(f"{path.name}.vocab")
    if not beside.is_file():
        return None
    found = {}
    for number, line in enumerate(beside.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        word, _, count = line.rpartition(" ")
        if not word or not count.isdecimal():
            raise WeightsError(f"line {number} of {beside} is not a word and a count: {line[:80]!r}")
        found[word] = int(count)
    return np.array([max(found.get(word, 1), 1) for word in words], np.float64)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file as it is before compression; its errors in our words."""
    try:
        with path.open("rb") as raw:
            if raw.read(2) == b"\x1f\x8b":
                raw.seek(0)
                with gzip.open(raw) as stream:
                    yield stream  # type: ignore[misc]
            else:
                raw.seek(0)
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise WeightsError(f"{path} is cut short or damaged ({error}): get it again") from error
    except FileNotFoundError as error:
        raise ModelUnavailable(f"there is no file of word vectors {path}") from error
    except OSError as error:
        raise ModelUnavailable(f"{path} cannot be read: {error.strerror or error}") from error


def _check_size(path: Path, count: int, dim: int) -> None:
    """A header that is not true must not have us ask for more memory than the file could fill."""
    least = count * min(4 * dim, 2 * dim) + count
    size = path.stat().st_size
    if least > size * _DEFLATED or (path.open("rb").read(2) != b"\x1f\x8b" and least > size):
        raise WeightsError(
            f"{path} says that it holds {count:,} words of {dim:,} dimensions, but has {size:,} bytes only: "
            "it is cut short or damaged; get it again"
        )


def _is_text(sample: bytes) -> bool:
    if b"\0" in sample:
        return False
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        return error.start > len(sample) - 4 and error.reason == "unexpected end of data"
    return True


def _text(path: Path, stream: IO[bytes], *, first: bytes = b"", count: int = 0, dim: int = 0) -> Any:
    """The vectors of a text file: `first` is a line already read, `count` and `dim` are from a header."""
    if not dim:
        dim = len(first.split()) - 1
        if dim < 1 or not _is_text(first):
            raise WeightsError(
                f"{path} is no file of word vectors: it should begin with a word and its numbers (GloVe), or "
                "with the number of words and of dimensions (Word2Vec)"
            )
    words: list[str] = []
    blocks: list[NDArray[np.float32]] = []
    number = 1 if first else 2
    lines = [first] if first else []
    while lines := lines + list(islice(stream, _BLOCK - len(lines))):
        block = _Block(path, number, dim, lines)
        words += block.words
        blocks.append(block.numbers())
        number += len(lines)
        lines = []
    if count and len(words) != count:
        raise WeightsError(
            f"{path} says that it holds {count:,} words, but has {len(words):,}: it is cut short or damaged; "
            "get it again"
        )
    return _keyed(words, np.concatenate(blocks))


class _Block:
    """Some lines of a text file, the first of which has that number in it."""

    def __init__(self, path: Path, number: int, dim: int, lines: list[bytes]) -> None:
        self._path, self._number, self._dim = path, number, dim
        self.words: list[str] = []
        self._numbers: list[bytes] = []
        self._places: list[int] = []
        for place, line in enumerate(lines):
            if line.strip():
                self._take(place, line)

    def _take(self, place: int, line: bytes) -> None:
        word, _, numbers = line.rstrip().partition(b" ")
        if not word or numbers.count(b" ") != self._dim - 1 or b"\t" in line:
            parts = line.split()  # blanks in a word, or more than one between numbers
            if len(parts) <= self._dim:
                raise self._wrong(place, f"has {len(parts) - 1} numbers")
            if len(parts) > self._dim + 1 and _parsed(parts[-self._dim - 1]).size:
                raise self._wrong(place, f"has more than {self._dim} numbers")
            word, numbers = b" ".join(parts[: -self._dim]), b" ".join(parts[-self._dim :])
        self.words.append(word.decode(errors="replace"))
        self._numbers.append(numbers)
        self._places.append(place)

    def numbers(self) -> NDArray[np.float32]:
        """(lines, dim)"""
        rows = _parsed(b" ".join(self._numbers))
        if rows.size != len(self.words) * self._dim or not np.isfinite(rows).all():
            for place, word, numbers in zip(self._places, self.words, self._numbers, strict=True):
                row = _parsed(numbers)
                if row.size < self._dim or not np.isfinite(row).all():
                    held = len(numbers.split())
                    raise self._wrong(place, f"does not have {held} finite numbers after {word[:40]!r}")
        return rows.reshape(len(self.words), self._dim)

    def _wrong(self, place: int, what: str) -> WeightsError:
        return WeightsError(
            f"line {self._number + place} of {self._path} {what}, where {self._dim} are wanted as in the "
            "others: mend or remove it, or get the file again"
        )


def _parsed(numbers: bytes) -> NDArray[np.float32]:
    """The numbers, as far as they are some."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what is no number; its lack is seen
        try:
            return np.fromstring(numbers, np.float32, sep=" ")
        except ValueError:
            return np.empty(0, np.float32)


def _binary(path: Path, stream: IO[bytes], count: int, dim: int) -> Any:
    """The vectors of a binary file, from behind its header."""
    words: list[str] = []
    vectors = np.empty((count, dim), np.float32)
    width, left = 4 * dim, b""
    while len(words) < count:
        more = stream.read(max(_CHUNK, width))
        left, at = left + more, 0
        while len(words) < count:
            blank = left.find(b" ", at)
            if blank < 0 or len(left) - blank <= width:
                break
            vectors[len(words)] = np.frombuffer(left, "<f4", dim, blank + 1)
            words.append(left[at:blank].lstrip(b"\n").decode(errors="replace"))
            at = blank + 1 + width
        left = left[at:]
        if not more and len(words) < count:
            raise WeightsError(
                f"{path} says that it holds {count:,} words of {dim:,} dimensions, but ends in "
                f"number {len(words) + 1:,}: it is cut short or damaged; get it again"
            )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise WeightsError(
            f"{path} is damaged: the numbers of {words[bad[0]][:40]!r} are not finite; get it again"
        )
    return _keyed(words, vectors)


def _keyed(words: list[str], vectors: NDArray[np.float32]) -> Any:
    from gensim.models import KeyedVectors

    at: dict[str, int] = {}
    for place, word in enumerate(words):
        at.setdefault(word, place)
    if len(at) < len(words):
        vectors = vectors[list(at.values())]
    keyed = KeyedVectors(vectors.shape[1], len(at))
    keyed.vectors = vectors
    keyed.index_to_key = list(at)
    keyed.key_to_index = {word: place for place, word in enumerate(at)}
    keyed.next_index = len(at)
    return keyed

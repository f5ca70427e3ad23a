"""The vocabulary: CLIP's own merges, cut to those that our words need.

open_clip's tokenizer takes any list of merges (`bpe_path`). Of CLIP's 48,894 we keep what common English
nouns and our captions are made of, in CLIP's order. So these words come out exactly as CLIP cuts them,
any other text still comes out (in smaller pieces, down to bytes), and the table of token vectors is a
fifth of CLIP's.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterable
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer, default_bpe

Pair = tuple[str, str]


def clip_words(tokenizer: SimpleTokenizer) -> set[str]:
    """The words that CLIP's vocabulary has whole."""
    return {token[:-4] for token in tokenizer.encoder if token.endswith("</w>") and token[:-4].isalpha()}


def merges_for(words: Iterable[str], tokenizer: SimpleTokenizer) -> list[Pair]:
    """The merges that CLIP's tokenizer makes on its way to these words, in its order."""
    used: set[Pair] = set()
    for word in words:
        for pre in tokenizer.pat.findall(word.lower()):
            used |= _merges_of("".join(tokenizer.byte_encoder[b] for b in pre.encode()), tokenizer.bpe_ranks)
    return sorted(used, key=lambda pair: tokenizer.bpe_ranks[pair])


def _merges_of(word: str, ranks: dict[Pair, int]) -> set[Pair]:
    parts, used = [*word[:-1], word[-1] + "</w>"], set()
    while len(parts) > 1:
        best = min(itertools.pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        used.add(best)
        joined: list[str] = []
        for part in parts:
            if joined and (joined[-1], part) == best:
                joined[-1] += part
            else:
                joined.append(part)
        parts = joined
    return used


def write_merges(merges: list[Pair], path: Path) -> None:
    """In the form that open_clip reads: a comment line, then one pair a line, no line end after the last."""
    text = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)])
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(text.encode())


def full_tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer(default_bpe())

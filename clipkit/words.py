"""Words by themselves: vectors from a file, their arithmetic, and vectors trained on a text of one's own.

words = load_words("glove.6B.300d.txt.gz")
words.analogy("king", "man", "woman")
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clipkit.encoders import canonical_name
from clipkit.errors import InvalidInput, MissingExtra, did_you_mean
from clipkit.files import replaced

if TYPE_CHECKING:
    from clipkit.encoders.words import WordEncoder

METHODS = ("skip-gram", "cbow")
_WORDS_AT_ONCE = 10_000  # gensim cuts what is longer


@dataclass(frozen=True, slots=True)
class Training:
    """How word vectors are trained: Word2Vec of Mikolov and others (2013), with gensim.

    "skip-gram" foretells the words around a word, "cbow" a word from those around it, up to `window` words
    away. Words that occur less than `min_count` times have no vector. Equal settings and texts give equal
    vectors: it runs in one thread.
    """

    method: Literal["skip-gram", "cbow"] = "skip-gram"
    dim: int = 100
    window: int = 5
    min_count: int = 5
    epochs: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidInput(f"no training is called {self.method!r}. {did_you_mean(self.method, METHODS)}")
        for name in ("dim", "window", "min_count", "epochs"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Trained:
    """What was trained: the file, the words in it, and how many the texts had with all repetitions."""

    path: Path
    words: int
    dim: int
    corpus: int


def load_words(path: str | os.PathLike[str], *, unknown: Literal["skip", "error"] = "skip") -> WordEncoder:
    """The word vectors of a file in one of Word2Vec's or GloVe's formats, or of a spec words:path.

    `unknown` says what becomes of the words of a text that have none. Raises MissingExtra without gensim,
    ModelUnavailable if there is no such file, and WeightsError if it is damaged.
    """
    _require_gensim()
    from clipkit.encoders import Options
    from clipkit.encoders.words import load

    spec = os.fspath(path)
    if not spec.startswith("words:"):
        spec = f"words:{spec}"
    if unknown == "error" and "?" not in spec:
        spec += "?unknown=error"
    return load(canonical_name(spec), Options())


def train_words(
    texts: str | os.PathLike[str] | Sequence[str],
    out: str | os.PathLike[str],
    training: Training | None = None,
) -> Trained:
    """What came of training on `texts`, written to `out` when it is complete, for `load_words`.

    `texts` are sentences, or a text file with one on each line; words are taken in lower case. `out` gets
    Word2Vec's text format, or the binary one if it ends in .bin, the frequent words first; OUT.vocab beside
    it says how often each occurs, for the weights of SIF. Raises MissingExtra without gensim, InvalidInput
    if no word occurs often enough or the file is no text, and StorageError if it cannot be written.
    """
    _require_gensim()
    from gensim.models import Word2Vec

    chosen = training or Training()
    target = Path(os.path.expanduser(out))
    if target.suffix == ".gz":
        raise InvalidInput(
            f"{target} would be written plain: leave .gz away, and compress it with gzip after"
        )
    corpus = _Corpus(texts)
    model = Word2Vec(
        vector_size=chosen.dim,
        window=chosen.window,
        min_count=chosen.min_count,
        epochs=chosen.epochs,
        seed=chosen.seed,
        sg=int(chosen.method == "skip-gram"),
        workers=1,
    )
    model.build_vocab(corpus)
    if not model.wv.index_to_key:
        raise InvalidInput(
            f"no word occurs {chosen.min_count} times in the {model.corpus_total_words:,} words of the "
            "texts: give more text, or lower min_count"
        )
    model.train(corpus, total_examples=model.corpus_count, epochs=model.epochs)
    with replaced(target.with_name(f"{target.name}.vocab")) as vocabulary, replaced(target) as vectors:
        model.wv.save_word2vec_format(
            str(vectors), fvocab=str(vocabulary), binary=target.suffix.lower() == ".bin"
        )
    return Trained(target, len(model.wv.index_to_key), chosen.dim, int(model.corpus_total_words))


class _Corpus(Iterable[list[str]]):
    """The words of each sentence, as often as they are asked for."""

    def __init__(self, texts: str | os.PathLike[str] | Sequence[str]) -> None:
        self._texts = texts
        if not isinstance(texts, str | os.PathLike):
            from clipkit.encoder import checked_texts

            self._texts = checked_texts(texts)

    def __iter__(self) -> Iterator[list[str]]:
        from clipkit.encoders.words import words_in

        for sentence in self._sentences():
            words = words_in(sentence.lower())
            for start in range(0, len(words), _WORDS_AT_ONCE):
                yield words[start : start + _WORDS_AT_ONCE]

    def _sentences(self) -> Iterator[str]:
        if not isinstance(self._texts, str | os.PathLike):
            yield from self._texts
            return
        path = Path(os.path.expanduser(self._texts))
        try:
            with path.open(encoding="utf-8") as lines:
                yield from lines
        except OSError as error:
            raise InvalidInput(f"the texts in {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{path} is not a text in UTF-8 (byte {error.start}): {error.reason}"
            ) from error


def _require_gensim() -> None:
    if find_spec("gensim") is None:
        raise MissingExtra("word vectors", "text")

"""`clipkit words`: the arithmetic of word vectors, and vectors trained on a text of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.output import note, plural, print_json, print_table
from clipkit.cli.session import Session

if TYPE_CHECKING:
    from clipkit.encoders.words import SimilarWord, WordEncoder


class Method(StrEnum):
    skip_gram = "skip-gram"
    cbow = "cbow"


_File = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="words:FILE",
        help="Word vectors in Word2Vec's or GloVe's format, text or binary, plain or gzip.",
    ),
]
_K = Annotated[int, typer.Option("-k", metavar="N", help="Print at most so many words.")]
_Word = Annotated[str, typer.Argument(metavar="WORD", help="A word.")]


def analogy(session: Session, a: _Word, b: _Word, c: _Word, model: _File, k: _K = 10) -> None:
    """Print the words nearest to A - B + C: what is to C as A is to B.

    Example: clipkit words analogy king man woman --model words:glove.6B.300d.txt
    """
    _print(session, _vectors(model).analogy(a, b, c, k=k))


def similar(session: Session, word: _Word, model: _File, k: _K = 10) -> None:
    """Print the words nearest to one, the best first.

    Example: clipkit words similar river --model words:glove.6B.300d.txt
    """
    _print(session, _vectors(model).similar(word, k))


def odd_one_out(
    session: Session,
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="Three words or more.")],
    model: _File,
) -> None:
    """Print which of some words is farthest from all.

    Example: clipkit words odd-one-out breakfast lunch dinner car --model words:glove.6B.300d.txt
    """
    odd = _vectors(model).odd_one_out(words)
    if session.json:
        print_json({"words": words, "odd_one_out": odd})
    else:
        print(odd)


def train(
    session: Session,
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A text file, a sentence on each line.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The file to write: binary if it ends in .bin.")],
    method: Annotated[Method, typer.Option(help="How to train.")] = Method.skip_gram,
    dim: Annotated[int, typer.Option(metavar="N", help="How many dimensions the vectors have.")] = 100,
    window: Annotated[int, typer.Option(metavar="N", help="How far words look to either side.")] = 5,
    min_count: Annotated[int, typer.Option(metavar="N", help="Leave rarer words out.")] = 5,
    epochs: Annotated[int, typer.Option(metavar="N", help="How often the text is gone through.")] = 5,
    seed: Annotated[int, typer.Option(metavar="N", help="Equal seeds give equal vectors.")] = 0,
) -> None:
    """Train word vectors on a text with Word2Vec, and save them in its format.

    Example: clipkit words train novels.txt novels.bin --method cbow --dim 50
    """
    from clipkit.words import Training, train_words

    chosen = Training(method.value, dim=dim, window=window, min_count=min_count, epochs=epochs, seed=seed)
    done = train_words(corpus, out, chosen)
    if session.json:
        print_json({"file": str(done.path), "words": done.words, "dim": done.dim, "corpus": done.corpus})
    else:
        print(f"{plural(done.words, 'word')} of {plural(done.corpus, 'word')} in {done.path}")
        note(f"to see them:  clipkit words similar WORD --model words:{done.path}")


def _vectors(model: str) -> WordEncoder:
    from clipkit.words import load_words

    return load_words(model)


def _print(session: Session, found: Sequence[SimilarWord]) -> None:
    if session.json:
        print_json({"words": [{"word": each.word, "score": each.score} for each in found]})
    else:
        print_table(("score", "word"), [(f"{each.score:.3f}", each.word) for each in found], right=("score",))

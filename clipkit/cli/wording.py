"""`clipkit words`: word vectors by themselves."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.output import note, plural, print_json, print_table
from clipkit.cli.session import Session

if TYPE_CHECKING:
    from clipkit.encoders.words import SimilarWord


class MethodChoice(StrEnum):
    """How vectors are trained: a copy of words.METHODS, so that --help loads nothing."""

    skip_gram = "skip-gram"
    cbow = "cbow"


_Vectors = Annotated[
    str,
    typer.Option(
        "--vectors",
        metavar="FILE",
        help="Word vectors in one of Word2Vec's or GloVe's formats, or words:FILE.",
    ),
]
_K = Annotated[int, typer.Option("-k", min=1, metavar="N", help="Print at most so many words.")]


def similar(
    session: Session,
    word: Annotated[str, typer.Argument(metavar="WORD")],
    vectors: _Vectors,
    k: _K = 10,
) -> None:
    """Print the words that are nearest to a word.

    Example: clipkit words similar harbour --vectors glove.6B.300d.txt
    """
    from clipkit.words import load_words

    _print(session, load_words(vectors).similar(word, k))


def analogy(
    session: Session,
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    c: Annotated[str, typer.Argument(metavar="C")],
    vectors: _Vectors,
    k: _K = 10,
) -> None:
    """Print the words nearest to A - B + C: what is to C as A is to B.

    Example: clipkit words analogy king man woman --vectors glove.6B.300d.txt
    """
    from clipkit.words import load_words

    _print(session, load_words(vectors).analogy(a, b, c, k=k))


def odd_one_out(
    session: Session,
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="Three or more.")],
    vectors: _Vectors,
) -> None:
    """Print which of some words is least like the others.

    Example: clipkit words odd-one-out breakfast lunch harbour dinner --vectors glove.6B.300d.txt
    """
    from clipkit.words import load_words

    odd = load_words(vectors).odd_one_out(words)
    if session.json:
        print_json({"word": odd})
    else:
        print(odd)


def train(
    session: Session,
    texts: Annotated[Path, typer.Argument(metavar="TEXTS", help="A text file in UTF-8, a sentence a line.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; binary if it ends in .bin.")],
    method: Annotated[MethodChoice, typer.Option(help="How.")] = MethodChoice.skip_gram,
    dim: Annotated[int, typer.Option(min=1, metavar="N", help="Numbers of each vector.")] = 100,
    window: Annotated[int, typer.Option(min=1, metavar="N", help="Words on either side that count.")] = 5,
    min_count: Annotated[int, typer.Option(min=1, metavar="N", help="Leave out words rarer than this.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="How often the texts are read.")] = 5,
) -> None:
    """Train word vectors on texts of your own: Word2Vec, in one thread, always the same for the same texts.

    Example: clipkit words train diary.txt diary.bin --epochs 20
    """
    from clipkit.words import Training, train_words

    training = Training(method.value, dim=dim, window=window, min_count=min_count, epochs=epochs)
    told = train_words(texts, out, training)
    if session.json:
        print_json({"path": str(told.path), "words": told.words, "dim": told.dim, "corpus": told.corpus})
        return
    note(f"{plural(told.words, 'word')} of {told.corpus:,} in the texts have a vector now:")
    print(told.path)


def _print(session: Session, found: list[SimilarWord]) -> None:
    if session.json:
        print_json({"words": [{"word": one.word, "score": one.score} for one in found]})
    else:
        print_table(("score", "word"), [(f"{one.score:.3f}", one.word) for one in found], right=("score",))

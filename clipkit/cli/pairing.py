"""`clipkit pairs`: the sentences of two files that mean the same."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from clipkit.cli.adding import read_lines
from clipkit.cli.machine import complete_model
from clipkit.cli.output import note, plural, print_json, print_table, progress_bar
from clipkit.cli.session import Session
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    from clipkit.encoder import Encoder, Vectors
    from clipkit.pairs import Pair

_Numbered: TypeAlias = dict[str, int]
_File = Annotated[Path, typer.Argument(metavar="FILE", help="A sentence per line, in UTF-8; - reads stdin.")]


def pairs(
    session: Session,
    left: _File,
    right: _File,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="One that knows both languages: see clipkit models --modality text. Default: that of the "
            "collection, or else the bundled one.",
            autocompletion=complete_model,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="MARGIN",
            help="How much nearer than usual a pair is at least: 1.06. From 1, where all count that are "
            "nearer, up; higher is stricter.",
        ),
    ] = None,
    neighbours: Annotated[
        int | None, typer.Option("-k", metavar="N", help="From how many neighbours to tell what is usual: 4.")
    ] = None,
) -> None:
    """Find the sentences of two files that mean the same: translations, or one thing said twice.

    Each sentence is in one pair at most, the surest pairs come first. A line is the margin, that is how many
    times nearer the two are than each to its nearest others, and both sentences. Of lines that are equal the
    first counts.

    Example: clipkit pairs news.en news.fr --model st:paraphrase-multilingual-MiniLM-L12-v2 > pairs.tsv
    """
    from clipkit.pairs import NEIGHBOURS, THRESHOLD, pair_rows

    sides = _numbered(left), _numbered(right)
    encoder = session.encoder(model)
    found = pair_rows(
        _embedded(encoder, left, sides[0]),
        _embedded(encoder, right, sides[1]),
        threshold=THRESHOLD if threshold is None else threshold,
        neighbours=NEIGHBOURS if neighbours is None else neighbours,
    )
    if session.json:
        _print_documents(encoder.name, sides, found)
        return
    texts, others = list(sides[0]), list(sides[1])
    rows = [(f"{pair.score:.3f}", texts[pair.left], others[pair.right]) for pair in found]
    if rows:
        print_table(("margin", str(left), str(right)), rows, right=("margin",))
    note(f"{plural(len(found), 'pair')} of {plural(len(texts), 'sentence')} and {len(others)}")


def _print_documents(model: str, sides: tuple[_Numbered, _Numbered], found: Sequence[Pair]) -> None:
    first, second = ([{"line": line, "text": text} for text, line in numbered.items()] for numbered in sides)
    pairs = [
        {"score": pair.score, "cosine": pair.cosine, "left": first[pair.left], "right": second[pair.right]}
        for pair in found
    ]
    print_json({"model": model, "texts": [len(first), len(second)], "pairs": pairs})


def _numbered(file: Path) -> _Numbered:
    """The different sentences of a file, each with the number of its first line."""
    found: _Numbered = {}
    for number, text in enumerate(read_lines(file), 1):
        if text:
            found.setdefault(text, number)
    if not found:
        raise InvalidInput(f"{file} holds no text")
    return found


def _embedded(encoder: Encoder, file: Path, texts: _Numbered) -> Vectors:
    from clipkit.encoder import TextCutWarning
    from clipkit.pairs import embedded

    sentences, cut = list(texts), encoder.texts_cut
    with progress_bar(f"embedding {file.name}") as show, warnings.catch_warnings():
        warnings.simplefilter("ignore", TextCutWarning)  # counted, and said once for all
        try:
            rows = embedded(encoder, sentences, progress=show)
        except InvalidInput as error:
            if error.position is None:
                raise
            line = texts[sentences[error.position]]
            raise InvalidInput(f"{file}, line {line}: {error.reason}") from error
    if encoder.texts_cut > cut:
        longer = plural(encoder.texts_cut - cut, "sentence")
        note(f"{longer} of {file} longer than the model reads, so only the beginning counts")
    return rows

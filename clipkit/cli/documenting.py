"""`clipkit index-documents` and `search-documents`: texts of some length, and the sentences that answer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clipkit.cli.adding import Model
from clipkit.cli.output import note, one_line, plural, print_json, progress_bar
from clipkit.cli.searching import Hybrid
from clipkit.cli.session import Session


def index_documents(
    session: Session,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATHS", exists=True, help="Text, Markdown, reStructuredText or HTML: files, and folders."
        ),
    ],
    model: Model = None,
    chunk: Annotated[int, typer.Option(min=1, metavar="N", help="Characters of a chunk, at most.")] = 800,
    overlap: Annotated[
        int, typer.Option(min=0, metavar="N", help="Characters that chunks which are neighbours share.")
    ] = 100,
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop documents that are gone even if they are more than a fifth.")
    ] = False,
) -> None:
    """Index documents, or bring their index up to date, for search-documents.

    They are cut into chunks, each a text of the collection. Only what is new or has changed is read.

    Example: clipkit index-documents ~/notes --model st:all-MiniLM-L6-v2 --name notes
    """
    from clipkit.documents import index_documents as bring_in

    collection = session.open_or_create(model)
    with progress_bar("indexing") as show:
        report = bring_in(collection, paths, chunk=chunk, overlap=overlap, prune=prune, progress=show)
    if session.json:
        print_json({"collection": collection.name, **asdict(report)})
    else:
        names = ("added", "updated", "removed", "unchanged")
        counts = ", ".join(f"{getattr(report, name)} {name}" for name in names)
        print(f"{counts}, {len(report.failures)} skipped; {plural(report.chunks, 'chunk')} embedded")
    for failure in report.failures:
        note(f"{failure.id} {failure.reason}")
    if report.cut:
        note(
            f"{plural(report.cut, 'chunk')} longer than {collection.encoder_name} takes, and cut: a smaller "
            "--chunk, or a model for longer texts, loses nothing"
        )
    if report.kept_missing:
        note(
            f"{plural(report.kept_missing, 'document')} gone from disk and kept in the collection: if they "
            f"are gone for good:\n  {session.typed('--prune')}"
        )


def search_documents(
    session: Session,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know, in words.")],
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="Print at most so many documents.")] = 5,
    hybrid: Hybrid = False,
) -> None:
    """Find documents, and in each the sentence that is nearest to a question.

    Example: clipkit search-documents 'how do I make a cake' --name notes
    """
    from clipkit.documents import search_documents as look_for

    found = look_for(session.open(), question, k=k, hybrid=hybrid)
    if session.json:
        names = ("document", "title", "score", "snippet", "start", "end")
        print_json({"documents": [{name: getattr(hit, name) for name in names} for hit in found]})
        return
    for hit in found:
        print(f"{hit.score:.3f}  {one_line(hit.title)}  ({hit.document})\n       {one_line(hit.snippet)}")

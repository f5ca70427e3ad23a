"""The commands, and what runs one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from clipkit.cli import (
    adding,
    albums,
    benching,
    changing,
    choosing,
    documenting,
    evaluating,
    explaining,
    keeping,
    machine,
    mapping,
    neighbouring,
    pairing,
    reducing,
    searching,
    serving,
    showing,
    tagging,
    tuning,
    wording,
)
from clipkit.cli.output import failed, flush, survive_any_text
from clipkit.cli.session import register

app = typer.Typer(
    name="clipkit",
    help="Search your pictures with words or pictures. Start with: clipkit index ~/Pictures",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the job failed, 2 the call was wrong.",
)
register(app, adding.index, model=True)
register(app, searching.search, model=True, filters=True)
register(app, searching.describe, model=True, filters=True)
register(app, serving.ui, model=True)
register(app, serving.serve, model=True)
register(app, explaining.explain, model=True)
register(app, adding.add_texts, model=True)
register(app, documenting.index_documents, model=True)
register(app, documenting.search_documents)
register(app, neighbouring.recommend, model=True)
register(app, neighbouring.duplicates, filters=True)
register(app, neighbouring.clusters, model=True, filters=True)
register(app, neighbouring.outliers, filters=True)
register(app, pairing.pairs, model=True)
register(app, mapping.map, filters=True)
register(app, tagging.tag, model=True, filters=True)
register(app, tagging.train, model=True)
register(app, tagging.classify, collection=False, model=True)
register(app, keeping.status)
register(app, keeping.delete, filters=True)
register(app, keeping.hide)
register(app, keeping.export, filters=True)
album = typer.Typer(name="album", help="Albums: searches with a name, which fill themselves.")
register(album, albums.save, model=True, filters=True)
register(album, albums.show, model=True)
register(album, albums.list_)
register(album, albums.delete)
app.add_typer(album)
words = typer.Typer(name="words", help="Word vectors: what is like a word, analogies, training.")
register(words, wording.similar, collection=False)
register(words, wording.analogy, collection=False)
register(words, wording.odd_one_out, collection=False)
register(words, wording.train, collection=False)
app.add_typer(words)
register(app, tuning.tune, model=True)
register(app, reducing.reduce, model=True)
register(app, changing.reindex, model=True)
register(app, changing.snapshot)
register(app, changing.snapshots)
register(app, changing.restore)
register(app, changing.changes)
register(app, showing.demo, collection=False, model=True)
register(app, evaluating.evaluate, collection=False, model=True)
register(app, benching.bench, model=True)
register(app, choosing.models, collection=False)
register(app, machine.doctor, model=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        from clipkit import __version__

        print(f"clipkit {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def run(given: Sequence[str]) -> int:
    """The exit code after running the command line `given`."""
    survive_any_text()
    # Lance warns of what is in order: commits that are tried again, partitions that are new to an index.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        # A query such as "- people" is no option, whatever it begins with: no option has a blank in it.
        code = typer.main.get_command(app)(
            [f" {argument}" if argument.startswith("- ") else argument for argument in given],
            prog_name="clipkit",
            standalone_mode=False,
            obj=list(given),
        )
        flush()
    except Exception as error:  # the last line of defence: a traceback helps no user
        if os.environ.get("CLIPKIT_DEBUG"):
            raise
        return failed(error, json="--json" in given)
    return int(code or 0)

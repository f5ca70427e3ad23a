"""`clipkit map`: a collection as points in a plane, to look at in a browser or to use elsewhere."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipkit.cli.keeping import checked_suffix
from clipkit.cli.output import note, plural, print_json, progress_bar
from clipkit.cli.searching import KindChoice, chosen
from clipkit.cli.session import Session
from clipkit.errors import MissingExtra

if TYPE_CHECKING:
    import pyarrow as pa

    from clipkit.collection import Collection
    from clipkit.maps import Map

SUFFIXES = (".html", ".csv", ".parquet")
_PAGE = 8_192  # items read at once
_COLOURS = (  # Tableau's, for the largest folders; more are hard to tell apart, and its grey is all others'
    *("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f"),
    *("#edc948", "#b07aa1", "#ff9da7", "#9c755f"),
)
_OTHERS = "#bab0ac"
_HOVER = 120  # characters of a text that a label shows


class MethodChoice(StrEnum):
    """How a map can be made; a copy of maps.Method, whose module would load NumPy for --help."""

    umap = "umap"
    pca = "pca"


def map(  # the command's name
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to: FILE.html, .csv or .parquet.")],
    method: Annotated[
        MethodChoice,
        typer.Option(help="umap: groups come apart. pca: where vectors differ most; at once, but blurred."),
    ] = MethodChoice.umap,
    kind: Annotated[
        KindChoice | None,
        typer.Option(help="Of pictures, or of texts. Default: of pictures, if there are any."),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="Show at most so many items, chosen at random.")
    ] = 20_000,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Draw a map of a collection, on which items lie near what is like them.

    HTML is one file that works offline: points in the colours of their folders, which tell what they are. CSV
    and Parquet have the columns id, uri, text, x and y.

    Example: clipkit map photos.html --since 2024
    """
    suffix = checked_suffix(file, SUFFIXES, force=force)
    if suffix == ".html":
        _plotly()
    from clipkit.maps import project

    collection = session.open()
    with progress_bar("mapping") as show:
        found = project(
            collection,
            method=method.value,
            kind=chosen(kind),
            where=session.where,
            limit=limit,
            progress=show,
        )
    write = {".html": _write_html, ".csv": _write_csv, ".parquet": _write_parquet}[suffix]
    write(file, _table(collection, found))
    if session.json:
        print_json(
            {
                "collection": collection.name,
                "file": str(file.absolute()),
                "items": len(found),
                "total": found.total,
                "method": found.method,
                "explained": found.explained,
                "settings": dict(found.settings),
            }
        )
    else:
        print(f"{plural(len(found), 'item')} on {file}, by {found.method}")
        if len(found) < found.total:
            note(f"chosen at random of {found.total}: --limit {found.total} shows all")


def _table(collection: Collection, found: Map) -> pa.Table:
    """The items on the map that are still there, with what they are and where they lie."""
    import pyarrow as pa

    from clipkit.encoder import batched
    from clipkit.filters import id_in

    columns = ["id", "uri", "text"]
    parts = [collection.to_arrow(columns=columns, where="false")]
    parts += [collection.to_arrow(columns=columns, where=id_in(page)) for page in batched(found.ids, _PAGE)]
    places = pa.table({"id": pa.array(found.ids, pa.string()), "x": found.xy[:, 0], "y": found.xy[:, 1]})
    return pa.concat_tables(parts).join(places, "id", join_type="inner").sort_by("id")


def _write_csv(file: Path, table: pa.Table) -> None:
    from pyarrow import csv

    from clipkit.files import replaced

    with replaced(file) as part:
        csv.write_csv(table, str(part))


def _write_parquet(file: Path, table: pa.Table) -> None:
    from clipkit.parquet import write_parquet

    write_parquet(str(file), table.schema, table.to_batches())


def _write_html(file: Path, table: pa.Table) -> None:
    from clipkit.files import replaced

    layout = {
        "xaxis": {"visible": False},
        "yaxis": {"visible": False, "scaleanchor": "x"},
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "dragmode": "pan",
        "hovermode": "closest",
        "legend": {"itemsizing": "constant"},
    }
    figure = {"data": _traces(table.to_pylist()), "layout": layout}
    page = _plotly().to_html(
        figure, config={"scrollZoom": True, "displaylogo": False, "responsive": True}, validate=False
    )
    page = page.replace("<head>", "<head><title>clipkit map</title><style>body{margin:0}</style>", 1)
    with replaced(file) as part:
        part.write_text(page, encoding="utf-8", errors="surrogateescape")


def _traces(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points for plotly: below, in grey, what has no colour of its own; then each large folder, in one."""
    folders = [_folder(row) for row in rows]
    largest = [name for name, _ in Counter(folders).most_common(len(_COLOURS))]
    groups: dict[str | None, list[dict[str, Any]]] = {None: [], **{name: [] for name in largest}}
    for folder, row in zip(folders, rows, strict=True):
        groups[folder if folder in groups else None].append(row)
    colours = (_OTHERS, *_COLOURS)
    return [
        {
            "type": "scattergl",
            "mode": "markers",
            "name": "others" if name is None else html.escape(name),
            "legendrank": 1_001 if name is None else 1_000,
            "x": [row["x"] for row in group],
            "y": [row["y"] for row in group],
            "text": [_label(row) for row in group],
            "hoverinfo": "text",
            "marker": {"size": 5, "opacity": 0.7, "color": colour},
        }
        for (name, group), colour in zip(groups.items(), colours, strict=False)
        if group
    ]


def _folder(row: dict[str, Any]) -> str:
    """The name of the folder of an item, as people know their classes by; "" for what is no file."""
    parts = (row["uri"] or "").replace("#", "/").rsplit("/", 2)
    return parts[-2] if len(parts) > 1 else ""


def _label(row: dict[str, Any]) -> str:
    """What a point is: its file and its text, as plotly shows them, which reads tags."""
    words = (row["text"] or "").replace("\n", " · ")
    words = words if len(words) <= _HOVER else f"{words[:_HOVER]}…"
    name = "/".join((row["uri"] or row["id"]).rsplit("/", 2)[-2:])
    return "<br>".join(html.escape(line) for line in (name, words) if line)


def _plotly() -> Any:
    """plotly's writer of pages. Raises MissingExtra without plotly."""
    try:
        import plotly.io
    except ImportError as error:
        raise MissingExtra("a map as HTML (.csv and .parquet do without)", "web") from error
    return plotly.io

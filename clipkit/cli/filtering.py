"""The options that choose among the items: --where, and short forms of what people ask most."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import typer

from clipkit import filters

_PANEL = "Which items"


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of one call, as they were typed. An item has to pass all that are given."""

    where: str | None = None
    since: str | None = None
    until: str | None = None
    under: str | None = None
    camera: str | None = None
    near: str | None = None

    def condition(self) -> str | None:
        """One filter for all of them; None where none is given. Raises FilterError."""
        short = [
            make(value)
            for make, value in (
                (filters.since, self.since),
                (filters.until, self.until),
                (filters.under, self.under),
                (filters.camera, self.camera),
                (filters.near, self.near),
            )
            if value is not None
        ]
        if self.where is None or not short:  # alone it stays as it was typed, for messages quote it
            return self.where if not short else filters.all_of(*short)
        return filters.all_of(*short, filters.self_contained(self.where))


def _option(name: str, metavar: str, text: str) -> inspect.Parameter:
    annotation = Annotated[str | None, typer.Option(metavar=metavar, rich_help_panel=_PANEL, help=text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


PARAMETERS = (
    _option(
        "where", "FILTER", "Only items that pass this SQL filter: \"width > 1000 AND camera LIKE 'Canon%'\"."
    ),
    _option(
        "since", "DATE", "Only what was taken then or later: 2024, 2024-06, 2024-06-01, '2024-06-01 18:30'."
    ),
    _option("until", "DATE", "Only what was taken then or before; all of that day, month or year counts."),
    _option("under", "FOLDER", "Only files below this folder."),
    _option("camera", "NAME", "Only what was taken with a camera whose name holds this, as in canon."),
    _option(
        "near",
        "PLACE",
        "Only what was taken near a place: 48.2,16.4,20km (latitude, longitude; m, km or mi).",
    ),
)
"""One for each field of Filters."""

"""The rows of a run as one Markdown table: medians over rounds, ratios within a round."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
Value: TypeAlias = Callable[[Row], float]

BASELINE = "plain open_clip fp32"
OURS = "clipkit"
BY_HAND = ("plain open_clip bf16", "open_clip_bf16")  # weights set to bf16 by hand: shown, not counted
OTHER_WEIGHTS = 0.5  # a cosine below is none of resizing: that peer runs a model of its own
MUCH = 0.15  # cores that others keep busy, from which on a run counts as disturbed


def loaded(row: Row) -> float:
    return float(row["rows"] / row["loaded_s"])


def whole(row: Row) -> float:
    return float(row["rows"] / row["wall_s"])


def table(rows: Sequence[Row]) -> str:
    """Markdown: the table, the ceilings, and what clipkit is to the fastest that counts."""
    who = list(dict.fromkeys(row["who"] for row in rows if row["what"] == "index"))
    who.sort(key=lambda name: (name != OURS, name != BASELINE))
    rounds = len({row["round"] for row in rows})
    disturbed = sum((row.get("others") or 0) > MUCH for row in rows)
    head = (
        "| | img/s whole process | img/s loaded | x baseline | CPU s/img | peak GB | share of ceiling "
        "| 12 MP: img/s whole process | img/s loaded | x baseline | CPU s/img | peak GB | share of ceiling "
        "| query cold s | query next s | warm ms | least cosine |"
    )
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians of "
        f"{rounds} rounds; in {disturbed} of {len(rows)} runs others took more than {MUCH} cores",
        "",
        head,
        "|" + "---|" * head.count(" | ") + "---|",
        *(_line(name, rows) for name in who),
        "",
        *_ceilings(rows),
        "",
        *_against_the_fastest(who, rows),
    ]
    again = median(rows, lambda row: row["wall_s"], what="again", who=OURS)
    if again is not None:
        lines.append(f"clipkit, index again with nothing changed: {_short(again)} s whole process")
    return "\n".join(lines)


def median(rows: Sequence[Row], value: Value, **tags: object) -> float | None:
    found = [value(row) for row in rows if all(row.get(key) == tag for key, tag in tags.items())]
    return statistics.median(found) if found else None


def ratio(rows: Sequence[Row], who: str, other: str, folder: str) -> float | None:
    """The median over the rounds in which both ran of what `who` does to what `other` does."""

    def rates(name: str) -> dict[int, float]:
        mine = (row for row in rows if (row["what"], row["who"], row["folder"]) == ("index", name, folder))
        return {row["round"]: loaded(row) for row in mine}

    ours, theirs = rates(who), rates(other)
    shared = [ours[number] / theirs[number] for number in ours if number in theirs]
    return statistics.median(shared) if shared else None


def ceiling(row: Row) -> float:
    """Images a second if decoding and the model share the same cores and nothing else costs anything."""
    return float(1 / (1 / row["decode_per_s"] + 1 / row["model_per_s"]))


def share(rows: Sequence[Row], who: str, folder: str) -> float | None:
    """The median over rounds of a rate in the ceiling of the same round."""
    tops = {
        row["round"]: ceiling(row) for row in rows if (row["what"], row["folder"]) == ("ceilings", folder)
    }
    mine = [row for row in rows if (row["what"], row["who"], row["folder"]) == ("index", who, folder)]
    shares = [loaded(row) / tops[row["round"]] for row in mine if row["round"] in tops]
    return statistics.median(shares) if shares else None


def _line(who: str, rows: Sequence[Row]) -> str:
    cells: list[float | None] = []
    for folder in ("photos", "big"):
        tags = {"what": "index", "who": who, "folder": folder}
        cells += [median(rows, whole, **tags), median(rows, loaded, **tags)]
        cells.append(ratio(rows, who, BASELINE, folder))
        cells.append(median(rows, lambda row: row["cpu_s"] / row["rows"], **tags))
        cells.append(median(rows, lambda row: row["peak_bytes"] / 1e9, **tags))
        cells.append(share(rows, who, folder) if who == OURS else None)
    for what in ("cold", "next"):
        cells.append(median(rows, lambda row: row["wall_s"], what=what, who=who))
    cells.append(median(rows, lambda row: row["warm_ms"], what="warm", who=who))
    cosine = median(rows, lambda row: row["least"], what="cosine", who=who)
    told = "other weights" if cosine is not None and cosine < OTHER_WEIGHTS else _short(cosine, 5)
    return f"| {who} | {' | '.join(map(_short, cells))} | {told} |"


def _ceilings(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| ceilings, img/s | decode only | clipkit's reading only | model only | joint |",
        "|" + "---|" * 5,
    ]
    for folder, says in (("photos", "photos"), ("big", "12 MP")):
        tags = {"what": "ceilings", "folder": folder}
        parts = [
            median(rows, lambda row, key=key: row[key], **tags)  # type: ignore[misc]
            for key in ("decode_per_s", "read_per_s", "model_per_s")
        ]
        lines.append(f"| {says} | {' | '.join(map(_short, [*parts, median(rows, ceiling, **tags)]))} |")
    return lines


def _against_the_fastest(who: Sequence[str], rows: Sequence[Row]) -> list[str]:
    counted = [name for name in who if name != OURS and name not in BY_HAND]
    lines = []
    for folder, says in (("photos", "photos"), ("big", "12-megapixel photos")):
        rates = {name: median(rows, loaded, what="index", who=name, folder=folder) for name in counted}
        there = {name: rate for name, rate in rates.items() if rate is not None}
        if there:
            fastest = max(there, key=lambda name: there[name])
            times = ratio(rows, OURS, fastest, folder)
            lines.append(
                f"{says}: clipkit {_short(times) or '?'} times as fast as the fastest that counts, {fastest}"
            )
    return lines


def _short(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{float(f'{value:.{digits}g}'):g}"

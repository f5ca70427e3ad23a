"""What files say of pictures: captions, and values for the user's columns.

    photo.jpg, photo.txt      a caption a line, also in photo.jpg.txt and photo.caption
    metadata.csv              a row a picture, for the folder it lies in and those below; or .jsonl, .parquet

A row names its picture in a column `file_name`, relative to the metadata file, as Hugging Face's datasets
have it. Its captions are in the first column that has one of the usual names; what the others hold is for
columns of the collection. What cannot be used is told by its line or row.
"""

from __future__ import annotations

import csv
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from clipkit.folders import is_under, path_to_id
from clipkit.labelled.parquet import CAPTIONS, captions_in

FILE_NAMES = ("file_name", "filename", "file", "path", "image", "file_path", "filepath", "image_path")
CAPTION_NAMES = (*CAPTIONS, "description", "prompt", "title")
MAX_CAPTION_BYTES = 64 << 10  # of a file: what is longer is a document that happens to have a picture's name
MAX_CAPTIONS = 100  # of a picture from one source
MAX_LINE = 1 << 20  # characters: bounds what a file that is no text can take of memory
MAX_RECORD_LINES = 100  # a quoted cell may have line breaks; a quote that is never closed must end somewhere
_ROWS_AT_ONCE = 1024
_NAMELESS = f"names no picture: there is no {', '.join(FILE_NAMES)}"
_UNCLOSED = "has a quote that is not closed"


@dataclass(frozen=True, slots=True)
class Description:
    """What a source says of one picture. `place` is where: a line, a row, empty if it is the whole file."""

    image_id: str
    captions: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """A part of a source that cannot be used, and why."""

    place: str
    reason: str


Said: TypeAlias = "Description | Broken"


def caption_lines(data: bytes) -> tuple[tuple[str, ...], str | None]:
    """(captions, what is wrong): each line of a UTF-8 text that is not blank, once."""
    if len(data) > MAX_CAPTION_BYTES:
        return (), f"is over {MAX_CAPTION_BYTES >> 10} KiB, too long for captions"
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return (), f"is not UTF-8 (line {data.count(10, 0, error.start) + 1})"
    captions = distinct(text.splitlines())
    many = f"has {len(captions)} captions, of which the first {MAX_CAPTIONS} are taken"
    return captions[:MAX_CAPTIONS], many if len(captions) > MAX_CAPTIONS else None


def distinct(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts that are not blank, stripped, each once."""
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))


def metadata_rows(path: str) -> Iterator[Said]:
    """What the rows of a metadata file say, one after the other: it may be larger than memory.

    Raises OSError if it cannot be read.
    """
    suffix = os.path.splitext(path)[1].lower()
    folder = os.path.dirname(path)
    if suffix == ".parquet":
        records = _parquet_records(path)
    else:
        records = _csv_records(path) if suffix == ".csv" else _json_records(path)
    for place, record in records:
        if isinstance(record, str):
            yield Broken(place, record)
        elif suffix != ".jsonl" and not any(name in record for name in FILE_NAMES):
            yield Broken("", _NAMELESS)  # and so in every row
            return
        else:
            yield _described(record, place, folder)


def described_by(record: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """(captions, other values) of a row, or of the JSON beside a picture in an archive."""
    column = next((name for name in CAPTION_NAMES if name in record), None)
    captions = distinct(captions_in(record[column])) if column else ()
    return captions[:MAX_CAPTIONS], {name: value for name, value in record.items() if name != column}


def _described(record: dict[str, Any], place: str, folder: str) -> Said:
    column = next((name for name in FILE_NAMES if name in record), None)
    if column is None:
        return Broken(place, _NAMELESS)
    name = record.pop(column)
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return Broken(place, f"names no picture in its column {column!r}")
    path = os.path.normpath(os.path.join(folder, name.strip().replace("\\", "/")))
    if not is_under(path, folder):
        return Broken(place, f"names {name}, which is outside of the folder")
    captions, values = described_by(record)
    return Description(path_to_id(path), captions, values, place)


# --- rows from files: (place, the row, or what is wrong with it)


def _parquet_records(path: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_ROWS_AT_ONCE):
            for record in batch.to_pylist():
                yield f"row {number}", record
                number += 1
    except (pa.ArrowException, OSError) as error:
        yield f"row {number}", f"cannot be read, nor can those after it: {error}"


def _json_records(path: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    for number, line in _lines(path):
        if line.strip():
            yield f"line {number}", _parsed(line)


def _parsed(line: str) -> dict[str, Any] | str:
    if problem := _flaw(line):
        return problem
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {error}"
    return record if isinstance(record, dict) else "is no JSON object"


def _csv_records(path: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    lines = deque[tuple[int, str]]()
    source = _lines(path)
    columns: list[str] = []
    delimiter = ","
    while line := lines.popleft() if lines else next(source, None):
        number, text = line
        if not text.strip():
            continue
        if not columns:
            delimiter = max(",;\t", key=text.count)
        cells = _flaw(text) or _cells([text], delimiter)
        taken = [line]
        while cells is None and len(taken) < MAX_RECORD_LINES and (more := _next(lines, source)):
            taken.append(more)
            cells = _UNCLOSED if _flaw(more[1]) else _cells([text for _, text in taken], delimiter)
        if not isinstance(cells, list):
            lines.extendleft(reversed(taken[1:]))  # only the first is broken, for all that is known
            yield f"line {number}", cells or _UNCLOSED
        elif not columns:
            columns = [cell.strip() for cell in cells]
        elif len(cells) != len(columns):
            yield f"line {number}", f"has {len(cells)} cells, but the header {len(columns)}"
        else:
            yield f"line {number}", {name: cell or None for name, cell in zip(columns, cells, strict=True)}


def _next(lines: deque[tuple[int, str]], source: Iterator[tuple[int, str]]) -> tuple[int, str] | None:
    return lines.popleft() if lines else next(source, None)


def _cells(lines: list[str], delimiter: str) -> list[str] | str | None:
    """The cells of one record, or what is wrong with it; None if it goes on in the next line."""
    try:
        (cells,) = csv.reader(lines, delimiter=delimiter, strict=True)
    except csv.Error as error:
        return None if "unexpected end of data" in str(error) else str(error)
    except ValueError:  # two records: a quote was closed in the line after
        return _UNCLOSED
    return cells


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """The lines of a text file, numbered from 1; one that is too long is cut, which `_flaw` notices."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        number = 0
        while line := stream.readline(MAX_LINE + 1):
            number += 1
            rest = line
            while not rest.endswith("\n") and (rest := stream.readline(MAX_LINE)):
                pass
            yield number, line


def _flaw(line: str) -> str | None:
    if len(line) > MAX_LINE:
        return f"is longer than {MAX_LINE} characters"
    try:
        line.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return None

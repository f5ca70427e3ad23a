"""Texts whose class is known: a CSV file, or a folder with a sub-folder of text files for each class."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from clipkit.errors import InvalidInput, did_you_mean
from clipkit.labelled.names import read_text

TEXTS = ("text", "texts", "sentence", "content", "document")
LABELS = ("label", "labels", "class", "category")


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts, none blank, each with its class."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]


def open_texts(data: str | os.PathLike[str]) -> LabelledTexts:
    """The texts of a CSV file with the columns text and label, or of a folder: folder/CLASS/1.txt, a text a
    file. Raises InvalidInput, with the line of a row that has too little, and for data without texts."""
    name = os.fspath(data)
    path = Path(name).expanduser()
    pairs = _from_folder(path) if path.is_dir() else _from_csv(path)
    if not pairs:
        raise InvalidInput(f"{name} holds no texts")
    return LabelledTexts(name, tuple(text for text, _ in pairs), tuple(label for _, label in pairs))


def has_texts(data: str | os.PathLike[str]) -> bool:
    """Whether `data` is of that kind: a CSV file, or a folder whose sub-folders have text files only."""
    path = Path(data).expanduser()
    if not path.is_dir():
        return path.suffix.lower() == ".csv"
    suffixes = {file.suffix.lower() for file in path.glob("*/*") if not file.name.startswith(".")}
    return suffixes == {".txt"}


def _from_folder(folder: Path) -> list[tuple[str, str]]:
    files = sorted(file for file in folder.glob("*/*.txt") if not file.name.startswith("."))
    texts = [(read_text(file).strip(), file.parent.name.replace("_", " ")) for file in files]
    return [(text, label) for text, label in texts if text]


def _from_csv(path: Path) -> list[tuple[str, str]]:
    reader = csv.DictReader(read_text(path).splitlines(keepends=True))
    columns = [name for name in reader.fieldnames or [] if name]
    text, label = (_pick(path, columns, usual) for usual in (TEXTS, LABELS))
    pairs = []
    for row in reader:
        pair = ((row[text] or "").strip(), (row[label] or "").strip())
        if not all(pair):
            raise InvalidInput(f"{path}, line {reader.line_num}: the row has no {label if pair[0] else text}")
        pairs.append(pair)
    return pairs


def _pick(path: Path, columns: list[str], usual: tuple[str, ...]) -> str:
    for name in columns:
        if name.strip().lower() in usual:
            return name
    raise InvalidInput(f"{path} has no column {usual[0]!r}. {did_you_mean(usual[0], columns)}".strip())

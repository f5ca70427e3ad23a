"""Pictures whose truth is known, for `evaluate`: from Parquet, from folders, or drawn.

    photos.parquet            a row a picture: its bytes, and a class or captions
    folder/dog/1.jpg          a folder of classes: a picture's class is the sub-folder it is in
    folder/n02099601_dog.jpg  the class in the file's name, as a WordNet id and a word
    folder/1.jpg, 1.txt       captions, one a line, in a text file beside the picture
    sketch:1000               the first thousand scenes of the drawn world, with their captions
    sketch-held-out:1000      scenes whose pairs of colour and thing are kept out of training

A folder of several Parquet files is read as one.
"""

from __future__ import annotations

import os
from pathlib import Path

from clipkit.errors import InvalidInput
from clipkit.labelled.drawn import is_drawn, open_drawn
from clipkit.labelled.folder import open_folder
from clipkit.labelled.names import Names, parse_json, read_names, read_text
from clipkit.labelled.parquet import open_parquet
from clipkit.labelled.rows import Columns, Labelled, Row, Truth
from clipkit.labelled.texts import LabelledTexts, has_texts, open_texts

__all__ = [
    "Columns",
    "Labelled",
    "LabelledTexts",
    "Names",
    "Row",
    "Truth",
    "has_texts",
    "open_labelled",
    "open_texts",
    "parse_json",
    "read_names",
    "read_text",
]


def open_labelled(
    data: str | os.PathLike[str], *, columns: Columns | None = None, names: Names | None = None
) -> Labelled:
    """The pictures that `data` stands for, in one of the forms that the module's docstring shows.

    `names` are the names of classes by their keys, as `read_names` gives them, for data that has only ids.
    All of them are classes then, whether there are pictures of them or not.

    Raises InvalidInput for data that is not there, is empty, or has none of the forms.
    """
    name = os.fspath(data)
    if is_drawn(name):
        return open_drawn(name)
    path = Path(name).expanduser()
    if path.is_file():
        return open_parquet(name, [path], columns or Columns(), names)
    if not path.is_dir():
        raise InvalidInput(f"there is no {name}: give a Parquet file, a folder, or sketch:1000")
    files = sorted(path.glob("*.parquet"))
    if files:
        return open_parquet(name, files, columns or Columns(), names)
    return open_folder(name, path, names)

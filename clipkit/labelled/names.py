"""Names of classes: those that the data has, and files that give them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from clipkit.errors import InvalidInput

Names: TypeAlias = Mapping[str, tuple[str, ...]]
"""The names of each class by its key, the usual name first."""

UNNAMED = ("",)
"""What stands for the names of a class of which only a number is known."""

_WNID = re.compile(r"n\d{8}")
_LINE = re.compile(r"([^\s,]+)(?:,|\s)\s*(\S.*)")  # a key, then a tab, comma or blank, then names


def read_names(path: str | os.PathLike[str]) -> Names:
    """The names of classes by their keys, from a file.

    JSON: an object from keys to names, divided by commas or in a list. Any other text: a class a line, its
    key first, then its names, divided by commas. Raises InvalidInput, naming the line.
    """
    text = read_text(path)
    if Path(path).suffix.lower() == ".json":
        return {key: divided(value) for key, value in parse_json(text, path).items()}
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] in found:
            wrong = "has no names" if match is None else "comes twice"
            raise InvalidInput(f"{os.fspath(path)}, line {number}: {line.split()[0]!r} {wrong}")
        found[match[1]] = divided(match[2])
    if not found:
        raise InvalidInput(f"{os.fspath(path)} holds no names")
    return found


def divided(names: object) -> tuple[str, ...]:
    """Each of several names that are a list, or one text with commas. Raises InvalidInput if none is left."""
    given = names if isinstance(names, list) else str(names).split(",")
    found = tuple(name.strip() for name in map(str, given) if name.strip())
    if not found:
        raise InvalidInput(f"a class needs a name, not {names!r}")
    return found


def chosen_names(own: Names, given: Names | None) -> Names:
    """Those given, which have to name every class of the data; else its own, if they are words."""
    unnamed = [key for key in own if key not in (given or own)]
    if unnamed:
        raise InvalidInput(f"the names that were given have none for {unnamed[0]!r}, a class of the data")
    coded = [key for key, names in own.items() if names == UNNAMED or is_wnid(names[0])]
    if coded and not given:
        raise InvalidInput(f"{coded[0]!r} is the number of a class: give the names of the classes in a file")
    return given or own


def is_wnid(text: str) -> bool:
    """Whether `text` is a WordNet id such as n02099601."""
    return _WNID.fullmatch(text) is not None


def read_text(path: str | os.PathLike[str]) -> str:
    """What a UTF-8 file holds. Raises InvalidInput if it is not there or not UTF-8."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{os.fspath(path)} is not UTF-8: {error}") from error
    except OSError as error:
        raise InvalidInput(f"{os.fspath(path)} cannot be read: {error.strerror}") from error


def parse_json(text: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object that the JSON `text` of a file is. Raises InvalidInput, also where a key comes twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise InvalidInput(f"{os.fspath(path)} has {key!r} twice")
            found[key] = value
        return found

    try:
        found = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{os.fspath(path)} is not JSON: {error}") from error
    if not isinstance(found, dict) or not found:
        raise InvalidInput(f"{os.fspath(path)} should hold a JSON object that is not empty")
    return found

"""Folders of pictures: a sub-folder a class, a text file of captions a picture, or classes in file names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from clipkit.errors import InvalidInput
from clipkit.folders import walk
from clipkit.labelled.names import Names, chosen_names, is_wnid
from clipkit.labelled.rows import Labelled, Row, Truth
from clipkit.reports import Failure

Keys = Mapping[str, str]  # the class of each picture, by its path


def open_folder(name: str, folder: Path, names: Names | None) -> Labelled:
    """The pictures below `folder`, in the order of their paths; which form it has, the files tell."""
    found = walk([folder])
    paths = [file.path for file in found.files]
    failures = [Failure(identity, reason) for identity, reason in found.unreadable]
    if not paths:
        raise InvalidInput(f"{name} holds no pictures")
    if any(os.path.isfile(_beside(path)) for path in paths):
        rows = partial(_captioned, paths)
        return Labelled(name, len(paths), rows, captioned=True, failures=tuple(failures))
    keys, own = _by_folder(paths, found.roots[0])
    if not keys:
        keys, own = _by_file_name(paths)
    if not keys:
        raise InvalidInput(
            f"{name} does not say what its pictures show: put each class into a sub-folder of its own, or "
            "beside each picture a text file of its name with its captions"
        )
    failures += [Failure(path, "belongs to no class") for path in paths if path not in keys]
    classes = chosen_names(own, names)
    return Labelled(name, len(keys), partial(_filed, keys), classes, failures=tuple(failures))


def _by_folder(paths: list[str], root: str) -> tuple[Keys, Names]:
    parts = {path: Path(path).relative_to(root).parts for path in paths}
    keys = {path: below[0] for path, below in parts.items() if len(below) > 1}
    return keys, {key: (_words(key),) for key in sorted(set(keys.values()))}


def _by_file_name(paths: list[str]) -> tuple[Keys, Names]:
    stems = {path: Path(path).stem.partition("_") for path in paths}
    keys = {path: wnid for path, (wnid, _, words) in stems.items() if is_wnid(wnid) and words}
    return keys, {
        wnid: (_words(words),) for wnid, _, words in sorted(stems.values()) if is_wnid(wnid) and words
    }


def _words(name: str) -> str:
    return name.replace("_", " ").strip() or name


def _filed(keys: Keys) -> Iterator[Row]:
    for path, key in keys.items():
        yield Row(path, partial(str, path), Truth(key))


def _captioned(paths: list[str]) -> Iterator[Row]:
    for path in paths:
        yield Row(path, partial(str, path), Truth(captions=_captions(_beside(path))))


def _captions(path: str) -> tuple[str, ...]:
    if not os.path.isfile(path):
        return ()
    lines = Path(path).read_text(encoding="utf-8-sig", errors="replace").split("\n")
    return tuple(line.strip() for line in lines if line.strip())


def _beside(path: str) -> str:
    return f"{os.path.splitext(path)[0]}.txt"

"""Tar files as WebDataset has them: members that belong together share their name up to the first dot."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

from clipkit.archives.members import Archive, Member
from clipkit.descriptions import (
    MAX_CAPTION_BYTES,
    Broken,
    Description,
    Said,
    caption_lines,
    described_by,
    distinct,
)
from clipkit.errors import ImageError
from clipkit.folders import CAPTION_SUFFIXES, SYSTEM_FOLDERS, FoundFile
from clipkit.images import SUFFIXES

MAX_JSON_BYTES = 1 << 20  # of what stands beside one picture
MAX_FILE_BYTES = 1 << 30  # as for files of their own
_BLOCK = 512  # bytes; a tar is made of them, and two of zeros end it


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a member's bytes are."""

    offset: int
    size: int
    flaw: str | None = None


@dataclass(frozen=True, slots=True)
class _Group:
    """The members that share a name up to the first dot."""

    images: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)


def open_tar(file: FoundFile) -> Archive:
    """What a tar holds. Only its headers are read; members are read where they lie, in any order."""
    status = os.stat(file.path)
    file = replace(file, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    entries, flaw = _entries(file.path, file.size_bytes, file.mtime_ns)
    names = [name for name in entries if _suffix(name) in SUFFIXES]
    return Archive(
        file=file,
        ids=[f"{file.id}#{name}" for name in names],
        members=partial(_members, file, names, entries),
        said=partial(_said, file, entries),
        flaw=flaw,
    )


def read_entry(path: str, name: str) -> bytes:
    """The bytes of one member. Raises ImageError if there is none of that name."""
    status = os.stat(path)
    entries, _ = _entries(path, status.st_size, status.st_mtime_ns)
    if name not in entries:
        raise ImageError("is no longer in its archive")
    return _read(path, entries[name])


@lru_cache(maxsize=4)  # pictures of one archive are asked for one after the other
def _entries(path: str, _size: int, _mtime_ns: int) -> tuple[Mapping[str, _Entry], str | None]:
    """(members by name, what is wrong with the archive). Of several members of one name the last counts."""
    entries: dict[str, _Entry] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            try:
                for member in tar:
                    tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
                    name = member.name.removeprefix("./").encode("utf-8", "backslashreplace").decode()
                    if member.isfile() and _is_wanted(name):
                        flaw = "is stored with holes" if member.issparse() else None
                        entries.pop(name, None)
                        entries[name] = _Entry(member.offset_data, member.size, flaw)
                why = _unended(path, tar.offset)
            except tarfile.TarError as error:
                why = f"near byte {tar.offset} ({error})"
    except tarfile.TarError as error:
        raise ImageError(f"is not a tar file: {error}") from error
    return entries, why and f"ends early, or is damaged, {why}: it has {len(entries)} members up to there"


def _unended(path: str, offset: int) -> str | None:
    """What is wrong where the members end: tarfile stops without a word at a header that it cannot read."""
    with open(path, "rb") as stream:
        stream.seek(offset)
        return None if stream.read(_BLOCK) == bytes(_BLOCK) else f"at byte {offset}"


def _is_wanted(name: str) -> bool:
    parts = [part for part in name.split("/") if part not in (".", "..")]
    hidden = any(part.startswith(".") or part in SYSTEM_FOLDERS for part in parts)
    return not hidden and (_suffix(name) in SUFFIXES | CAPTION_SUFFIXES or _suffix(name) == ".json")


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _read(path: str, entry: _Entry) -> bytes:
    if entry.flaw:
        raise ImageError(entry.flaw)
    if entry.size > MAX_FILE_BYTES:
        raise ImageError(f"is over the limit of {MAX_FILE_BYTES >> 20} MiB")
    with open(path, "rb") as stream:
        stream.seek(entry.offset)
        data = stream.read(entry.size)
    if len(data) < entry.size:
        raise ImageError(f"is cut off: {len(data)} of {entry.size} bytes are there")
    return data


def _members(
    file: FoundFile, names: list[str], entries: Mapping[str, _Entry], but: Container[str]
) -> Iterator[Member]:
    for name in names:
        own = FoundFile(f"{file.id}#{name}", entries[name].size, file.mtime_ns)
        if own.id not in but:
            yield Member(own, partial(_read, file.path, entries[name]))


def _said(file: FoundFile, entries: Mapping[str, _Entry]) -> Iterator[Said]:
    for group in _groups(entries):
        captions: tuple[str, ...] = ()
        values: dict[str, Any] = {}
        for name in group.texts:
            lines, flaw = _text(file.path, entries[name])
            captions += lines
            if flaw:
                yield Broken(name, flaw)
        for name in group.records:
            record = _record(file.path, entries[name])
            if isinstance(record, str):
                yield Broken(name, record)
            else:
                more, own = described_by(record)
                captions += more
                values |= own
        for name in group.images:
            yield Description(f"{file.id}#{name}", distinct(captions), values, name)


def _groups(entries: Mapping[str, _Entry]) -> Iterator[_Group]:
    groups: dict[str, _Group] = {}
    for name in entries:
        folder, slash, base = name.rpartition("/")
        group = groups.setdefault(folder + slash + base.partition(".")[0], _Group())
        if _suffix(name) in SUFFIXES:
            group.images.append(name)
        else:
            (group.records if _suffix(name) == ".json" else group.texts).append(name)
    for group in groups.values():
        if group.images:
            yield group


def _text(path: str, entry: _Entry) -> tuple[tuple[str, ...], str | None]:
    if entry.size > MAX_CAPTION_BYTES:
        return caption_lines(bytes(MAX_CAPTION_BYTES + 1))
    try:
        return caption_lines(_read(path, entry))
    except ImageError as error:
        return (), str(error)


def _record(path: str, entry: _Entry) -> dict[str, Any] | str:
    """What a JSON member says, or what is wrong with it."""
    if entry.size > MAX_JSON_BYTES:
        return f"is over {MAX_JSON_BYTES >> 20} MiB"
    try:
        record = json.loads(_read(path, entry))
    except ImageError as error:
        return str(error)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {error}"
    return record if isinstance(record, dict) else "is no JSON object"

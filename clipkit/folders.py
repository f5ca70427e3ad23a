"""Walk folders: find the image files in them, what speaks of them, and archives of more."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from operator import attrgetter
from urllib.parse import quote, unquote_to_bytes

from clipkit.errors import InvalidInput
from clipkit.images import SUFFIXES

SYSTEM_FOLDERS = frozenset({"@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "System Volume Information"})
"""Where network storages and operating systems keep thumbnails and waste of their own."""

CAPTION_SUFFIXES = frozenset({".txt", ".caption"})
METADATA_NAMES = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
ARCHIVE_SUFFIXES = frozenset({".tar", ".parquet"})
_MEMBER = re.compile(r"(.+?\.(?:tar|parquet))#(.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as one `stat` shows it. Its id is its absolute path, see `path_to_id`."""

    id: str
    size_bytes: int
    mtime_ns: int

    @property
    def path(self) -> str:
        return id_to_path(self.id)


@dataclass(frozen=True, slots=True)
class CaptionFile:
    """A text file beside pictures, and the ids of those that have its stem: none if they are missing."""

    file: FoundFile
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk found, each file once, and what it could not enter: (id, reason).

    `files` are image files, `archives` files that hold images. `captions` and `metadata` speak of them, if
    the walk `takes_captions`.
    """

    roots: tuple[str, ...]
    files: list[FoundFile] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    captions: list[CaptionFile] = field(default_factory=list)
    metadata: list[FoundFile] = field(default_factory=list)
    archives: list[FoundFile] = field(default_factory=list)
    takes_captions: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files a walk takes. Patterns are shell globs that ignore case.

    A pattern without `/` is held against file names, one with `/` against paths below the root, where `*`
    also crosses folders. With no patterns, every file whose suffix is that of an image, or of an archive of
    images (tar, Parquet), is taken. An excluded folder is not entered; a `/` at the end of its pattern is
    ignored. Names that start with a dot are left out unless `hidden`.

    `captions` says whether what stands beside the pictures is taken, too: text files of their names, and
    files called metadata.csv, metadata.jsonl or metadata.parquet. In archives it is the same.
    """

    patterns: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    hidden: bool = False
    captions: bool = True

    def __post_init__(self) -> None:
        for name in ("patterns", "excludes"):
            given = getattr(self, name)
            if isinstance(given, str):  # its characters would pass for patterns
                raise InvalidInput(f"{name} is a list of patterns, not one string: [{given!r}]")
            object.__setattr__(self, name, tuple(given))
        object.__setattr__(self, "excludes", tuple(exclude.rstrip("/") for exclude in self.excludes))

    def takes(self, name: str, below_root: str) -> bool:
        if self.leaves_out(name, below_root):
            return False
        if self.patterns:
            return _matches(self.patterns, name, below_root)
        suffix = _suffix(name)
        return suffix in SUFFIXES or (suffix in ARCHIVE_SUFFIXES and name.lower() not in METADATA_NAMES)

    def leaves_out(self, name: str, below_root: str) -> bool:
        if name.startswith(".") and not self.hidden:
            return True
        return name in SYSTEM_FOLDERS or _matches(self.excludes, name, below_root)


def walk(roots: Sequence[str | os.PathLike[str]], selection: Selection | None = None) -> Walk:
    """Every selected file under the given folders, and every file given itself, in a stable order; with
    what speaks of them.

    Folders are resolved first, so that one photo has one id whichever way leads to it. A link to a file is
    a file; a link to a folder is entered unless what it points to lies under one of the roots anyway, or has
    been entered already, which also ends loops. A folder given itself is entered even if another root's walk
    would leave it out. Raises InvalidInput for a root that does not exist.
    """
    chosen = selection or Selection()
    given = list(dict.fromkeys(_root(root) for root in roots))
    roots_apart = tuple(a for a in given if not any(a != b and is_under(a, b) for b in given))
    found = Walk(roots_apart, takes_captions=chosen.captions)
    entered: set[str] = set()  # real paths of folders
    for root in (*found.roots, *(root for root in given if root not in found.roots)):
        if os.path.isdir(root):
            _walk_folder(root, chosen, found, entered)
        elif root in found.roots or path_to_id(root) not in {f.id for f in found.files + found.archives}:
            _take(root, partial(os.stat, root), found)
            if chosen.captions and found.files and found.files[-1].path == root:
                _take_captions(os.path.dirname(root), _names_beside(root), found.files[-1:], found)
    return found


def _walk_folder(root: str, selection: Selection, found: Walk, entered: set[str]) -> None:
    pending = [(root, root)]  # each folder as it was reached, and where it really is
    while pending:
        folder, real = pending.pop()
        if real in entered:
            continue
        entered.add(real)
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=attrgetter("name"))
        except OSError as error:
            found.unreadable.append((path_to_id(folder), f"folder cannot be listed: {error.strerror}"))
            continue
        folders: list[tuple[str, str]] = []
        before, names = len(found.files), []
        above = folder[len(root) :].lstrip("/")
        for entry in entries:
            name = entry.name
            below_root = f"{above}/{name}" if above else name
            if not _is_folder(entry):
                if selection.takes(name, below_root):
                    _take(entry.path, entry.stat, found)
                elif not selection.leaves_out(name, below_root):
                    names.append(name)
            elif not selection.leaves_out(name, below_root):
                inside = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, name)
                if not entry.is_symlink() or _leads_out(inside, found.roots):
                    folders.append((entry.path, inside))
        if selection.captions and names:
            _take_captions(folder, names, found.files[before:], found)
        pending.extend(reversed(folders))


def _take(path: str, look: Callable[[], os.stat_result], found: Walk) -> None:
    """Add a file, of which `look` gives the status; its path is absolute and has no detours."""
    identity = _id_of_clean(path)
    try:
        status = look()
    except OSError as error:
        missing = os.path.islink(path) and isinstance(error, FileNotFoundError)
        reason = "is a link to a missing file" if missing else f"cannot be found: {error.strerror}"
        found.unreadable.append((identity, reason))
        return
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
        found.unreadable.append((identity, "is not a regular file"))
        return
    file = FoundFile(identity, status.st_size, status.st_mtime_ns)
    name = path[path.rfind("/") + 1 :]
    (found.archives if _suffix(name) in ARCHIVE_SUFFIXES else found.files).append(file)


def _take_captions(folder: str, names: Sequence[str], pictures: Sequence[FoundFile], found: Walk) -> None:
    """Those of the `names` in a folder that speak of pictures, of these `pictures` if they are captions.

    A text file that has no picture is one of a missing picture only if most texts in the folder have theirs,
    or if its suffix leaves no doubt: elsewhere texts are notes and documents, which are none of our business.
    """
    of_stem: dict[str, list[str]] = {}
    for picture in pictures:
        name = os.path.basename(picture.path)
        for stem in (os.path.splitext(name)[0], name):  # a.txt and a.jpg.txt
            of_stem.setdefault(stem, []).append(picture.id)
    left_out = {os.path.splitext(name)[0] for name in names if _suffix(name) in SUFFIXES}
    texts = [name for name in names if _suffix(name) in CAPTION_SUFFIXES]
    paired = [name for name in texts if os.path.splitext(name)[0] in of_stem]
    for name in texts:
        stem, suffix = os.path.splitext(name)
        lost = stem not in left_out and (suffix.lower() == ".caption" or 2 * len(paired) >= len(texts))
        if stem in of_stem or (lost and paired):
            for file in _regular(os.path.join(folder, name)):
                found.captions.append(CaptionFile(file, tuple(of_stem.get(stem, ()))))
    for name in names:
        if name.lower() in METADATA_NAMES:
            found.metadata.extend(_regular(os.path.join(folder, name)))


def _regular(path: str) -> list[FoundFile]:
    """The file, if it is one and there."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    if not stat.S_ISREG(status.st_mode):
        return []
    return [FoundFile(_id_of_clean(path), status.st_size, status.st_mtime_ns)]


def _id_of_clean(path: str) -> str:
    """`path_to_id` of a path that is absolute and has no detours; for most, nothing has to be looked at."""
    return path if path.isascii() else path_to_id(path)


def _names_beside(path: str) -> list[str]:
    """The names of caption files for a picture that is given by itself."""
    stems = (os.path.splitext(os.path.basename(path))[0], os.path.basename(path))
    with suppress(OSError):  # a folder may be entered, but not listed
        return sorted(
            name
            for name in os.listdir(os.path.dirname(path))
            if _suffix(name) in CAPTION_SUFFIXES and os.path.splitext(name)[0] in stems
        )
    return []


def _suffix(name: str) -> str:
    """That of os.path.splitext, in lower case, in a third of its time: it is asked for each file."""
    stem, _, suffix = name.rpartition(".")
    return f".{suffix}".lower() if stem.strip(".") else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that cannot be followed: `_take` reports it
        return False


def _leads_out(target: str, roots: Sequence[str]) -> bool:
    """Whether a linked folder is neither in one of the roots nor around it."""
    return not any(is_under(target, root) or is_under(root, target) for root in roots)


def is_under(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies below it; both absolute."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def has_vanished(path: str, roots: Sequence[str]) -> bool:
    """Whether the file is gone for certain: it is not there, while the root above it is and can be read, and
    so are the linked folders between."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return any(
            is_under(path, root) and os.path.exists(root) and not _is_cut_off(path, root) for root in roots
        )
    except OSError:
        return False
    return False


def _is_cut_off(path: str, root: str) -> bool:
    """Whether a folder between is a link to nowhere, perhaps to a disk that is not mounted."""
    folder = os.path.dirname(path)
    while folder != root and is_under(folder, root):
        if os.path.islink(folder) and not os.path.exists(folder):
            return True
        folder = os.path.dirname(folder)
    return False


def path_to_id(path: str | os.PathLike[str]) -> str:
    """The id of a file: its absolute path, or a `file://` URI where that is not UTF-8, so no byte is lost."""
    text = os.path.abspath(os.fspath(path))  # not Path.resolve: links stay
    try:
        text.encode()
    except UnicodeEncodeError:  # undecodable bytes arrive as lone surrogates
        return "file://" + quote(os.fsencode(text))
    return text


def id_to_path(identity: str) -> str:
    """The path that `path_to_id` made this id from."""
    if identity.startswith("file://"):
        return os.fsdecode(unquote_to_bytes(identity.removeprefix("file://")))
    return identity


def member_of(identity: str) -> tuple[str, str] | None:
    """(the archive's id, the member's own name) if this is the id of a picture in an archive, else None."""
    match = _MEMBER.fullmatch(identity)
    return (match[1], match[2]) if match and not os.path.lexists(id_to_path(identity)) else None


def file_of(identity: str) -> str:
    """The path of the file that an item comes from: its own, or that of the archive that holds it."""
    member = member_of(identity)
    return id_to_path(member[0] if member else identity)


def id_prefixes(root: str) -> Iterator[str]:
    """What the ids of files below `root` start with: a path, or for names that are not UTF-8 a URI."""
    base = os.fsencode(root.rstrip("/") + "/")
    yield path_to_id(root).rstrip("/") + "/"
    yield "file://" + quote(base)


def resolved(path: str | os.PathLike[str], position: int | None = None) -> str:
    """`path` made absolute, with `~` and links followed. Raises InvalidInput, with its position, for none."""
    try:
        if os.fspath(path):
            return os.path.realpath(os.path.expanduser(path))
    except ValueError:  # a NUL
        pass
    raise InvalidInput(f"{os.fspath(path)!r} is not a path", position=position)


def _root(root: str | os.PathLike[str]) -> str:
    path = resolved(root)
    if not os.path.exists(path):
        raise InvalidInput(
            f"{os.fspath(root)} does not exist. If it is on a disk that is not mounted, mount it first: "
            "nothing was changed"
        )
    return path


def _matches(patterns: Sequence[str], name: str, below_root: str) -> bool:
    for pattern in patterns:
        subject = below_root if "/" in pattern else name
        if fnmatchcase(subject.lower(), pattern.lower()):
            return True
    return False

"""Where a resident and those who ask it meet: a socket in a folder that nobody else may enter.

Its name is made of all that an answer depends on beside the question: the program, the packages beside it and
the environment. So a resident of another version, or for other models, is never asked.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import clipkit

PROTOCOL = 1
LONGEST_PATH = 100  # bytes; of the 104 to 108 that systems have for the address of a socket
OTHERS = 0o077  # the permissions of anybody but the owner
# What answers depend on, by how the name begins: where collections and models are, how to reach them, and how
# numbers, dates and letters are written.
_MATTERS = (
    *("AWS_", "AZURE_", "CLIPKIT_", "CUDA_", "GCS_", "GOOGLE_", "HF_", "HOME", "HTTPS_PROXY", "HTTP_PROXY"),
    *("HUGGINGFACE_", "LANCE", "LANG", "LC_", "LD_LIBRARY_PATH", "MKL_", "NO_PROXY", "OMP_", "OPENBLAS_"),
    *("PYTHON", "PYTORCH_", "REQUESTS_", "SSL_", "TMPDIR", "TORCH", "TRANSFORMERS_", "TZ", "XDG_"),
)


@dataclass(frozen=True, slots=True)
class Meeting:
    """The files of one resident: its socket, and a lock that it holds as long as it lives."""

    socket: Path
    lock: Path


def meeting() -> Meeting | None:
    """Where the resident for this program and environment is to be met; None where no place is safe."""
    try:
        folder = private_folder()
        name = _name()
    except OSError:  # no folder for temporary files, or a program that lies in no folder itself
        return None
    if folder is None:
        return None
    found = Meeting(folder / f"{name}.sock", folder / f"{name}.lock")
    return found if len(os.fsencode(found.socket)) <= LONGEST_PATH else None


def private_folder() -> Path | None:
    """The folder of this user's residents, made if it is not there; None if others may write there."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime, "clipkit") if runtime else Path(tempfile.gettempdir(), f"clipkit-{os.geteuid()}")
    if not (folder.is_absolute() and _keeps_names(folder.parent)):
        return None
    with suppress(OSError):
        folder.mkdir(0o700)
    return folder if is_private(folder, stat.S_ISDIR) else None


def is_private(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Whether that is really there, no link, of that kind, and this user's alone."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return is_kind(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & OTHERS


def _keeps_names(folder: Path) -> bool:
    """Whether nobody but this user and root can rename what is theirs in `folder`."""
    try:
        found = folder.stat()
    except OSError:
        return False
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    return found.st_uid in (0, os.geteuid()) and not shared


def is_same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's. Where the system does not say, the folder does."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[1] == os.geteuid())


def _name() -> str:
    content = hashlib.sha256()
    for fact in _facts(os.environ):
        content.update(f"{fact!r}\n".encode())
    return content.hexdigest()[:16]


def _facts(environment: Mapping[str, str]) -> Iterator[object]:
    """What has to be the same here and there."""
    package = Path(clipkit.__file__).parent
    yield PROTOCOL, clipkit.__version__, sys.version, sys.executable, str(package)
    yield max(_times(package))
    for folder in sys.path:
        if folder.endswith("-packages"):  # changes with what is installed
            with suppress(OSError):
                yield folder, os.stat(folder).st_mtime_ns
    yield sorted(item for item in environment.items() if item[0].upper().startswith(_MATTERS))


def _times(folder: Path | str) -> Iterator[int]:
    """When the modules below `folder` were changed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                yield entry.stat().st_mtime_ns
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _times(entry.path)

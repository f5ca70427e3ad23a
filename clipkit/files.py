"""Files that appear, or are replaced, only when they are complete."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipkit.errors import ClipkitError, StorageError


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Where to write a file that takes the place of `path` when all is well, and leaves it alone otherwise.

    A file that is replaced hands on its permissions; of a link, the file that it leads to is replaced. Raises
    StorageError if it cannot be written.
    """
    target = Path(os.path.realpath(os.path.expanduser(path)))
    part = target.with_name(f".clipkit-{uuid.uuid4().hex}.part")
    try:
        yield part
        with open(part, "rb") as stream:
            os.fsync(stream.fileno())  # else a power cut could leave the new name with nothing behind it
        if target.exists():
            shutil.copymode(target, part)
        os.replace(part, target)
    except ClipkitError:
        raise
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"{os.fspath(path)} cannot be written: {why}") from error
    finally:
        with suppress(OSError):
            os.unlink(part)

"""Where collections live."""

from __future__ import annotations

import os
import re
from pathlib import Path

from clipkit.errors import InvalidInput

_UNUSABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # undecodable bytes arrive as lone surrogates


def database_uri(db: str | os.PathLike[str] | None = None) -> str:
    """Where collections live: `db`, else $CLIPKIT_HOME, else the platform's data folder for clipkit."""
    place = os.fspath(db) if db is not None else os.environ.get("CLIPKIT_HOME") or None
    if place is None:
        from platformdirs import user_data_path

        return str(user_data_path("clipkit"))
    if not place or _UNUSABLE.search(place):
        raise InvalidInput(
            f"{place!r} cannot hold collections: LanceDB takes a path in UTF-8, without control characters"
        )
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))


def cache_folder() -> Path:
    """Where clipkit keeps what it can make again: $CLIPKIT_CACHE, or else the platform's cache folder for it.

    Nothing is created.
    """
    place = os.environ.get("CLIPKIT_CACHE")
    if place:
        return Path(place).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("clipkit")

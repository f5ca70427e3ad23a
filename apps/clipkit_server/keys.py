"""API keys: who may ask, and by which name each is known in the logs and in the queues."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from clipkit.errors import InvalidInput
from clipkit_web.auth import TOKEN_LENGTH, is_same, read_secrets

VARIABLE = "CLIPKIT_API_KEYS"
"""The environment variable with keys, separated by commas or line breaks."""

_MOST = 1_000
_LENGTH = 512
_FILE_LENGTH = 1 << 20
_MAKE_ONE = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys by the names of their owners. One is given as `name:key`, or alone: then it is key-1 and so on."""

    keys: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def of(cls, said: Iterable[str], *, source: str) -> Keys:
        """Keys as they are written in `source`. Raises InvalidInput, and never says a key.

        A key has at least 16 characters of printable ASCII, and neither blanks nor colons.
        """
        found: list[tuple[str, str]] = []
        for number, line in enumerate(said, 1):
            name, colon, key = line.strip().rpartition(":")
            name = name if colon else f"key-{number}"
            if not _NAME.fullmatch(name):
                raise InvalidInput(
                    f"key {number} of {source} has a name with more than letters, digits, . _ -"
                )
            if (
                not TOKEN_LENGTH <= len(key) <= _LENGTH
                or not key.isascii()
                or not key.isprintable()
                or " " in key
            ):
                raise InvalidInput(
                    f"key {number} of {source} has {len(key)} characters and needs {TOKEN_LENGTH} or more, "
                    f"without blanks; {_MAKE_ONE}"
                )
            found.append((name, key))
        if not found:
            raise InvalidInput(f"{source} holds no key; {_MAKE_ONE}")
        if len(found) > _MOST or len({name for name, _ in found}) < len(found):
            raise InvalidInput(f"the names of the keys of {source} are not all different, or over {_MOST:,}")
        return cls(tuple(found))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Keys:
        """Keys of a file, one a line; # begins a comment. A file that others may write is refused."""
        lines = [line.partition("#")[0] for line in read_secrets(path, most=_FILE_LENGTH).splitlines()]
        return cls.of((line for line in lines if line.strip()), source=os.fspath(path))

    @classmethod
    def from_environment(cls) -> Keys | None:
        """Keys of $CLIPKIT_API_KEYS; None if it is empty."""
        said = re.split(r"[,\n]", os.environ.get(VARIABLE, ""))
        given = [one for one in said if one.strip()]
        return cls.of(given, source=f"${VARIABLE}") if given else None

    def owner(self, authorization: str) -> str | None:
        """The name that goes with an Authorization header; None if it has no key of these.

        All of them are compared, so that the time tells nothing of where the right one stands.
        """
        scheme, _, given = authorization.strip().partition(" ")
        same = [name for name, key in self.keys if is_same(given.strip(), key)]
        return same[0] if same and scheme.lower() == "bearer" else None

"""Who may see the page: one user with a password, or whoever has a token."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import math
import os
import stat
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clipkit.errors import InvalidInput

TOKEN_LENGTH = 16  # characters at least: of base 64, 96 bits
_COOKIE_SECONDS = 30 * 24 * 3600  # a phone that was let in stays so for a month
_TRIES = 10  # in _TRIES_SECONDS; people mistype, and programs try a million times
_TRIES_SECONDS = 60.0
_TRIES_ADDRESSES = 4096  # remembered at most
_MAKE_ONE = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


@dataclass(frozen=True, slots=True)
class Auth:
    """One secret that lets in: a password that goes with a user, or a token (then `user` is None).

    A password is taken by HTTP Basic. A token is taken as a Bearer token, as the password of any user, and in
    a cookie that holds a hash of it.
    """

    user: str | None
    secret: str = field(repr=False)

    @classmethod
    def from_pair(cls, pair: str) -> Auth:
        """Of `user:password`. Raises InvalidInput if either is missing.

        Whoever can list this machine's processes sees what a command line holds: a token file is safer.
        """
        user, colon, password = pair.partition(":")
        if not (user and colon and password):
            raise InvalidInput("who may come in is written user:password, with neither of them empty")
        return cls(user, password)

    @classmethod
    def from_token_file(cls, path: str | os.PathLike[str]) -> Auth:
        """Of a file with a token and no more, which is at least 16 characters of printable ASCII.

        A file that others may write is refused; one that they may read gives a UserWarning and no more, since
        secrets are mounted into containers so.
        """
        text, mode = _secret_file(path, 4_097)
        token = text.strip()
        _check_token(token, Path(path))
        _check_mode(mode, Path(path))
        return cls(None, token)

    @property
    def takes_tokens(self) -> bool:
        """Whether it is a token, not a password."""
        return self.user is None

    @property
    def challenges(self) -> tuple[str, ...]:
        """The values of WWW-Authenticate. Basic stands first: with it, browsers ask."""
        basic = 'Basic realm="clipkit", charset="UTF-8"'
        return (basic, 'Bearer realm="clipkit"') if self.takes_tokens else (basic,)

    def admits(self, authorization: str) -> bool:
        """Whether the value of an Authorization header lets in."""
        scheme, _, value = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(value.strip())
        if scheme.lower() != "basic":
            return False
        try:
            pair = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        if self.takes_tokens:
            return self.is_token(pair.partition(":")[2])
        return is_same(pair, f"{self.user}:{self.secret}")

    def is_token(self, value: str) -> bool:
        """Whether `value` is the token."""
        return self.takes_tokens and is_same(value, self.secret)

    def knows_cookies(self, cookies: str) -> bool:
        """Whether one of those in a Cookie header was set by `cookie`."""
        pairs = (cookie.strip().partition("=") for cookie in cookies.split(";"))
        return self.takes_tokens and any(
            name == self._cookie_name and is_same(value, self._cookie_value) for name, _, value in pairs
        )

    def cookie(self, *, secure: bool) -> str:
        """The value of Set-Cookie that lets a browser in from now on, also after the server was restarted.

        SameSite is Lax: with Strict, a browser that follows a shared link from a mail would come without.
        What other sites start beside that, the guard refuses.
        """
        attributes = f"Path=/; Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Lax"
        return f"{self._cookie_name}={self._cookie_value}; {attributes}{'; Secure' if secure else ''}"

    @property
    def _cookie_name(self) -> str:
        """One for each token: two servers on one host share a browser's cookies, whatever their ports."""
        return "clipkit-" + _keyed(self.secret, "name")[:8]

    @property
    def _cookie_value(self) -> str:
        return _keyed(self.secret, "value")


def read_secrets(path: str | os.PathLike[str], *, most: int) -> str:
    """The text of a file of secrets, up to `most` characters of ASCII. Its mode is minded as a token's."""
    text, mode = _secret_file(path, most)
    _check_mode(mode, Path(path))
    return text


def is_same(given: str, right: str) -> bool:
    """Whether they are equal, in time that tells neither where they differ nor how long the right one is."""
    return hmac.compare_digest(_hashed(given), _hashed(right))


def _secret_file(path: str | os.PathLike[str], most: int) -> tuple[str, int]:
    """The beginning of a file, and its mode. Raises InvalidInput."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read(most), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as exc:
        raise InvalidInput(f"the token file {path} cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"the token file {path} holds more than ASCII; {_MAKE_ONE}") from exc


def _check_token(token: str, path: Path) -> None:
    if len(token) < TOKEN_LENGTH:
        raise InvalidInput(
            f"the token in {path} has {len(token)} characters and needs {TOKEN_LENGTH} or more; {_MAKE_ONE}"
        )
    if len(token) > 4096 or not token.isprintable() or " " in token:
        raise InvalidInput(f"the file {path} holds more than one token on one line; {_MAKE_ONE}")


def _check_mode(mode: int, path: Path) -> None:
    if os.name != "posix":
        return
    trouble = f"the token file {path} (mode {mode:03o}): chmod 600 {path}"
    if mode & 0o022:
        raise InvalidInput(f"others may write {trouble}")
    if mode & 0o044:
        warnings.warn(f"others may read {trouble}", stacklevel=3)


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _keyed(secret: str, purpose: str) -> str:
    return hmac.new(secret.encode(), f"clipkit cookie {purpose}".encode(), hashlib.sha256).hexdigest()


class Tries:
    """Wrong tries by address. One with too many within a minute has to wait, even with the right secret.

    To answer wrong tries late would not do: whoever tries many at once sees which is answered early.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """The whole seconds until this address may try again; 0 is now."""
        wrong = self._wrong.get(_network(address))
        if wrong is None or len(wrong) < _TRIES:
            return 0
        return max(0, math.ceil(wrong[0] + _TRIES_SECONDS - self._clock()))

    def count(self, address: str) -> None:
        """Remembers a wrong try."""
        key = _network(address)
        self._wrong.setdefault(key, deque(maxlen=_TRIES)).append(self._clock())
        self._wrong.move_to_end(key)
        if len(self._wrong) > _TRIES_ADDRESSES:
            self._wrong.popitem(last=False)


def _network(address: str) -> str:
    """The address, or the /64 of IPv6 that one household or host has to itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a Unix socket, or a test's client
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))

"""An ASGI middleware that stands before the page: who asks, from where, and how much they send.

A page on the loopback is within reach of every site that the same browser has open. What keeps them out are
the name in the Host header (against names that are pointed at this machine: DNS rebinding), the Origin and
Sec-Fetch headers (against requests that another site starts), and a policy of what the page itself may load.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import quote, unquote_plus, urlsplit

from clipkit_web.auth import Auth, Tries

__all__ = ["MAX_BODY_BYTES", "Auth", "Guard"]

MAX_BODY_BYTES = 30_000_000  # a picture of 25 MB, in the envelope in which browsers send it
_URL_BYTES = 16_384  # a link with a long query
_HEADER_BYTES = 32_768
_DISCARDED = 8  # times the bound: what is read and thrown away, so that a browser gets to see the answer

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
ANY_HOST = "*"
_ANYWHERE = frozenset(("0.0.0.0", "::", ""))  # noqa: S104 - told, not bound
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\\?#\s]+)(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
_PORTS = {"http": ":80", "https": ":443"}

# Gradio's page has inline scripts and styles, and its HTML component and plotly make functions of text. No
# other site is named, so nothing is loaded from one, and nothing is told to one.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", _POLICY.encode()),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


Form: TypeAlias = Callable[[int, str], tuple[str, bytes]]
"""The media type and the body of an answer with that status and text."""


def plain(_status: int, text: str) -> tuple[str, bytes]:
    """An answer as a line of text."""
    return "text/plain; charset=utf-8", f"{text}\n".encode(errors="replace")


class Guard:
    """`app`, for those who may ask it: everything else is answered here, in the given `form`.

    `hosts` are the names by which it is reached beside the loopback's, without ports. If one of them is the
    address that stands for all (0.0.0.0 or ::), numeric addresses are taken as well, since no name can be
    pointed at another machine by them. With `auth` any name is, since a browser has no secret to send along
    with a name that it was not given under; with ANY_HOST too, for an app that asks for a secret itself.
    `origins` are other sites that may ask, such as https://example.org. Bodies have up to `max_body_bytes`.
    """

    def __init__(
        self,
        app: App,
        *,
        hosts: Iterable[str] = (),
        auth: Auth | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        origins: Iterable[str] = (),
        form: Form = plain,
    ) -> None:
        self.app = app
        self.hosts = _LOOPBACK | set(map(_plain, hosts))
        self.origins = frozenset(origins)
        self.form = form
        self.anywhere = bool(self.hosts & _ANYWHERE)
        self.auth = auth
        self.max_body_bytes = max_body_bytes
        self.tries = Tries()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entry."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        answer = self._answer(scope, _Headers(scope["headers"]))
        if scope["type"] == "websocket":
            return await (
                self.app(scope, receive, send) if answer is None else self._deny(answer, scope, send)
            )
        exchange = _Exchange(receive, send, self.max_body_bytes, self.form)
        if answer is not None:
            return await exchange.answer(answer)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Exception:
            if not exchange.over:  # else it complains of a client that it was told had gone
                raise

    async def _deny(self, answer: _Answer, scope: Scope, send: Send) -> None:
        """Refuses a websocket, with the answer if the server can send it, else with 1008, policy."""
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await answer.send(send, self.form, "websocket.http.response")
        else:
            reason = HTTPStatus(answer.status).phrase
            await send({"type": "websocket.close", "code": 1008, "reason": reason})

    def _answer(self, scope: Scope, headers: _Headers) -> _Answer | None:
        """What to answer in the app's place; None lets the request through."""
        token = _take_token(scope) if self.auth and self.auth.takes_tokens else None
        return (
            _length_trouble(scope)
            or self._host_trouble(headers)
            or (None if headers.first("origin") in self.origins else _origin_trouble(scope, headers))
            or self._auth_trouble(scope, headers, token)
            or self._body_trouble(headers)
        )

    def _host_trouble(self, headers: _Headers) -> _Answer | None:
        names = headers.all("host")
        match = _HOST.fullmatch(names[0]) if len(names) == 1 else None
        if match is None:
            return _Answer(400, "The request needs one Host header with a name or an address.")
        name = _plain(match[1])
        if self.auth is not None or ANY_HOST in self.hosts or name in self.hosts:
            return None
        if self.anywhere and _is_address(name):
            return None
        return _Answer(
            421,
            f"This is not {name[:100]!r}. On the machine itself, use localhost; to be reached by another "
            "name, start clipkit with --token-file or --auth.",
        )

    def _auth_trouble(self, scope: Scope, headers: _Headers, token: str | None) -> _Answer | None:
        if self.auth is None:
            return None
        if token is None and self.auth.knows_cookies("; ".join(headers.all("cookie"))):
            return None
        authorization = headers.first("authorization")
        if token is None and authorization is None:
            return _unknown(self.auth)
        address = scope["client"][0] if scope.get("client") else ""
        if wait := self.tries.wait(address):
            return _Answer(
                429, f"Too many wrong tries. Try again in {wait} s.", (("retry-after", str(wait)),)
            )
        if token is not None and self.auth.is_token(token):
            return _let_in(self.auth, scope)
        if authorization is not None and self.auth.admits(authorization):
            return None
        self.tries.count(address)
        return _unknown(self.auth)

    def _body_trouble(self, headers: _Headers) -> _Answer | None:
        lengths = headers.all("content-length")
        if not lengths:
            return None  # none, or in chunks, which are counted
        if len(set(lengths)) > 1 or not re.fullmatch(r"\d{1,18}", lengths[0], re.ASCII):
            return _Answer(400, "Content-Length is not one whole number.")
        length = int(lengths[0])
        if length <= self.max_body_bytes:
            return None
        return _too_large(self.max_body_bytes, close=length > _DISCARDED * self.max_body_bytes)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()

    async def send(self, send: Send, form: Form, kind: str = "http.response") -> None:
        """Answers by messages of that kind."""
        media_type, body = form(self.status, self.text)
        lines = {"content-type": media_type, "content-length": str(len(body)), "cache-control": "no-store"}
        headers = [(name.encode(), value.encode()) for name, value in (*lines.items(), *self.headers)]
        await send({"type": f"{kind}.start", "status": self.status, "headers": [*headers, *_SECURITY]})
        await send({"type": f"{kind}.body", "body": body})


class _Headers:
    """The headers of a request, by names in lower case."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._raw if key == name]

    def first(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)


class _Exchange:
    """A request and its answer: bodies are counted as they come, answers get the security headers."""

    def __init__(self, receive: Receive, send: Send, limit: int, form: Form) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._form = form
        self._count = 0
        self._started = False
        self.over = False

    async def receive(self) -> Message:
        if self.over:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._count += len(message.get("body", b""))
        if self._count <= self._limit:
            return message
        self.over = True
        if not self._started:
            await self.answer(_too_large(self._limit, close=True))
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.over:  # it was answered already, or is to be cut short
            return
        if message["type"] == "http.response.start":
            self._started = True
            own = {bytes(name).lower() for name, _ in message.get("headers", ())}
            added = [pair for pair in _SECURITY if pair[0] not in own]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await self._send(message)

    async def answer(self, answer: _Answer) -> None:
        await answer.send(self._send, self._form)


# --- how long, and from where


def _length_trouble(scope: Scope) -> _Answer | None:
    length = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
    if length > _URL_BYTES:
        return _Answer(414, f"The address is {length} bytes long, over the limit of {_URL_BYTES}.")
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > _HEADER_BYTES:
        return _Answer(431, f"The headers have {size} bytes, over the limit of {_HEADER_BYTES}.")
    return None


def _origin_trouble(scope: Scope, headers: _Headers) -> _Answer | None:
    """Refuses what another site started in the user's browser, save for a link that the user followed.

    Browsers send Sec-Fetch-Site to https and to the loopback, and no script can change it. Elsewhere there is
    the Origin, with all but plain reading. Programs send neither and are no browser to be led astray.
    """
    site, origin = headers.first("sec-fetch-site"), headers.first("origin")
    if site is not None:
        reading = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        followed = headers.first("sec-fetch-mode") == "navigate"
        shown = headers.first("sec-fetch-dest") == "document"  # not in a frame, nor as an object
        fine = site in ("same-origin", "none") or (reading and followed and shown)
    else:
        fine = origin is None or _is_origin_of(headers.first("host") or "", origin)
    if fine:
        return None
    return _Answer(
        403,
        "Another site asked for this, so it is not done. If a proxy stands between, let it pass on the Host "
        "header as it is.",
    )


def _is_origin_of(host: str, origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    port = _PORTS.get(parts.scheme)
    if port is None:  # "null", which stands for a page without an origin, among them
        return False
    return parts.netloc.lower().removesuffix(port) == host.lower().removesuffix(port)


def _plain(host: str) -> str:
    """A host name as it is compared: `[::1]` and `::1`, `Mac.local.` and `mac.local` are the same."""
    name = host.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


# --- answers


def _unknown(auth: Auth) -> _Answer:
    asked = "the token, as ?token=... or as the password" if auth.takes_tokens else "a name and a password"
    challenges = tuple(("www-authenticate", challenge) for challenge in auth.challenges)
    return _Answer(401, f"This page asks for {asked}.", challenges)


def _take_token(scope: Scope) -> str | None:
    """The token in the query, which is taken out of it: servers log the query after this has run."""
    parts = scope["query_string"].decode("latin-1").split("&")
    tokens = [part.removeprefix("token=") for part in parts if part.startswith("token=")]
    if not tokens:
        return None
    rest = "&".join(part for part in parts if not part.startswith("token="))
    scope["query_string"] = rest.encode("latin-1")
    return unquote_plus(tokens[0])


def _let_in(auth: Auth, scope: Scope) -> _Answer | None:
    """To the same address without the token, and with a cookie; where that cannot be followed, right in."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return None
    # Relative, so that it holds behind a proxy that adds to the path, and can lead to no other site.
    query = scope["query_string"].decode("latin-1")
    place = "./" + quote(scope["path"].rpartition("/")[2], safe="") + (f"?{query}" if query else "")
    cookie = auth.cookie(secure=scope.get("scheme") == "https")
    return _Answer(303, "Come in.", (("location", place), ("set-cookie", cookie)))


def _too_large(limit: int, *, close: bool) -> _Answer:
    text = f"What was sent is too large: at most {limit:,} bytes are taken."
    return _Answer(413, text, (("connection", "close"),) if close else ())

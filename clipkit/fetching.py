"""Pictures from URLs that strangers name: from public addresses only, bounded in size and time.

A server that fetches what it is told can be sent to where only it can go: the router, a cloud's metadata
service, a database beside it. So every address that a name stands for must be public, the connection goes to
an address that was checked (asking for the name once more could give another), and a redirect is checked
like the first URL. Proxies of the environment are not used: they would look up the name themselves.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from threading import Thread
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import quote, urljoin, urlsplit

from clipkit import __version__
from clipkit.errors import FetchError

MAX_BYTES = 25_000_000  # a JPEG of the largest sensors in phones
SECONDS = 15.0  # for all of it: names, redirects, the last byte

_PORTS = {"http": 80, "https": 443}  # with others, it could be used to knock at doors
_REDIRECTS = 4  # shorteners and content networks take two or three
_REDIRECTING = frozenset((301, 302, 303, 307, 308))
_ADDRESSES = 4  # to try of those that a name has
_URL_LENGTH = 8_192  # characters; signed ones have some thousand
_SHOWN = 120  # characters of a URL in a message
_BLOCK = 1 << 16
_OVERHEAD = (
    1 << 20
)  # bytes beside the body: http.client takes up to 6.5 MB of headers, honest ones have 10 kB
_WAY_OUT = "download the picture and use the file"

_IPV6 = ipaddress.ip_network("2000::/3")  # all that is handed out; NAT64's and mapped IPv4 lie outside
# What Python's older tables take for public: ranges of protocols, of relays that are no more, of IPv4 wrapped
# in IPv6 (Teredo, 6to4), and of examples.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)

_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.ASCII)
_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)", re.ASCII)  # what resolvers take for IPv4, in any base

T = TypeVar("T")


class Network:
    """What fetching asks of the world: addresses of names, connections, whom to trust. Tests bring theirs."""

    def addresses(self, host: str, port: int) -> list[str]:
        """The numeric addresses of a name, the preferred first."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        """A connection to a numeric address."""
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            connection.settimeout(seconds)
            connection.connect((address, port))
        except BaseException:
            connection.close()
            raise
        return connection

    def tls(self) -> ssl.SSLContext:
        """How certificates are verified."""
        return ssl.create_default_context()


def fetch_picture(
    url: str, *, max_bytes: int = MAX_BYTES, seconds: float = SECONDS, network: Network | None = None
) -> bytes:
    """The bytes that a public URL (http or https) gives; whether they are a picture, `read_picture` tells.

    Raises FetchError for a URL with another scheme, port, or user name, for one that leads to an address
    that is not public (or one of whose redirects does), for an answer that is not 200 or is a web page, for
    over `max_bytes`, and after `seconds` in all.
    """
    limits = _Limits(time.monotonic() + seconds, seconds, max_bytes)
    where, subject = url, _shown(url)
    for _ in range(1 + _REDIRECTS):
        with _as_fetch_errors(subject, limits):
            answer = _get(_target(where), limits, network or Network())
        if not answer.location:
            return answer.body
        where = urljoin(where, answer.location)
        subject = f"{_shown(url)} is redirected to {_shown(where)}, which"
    raise FetchError(f"{_shown(url)} is redirected more than {_REDIRECTS} times: {_WAY_OUT}")


@dataclass(frozen=True, slots=True)
class _Limits:
    deadline: float  # of time.monotonic()
    seconds: float
    max_bytes: int

    def left(self) -> float:
        """The seconds left, above 0."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def check(self, size: int) -> None:
        if size > self.max_bytes:
            raise FetchError(f"has over {self.max_bytes:,} bytes: {_WAY_OUT}, made smaller")


@contextmanager
def _as_fetch_errors(subject: str, limits: _Limits) -> Iterator[None]:
    """The one place where what names, sockets, TLS and HTTP raise becomes a FetchError."""
    try:
        yield
    except FetchError as exc:
        raise FetchError(f"{subject} {exc.reason}") from exc
    except TimeoutError as exc:
        raise FetchError(f"{subject} was not there after {limits.seconds:g} s: {_WAY_OUT}") from exc
    except ssl.SSLCertVerificationError as exc:
        raise FetchError(f"{subject} has a certificate that does not hold: {exc.verify_message}") from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:  # ValueError: lengths that are no numbers
        why = getattr(exc, "strerror", None) or type(exc).__name__
        raise FetchError(f"{subject} cannot be read ({why}): try again, or {_WAY_OUT}") from exc


def _shown(url: str) -> str:
    """The URL for a message, without a password."""
    clean = re.sub(r"(?<=//)[^/?#]*@", "...@", "".join(c for c in url if c.isprintable()))
    return repr(clean if len(clean) <= _SHOWN else clean[: _SHOWN - 3] + "...")


# --- what may be asked for


@dataclass(frozen=True, slots=True)
class _Target:
    scheme: str
    host: str  # in ASCII; an IPv6 address without its brackets
    path: str  # with the query

    @property
    def port(self) -> int:
        return _PORTS[self.scheme]


def _target(url: str) -> _Target:
    """The parts of a URL that is fit to be asked for; its host is not looked up here."""
    try:
        parts = urlsplit(url.strip())
        port, name = parts.port, parts.hostname or ""
        host = name.encode("idna").decode("ascii").lower().removesuffix(".") if ":" not in name else name
    except ValueError as exc:  # UnicodeError is one
        raise FetchError("is not a URL: copy the whole address of a picture") from exc
    if parts.scheme not in _PORTS:
        raise FetchError("does not begin with http:// or https://: copy the whole address of a picture")
    if "@" in parts.netloc:
        raise FetchError("has a user name or password, which are never sent: leave out all up to the @")
    if port not in (None, _PORTS[parts.scheme]):
        raise FetchError(f"asks for port {port}, but pictures come from 80 (http) and 443 (https)")
    if len(url) > _URL_LENGTH:
        raise FetchError(f"is {len(url):,} characters long, over the limit of {_URL_LENGTH:,}")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + ("?" if parts.query else "")
    return _Target(parts.scheme, _host(host), path + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]|"))


def _host(host: str) -> str:
    if ":" in host or _NUMBER.fullmatch(host):
        try:
            return str(ipaddress.ip_address(host))
        except ValueError as exc:
            raise FetchError("has a number for a host that is not a plain address such as 192.0.2.1") from exc
    if not _HOST.fullmatch(host):
        raise FetchError("has no host, or one with characters that no host has")
    return host


def is_public(address: str) -> bool:
    """Whether a numeric address is one of the open internet: unicast, handed out, for no special purpose.

    IPv6 addresses that wrap IPv4 ones (mapped, 6to4, Teredo, NAT64) are none: they lead where IPv4 leads.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # with a zone that Python does not know, for one
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and (parsed not in _IPV6 or parsed.scope_id):
        return False
    unicast = parsed.is_global and not parsed.is_multicast and not parsed.is_reserved
    return unicast and not any(parsed in network for network in _NOT_PUBLIC)


# --- to the address that was checked


def _public_addresses(target: _Target, limits: _Limits, network: Network) -> list[str]:
    try:
        addresses = [str(ipaddress.ip_address(target.host))]
    except ValueError:
        addresses = _looked_up(target, limits, network)
    # One that is not public is enough: which of them a connection gets is up to chance and to the attacker.
    # The message does not name it, since it would tell strangers what lies in this network.
    if not all(map(is_public, addresses)):
        raise FetchError(f"leads to an address that is not on the public internet: {_WAY_OUT}")
    return addresses[:_ADDRESSES]


def _looked_up(target: _Target, limits: _Limits, network: Network) -> list[str]:
    try:
        addresses = _in_time(lambda: network.addresses(target.host, target.port), limits.left())
    except (socket.gaierror, UnicodeError) as exc:
        why = getattr(exc, "strerror", None) or "no such name"
        raise FetchError(f"has a host that is not found ({why}): check how it is spelt") from exc
    if not addresses:
        raise FetchError("has a host without an address")
    return addresses


def _in_time(call: Callable[[], T], seconds: float) -> T:
    """What `call` gives, or TimeoutError: looking up a name knows no limit of its own."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except (OSError, ValueError) as exc:
            answer.set_exception(exc)

    Thread(target=run, daemon=True).start()  # one that hangs must not keep the program from ending
    return answer.result(seconds)


def _connected(target: _Target, limits: _Limits, network: Network) -> socket.socket:
    addresses = _public_addresses(target, limits, network)
    for address in addresses[:-1]:
        try:
            return network.connect(address, target.port, limits.left() / 2)
        except OSError:  # the next may answer
            continue
    return network.connect(addresses[-1], target.port, limits.left())


class _Received(io.RawIOBase):
    """What a socket receives, until the deadline and up to a number of bytes, whatever the headers say."""

    def __init__(self, connection: socket.socket, limits: _Limits) -> None:
        self.connection = connection
        self.limits = limits
        self.left = 2 * limits.max_bytes + _OVERHEAD  # small chunks have long frames

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.connection.settimeout(self.limits.left())
        count = self.connection.recv_into(buffer)
        self.left -= count
        if self.left < 0:
            raise FetchError(f"sent over {self.limits.max_bytes:,} bytes")
        return count


class _Pinned:
    """The part of a socket that http.client uses, on a connection that is ours to close."""

    def __init__(self, connection: socket.socket, limits: _Limits) -> None:
        self.connection = connection
        self.limits = limits

    def sendall(self, data: bytes) -> None:
        self.connection.settimeout(self.limits.left())
        self.connection.sendall(data)

    def makefile(self, _mode: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Received(self.connection, self.limits), _BLOCK))

    def close(self) -> None:
        pass


# --- the answer


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes = b""
    location: str = ""  # where it is said to be instead


def _get(target: _Target, limits: _Limits, network: Network) -> _Answer:
    host = f"[{target.host}]" if ":" in target.host else target.host
    headers = {
        "Host": host,
        "User-Agent": f"clipkit/{__version__}",
        "Accept": "image/*",
        "Accept-Encoding": "identity",  # what is small to send may be large to hold
        "Connection": "close",
    }
    with ExitStack() as stack:
        connection = stack.enter_context(_connected(target, limits, network))
        if target.scheme == "https":
            connection.settimeout(limits.left())
            tls = network.tls().wrap_socket(connection, server_hostname=target.host)
            connection = stack.enter_context(tls)
        http_connection = http.client.HTTPConnection(host, target.port)
        http_connection.auto_open = 0  # it must not look up the name and connect by itself
        http_connection.sock = _Pinned(connection, limits)
        http_connection.request("GET", target.path, headers=headers)
        return _read(http_connection.getresponse(), limits)


def _read(response: http.client.HTTPResponse, limits: _Limits) -> _Answer:
    location = response.headers.get("Location", "")
    if response.status in _REDIRECTING and location:
        return _Answer(location=location)
    if response.status != HTTPStatus.OK:
        raise FetchError(f"is answered with {_status(response.status)}: open it in a browser to see why")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise FetchError(f"was sent compressed ({encoding[:20]!r}), which was not asked for: {_WAY_OUT}")
    kind = response.headers.get_content_type()
    if kind in ("text/html", "application/xhtml+xml"):
        raise FetchError(f"is a web page ({kind}): copy the address of the picture itself")
    limits.check(response.length or 0)
    return _Answer(_body(response, limits))


def _body(response: http.client.HTTPResponse, limits: _Limits) -> bytes:
    body = bytearray()
    while block := response.read(_BLOCK):
        body += block
        limits.check(len(body))
    if response.length:  # read() does not tell
        raise FetchError(f"ended {response.length:,} bytes early: try again, or {_WAY_OUT}")
    if not body:
        raise FetchError("gave nothing (0 bytes)")
    return bytes(body)


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)

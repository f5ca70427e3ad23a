from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clipkit.errors import FetchError, ImageError
from clipkit.fetching import Network, fetch_picture, is_public
from clipkit.images import read_picture
from tests.pictures import draw

SITE = "93.184.216.34"  # a public address; the tests' network answers for it on the loopback
OTHER = "2606:4700::1111"
PICTURE = b"picture " * 1000


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    world: World


@dataclass
class World(Network):
    """A network of its own: names, and a server on the loopback behind each public address.

    What is under test decides as ever whether an address may be gone to; only then is it here that it leads
    to the loopback.
    """

    names: dict[str, list[str]] = field(default_factory=dict)
    pages: dict[str, Callable[[_Handler], None]] = field(default_factory=dict)
    looked_up: list[str] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    trusted: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def __post_init__(self) -> None:
        self.done = Event()
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.world = self
        self.port: int = self.server.server_address[1]
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def addresses(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        self.connected.append((address, port))
        if address in self.dead:
            raise ConnectionRefusedError(111, "Connection refused")
        return super().connect("127.0.0.1", self.port, seconds)

    def tls(self) -> ssl.SSLContext:
        return self.trusted

    def stop(self) -> None:
        self.done.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.world.asked.append((self.path, dict(self.headers.items())))
        with suppress(OSError):  # the client has gone
            self.server.world.pages[self.path](self)
        self.close_connection = True

    def raw(self, *lines: str) -> None:
        self.wfile.write("\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode())

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def gives(body: bytes = PICTURE, status: int = 200, **headers: str) -> Callable[[_Handler], None]:
    return lambda handler: handler.reply(status, body, **headers)


def leads_to(where: str, status: int = 302) -> Callable[[_Handler], None]:
    return gives(b"", status, Location=where)


@pytest.fixture
def world() -> Iterator[World]:
    world = World({"photos.example": [SITE], "other.example": [OTHER]})
    yield world
    world.stop()


# --- what is fetched


def test_a_picture_is_fetched_from_the_address_that_was_looked_up_once(world: World) -> None:
    world.pages["/a.jpg?size=2"] = gives(Content_Type="image/jpeg")
    assert fetch_picture("http://photos.example/a.jpg?size=2#top", network=world) == PICTURE
    assert world.looked_up == ["photos.example"]
    assert world.connected == [(SITE, 80)]


def test_nothing_is_asked_that_a_picture_needs_not(world: World) -> None:
    world.pages["/a"] = gives()
    fetch_picture("  HTTP://Photos.EXAMPLE./a\n", network=world)
    ((_, headers),) = world.asked
    assert headers.pop("User-Agent").startswith("clipkit/")
    assert headers == {
        "Host": "photos.example",
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


def test_a_public_number_is_a_host_too(world: World) -> None:
    world.pages["/"] = gives()
    assert fetch_picture(f"http://{SITE}", network=world) == PICTURE
    assert fetch_picture(f"http://[{OTHER}]:80/", network=world) == PICTURE
    assert world.connected == [(SITE, 80), (OTHER, 80)]
    assert world.looked_up == []
    assert [headers["Host"] for _, headers in world.asked] == [SITE, f"[{OTHER}]"]


def test_letters_beyond_ascii_are_sent_as_servers_know_them(world: World) -> None:
    world.names["xn--bcher-kva.example"] = [SITE]
    world.pages["/%C3%BC%20b.jpg?q=%C3%A4"] = gives()
    assert fetch_picture("http://bücher.example/ü b.jpg?q=ä", network=world) == PICTURE


def test_the_next_address_is_tried_when_one_does_not_answer(world: World) -> None:
    world.names["photos.example"] = [OTHER, SITE]
    world.dead = {OTHER}
    world.pages["/"] = gives()
    assert fetch_picture("http://photos.example/", network=world) == PICTURE
    assert world.connected == [(OTHER, 80), (SITE, 80)]


def test_a_host_that_answers_at_no_address_is_told(world: World) -> None:
    world.dead = {SITE}
    with pytest.raises(FetchError, match=r"'http://photos.example/' cannot be read \(Connection refused\)"):
        fetch_picture("http://photos.example/", network=world)


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "text/plain", "nonsense"])
def test_what_servers_call_a_picture_does_not_matter(world: World, kind: str) -> None:
    world.pages["/"] = gives(Content_Type=kind)
    assert fetch_picture("http://photos.example/", network=world) == PICTURE


def test_what_is_fetched_is_a_picture_or_not_by_its_bytes(world: World, tmp_path: Path) -> None:
    world.pages["/a"] = gives(draw(tmp_path / "a.png", 1).read_bytes(), Content_Type="text/plain")
    world.pages["/b"] = gives(b"<!doctype html><title>b</title>", Content_Type="image/png")
    assert read_picture(fetch_picture("http://photos.example/a", network=world)).width == 24
    with pytest.raises(ImageError, match="is not an image"):
        read_picture(fetch_picture("http://photos.example/b", network=world))


def test_chunks_are_put_together(world: World) -> None:
    def chunks(handler: _Handler) -> None:
        handler.raw("Transfer-Encoding: chunked")
        handler.wfile.write(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")

    world.pages["/"] = chunks
    assert fetch_picture("http://photos.example/", network=world) == b"abcde"


def test_a_body_without_a_length_ends_with_the_connection(world: World) -> None:
    def plain(handler: _Handler) -> None:
        handler.raw("Content-Type: image/png")
        handler.wfile.write(PICTURE)

    world.pages["/"] = plain
    assert fetch_picture("http://photos.example/", network=world) == PICTURE


# --- URLs that are not asked for


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "does not begin with http:// or https://"),
        ("ftp://photos.example/a", "does not begin with http:// or https://"),
        ("photos.example/a.jpg", "does not begin with http:// or https://"),
        ("data:image/png;base64,AAAA", "does not begin with http:// or https://"),
        ("http://", "has no host"),
        ("http:///a.jpg", "has no host"),
        ("http://a b/", "has no host, or one with characters"),
        ("http://[::1/", "is not a URL"),
        ("http://a..b/", "is not a URL"),
        (f"http://{'a' * 64}.example/", "is not a URL"),
        ("http://photos.example:99999/", "is not a URL"),
        ("http://photos.example:8080/", "asks for port 8080"),
        ("http://photos.example:443/", "asks for port 443"),
        ("https://photos.example:22/", "asks for port 22"),
        (f"http://photos.example/{'a' * 8192}", "is 8,214 characters long"),
        ("http://nowhere.example/", r"not found \(Name or service not known\): check how it is spelt"),
    ],
)
def test_a_url_that_cannot_be_asked_for_says_what_is_wrong(world: World, url: str, message: str) -> None:
    with pytest.raises(FetchError, match=message):
        fetch_picture(url, network=world)
    assert world.connected == []


def test_a_password_is_neither_sent_nor_repeated(world: World) -> None:
    with pytest.raises(FetchError, match=r"'http://...@photos.example/' has a user name or pass") as caught:
        fetch_picture("http://me:secret@photos.example/", network=world)
    assert "secret" not in str(caught.value)
    with pytest.raises(FetchError, match="has a user name"):  # the host of this is 127.0.0.1 for some
        fetch_picture("http://photos.example\\@127.0.0.1/", network=world)
    assert world.looked_up == []


def test_a_long_url_is_shortened_in_messages(world: World) -> None:
    world.pages[f"/{'a' * 500}"] = gives(status=410)
    with pytest.raises(FetchError, match=r"aaa\.\.\.' is answered with 410 Gone: open it") as caught:
        fetch_picture(f"http://photos.example/{'a' * 500}", network=world)
    assert len(str(caught.value)) < 200


# --- addresses that are not gone to


@pytest.mark.parametrize("address", ["8.8.8.8", SITE, "1.1.1.1", OTHER, "2001:4860:4860::8888"])
def test_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1"),
        *("203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0", "fc00::1", "fd00:ec2::254"),
        *("fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1", "4000::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8"),  # IPv4 in IPv6: mapped,
        *("2002:7f00:1::", "2002:808:808::1", "2001:0:808:808::1"),  # 6to4, Teredo,
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::808:808"),  # NAT64
        *("", "localhost", "8.8.8", "0x7f.1", "8.8.8.8/32"),
    ],
)
def test_all_else_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
        "0.0.0.0",
        "localhost",
        "localhost.",
    ],
)
def test_private_hosts_are_refused_on_the_real_network(host: str) -> None:
    with pytest.raises(FetchError, match="leads to an address that is not on the public internet"):
        fetch_picture(f"http://{host}/")


@pytest.mark.parametrize(
    "host",
    [*("0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.1", "127.0.1", "0177.0.0.1", "0", "0x")],
)
def test_odd_spellings_of_numbers_are_refused_unseen(world: World, host: str) -> None:
    world.names[host] = [SITE]
    with pytest.raises(FetchError, match="has a number for a host that is not a plain address"):
        fetch_picture(f"http://{host}/", network=world)
    assert world.looked_up == []


def test_digits_of_other_scripts_are_the_number_they_mean(world: World) -> None:
    with pytest.raises(FetchError, match="is not on the public internet"):
        fetch_picture("http://１２７.０.０.１/", network=world)
    assert world.looked_up == []


@pytest.mark.parametrize("found", [["192.168.0.7"], [SITE, "192.168.0.7"], ["::1", SITE], ["::ffff:7f00:1"]])
def test_a_name_with_any_private_address_is_refused_without_telling_which(
    world: World, found: list[str]
) -> None:
    world.names["intern.example"] = found
    with pytest.raises(FetchError, match="not on the public internet: download the picture") as caught:
        fetch_picture("http://intern.example/", network=world)
    assert "192.168" not in str(caught.value)
    assert world.connected == []


def test_a_name_that_changes_its_address_gains_nothing() -> None:
    class Rebinding(World):
        def addresses(self, host: str, port: int) -> list[str]:
            self.looked_up.append(host)
            return [SITE] if len(self.looked_up) == 1 else ["127.0.0.1"]

    rebinding = Rebinding()
    try:
        rebinding.pages["/"] = gives()
        rebinding.pages["/again"] = leads_to("/")
        assert fetch_picture("http://rebinding.example/", network=rebinding) == PICTURE
        assert rebinding.looked_up == ["rebinding.example"]
        assert rebinding.connected == [(SITE, 80)]
        rebinding.looked_up.clear()
        with pytest.raises(FetchError, match="not on the public internet"):  # a redirect is looked up anew
            fetch_picture("http://rebinding.example/again", network=rebinding)
        assert rebinding.connected == [(SITE, 80), (SITE, 80)]
    finally:
        rebinding.stop()


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(world: World, status: int) -> None:
    world.pages["/a/b"] = leads_to("../c?d=1", status)
    world.pages["/c?d=1"] = leads_to("//other.example/e", status)
    world.pages["/e"] = gives()
    assert fetch_picture("http://photos.example/a/b", network=world) == PICTURE
    assert world.connected == [(SITE, 80), (SITE, 80), (OTHER, 80)]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("http://127.0.0.1/admin", "which leads to an address that is not on the public internet"),
        ("http://169.254.169.254/latest/meta-data/", "which leads to an address that is not on the public"),
        ("http://[::1]/", "which leads to an address that is not on the public internet"),
        ("http://intern.example/", "which leads to an address that is not on the public internet"),
        ("http://0x7f.1/", "which has a number for a host"),
        ("http://photos.example:6379/", "which asks for port 6379"),
        ("file:///etc/passwd", "which does not begin with http"),
        ("http://a:b@photos.example/", "which has a user name or password"),
    ],
)
def test_a_redirect_is_checked_like_the_url(world: World, where: str, message: str) -> None:
    world.names["intern.example"] = ["10.1.2.3"]
    world.pages["/"] = leads_to(where)
    with pytest.raises(FetchError, match=rf"'http://photos.example/' is redirected to '.*', {message}"):
        fetch_picture("http://photos.example/", network=world)
    assert world.connected == [(SITE, 80)]


def test_redirects_have_an_end(world: World) -> None:
    for step in range(5):
        world.pages[f"/{step}"] = leads_to(f"/{step + 1}")
    world.pages["/5"] = gives()
    assert fetch_picture("http://photos.example/1", network=world) == PICTURE
    with pytest.raises(FetchError, match=r"'http://photos\.example/0' is redirected more than 4 times"):
        fetch_picture("http://photos.example/0", network=world)


# --- answers that are not taken


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (gives(status=404), "is answered with 404 Not Found: open it in a browser"),
        (gives(status=302), "is answered with 302 Found"),  # without a place to go to
        (gives(status=599), "is answered with 599:"),
        (gives(status=206), "is answered with 206 Partial Content"),
        (gives(Content_Type="text/html; charset=utf-8"), r"is a web page \(text/html\): copy the address of"),
        (gives(Content_Encoding="gzip"), r"was sent compressed \('gzip'\)"),
        (gives(b""), r"gave nothing \(0 bytes\)"),
        (gives(b"short", Content_Length="9"), "ended 4 bytes early"),
        (lambda handler: handler.wfile.write(b"220 smtp\r\n"), r"cannot be read \(BadStatusLine\)"),
        (lambda handler: handler.raw(f"X: {'x' * 70_000}"), r"cannot be read \(LineTooLong\)"),
        (lambda handler: None, r"cannot be read \(RemoteDisconnected\)"),
    ],
)
def test_an_answer_without_a_picture_is_an_error(
    world: World, page: Callable[[_Handler], None], message: str
) -> None:
    world.pages["/"] = page
    with pytest.raises(FetchError, match=message):
        fetch_picture("http://photos.example/", network=world)


# --- bounds


def endless(*lines: str, start: bytes = b"", block: bytes = bytes(1 << 16)) -> Callable[[_Handler], None]:
    def page(handler: _Handler) -> None:
        handler.raw(*lines)
        handler.wfile.write(start)
        while not handler.server.world.done.is_set():
            handler.wfile.write(block)

    return page


def test_the_size_is_exact(world: World) -> None:
    world.pages["/"] = gives(bytes(1000))
    assert len(fetch_picture("http://photos.example/", max_bytes=1000, network=world)) == 1000
    with pytest.raises(FetchError, match="has over 999 bytes: download the picture and use the file"):
        fetch_picture("http://photos.example/", max_bytes=999, network=world)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (endless("Content-Length: 99999999999999"), "has over 100,000 bytes"),
        (endless("Content-Type: image/png"), "has over 100,000 bytes"),
        (endless("Content-Length: -5"), "has over 100,000 bytes"),
        (endless("Transfer-Encoding: chunked", block=b"8000\r\n%b\r\n" % bytes(0x8000)), "has over 100,000"),
        # A chunk that says it is -1 long makes http.client read all there is.
        (endless("Transfer-Encoding: chunked", start=b"-1\r\n"), "sent over 100,000 bytes"),
        (endless("Transfer-Encoding: chunked", start=b"ffffffffff\r\n"), "has over 100,000 bytes"),
        (lambda handler: _keep_waiting(handler), "sent over 100,000 bytes"),
    ],
)
def test_a_body_without_end_is_left(world: World, page: Callable[[_Handler], None], message: str) -> None:
    world.pages["/"] = page
    with pytest.raises(FetchError, match=message):
        fetch_picture("http://photos.example/", max_bytes=100_000, network=world)


def _keep_waiting(handler: _Handler) -> None:
    """Announces an answer for ever."""
    while not handler.server.world.done.is_set():
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def drip(*lines: str) -> Callable[[_Handler], None]:
    def page(handler: _Handler) -> None:
        if lines:
            handler.raw(*lines)
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not handler.server.world.done.wait(0.01):
            handler.wfile.write(b"x")

    return page


@pytest.mark.parametrize(
    "page",
    [drip("Content-Type: image/png"), drip(), lambda handler: handler.server.world.done.wait(60)],
    ids=["body", "headers", "silence"],
)
def test_time_is_counted_over_all_of_it(world: World, page: Callable[[_Handler], None]) -> None:
    world.pages["/"] = page
    with pytest.raises(FetchError, match=r"'http://photos.example/' was not there after 0.4 s: download"):
        fetch_picture("http://photos.example/", seconds=0.4, network=world)


def test_a_name_that_takes_for_ever_is_left() -> None:
    class Slow(World):
        def addresses(self, host: str, port: int) -> list[str]:
            self.done.wait(60)
            return []

    slow = Slow()
    try:
        with pytest.raises(FetchError, match=r"was not there after 0.2 s"):
            fetch_picture("http://photos.example/", seconds=0.2, network=slow)
    finally:
        slow.stop()


def test_redirects_share_the_time(world: World) -> None:
    def late(handler: _Handler) -> None:
        handler.server.world.done.wait(0.25)
        handler.reply(302, Location="/")

    world.pages["/"] = late
    with pytest.raises(FetchError, match=r"was not there after 0\.4 s"):
        fetch_picture("http://photos.example/", seconds=0.4, network=world)


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the key and the certificate of an authority that is its own site, photos.example."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "photos.example")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("photos.example"),
        x509.IPAddress(ipaddress.ip_address(SITE)),
    ]
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "photos.pem"
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure(world: World, certificate: Path) -> World:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    world.server.socket = context.wrap_socket(world.server.socket, server_side=True)
    world.trusted = ssl.create_default_context(cafile=str(certificate))
    world.pages["/"] = gives()
    return world


def test_https_goes_to_its_own_port_and_the_name_is_verified(secure: World) -> None:
    assert fetch_picture("https://photos.example/", network=secure) == PICTURE
    assert fetch_picture(f"https://{SITE}:443/", network=secure) == PICTURE
    assert secure.connected == [(SITE, 443), (SITE, 443)]
    with pytest.raises(FetchError, match=r"has a certificate that does not hold: .*'other\.example'"):
        fetch_picture("https://other.example/", network=secure)


def test_a_certificate_of_nobody_is_refused(secure: World) -> None:
    secure.trusted = Network().tls()
    with pytest.raises(FetchError, match=r"has a certificate that does not hold: self.signed"):
        fetch_picture("https://photos.example/", network=secure)


def test_a_server_that_speaks_no_tls_is_told(world: World) -> None:
    with pytest.raises(FetchError, match="cannot be read"):
        fetch_picture("https://photos.example/", network=world)

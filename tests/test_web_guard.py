from __future__ import annotations

import asyncio
import base64
import http.client
import os
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from clipkit.errors import InvalidInput
from clipkit_web.auth import Auth, Tries
from clipkit_web.guard import Guard

TOKEN = "correct-horse-battery-staple"
ECHO = "ws://localhost:7860/echo"


async def page(request: Request) -> Response:
    return PlainTextResponse(f"{request.method} {request.url.path}?{request.url.query}")


async def measured(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def strict(_: Request) -> Response:
    return PlainTextResponse("", headers={"Content-Security-Policy": "sandbox"})


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


def app() -> Starlette:
    methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    return Starlette(
        routes=[
            Route("/measured", measured, methods=["POST"]),
            Route("/strict", strict),
            WebSocketRoute("/echo", echo),
            Route("/{path:path}", page, methods=methods),
        ]
    )


def client(host: str = "localhost:7860", **options: Any) -> TestClient:
    return TestClient(Guard(app(), **options), base_url=f"http://{host}", follow_redirects=False)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


# --- the name it is called by


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7860", "LOCALHOST.", "127.0.0.1:1", "[::1]", "[::1]:80"]
)
def test_the_loopback_is_answered_by_its_names(host: str) -> None:
    assert client(host).get("/a").text == "GET /a?"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "localhost.evil.example",
        "127.0.0.1.nip.example",
        "192.168.1.5",
        "[fe80::1]",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_pointed_at_this_machine_is_refused(host: str, method: str) -> None:
    answer = client(host).request(method, "/")
    assert answer.status_code == 421
    assert f"This is not {host.removesuffix(':7860').strip('[]')!r}." in answer.text
    assert "--token-file" in answer.text


def test_names_are_given_in_any_spelling() -> None:
    hosts = ["192.168.1.5", "Photos.Local.", "fe80:0::1", "bücher.example"]
    for host in ("192.168.1.5:7860", "photos.local", "[FE80::1]:7860", "xn--bcher-kva.example", "localhost"):
        assert client(host, hosts=hosts).get("/").status_code == 200
    assert client("192.168.1.6", hosts=hosts).get("/").status_code == 421


@pytest.mark.parametrize("bound", ["0.0.0.0", "::"])
def test_bound_to_all_addresses_it_answers_to_numbers_and_with_a_password_to_any_name(bound: str) -> None:
    open_, closed = client(hosts=[bound]), client(hosts=[bound], auth=Auth("me", "pw"))
    for host, status in (("192.168.1.5:7860", 200), ("[2606:4700::1]", 200), ("nas.local", 421)):
        assert open_.get("/", headers={"Host": host}).status_code == status
    assert closed.get("/", headers={"Host": "nas.local"}).status_code == 401
    assert closed.get("/", headers={"Host": "nas.local", **basic("me", "pw")}).status_code == 200


@pytest.mark.parametrize(
    "host", ["", "a b", "user@localhost", "localhost:x", "localhost/", "[::1", "localhost\\"]
)
def test_a_host_that_is_none_is_refused(host: str) -> None:
    answer = client().get("/", headers={"Host": host})
    assert (answer.status_code, answer.text) == (
        400,
        "The request needs one Host header with a name or an address.\n",
    )


@pytest.mark.parametrize("hosts", [[], [b"localhost", b"localhost"]])
def test_there_is_exactly_one_host(hosts: list[bytes]) -> None:
    sent = ask(Guard(app()), [(b"host", host) for host in hosts])
    assert sent[0]["status"] == 400


def ask(guard: Guard, headers: list[tuple[bytes, bytes]], **scope: Any) -> list[dict[str, Any]]:
    """What is sent for a request that no client would make."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    base = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": headers,
        "client": None,
    }
    asyncio.run(guard({**base, **scope}, receive, send))
    return sent


# --- what other sites start


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"Origin": "http://localhost:7860"}, 200),
        ({"Origin": "HTTP://LOCALHOST:7860"}, 200),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "http://127.0.0.1:7860"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:7860.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://name-before-a-proxy.example"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:7860"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403),
        ({"Sec-Fetch-Site": "nonsense"}, 403),
    ],
)
def test_another_site_changes_nothing(method: str, headers: dict[str, str], status: int) -> None:
    answer = client().request(method, "/", headers=headers)
    assert answer.status_code == status
    assert answer.text.startswith(f"{method} /?" if status == 200 else "Another site asked for this")


@pytest.mark.parametrize(
    ("mode", "dest", "status"),
    [
        ("navigate", "document", 200),  # a link that was followed
        ("navigate", "iframe", 403),
        ("navigate", "object", 403),
        ("no-cors", "image", 403),
        ("no-cors", "script", 403),
        ("cors", "empty", 403),
    ],
)
def test_another_site_reads_nothing_but_may_link_here(mode: str, dest: str, status: int) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    assert client().get("/", headers=headers).status_code == status


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_a_script_of_another_site_gets_no_answer(method: str) -> None:
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "PUT"}
    assert client().request(method, "/", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("photos.example", "https://photos.example", 200),
        ("photos.example", "https://photos.example:443", 200),
        ("photos.example:443", "https://photos.example", 200),
        ("photos.example:80", "http://photos.example", 200),
        ("photos.example", "https://photos.example:80", 403),
        ("photos.example", "ftp://photos.example", 403),
        ("photos.example", "https://user@photos.example", 403),
    ],
)
def test_an_origin_goes_by_the_port_that_its_scheme_has(host: str, origin: str, status: int) -> None:
    answer = client(host, hosts=["photos.example"]).post("/", headers={"Origin": origin})
    assert answer.status_code == status


# --- passwords and tokens


def test_a_password_lets_in() -> None:
    guarded = client(auth=Auth.from_pair("me:a:b ü"))
    assert guarded.get("/", headers=basic("me", "a:b ü")).status_code == 200
    for headers in (
        basic("me", "a:b"),
        basic("you", "a:b ü"),
        basic("", "a:b ü"),
        {"Authorization": "Bearer a:b"},
        {"Authorization": "Basic me:a"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic /w=="},
        {"Authorization": "basic"},
        {"Authorization": ""},
    ):
        assert guarded.get("/", headers=headers).status_code == 401


def test_who_brings_nothing_is_asked() -> None:
    answer = client(auth=Auth("me", "pw")).get("/")
    assert (answer.status_code, answer.text) == (401, "This page asks for a name and a password.\n")
    assert answer.headers["www-authenticate"] == 'Basic realm="clipkit", charset="UTF-8"'
    assert answer.headers["cache-control"] == "no-store"


def test_a_token_lets_in_by_every_way_that_clients_have(token_file: Path) -> None:
    guarded = client(auth=Auth.from_token_file(token_file))
    assert guarded.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/", headers={"Authorization": f"bearer  {TOKEN}"}).status_code == 200
    assert guarded.get("/", headers=basic("anyone", TOKEN)).status_code == 200
    assert guarded.post(f"/?token={TOKEN}").text == "POST /?"
    for wrong in (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), ""):
        answer = guarded.get("/", headers={"Authorization": f"Bearer {wrong}"})
        assert answer.status_code == 401
        assert answer.headers.get_list("www-authenticate") == [
            'Basic realm="clipkit", charset="UTF-8"',
            'Bearer realm="clipkit"',
        ]


def test_a_link_with_the_token_leads_to_the_page_without_it(token_file: Path) -> None:
    guarded = client(auth=Auth.from_token_file(token_file))
    answer = guarded.get(f"/albums/sea%20side?q=a%26b&token={TOKEN}&q=%2B")
    assert (answer.status_code, answer.headers["location"]) == (303, "./sea%20side?q=a%26b&q=%2B")
    cookie = answer.headers["set-cookie"]
    assert cookie.endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax")
    assert TOKEN not in cookie
    followed = guarded.get("/albums/sea%20side?q=a%26b&q=%2B")  # the client keeps the cookie
    assert followed.text == "GET /albums/sea side?q=a%26b&q=%2B"


def test_over_https_the_cookie_stays_there(token_file: Path) -> None:
    guard = Guard(app(), auth=Auth.from_token_file(token_file))
    answer = TestClient(guard, base_url="https://localhost", follow_redirects=False).get(f"/?token={TOKEN}")
    assert answer.headers["set-cookie"].endswith("; SameSite=Lax; Secure")


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "//evil.example/", "/\\evil.example", "/a/\\\\evil.example", "/https:evil.example"],
)
def test_the_redirect_leads_to_no_other_site(token_file: Path, path: str) -> None:
    guard = Guard(app(), auth=Auth.from_token_file(token_file))
    query = f"token={TOKEN}".encode()
    sent = ask(guard, [(b"host", b"localhost")], path=path, query_string=query)
    assert dict(sent[0]["headers"])[b"location"].startswith(b"./")
    assert not re.search(rb"//|\\", dict(sent[0]["headers"])[b"location"])


def test_a_wrong_token_in_the_link_is_refused_even_with_the_cookie(token_file: Path) -> None:
    guarded = client(auth=Auth.from_token_file(token_file))
    assert guarded.get(f"/?token={TOKEN}").status_code == 303
    assert guarded.get("/?token=wrong").status_code == 401
    assert guarded.get("/").status_code == 200


def test_cookies_hold_after_a_restart_and_for_that_token_only(token_file: Path, tmp_path: Path) -> None:
    auth = Auth.from_token_file(token_file)
    cookie = auth.cookie(secure=False).partition(";")[0]
    name, _, value = cookie.partition("=")
    assert Auth.from_token_file(token_file).knows_cookies(f"a=b; {cookie};c")
    assert not auth.knows_cookies(f"{name}={value[:-1]}")
    assert not auth.knows_cookies(f"{name}=")
    assert not auth.knows_cookies(f"other={value}")
    assert not auth.knows_cookies(f"{name}={TOKEN}")
    other = Auth(None, "another-token-of-some-length")
    assert not other.knows_cookies(cookie)
    assert other.cookie(secure=False).partition("=")[0] != name  # so that two servers get on in one browser
    assert not Auth("me", TOKEN).knows_cookies(cookie)


def test_a_token_is_the_apps_own_business_where_a_password_is_asked() -> None:
    guarded = client(auth=Auth("me", "pw"))
    assert guarded.get("/?token=7", headers=basic("me", "pw")).text == "GET /?token=7"
    assert client().get("/?token=7").text == "GET /?token=7"


def test_secrets_are_not_printed() -> None:
    assert repr(Auth("me", "pw")) == "Auth(user='me')"


@pytest.mark.parametrize("pair", ["", "me", "me:", ":pw"])
def test_a_pair_has_two_parts(pair: str) -> None:
    with pytest.raises(InvalidInput, match="is written user:password"):
        Auth.from_pair(pair)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 characters and needs 16 or more; make one with"),
        (b" \n\n", "has 0 characters"),
        (b"123456789012345\n", "has 15 characters and needs 16 or more"),
        (b"1234567890 1234567890", "holds more than one token"),
        (b"1234567890\n1234567890", "holds more than one token"),
        (b"1234567890\x001234567890", "holds more than one token"),
        ("0123456789ü123456789".encode(), "holds more than ASCII"),
        (b"x" * 5000, "holds more than one token"),
    ],
)
def test_a_token_file_holds_one_token(token_file: Path, content: bytes, message: str) -> None:
    token_file.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        Auth.from_token_file(token_file)


def test_a_token_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        Auth.from_token_file(tmp_path / "none")
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        Auth.from_token_file(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_a_token_file_is_its_owners(token_file: Path) -> None:
    token_file.chmod(0o640)
    with pytest.warns(UserWarning, match=r"others may read the token file .* \(mode 640\): chmod 600"):
        assert Auth.from_token_file(token_file).is_token(TOKEN)
    token_file.chmod(0o602)
    with pytest.raises(InvalidInput, match=r"others may write the token file .* \(mode 602\): chmod 600"):
        Auth.from_token_file(token_file)


def test_who_tries_ten_times_has_to_wait_even_with_the_right_password() -> None:
    guarded = client(auth=Auth("me", "pw"))
    for _ in range(10):
        assert guarded.get("/", headers=basic("me", "wrong")).status_code == 401
    answer = guarded.get("/", headers=basic("me", "pw"))
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert guarded.get("/").status_code == 401  # no try


def test_a_cookie_holds_while_others_try(token_file: Path) -> None:
    guarded = client(auth=Auth.from_token_file(token_file))
    assert guarded.get(f"/?token={TOKEN}").status_code == 303
    for status in [401] * 10 + [429]:
        assert guarded.get("/?token=wrong").status_code == status
    assert guarded.get("/").status_code == 200


def test_tries_are_counted_by_address_and_forgotten() -> None:
    now = 0.0
    tries = Tries(clock=lambda: now)
    for second in range(10):
        now = float(second)
        assert tries.wait("198.51.100.1") == 0
        tries.count("198.51.100.1")
    assert tries.wait("198.51.100.1") == 51  # the first was at 0 s
    assert tries.wait("::ffff:198.51.100.1") == 51
    assert tries.wait("198.51.100.2") == 0
    now = 59.5
    assert tries.wait("198.51.100.1") == 1
    now = 60.0
    assert tries.wait("198.51.100.1") == 0
    for host in range(10):
        tries.count(f"2001:db8::{host}")
    assert tries.wait("2001:db8::ffff:1") == 60  # one network is one address
    assert tries.wait("2001:db8:0:1::1") == 0


def test_tries_of_many_addresses_take_bounded_memory() -> None:
    tries = Tries(clock=lambda: 0.0)
    for _ in range(10):
        tries.count("first")
    for number in range(5000):
        tries.count(f"address {number}")
    assert tries.wait("first") == 0
    assert len(tries._wrong) == 4096


# --- how much


def test_the_size_of_a_body_is_exact() -> None:
    guarded = client(max_body_bytes=1000)
    assert guarded.post("/measured", content=bytes(1000)).text == "1000"
    answer = guarded.post("/measured", content=bytes(1001))
    assert (answer.status_code, answer.text) == (
        413,
        "What was sent is too large: at most 1,000 bytes are taken.\n",
    )


def test_a_text_of_50_mb_is_refused_as_things_are() -> None:
    assert client().post("/measured", content=b"x" * 50_000_000).status_code == 413


@pytest.mark.parametrize("lengths", [[b"x"], [b"-1"], [b"+1"], [b"1", b"2"], [b"9" * 30], [b""]])
def test_a_length_is_one_number(lengths: list[bytes]) -> None:
    headers = [(b"host", b"localhost"), *((b"content-length", length) for length in lengths)]
    assert ask(Guard(app()), headers, method="POST")[0]["status"] == 400


def test_addresses_and_headers_are_bounded() -> None:
    assert client().get("/" + "a" * 16_000).status_code == 200
    assert client().get("/" + "a" * 16_384).status_code == 414
    assert client().get("/?q=" + "a" * 16_384).status_code == 414
    assert client().get("/", headers={"X": "a" * 32_000}).status_code == 200
    assert client().get("/", headers={"X": "a" * 32_768}).status_code == 431


# --- what answers carry


@pytest.mark.parametrize(
    ("path", "host"), [("/", "localhost"), ("/", "evil.example"), ("/measured", "localhost")]
)
def test_every_answer_carries_the_security_headers(path: str, host: str) -> None:
    headers = client(host).get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'self'"
    own = {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"}
    assert {word for words in policy.values() for word in words.split()} <= own  # no other site


def test_a_stricter_policy_of_the_app_stands() -> None:
    headers = client().get("/strict").headers
    assert headers.get_list("content-security-policy") == ["sandbox"]
    assert headers["x-content-type-options"] == "nosniff"


# --- websockets and the application's life


def test_websockets_pass() -> None:
    with client().websocket_connect(ECHO, headers={"Origin": "http://localhost:7860"}) as socket_:
        socket_.send_text("hello")
        assert socket_.receive_text() == "hello"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403),
        ({"Host": "evil.example"}, 401),
        ({}, 401),
    ],
)
def test_websockets_are_refused_as_requests_are(headers: dict[str, str], status: int) -> None:
    guarded = client(auth=Auth(None, TOKEN))
    with (
        pytest.raises(WebSocketDenialResponse, match=r"^$") as caught,  # an answer, and has no message
        guarded.websocket_connect(ECHO, headers=headers),
    ):
        pass
    assert caught.value.status_code == status
    assert caught.value.headers["x-content-type-options"] == "nosniff"


def test_a_websocket_is_closed_where_the_server_knows_no_other_way() -> None:
    sent = ask(Guard(app()), [(b"host", b"evil.example")], type="websocket")
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "Misdirected Request"}]


def test_a_websocket_comes_in_with_a_token() -> None:
    guarded = client(auth=Auth(None, TOKEN))
    with guarded.websocket_connect(f"{ECHO}?token={TOKEN}") as socket_:
        socket_.send_text("hello")
        assert socket_.receive_text() == "hello"


def test_the_application_starts_and_stops() -> None:
    events = []

    class Life:
        async def __aenter__(self) -> None:
            events.append("starts")

        async def __aexit__(self, *_: object) -> None:
            events.append("stops")

    guard = Guard(Starlette(lifespan=lambda _: Life()), auth=Auth("me", "pw"))
    with TestClient(guard):
        assert events == ["starts"]
    assert events == ["starts", "stops"]


# --- a real server


class Served:
    """`app` behind a guard, served by uvicorn on the loopback."""

    def __init__(self, application: Starlette, **options: Any) -> None:
        self.guard = Guard(application, **options)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(self.guard, log_level="info", log_config=None))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self) -> Served:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(app(), max_body_bytes=1_000_000, auth=Auth(None, TOKEN)) as server:
        yield server


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"}


def test_bodies_in_chunks_are_counted_as_they_come(served: Served) -> None:
    connection = served.connection()
    connection.request("POST", "/measured", iter([bytes(500_000)] * 2), bearer(), encode_chunked=True)
    assert connection.getresponse().read() == b"1000000"
    connection.close()
    connection = served.connection()
    connection.putrequest("POST", "/measured")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.endheaders()
    connection.send(b"f4241\r\n" + bytes(1_000_001) + b"\r\n")  # the body has no end yet
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Connection")) == (413, "close")
    assert answer.read() == b"What was sent is too large: at most 1,000,000 bytes are taken.\n"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"


def test_a_browser_that_sends_too_much_sees_the_answer(served: Served) -> None:
    connection = served.connection()
    connection.request("POST", "/measured", bytes(5_000_000), bearer())
    assert connection.getresponse().read().startswith(b"What was sent is too large")
    connection.request("POST", "/measured", bytes(5), bearer())  # the rest was thrown away
    assert connection.getresponse().read() == b"5"


def test_what_is_announced_as_far_too_large_is_not_awaited(served: Served) -> None:
    connection = served.connection()
    connection.putrequest("POST", "/measured")
    connection.putheader("Content-Length", "99000000000")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Connection")) == (413, "close")


def test_the_token_is_not_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "uvicorn.access")
    for path in (f"/a?token={TOKEN}&q=1", f"/b?q=2&token={TOKEN}x"):
        connection = served.connection()
        connection.request("GET", path)
        assert connection.getresponse().read()
    connection = served.connection()
    connection.request("GET", f"/c?token={TOKEN}", headers={"Host": "evil.example"})
    assert connection.getresponse().status == 303  # with the secret, any name will do
    logged = [message.split(" - ")[1] for message in caplog.messages if " - " in message]
    assert logged == ['"GET /a?q=1 HTTP/1.1" 303', '"GET /b?q=2 HTTP/1.1" 401', '"GET /c HTTP/1.1" 303']


def test_events_are_sent_on_at_once_and_the_end_is_heard() -> None:
    go, gone = threading.Event(), threading.Event()

    async def events(_: Request) -> Response:
        async def stream() -> AsyncIterator[str]:
            try:
                yield "data: 1\n\n"
                await asyncio.to_thread(go.wait, 60)
                yield "data: 2\n\n"
                await asyncio.sleep(60)
            finally:
                gone.set()

        return StreamingResponse(stream(), media_type="text/event-stream")

    with Served(Starlette(routes=[Route("/", events)])) as server:
        connection = server.connection()
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.readline() == b"data: 1\n"  # the second is not made before this has been read
        assert answer.readline() == b"\n"
        go.set()
        assert answer.readline() == b"data: 2\n"
        answer.close()
        connection.close()
        assert gone.wait(60)

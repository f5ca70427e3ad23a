"""Who may ask the server, how much it takes on, what it tells of itself, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from typer.testing import CliRunner

from clipkit.cli import app as command_line
from clipkit.errors import InvalidInput
from clipkit.testing import FakeEncoder
from clipkit_server.keys import Keys
from clipkit_server.limits import Limits
from clipkit_server.logs import JsonLines
from tests.server_site import Site, data_uri, png, service, serving

KEY, OTHER = "correct-horse-battery-staple", "another-key-that-is-long-enough"
KEYS = Keys.of([f"ann:{KEY}", OTHER], source="a test")
ASKED = {"model": "fake", "input": "red"}


@pytest.fixture(scope="module")
def locked() -> Iterator[Site]:
    with serving(service(), keys=KEYS) as site:
        yield site


class Slow(FakeEncoder):
    """Embeds when it is let, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.started = threading.Event()
        self.broken = False

    def _text_batch(self, texts: list[str]) -> Any:
        self.started.set()
        assert self.go.wait(60)
        if self.broken:
            raise MemoryError("the device is full")
        return super()._text_batch(texts)


# --- keys


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_each_of_several_keys_lets_in(locked: Site, key: str) -> None:
    response = locked.openai(key).embeddings.create(model="fake", input="red")
    assert (np.array(response.data[0].embedding, np.float32) == FakeEncoder().encode_texts(["red"])[0]).all()


def test_no_key_and_a_wrong_one_are_refused_in_openai_s_words(locked: Site) -> None:
    with pytest.raises(openai.AuthenticationError, match="this API key is not known here") as error:
        locked.openai("wrong-key-wrong-key").embeddings.create(model="fake", input="red")
    assert (error.value.code, error.value.type) == ("invalid_api_key", "authentication_error")
    with locked.http() as client:
        for path in ("/v1/models", "/models", "/metrics", "/v1/collections", "/openapi.json"):
            answer = client.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="clipkit"'
        assert client.get("/v1/models", headers={"authorization": f"Basic {KEY}"}).status_code == 401
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_who_tries_many_keys_has_to_wait_even_with_the_right_one() -> None:
    with serving(service(), keys=KEYS) as site, site.http() as client:
        for _ in range(10):
            assert client.get("/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
        answer = client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "too_many_tries"
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_keys_come_from_a_file_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# of the team\nann:{KEY}\n\n{OTHER}  # spare\n")
    file.chmod(0o600)
    keys = Keys.from_file(file)
    assert keys.owner(f"Bearer {KEY}") == "ann"
    assert keys.owner(f"bearer {OTHER}") == "key-2"
    assert keys.owner("Bearer ") is None
    assert KEY not in repr(keys)
    monkeypatch.delenv("CLIPKIT_API_KEYS", raising=False)
    assert Keys.from_environment() is None
    monkeypatch.setenv("CLIPKIT_API_KEYS", f"{OTHER},bob:{KEY}")
    found = Keys.from_environment()
    assert found is not None
    assert found.owner(f"Bearer {KEY}") == "bob"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["short"], "key 1 of keys has 5 characters and needs 16 or more"),
        ([KEY, f"a b:{OTHER}"], "key 2 of keys has a name with more than letters"),
        ([f"ann:{KEY}", f"ann:{OTHER}"], "not all different"),
        ([], "keys holds no key"),
    ],
)
def test_a_key_that_is_none_is_told_without_saying_it(lines: list[str], says: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(says)) as error:
        Keys.of(lines, source="keys")
    assert not any(line in str(error.value) for line in lines)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o666)
    with pytest.raises(InvalidInput, match="others may write"):
        Keys.from_file(file)


def test_another_address_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPKIT_API_KEYS", raising=False)
    done = CliRunner().invoke(command_line, ["serve", "--host", "0.0.0.0"])
    assert done.exit_code == 2
    assert "--key-file FILE or $CLIPKIT_API_KEYS" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "=bundled"], "NAME=MODEL"),
        (["--model", "wurst:1"], "no kind of model is called 'wurst'"),
        (["--cors", "example.org"], "https://example.org"),
        (["--key-file", "/nowhere/keys"], "cannot be read"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_served(options: list[str], says: str) -> None:
    done = CliRunner().invoke(command_line, ["serve", *options])
    assert done.exit_code == 2
    assert says in " ".join(done.output.split())


# --- other names, other sites


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8000"}, 200),
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_without_keys_other_names_and_sites_are_kept_out(headers: dict[str, str], status: int) -> None:
    with serving(service()) as site, site.http() as client:
        answer = client.post("/v1/embeddings", json=ASKED, headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["type"] in ("invalid_request_error", "permission_error")


def test_cors_lets_in_the_sites_that_were_named_and_no_others() -> None:
    origin = "https://app.example.org"
    with serving(service(), keys=KEYS, origins=[origin]) as site, site.http() as client:
        asking = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        allowed = client.options("/v1/embeddings", headers={"origin": origin, **asking})
        assert allowed.headers["access-control-allow-origin"] == origin
        headers = {"origin": origin, "sec-fetch-site": "cross-site", "authorization": f"Bearer {KEY}"}
        answer = client.post("/v1/embeddings", json=ASKED, headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        unknown = client.post("/v1/embeddings", json=ASKED, headers={"origin": origin})
        assert (unknown.status_code, unknown.headers["access-control-allow-origin"]) == (401, origin)
        other = client.options("/v1/embeddings", headers={"origin": "https://evil.example", **asking})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers


# --- bounds


def test_a_body_beyond_the_bound_is_refused() -> None:
    with serving(service(limits=Limits(body_bytes=1_000))) as site, site.http() as client:
        answer = client.post("/v1/embeddings", json={"model": "fake", "input": "a" * 1_000})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        chunks = (b"a" * 100 for _ in range(20))
        assert client.post("/v1/embeddings", content=chunks).status_code == 413


def test_a_full_queue_is_told_with_the_time_to_come_back() -> None:
    slow = Slow()
    limits = Limits(queued_texts=4, window=0.0, age=0.0)
    with serving(service(limits=limits, load=lambda spec, upright: slow)) as site:
        first = threading.Thread(target=lambda: site.openai().embeddings.create(model="fake", input="a"))
        first.start()
        assert slow.started.wait(30)
        with pytest.raises(openai.RateLimitError, match="0 inputs wait already") as error:
            site.openai().embeddings.create(model="fake", input=["b"] * 5)
        assert error.value.code == "queue_full"
        assert int(error.value.response.headers["retry-after"]) >= 1
        slow.go.set()
        first.join(30)
        assert len(site.openai().embeddings.create(model="fake", input=["b"] * 4).data) == 4


def test_requests_beyond_the_bound_are_told_to_come_back() -> None:
    slow = Slow()
    with serving(service(limits=Limits(requests=1), load=lambda spec, upright: slow)) as site:
        first = threading.Thread(target=lambda: site.openai().embeddings.create(model="fake", input="a"))
        first.start()
        assert slow.started.wait(30)
        with site.http() as client:
            answer = client.get("/v1/models")
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert client.get("/health/live").status_code == 200
            slow.go.set()
            first.join(30)
            assert client.get("/v1/models").status_code == 200
            assert 'clipkit_refused_total{reason="too_many_requests"} 1.0' in client.get("/metrics").text


def test_what_takes_too_long_ends_with_a_504_and_leaves_the_queue() -> None:
    slow = Slow()
    with serving(service(limits=Limits(seconds=0.3), load=lambda spec, upright: slow)) as site:
        with pytest.raises(openai.InternalServerError, match="took too long") as error:
            site.openai().embeddings.create(model="fake", input=["a"] * 200)
        assert (error.value.status_code, error.value.code) == (504, "timeout")
        (model,) = site.service.models.loaded().values()
        assert model.worker.waiting()["text"] == 0
        slow.go.set()


def test_a_client_with_one_text_does_not_wait_for_one_with_two_thousand() -> None:
    slow, order = Slow(), []

    def ask(site: Site, key: str, name: str, count: int) -> None:
        site.openai(key).embeddings.create(model="fake", input=["a"] * count)
        order.append(name)

    with serving(service(load=lambda spec, upright: slow), keys=KEYS) as site:
        threads = [threading.Thread(target=ask, args=(site, KEY, "many", 2_048))]
        threads[0].start()
        assert slow.started.wait(30)
        threads.append(threading.Thread(target=ask, args=(site, OTHER, "one", 1)))
        threads[1].start()
        (model,) = site.service.models.loaded().values()
        while model.worker.waiting()["text"] < 2_049 - slow.batch_size:  # until both wait
            time.sleep(0.01)
        slow.go.set()
        for thread in threads:
            thread.join(30)
    assert order == ["one", "many"]


# --- what it tells


def test_ready_embeds_and_says_when_it_cannot() -> None:
    slow = Slow()
    slow.go.set()
    with serving(service(load=lambda spec, upright: slow)) as site, site.http() as client:
        assert client.get("/health/ready").json() == {"status": "ok"}
        assert slow.started.is_set()
        slow.broken = True
        deadline = time.monotonic() + 30
        while (
            answer := client.get("/health/ready")
        ).status_code == 200:  # the last answer holds for a second
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        assert client.get("/health/live").json() == {"status": "ok"}
        slow.broken = False
        while client.get("/health/ready").status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_model_that_cannot_be_loaded_is_no_fault_of_the_client(tmp_path: Path) -> None:
    with serving(service(models={"lost": f"local-dir:{tmp_path}/lost"})) as site, site.http() as client:
        answer = client.post("/v1/embeddings", json={"model": "lost", "input": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
        assert str(tmp_path) not in answer.text
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")


def test_the_log_has_a_line_for_each_request_and_neither_contents_nor_keys() -> None:
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines().format(record))

    logger, handler = logging.getLogger("clipkit.server"), Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with serving(service(), keys=KEYS) as site, site.http() as client:
            headers = {"authorization": f"Bearer {KEY}"}
            body = {"model": "fake", "input": ["a secret", data_uri(png())]}
            answered = client.post("/v1/embeddings?secret=1", json=body, headers=headers)
            client.post("/v1/embeddings", json={"model": "secret", "input": "secret"}, headers=headers)
            client.get("/secret", headers={"authorization": "Bearer secret"})
    finally:
        logger.removeHandler(handler)
    told = [json.loads(line) for line in lines]
    requests = [line for line in told if line["event"] == "request"]
    assert [(r["route"], r["status"], r["client"]) for r in requests] == [
        ("/embeddings", 200, "ann"),
        ("/embeddings", 404, "ann"),
        ("other", 401, "-"),
    ]
    assert requests[0]["id"] == answered.headers["x-request-id"]
    assert not re.search(f"secret|iVBOR|{KEY}", "\n".join(lines))


def test_an_error_of_ours_is_logged_where_it_came_from_and_not_with_what_it_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Buggy(FakeEncoder):
        def preprocess(self, image: Any) -> Any:
            raise ZeroDivisionError("a secret")

        def _text_batch(self, texts: list[str]) -> Any:
            raise ZeroDivisionError(f"{texts} are a secret")

    caplog.set_level(logging.INFO, "clipkit.server")
    with serving(service(load=lambda spec, upright: Buggy())) as site, site.http() as client:
        answers = [
            client.post("/v1/embeddings", json={"model": "fake", "input": given})
            for given in (data_uri(png()), "secret")
        ]
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
        assert "secret" not in answer.text
    lines = [JsonLines().format(record) for record in caplog.records if record.levelname == "ERROR"]
    for line, where in zip(lines, ("preprocess", "_text_batch"), strict=True):
        assert json.loads(line)["error"] == "ZeroDivisionError"
        assert re.search(rf"test_server_guarding\.py:\d+ {where}", line)
        assert "secret" not in line


def test_the_metrics_count_requests_batches_and_what_waits() -> None:
    with serving(service()) as site, site.http() as client:
        for _ in range(3):
            client.post("/v1/embeddings", json={"model": "fake", "input": ["a", "b"]})
        client.post("/v1/embeddings", json={"model": "fake", "input": data_uri(png())})
        told = client.get("/metrics").text
    for line in (
        'clipkit_requests_total{method="POST",route="/embeddings",status="200"} 4.0',
        'clipkit_inputs_total{kind="text"} 6.0',
        'clipkit_batch_items_count{kind="text"} 3.0',
        'clipkit_batch_items_sum{kind="image"} 1.0',
        'clipkit_stage_seconds_count{kind="image",stage="decode"} 1.0',
        'clipkit_stage_seconds_count{kind="text",stage="queue"} 3.0',
        'clipkit_stage_seconds_count{kind="text",stage="model"} 3.0',
        'clipkit_queue_items{kind="text",model="fake"} 0.0',
        "clipkit_models_loaded 1.0",
        "clipkit_requests_in_flight 1.0",
    ):
        assert f"\n{line}\n" in told


# --- how it ends

DRAINING = """
import sys, threading, time
from clipkit.testing import FakeEncoder
from clipkit_server.serving import Options, Service, serve

class Slow(FakeEncoder):
    def _text_batch(self, texts):
        if "slow" in texts:
            print("under way", flush=True)
            time.sleep(1.5)
        return super()._text_batch(texts)

service = Service(Options(models={"fake": "fake"}), load=lambda spec, upright: Slow())
serve(service, host="127.0.0.1", port=0, keys=None, origins=(), opened=lambda url: print(url, flush=True))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is POSIX's")
def test_told_to_end_it_answers_what_is_under_way_takes_nothing_new_and_leaves_in_order() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DRAINING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    found: list[Any] = []

    def ask() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            found.append(client.post("/v1/embeddings", json={"model": "fake", "input": "slow"}))

    asking = threading.Thread(target=ask)
    asking.start()
    assert process.stdout.readline().strip() == "under way"
    process.send_signal(signal.SIGTERM)
    refused = False
    while not refused and asking.is_alive():
        try:
            refused = httpx.get(f"{url}/v1/models", trust_env=False, timeout=5).status_code == 503
        except httpx.TransportError:
            refused = True
    asking.join(60)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert refused
    (answer,) = found
    assert answer.status_code == 200
    expected = FakeEncoder().encode_texts(["slow"])[0]
    assert (np.array(answer.json()["data"][0]["embedding"], np.float32) == expected).all()
    assert [json.loads(line)["event"] for line in log.splitlines()][-1] == "ended"

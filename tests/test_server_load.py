"""What the server does when much is asked at once; tests/bench/load.py measures how fast."""

from __future__ import annotations

import asyncio
import base64
import re
import threading
import time
from typing import Any

import httpx
import pytest

from clipkit.testing import FakeEncoder
from clipkit_server.application import application
from tests.bench.load import NAME, embedding_of, mixed, request, text
from tests.server_site import png, service, serving

REQUESTS = 2_000
CLIENTS = 64
BLOCKING = 2.0  # seconds, for which the encoder of a test stops its thread


def test_of_many_requests_with_one_in_ten_broken_each_gets_what_is_right() -> None:
    texts = [text(number) for number in range(REQUESTS)]
    expected = FakeEncoder().encode_texts(texts)

    def right(number: int, body: bytes) -> bool:
        return bool((embedding_of(body) == expected[number]).all())

    with serving(service(models={NAME: "fake"})) as site:
        outcome = asyncio.run(mixed(site.port, REQUESTS, CLIENTS, right))
    assert not outcome.wrong
    assert (outcome.right, outcome.refused) == (REQUESTS * 9 // 10, REQUESTS // 10)
    assert set(outcome.health) == {200}


class Slow(FakeEncoder):
    """An encoder to which a batch costs about as much as one text, as on a GPU."""

    def _text_batch(self, texts: list[str]) -> Any:
        time.sleep(0.02)
        return super()._text_batch(texts)


def test_what_many_clients_ask_one_by_one_goes_through_the_model_together() -> None:
    async def ask(port: int) -> None:
        from tests.bench.load import Connection

        async def client(first: int) -> None:
            connection = await Connection.open(port)
            for number in range(first, first + 5):
                assert (await connection.ask("POST", "/v1/embeddings", request(number))).status == 200
            connection.close()

        await asyncio.gather(*(client(5 * number) for number in range(CLIENTS)))

    with serving(service(models={NAME: "fake"}, load=lambda spec, upright: Slow())) as site:
        asyncio.run(ask(site.port))
        with site.http() as client:
            told = client.get("/metrics").text
    batches = re.search(r'clipkit_batch_items_count{kind="text"} (\S+)', told)
    assert batches is not None
    assert 'clipkit_batch_items_sum{kind="text"} 320.0' in told
    assert float(batches[1]) <= 320 / 4


class Blocking(FakeEncoder):
    """An encoder that stops the thread it runs in."""

    def preprocess(self, image: Any) -> Any:
        time.sleep(BLOCKING)
        return super().preprocess(image)

    def _text_batch(self, texts: list[str]) -> Any:
        time.sleep(BLOCKING)
        return super()._text_batch(texts)


class Lateness:
    """How late a thread wakes that does nothing but sleep: what the machine and Python do to everyone."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            due = time.monotonic() + 0.005
            time.sleep(0.005)
            self.worst = max(self.worst, time.monotonic() - due)


@pytest.mark.parametrize("encoder", [FakeEncoder, Blocking])
def test_the_event_loop_is_never_blocked(encoder: type[FakeEncoder]) -> None:
    """While texts, long lists and pictures come in, a probe in the loop wakes as soon as one in a thread.

    What holds up both is not the loop: other processes, Python's lock and garbage. The bound is half of what
    one batch or one picture would stop the loop for.
    """
    worst = 0.0
    elsewhere = Lateness()
    picture = base64.b64encode(png(size=(1_000, 1_000))).decode()
    bodies: list[dict[str, Any]] = [{"model": "fake", "input": f"red {number}"} for number in range(30)]
    bodies += [{"model": "fake", "input": [{"image": picture}] * 2}]
    if encoder is FakeEncoder:
        bodies += [
            {"model": "fake", "input": ["a"] * 2_000, "encoding_format": encoding}
            for encoding in ("float", "base64")
        ]

    async def probe(done: asyncio.Event) -> None:
        nonlocal worst
        loop = asyncio.get_running_loop()
        while not done.is_set():
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            worst = max(worst, loop.time() - due)

    async def load() -> list[int]:
        app = application(service(load=lambda spec, upright: encoder(512)))
        transport = httpx.ASGITransport(app)  # in the loop that is measured
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=120) as client:
            done = asyncio.Event()
            probing = asyncio.create_task(probe(done))
            answers = await asyncio.gather(*(client.post("/v1/embeddings", json=body) for body in bodies))
            done.set()
            await probing
        return [answer.status_code for answer in answers]

    with elsewhere:
        assert set(asyncio.run(load())) == {200}
    assert worst < elsewhere.worst + BLOCKING / 2

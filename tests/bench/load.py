"""What `clipkit serve` bears: python -m tests.bench.load [--model SPEC] [--clients N ...] [--requests N]

Prints, for so many clients at once, each of which asks for one text after the other: requests a second, the
median and the 99th percentile of the latency, the mean batch, and the share of what the same model embeds in
this process in batches. Then so many requests of which every tenth is broken: those answered right, those
refused, and what /health/ready said meanwhile.

Server and clients are processes of their own. The clients write HTTP on bare sockets, since a client library
would need about as much time for a request as the server. Even so they take a share of the machine that a
real server has for itself: on two cores the table is a lower bound.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count

import numpy as np

from clipkit import load_encoder
from clipkit.encoder import Encoder

NAME = "embeddings"  # what the server calls the model
CLIENTS = (1, 8, 64, 256)
SECONDS = 8.0
IN_PROCESS = 64  # texts of a batch
ROUNDS = 40
BROKEN = (
    {"model": NAME, "input": [[1, 2, 3]]},
    {"model": "no such model", "input": "a dog"},
    {"model": NAME, "input": ["a dog", {"image": "data:image/png;base64,AAAA"}]},
    {"model": NAME, "input": []},
    {"model": NAME, "input": "a dog", "dimensions": 0},
    {"model": NAME},
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and after how many seconds."""

    status: int
    body: bytes
    seconds: float


class Connection:
    """HTTP/1.1 on one socket, kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """The answer to one request."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        began = time.perf_counter()
        self._writer.write(head.encode() + body)
        answered = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"\r\ncontent-length: (\d+)", answered)
        assert length is not None
        content = await self._reader.readexactly(int(length[1]))
        return Answer(int(answered[9:12]), content, time.perf_counter() - began)

    def close(self) -> None:
        self._writer.close()


def text(number: int) -> str:
    return f"a dog and {number % 9973} cats on a beach in {1900 + number % 150}"


def request(number: int) -> bytes:
    return json.dumps({"model": NAME, "input": text(number), "encoding_format": "base64"}).encode()


async def loaded(port: int, clients: int, seconds: float) -> list[float]:
    """The latencies of the requests that so many clients got answered in that time."""
    numbers, latencies = count(), []
    end = time.perf_counter() + seconds

    async def client() -> None:
        connection = await Connection.open(port)
        while time.perf_counter() < end:
            answer = await connection.ask("POST", "/v1/embeddings", request(next(numbers)))
            assert answer.status == 200, answer.body
            latencies.append(answer.seconds)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return latencies


@dataclass(frozen=True, slots=True)
class Mixed:
    """What became of requests of which every tenth was broken."""

    right: int
    refused: int
    wrong: list[str]
    health: list[int]


async def mixed(port: int, requests: int, clients: int, right: Callable[[int, bytes], bool]) -> Mixed:
    """Sends so many requests; `right` says whether a good one's body is what it should be."""
    numbers = iter(range(requests))
    good = refused = 0
    wrong: list[str] = []
    health: list[int] = []
    done = asyncio.Event()

    async def client() -> None:
        nonlocal good, refused
        connection = await Connection.open(port)
        for number in numbers:
            broken = number % 10 == 7
            body = json.dumps(BROKEN[number // 10 % len(BROKEN)]).encode() if broken else request(number)
            answer = await connection.ask("POST", "/v1/embeddings", body)
            if broken and 400 <= answer.status < 500:
                refused += 1
            elif not broken and answer.status == 200 and right(number, answer.body):
                good += 1
            else:
                wrong.append(f"{number}: {answer.status} {answer.body[:200]!r}")
        connection.close()

    async def probe() -> None:
        connection = await Connection.open(port)
        while not done.is_set():
            health.append((await connection.ask("GET", "/health/ready")).status)
            await asyncio.sleep(0.2)
        connection.close()

    probing = asyncio.create_task(probe())
    await asyncio.gather(*(client() for _ in range(clients)))
    done.set()
    await probing
    return Mixed(good, refused, wrong, health)


def embedding_of(body: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The vector of an answer for one text, in base64."""
    return np.frombuffer(base64.b64decode(json.loads(body)["data"][0]["embedding"]), "<f4")


@contextmanager
def server(model: str, *options: str) -> Iterator[int]:
    """The port of `clipkit serve` in a process of its own, once it can embed."""
    command = [sys.executable, "-m", "clipkit", "serve", "--json", "--port", "0"]
    command += ["--model", f"{NAME}={model}", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
        _wait_for(f"http://127.0.0.1:{port}/health/ready")
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(url: str) -> None:
    """Returns once it answers with 200; while the model is loaded, it may say otherwise."""
    for _ in range(120):
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(url, timeout=120):
            return
        time.sleep(1.0)
    raise TimeoutError(url)


def batches(port: int) -> tuple[float, float]:
    """How many batches of texts went through the model, and how many texts, since the server began."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        told = answer.read().decode()
    found = dict(re.findall(r'clipkit_batch_items_(count|sum){kind="text"} (\S+)', told))
    return float(found["count"]), float(found["sum"])


def in_process(encoder: Encoder) -> float:
    """Texts a second that it embeds in this process, in batches; the median of several rounds."""
    rates = []
    for start in range(ROUNDS):
        texts = [text(number) for number in range(start * IN_PROCESS, (start + 1) * IN_PROCESS)]
        began = time.perf_counter()
        encoder.encode_texts(texts)
        rates.append(IN_PROCESS / (time.perf_counter() - began))
    return statistics.median(rates)


def in_own_process(port: int, clients: int, seconds: float) -> list[float]:
    """As `loaded`, in a process of its own, so that Python's lock is not shared with anything."""
    command = [sys.executable, "-m", "tests.bench.load", "--attack", str(port), "--clients", str(clients)]
    done = subprocess.run([*command, "--seconds", str(seconds)], capture_output=True, text=True, check=True)
    latencies: list[float] = json.loads(done.stdout)
    return latencies


def table(encoder: Encoder, clients: Sequence[int], seconds: float) -> None:
    with server(encoder.name) as port:
        in_own_process(port, 8, 1.0)  # warm
        print("| clients | requests/s | p50 ms | p99 ms | mean batch | of in-process |")
        print("|---|---|---|---|---|---|")
        for number in clients:
            alone = in_process(encoder)
            before = batches(port)
            began = time.perf_counter()
            latencies = sorted(in_own_process(port, number, seconds))
            took = min(seconds, time.perf_counter() - began)
            after = batches(port)
            rate = len(latencies) / took
            p50, p99 = (1000 * latencies[int(share * (len(latencies) - 1))] for share in (0.5, 0.99))
            mean = (after[1] - before[1]) / max(1.0, after[0] - before[0])
            share = rate / statistics.mean((alone, in_process(encoder)))
            print(
                f"| {number} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {mean:.1f} | {share:.2f} |", flush=True
            )


def torture(encoder: Encoder, requests: int) -> None:
    def right(number: int, body: bytes) -> bool:
        return bool(embedding_of(body) @ encoder.encode_texts([text(number)])[0] > 1 - 1e-5)

    with server(encoder.name) as port:
        outcome = asyncio.run(mixed(port, requests, 64, right))
    ready = sum(status == 200 for status in outcome.health)
    told = f"{outcome.right:,} right, {outcome.refused:,} refused, {len(outcome.wrong)} wrong"
    print(f"{requests:,} requests, one in ten broken: {told}; ready {ready} of {len(outcome.health)} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--clients", type=int, nargs="*", default=list(CLIENTS))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--attack", type=int, metavar="PORT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.attack:
        print(json.dumps(asyncio.run(loaded(given.attack, given.clients[0], given.seconds))))
        return
    encoder = load_encoder(given.model)
    rate = in_process(encoder)
    print(f"{os.cpu_count()} cores; {rate:,.0f} texts/s in this process, in batches of {IN_PROCESS}")
    table(encoder, given.clients, given.seconds)
    if given.requests:
        torture(encoder, given.requests)


if __name__ == "__main__":
    main()

"""A service on the loopback with OpenAI's interface and a provider's limits, for the real client to ask."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any

import numpy as np

KEY = "sk-of-the-test-0123456789"


@dataclass(frozen=True)
class Model:
    """What the provider's table says of a model. A token is a word here."""

    dims: tuple[int, ...]  # the first is the default
    rows: int
    tokens: int


MODELS = {
    "text-embedding-v3": Model((1024, 768, 512), 10, 8192),
    "text-embedding-v2": Model((1536,), 25, 2048),
    "text-embedding-async-v2": Model((1536,), 100_000, 2048),
    "of-my-own": Model((24,), 32, 100),
}


@dataclass(frozen=True)
class Reply:
    """What is answered instead: a status, and a body that is sent as it is."""

    status: int = 200
    body: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Service:
    """It embeds texts by their hash, counts, and refuses what the provider would.

    `replies` are given to the next requests, in order, before anything else. `fail` may give one for a
    request by its texts, `change` changes the document of a good answer.
    """

    replies: list[Reply] = field(default_factory=list)
    fail: Callable[[list[str]], Reply | None] = lambda _: None
    change: Callable[[dict[str, Any]], Any] = lambda document: document
    seconds: Callable[[list[str]], float] = lambda _: 0.0
    key: str = KEY
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: Any = field(default_factory=Lock)

    def __enter__(self) -> Service:
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.service = self
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/compatible-mode/v1"

    @property
    def texts(self) -> list[list[str]]:
        """The texts of each request, in the order of their coming."""
        return [asked["input"] for asked in self.asked]

    def answer(self, path: str, key: str | None, asked: dict[str, Any]) -> Reply:
        given = asked["input"]
        texts = [given] if isinstance(given, str) else given
        with self.lock:
            self.asked.append({**asked, "input": texts})
            self.times.append(time.monotonic())
            if self.replies:
                return self.replies.pop(0)
        failed = self.fail(texts)
        if failed is not None:
            return failed
        time.sleep(self.seconds(texts))
        if key != self.key:
            return error(401, f"Incorrect API key provided: {key}.")
        if path != "/compatible-mode/v1/embeddings" or asked["model"] not in MODELS:
            return error(404, f"The model `{asked['model']}` does not exist.")
        return self._embedded(texts, asked)

    def _embedded(self, texts: list[str], asked: dict[str, Any]) -> Reply:
        model = MODELS[asked["model"]]
        dim = asked.get("dimensions", model.dims[0])
        if asked.get("encoding_format") != "float":
            return error(400, "only encoding_format float is supported")
        if "dimensions" in asked and len(model.dims) == 1:
            return error(400, "this model does not support dimensions")
        if dim not in model.dims:
            return error(400, f"dimension {dim} is not one of {model.dims}")
        if len(texts) > model.rows:
            return error(400, f"batch size is invalid, it should not be larger than {model.rows}")
        for text in texts:
            if not text:
                return error(400, "input must not be an empty string")
            if len(text.split(" ")) > model.tokens:
                return error(400, f"Range of input length should be [1, {model.tokens}]")
        tokens = sum(len(text.split(" ")) for text in texts)
        data = [
            {"embedding": vector(text, dim).tolist(), "index": at, "object": "embedding"}
            for at, text in enumerate(texts)
        ]
        document = {
            "data": data[::-1],  # nothing promises an order
            "model": asked["model"],
            "object": "list",
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "id": "909822eb-aaba-9c4a-af47-8ac31a94b0dd",
        }
        return Reply(body=json.dumps(self.change(document)))


def vector(text: str, dim: int) -> Any:
    """What the service gives for a text, (dim,): not of unit length."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=dim)


def error(status: int, message: str, **headers: str) -> Reply:
    """An error as OpenAI's interface has it."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return Reply(status, json.dumps(body), headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    service: Service


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        service = self.server.service
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with service.lock:
            service.headers.append(dict(self.headers.items()))
            service.at_once += 1
            service.most_at_once = max(service.most_at_once, service.at_once)
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            reply = service.answer(self.path, key, asked)
            time.sleep(reply.seconds)
        finally:
            with service.lock:
                service.at_once -= 1
        body = reply.body.encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

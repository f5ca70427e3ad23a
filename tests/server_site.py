"""The server on loopback, in this process, with encoders that the tests make."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from openai import OpenAI
from PIL import Image

from clipkit.encoder import Encoder
from clipkit.testing import FakeEncoder
from clipkit_server.application import application
from clipkit_server.keys import Keys
from clipkit_server.limits import Limits
from clipkit_server.service import Options, Service

MODELS = {"fake": "fake", "wide": "fake:1024", "text-embedding-v3": "fake"}


def fake(spec: str, upright: bool) -> Encoder:
    """The fake encoder of that spec, without the catalog of models."""
    return FakeEncoder(int(spec.partition(":")[2] or 32), upright=upright)


def png(colour: str = "red", size: tuple[int, int] = (16, 16)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def service(
    *, models: Mapping[str, str] = MODELS, limits: Limits | None = None, load: Any = None, **options: Any
) -> Service:
    return Service(Options(models=models, **options), limits=limits, load=load)


@dataclass(frozen=True)
class Site:
    """A server that runs."""

    url: str
    service: Service
    server: uvicorn.Server

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def openai(self, key: str = "none") -> OpenAI:
        return OpenAI(api_key=key, base_url=f"{self.url}/v1", max_retries=0)

    def http(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60, **options)


@contextmanager
def serving(
    service: Service, *, keys: Keys | None = None, origins: Sequence[str] = (), hosts: Sequence[str] = ()
) -> Iterator[Site]:
    """The server, as long as it is needed."""
    app = application(service, keys=keys, origins=origins, hosts=hosts)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server ended before it answered")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Site(f"http://127.0.0.1:{port}", service, server)
    finally:
        server.should_exit = True
        thread.join(timeout=20)

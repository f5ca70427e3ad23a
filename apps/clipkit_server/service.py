"""What all routes of a server share: its options and limits, its models and collections, its threads."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from clipkit.encoder import Encoder
from clipkit.encoders import DEFAULT_MODEL, load_encoder
from clipkit_server.admission import Admission
from clipkit_server.library import Library
from clipkit_server.limits import Limits
from clipkit_server.metrics import Metrics
from clipkit_server.models import Load, Model, Models, Row

T = TypeVar("T")

_TABLE_THREADS = 8  # searches at once; LanceDB has threads of its own below
_DECODERS = max(2, os.cpu_count() or 2)

ANYONE = "anyone"
client: ContextVar[str] = ContextVar("client", default=ANYONE)
"""For whom a task, or the thread that works for it, is busy: by it, queues are fair."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a server is started. `models` are specs by the names that clients know them by."""

    db: str | None = None
    collection: str = "default"
    models: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({DEFAULT_MODEL: DEFAULT_MODEL})
    )
    most_models: int = 3
    device: str | None = None
    precision: str | None = None
    allow_urls: bool = False


class Service:
    """One server's models, collections, threads and counters."""

    def __init__(self, options: Options, *, limits: Limits | None = None, load: Load | None = None) -> None:
        self.options = options
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.admission = Admission(self.limits.requests, self.limits.held_bytes)
        self.models = Models(
            options.models,
            load=load or partial(_load, options),
            limits=self.limits,
            most=options.most_models,
            watch=self.metrics,
        )
        self.library = Library(self.models, options.db, default=options.collection, client=client.get)
        self.started = int(time.time())
        self._tables = ThreadPoolExecutor(_TABLE_THREADS, thread_name_prefix="tables")
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")
        self.metrics.watch_queue(self.models.waiting)
        self.metrics.loaded.set_function(lambda: len(self.models.loaded()))
        self.metrics.busy.set_function(lambda: self.admission.requests)

    async def in_thread(self, function: Callable[..., T], *given: Any) -> T:
        """What `function` gives, which blocks, in a thread for that. It knows for which client it works."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tables, partial(copy_context().run, function, *given))

    async def decoded(self, function: Callable[[Any], T], pictures: Sequence[Any]) -> list[T]:
        """What `function` gives for each picture, in the threads for decoding.

        A request has as many under way as there are threads, so that others get their turn between.
        """
        loop = asyncio.get_running_loop()
        results: list[T] = []
        for start in range(0, len(pictures), _DECODERS):
            some = pictures[start : start + _DECODERS]
            began = time.monotonic()
            results += await asyncio.gather(
                *(loop.run_in_executor(self._decoders, function, one) for one in some)
            )
            self.metrics.stages.labels("decode", "image").observe(time.monotonic() - began)
        return results

    @asynccontextmanager
    async def leased(self, spec: str) -> AsyncIterator[Model]:
        """The model of that spec, which stays in memory meanwhile; loaded in a thread if need be."""
        model = self.models.taken(spec)
        if model is None:
            taking = self._tables.submit(self.models.take, spec)
            try:
                model = await asyncio.shield(asyncio.wrap_future(taking))
            except asyncio.CancelledError:  # the thread goes on, and nobody else would give it back
                taking.add_done_callback(partial(self._give_back, spec))
                raise
        try:
            yield model
        finally:
            self.models.give_back(spec)

    async def rows(self, model: Model, kind: str, items: Sequence[Any]) -> list[Row]:
        """The rows of items, through the queue. Raises QueueFull, Closed and ItemFailed."""
        return await asyncio.wrap_future(model.submit(kind, items, client.get()))

    def close(self) -> None:
        """Ends all threads."""
        self.models.close()
        self._tables.shutdown(wait=False, cancel_futures=True)
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def _give_back(self, spec: str, taking: Future[Model]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            self.models.give_back(spec)


def _load(options: Options, spec: str, upright: bool) -> Encoder:
    return load_encoder(spec, device=options.device, precision=options.precision, upright=upright)

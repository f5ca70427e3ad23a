"""/health and /metrics: whether the server lives, whether it can embed, and what it has done."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Response
from PIL import Image

from clipkit_server.answers import answer, refusal_of
from clipkit_server.metrics import CONTENT_TYPE
from clipkit_server.models import IMAGES, TEXTS
from clipkit_server.schemas import Health
from clipkit_server.service import Service, client

_SECONDS = 10.0  # that an embedding may take; one waits for the batch before it, and on a slow machine longer
_KEPT = 1.0  # seconds, for which an answer holds: probes come from several sides
_PROBE = "a photo"
_ASKED_BY = "health"  # a client of its own, so that its turn comes whatever else waits


class Readiness:
    """Whether the server can embed: found out by doing it, at most once a second. Of one event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._spec = next(iter(service.options.models.values()))
        self._lock = asyncio.Lock()
        self._asked = -_KEPT
        self._trouble: str | None = None

    async def trouble(self) -> str | None:
        """Why it cannot; None if it can."""
        if self._service.admission.draining:
            return "the server is shutting down"
        async with self._lock:
            if time.monotonic() - self._asked >= _KEPT:
                self._trouble = await self._tried()
                self._asked = time.monotonic()
        return self._trouble

    async def _tried(self) -> str | None:
        client.set(_ASKED_BY)
        try:
            async with asyncio.timeout(_SECONDS), self._service.leased(self._spec) as model:
                kind = TEXTS if TEXTS in model.encoder.modalities else IMAGES
                probe = _PROBE if kind == TEXTS else model.encoder.preprocess(Image.new("RGB", (64, 64)))
                await self._service.rows(model, kind, [probe])
        except Exception as error:  # noqa: BLE001 - whatever it is, the server cannot embed
            return f"{type(error).__name__}: {refusal_of(error).code}"
        return None


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["health"])
    readiness = Readiness(service)

    @router.get("/health/live", summary="Whether the server runs", response_model=Health)
    async def live() -> Response:
        return answer({"status": "ok"})

    @router.get(
        "/health/ready",
        summary="Whether the server can embed; it tries",
        response_model=None,
        responses={200: {"model": Health}, 503: {"model": Health, "description": "It cannot."}},
    )
    async def ready() -> Response:
        trouble = await readiness.trouble()
        if trouble is None:
            return answer({"status": "ok"})
        return answer({"status": "unavailable", "reason": trouble}, 503)

    @router.get("/metrics", summary="Prometheus's metrics", response_class=Response, include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return router

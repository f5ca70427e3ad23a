"""The two middlewares around the routes: one that tells what happened, one that lets in.

`Record` is outermost. It numbers and logs every request, also those that the guard refuses, counts it, and
answers what nobody else did. `Door` stands right before the routes: it asks for a key, bounds what is under
way, and ends what takes too long.
"""

from __future__ import annotations

import asyncio
import time
import uuid

from clipkit_server import logs
from clipkit_server.answers import Refusal, refusal_of, refused
from clipkit_server.keys import Keys
from clipkit_server.service import Service, client
from clipkit_web.auth import Tries
from clipkit_web.guard import App, Message, Receive, Scope, Send

OPEN = ("/health/live", "/health/ready")
"""What is told to anyone who reaches the server: those who start it anew have no key."""

_CHUNKED = 1 << 20  # what a body without a length is taken for: it is counted as it comes


class Record:
    """Logs and counts the requests to `app`, and answers with 500 what it fails at."""

    def __init__(self, app: App, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, number = time.monotonic(), uuid.uuid4().hex
        scope["state"] = {**scope.get("state", {}), "client": "-"}
        status = 0

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", number.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, numbered)
        except Exception as error:  # noqa: BLE001 - the last line of defence
            logs.failed("failed", error, {"id": number})
            if not status:
                await refused(refusal_of(error))(scope, receive, numbered)
        seconds = time.monotonic() - began
        route, method = _route(scope), scope["method"]
        self._service.metrics.answered(route, method, status, seconds)
        told = {"route": route, "method": method, "status": status, "ms": round(seconds * 1000, 1)}
        logs.note("request", {"id": number, "client": scope["state"]["client"], **told})


class Door:
    """Lets requests in to `app`: with a key, if there are keys, and if there is room."""

    def __init__(self, app: App, service: Service, keys: Keys | None) -> None:
        self._app = app
        self._service = service
        self._keys = keys
        self._tries = Tries()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            return await self._app(scope, receive, send)
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            name = self._known(scope)
            client.set(name)
            scope["state"]["client"] = name
            with self._service.admission.enter(_length(scope)):
                async with asyncio.timeout(self._service.limits.seconds):
                    await self._app(scope, receive, noted)
        except (Refusal, TimeoutError) as error:
            if started:
                raise
            refusal = refusal_of(error)
            self._service.metrics.refused.labels(refusal.code).inc()
            await refused(refusal)(scope, receive, send)

    def _known(self, scope: Scope) -> str:
        """The name of who asks: the key's, or without keys the address. Raises Refusal."""
        address = scope["client"][0] if scope.get("client") else "-"
        if self._keys is None:
            return str(address)
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        challenge = {"www-authenticate": 'Bearer realm="clipkit"'}
        if not given:
            raise Refusal(401, "give an API key, as Authorization: Bearer ...", headers=challenge)
        if wait := self._tries.wait(address):
            raise Refusal(
                429,
                f"too many wrong keys came from this address: try again in {wait} s",
                code="too_many_tries",
                headers={"retry-after": str(wait)},
            )
        name = self._keys.owner(given[0].decode("latin-1"))
        if name is None:
            self._tries.count(address)
            raise Refusal(401, "this API key is not known here", headers=challenge)
        return name


def _length(scope: Scope) -> int:
    """The bytes of the body to come; the guard has checked that it is a number within bounds."""
    for name, value in scope["headers"]:
        if name.lower() == b"content-length":
            return int(value)
    return _CHUNKED if any(name.lower() == b"transfer-encoding" for name, _ in scope["headers"]) else 0


def _route(scope: Scope) -> str:
    """The template of the route, so that paths with names in them are counted together."""
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path else "other"

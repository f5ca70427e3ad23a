"""The server on a socket, until it is told to end: then it answers what is under way and takes no more."""

from __future__ import annotations

import signal
import socket
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

import uvicorn

from clipkit.encoder import TextCutWarning
from clipkit.errors import ClipkitError, InvalidInput
from clipkit_server import logs
from clipkit_server.application import application
from clipkit_server.keys import Keys
from clipkit_server.service import Options, Service

PORT = 8000
_BACKLOG = 1_024
_DRAIN_SECONDS = 5.0  # beyond the time that one request may take


def serve(
    service: Service,
    *,
    host: str,
    port: int,
    keys: Keys | None,
    origins: Sequence[str],
    opened: Callable[[str], None],
) -> None:
    """Serves until SIGTERM or Ctrl-C. `opened` is told the address once it answers.

    Raises InvalidInput if the address cannot be listened on.
    """
    logs.to_stderr()
    warnings.simplefilter("ignore", TextCutWarning)  # once a process says nothing of which request it was
    listener = _listener(host, port)
    number = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else shown}:{number}"  # noqa: S104 - asked for

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            opened(url)
            logs.note("started", {"url": url, "models": list(service.models.names)})
            threading.Thread(target=_warm, args=(service,), daemon=True).start()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            service.admission.draining = True
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        application(service, hosts=(host,), keys=keys, origins=origins),
        log_config=None,
        access_log=False,
        server_header=False,
        http="h11",  # the other one that uvicorn has takes heads of any size
        backlog=_BACKLOG,
        timeout_graceful_shutdown=int(service.limits.seconds + _DRAIN_SECONDS),
    )
    # uvicorn raises the signal again after it has left in order. To have been told to end is no failure.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with suppress(KeyboardInterrupt), listener:
            Server(config).run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)
    logs.note("ended")


def _listener(host: str, port: int) -> socket.socket:
    # By its protocol asyncio knows that it is TCP, and turns Nagle's algorithm off: 40 ms a request.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise InvalidInput(
            f"{host} port {port} cannot be listened on ({error}): give another with --port"
        ) from error
    return listener


def _warm(service: Service) -> None:
    """Loads the first model, so that the first who asks need not wait for it."""
    spec = next(iter(service.options.models.values()))
    try:
        with service.models.lease(spec):
            pass
    except ClipkitError as error:  # whoever asks is told, and /health/ready
        logs.failed("model failed to load", error, {"model": spec, "reason": str(error)})


__all__ = ["Keys", "Options", "Service", "serve"]

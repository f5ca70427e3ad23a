"""The page as a web application: Gradio mounted beside the routes of the pictures, behind the guard."""

from __future__ import annotations

import os
import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from clipkit.errors import ClipkitError, InvalidInput
from clipkit_web.auth import Auth
from clipkit_web.guard import Guard
from clipkit_web.site import Site
from clipkit_web.uploads import MAX_BYTES

PORT = 7860  # Gradio's own
_PORTS = 20  # that are tried from there


def application(site: Site, *, hosts: tuple[str, ...] = (), auth: Auth | None = None) -> Any:
    """The ASGI application. `hosts` are names it answers to beside this machine's own."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    import gradio as gr
    from fastapi import FastAPI

    from clipkit_web.api import check_mcp
    from clipkit_web.components import STYLE
    from clipkit_web.page import THEME, build
    from clipkit_web.pictures import add_routes

    if site.options.mcp:
        check_mcp()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, site)
    mounted = gr.mount_gradio_app(
        app,
        build(site),
        path="/",
        footer_links=["api"],
        run_history=False,
        max_file_size=MAX_BYTES,
        mcp_server=site.options.mcp,
        ssr_mode=False,
        show_error=True,
        theme=THEME,
        css=STYLE,
    )
    return Guard(mounted, hosts=hosts, auth=auth)


def serve(
    site: Site,
    *,
    host: str,
    port: int | None,
    auth: Auth | None,
    opened: Callable[[str], None],
    browser: bool,
) -> None:
    """Serves the page until Ctrl-C. `opened` is told its address once it answers.

    Raises InvalidInput if the address cannot be listened on.
    """
    import uvicorn

    listener = _listener(host, port)
    number = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else shown}:{number}/"  # noqa: S104 - asked for

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            opened(url)
            if browser and _has_screen():
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
            threading.Thread(target=_warm, args=(site,), daemon=True).start()

    app = application(site, hosts=(host,), auth=auth)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3, server_header=False)
    with suppress(KeyboardInterrupt), listener:  # which uvicorn raises again after it has left in order
        Server(config).run(sockets=[listener])


def _listener(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason: OSError | None = None
    for number in [port] if port is not None else range(PORT, PORT + _PORTS):
        # By its protocol asyncio knows that it is TCP, and turns Nagle's algorithm off: 40 ms a request.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), number))
            listener.listen(128)
        except OSError as error:
            listener.close()
            reason = error
        else:
            return listener
    which = f"port {port}" if port is not None else f"no port from {PORT} to {PORT + _PORTS - 1}"
    raise InvalidInput(f"{host} {which} cannot be listened on ({reason}): give another with --port")


def _has_screen() -> bool:
    """Whether a browser would have a window: on a terminal alone, one would take the terminal over."""
    return (
        os.name == "nt"
        or os.uname().sysname == "Darwin"
        or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    )


def _warm(site: Site) -> None:
    """Loads the model and what scores mean, so that the first question is answered at once."""
    with suppress(ClipkitError):  # whoever asks is told
        site.collection().cutoffs("a picture")

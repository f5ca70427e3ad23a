"""`clipkit ui` and `clipkit serve`: the page and the server, until Ctrl-C."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from clipkit.cli.output import note, print_json
from clipkit.cli.session import Session
from clipkit.encoders import DEFAULT_MODEL
from clipkit.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from clipkit_server.keys import Keys
    from clipkit_web.auth import Auth

NO_AUTH = "none"


def ui(
    session: Session,
    host: Annotated[str, typer.Option(metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="PORT", help="Default: 7860, or the next that is free."),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASSWORD", help="Ask for this name and password; none asks for nothing."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Ask for the token that this file holds."),
    ] = None,
    allow_index: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER", exists=True, file_okay=False, help="Let people index this folder. Repeatable."
        ),
    ] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch pictures by their public address: image:https://…")
    ] = False,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Offer the searches as MCP tools, too: /gradio_api/mcp/")
    ] = False,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser, if there is a screen.")
    ] = True,
) -> None:
    """Search, look and refine in the browser: serves a page on this machine until Ctrl-C.

    Only this machine can reach it. Another HOST needs --auth or --token-file, so that nobody shows their
    pictures to a network by mistake. A password on the command line can be read by others on this machine; a
    token in a file cannot.

    Example: clipkit ui --allow-index ~/Pictures
    """
    from clipkit_web.serving import serve
    from clipkit_web.site import Options, Site

    given = _auth(host, auth, token_file)
    roots = tuple(path.resolve() for path in allow_index or ())
    options = Options(session.db, session.name, session.device, session.precision, roots, allow_urls, mcp)

    def opened(url: str) -> None:
        if session.json:
            print_json({"url": url})
        else:
            note(f"The page: {url}\nCtrl-C ends it.")

    serve(Site(options), host=host, port=port, auth=given, opened=opened, browser=open_browser)


_Models = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]MODEL",
        help="A model to serve, under a name of its own if one is given. Repeatable. Default: "
        f"{DEFAULT_MODEL}.",
    ),
]
_KeyFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Ask for one of the API keys of this file, one a line. Default: $CLIPKIT_API_KEYS; none "
        "asks for nothing.",
    ),
]
_Cors = Annotated[
    list[str] | None,
    typer.Option(metavar="ORIGIN", help="Let scripts of this site ask: https://example.org. Repeatable."),
]


def serve(
    session: Session,
    host: Annotated[str, typer.Option(metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0: any that is free.")] = 8000,
    model: _Models = None,
    key_file: _KeyFile = None,
    cors: _Cors = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch pictures by their public address.")
    ] = False,
    max_models: Annotated[int, typer.Option(min=1, metavar="N", help="How many models stay in memory.")] = 3,
    timeout: Annotated[
        float, typer.Option(min=1.0, max=3600.0, metavar="SECONDS", help="How long a request may take.")
    ] = 60.0,
) -> None:
    """Serve embeddings and searches over HTTP, as OpenAI's clients ask for them, until Ctrl-C or SIGTERM.

    Only this machine can reach it. Another HOST needs API keys: --key-file, or $CLIPKIT_API_KEYS.

    Example: clipkit serve --model text-embedding-v3=bundled
    """
    # Before torch: its threads would spin while they wait for each other, on cores that requests need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from clipkit_server.limits import Limits
        from clipkit_server.serving import Options, Service
        from clipkit_server.serving import serve as run
    except ModuleNotFoundError as error:
        raise MissingExtra("clipkit serve", "server") from error

    keys = _keys(host, key_file)
    models = _models(model or [DEFAULT_MODEL])
    options = Options(
        session.db, session.name, models, max_models, session.device, session.precision, allow_urls
    )

    def opened(url: str) -> None:
        if session.json:
            print_json({"url": url})
        else:
            note(f"Serving {', '.join(models)} at {url}/v1\nCtrl-C ends it.")

    service = Service(options, limits=Limits(seconds=timeout))
    run(service, host=host, port=port, keys=keys, origins=_origins(cors or ()), opened=opened)


def _models(said: Sequence[str]) -> dict[str, str]:
    """Specs by the names that clients know them by."""
    models = {}
    for one in said:
        name, equals, spec = one.partition("=")
        if not name.strip() or (equals and not spec.strip()):
            raise InvalidInput(f"--model {one!r}: write a model, or a name and a model: NAME=MODEL")
        models[name.strip()] = (spec if equals else name).strip()
    return models


def _origins(said: Sequence[str]) -> tuple[str, ...]:
    for one in said:
        parts = urlsplit(one)
        if (
            parts.scheme not in ("http", "https")
            or not parts.netloc
            or one != f"{parts.scheme}://{parts.netloc}"
        ):
            raise InvalidInput(f"--cors {one!r}: write the origin of a site, such as https://example.org")
    return tuple(said)


def _keys(host: str, key_file: str | None) -> Keys | None:
    from clipkit_server.keys import VARIABLE, Keys

    if key_file == NO_AUTH:
        return None
    keys = Keys.from_file(key_file) if key_file else Keys.from_environment()
    if keys is None and not _is_loopback(host):
        raise InvalidInput(
            f"--host {host} would let everyone who can reach this machine read and change collections: give "
            f"--key-file FILE or ${VARIABLE}, or --key-file {NO_AUTH} if something else asks who they are"
        )
    return keys


def _auth(host: str, auth: str | None, token_file: Path | None) -> Auth | None:
    from clipkit_web.auth import Auth

    if auth and token_file:
        raise InvalidInput("--auth and --token-file exclude each other: give one of them")
    if token_file:
        return Auth.from_token_file(token_file)
    if auth and auth != NO_AUTH:
        return Auth.from_pair(auth)
    if auth != NO_AUTH and not _is_loopback(host):
        raise InvalidInput(
            f"--host {host} would show the collection to everyone who can reach this machine: give --auth "
            f"USER:PASSWORD or --token-file FILE, or --auth {NO_AUTH} if something else asks who they are"
        )
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

"""`clipkit ui`: the page, until Ctrl-C."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.output import note, print_json
from clipkit.cli.session import Session
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
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

"""The page as a web application: Gradio mounted beside the routes of the pictures, behind the guard."""

from __future__ import annotations

import os
from typing import Any

from clipkit_web.guard import Auth, Guard
from clipkit_web.site import Options, Site

MOST_UPLOAD = 25 << 20  # bytes


def application(site: Site, *, hosts: tuple[str, ...] = (), auth: Auth | None = None) -> Any:
    """The ASGI application."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    import gradio as gr
    from fastapi import FastAPI

    from clipkit_web.page import STYLE, THEME, build
    from clipkit_web.pictures import add_routes

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, site)
    mounted = gr.mount_gradio_app(
        app,
        build(site),
        path="/",
        footer_links=["api"],
        run_history=False,
        max_file_size=MOST_UPLOAD,
        mcp_server=site.options.mcp,
        ssr_mode=False,
        show_error=True,
        theme=THEME,
        css=STYLE,
    )
    return Guard(mounted, hosts=hosts, auth=auth, max_body_bytes=MOST_UPLOAD + (1 << 20))


__all__ = ["Options", "Site", "application"]

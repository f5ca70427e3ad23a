"""The server as an ASGI application: the routes, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from clipkit import __version__
from clipkit_server import embeddings, health, items, searching
from clipkit_server.answers import error_bytes, handle_errors
from clipkit_server.door import Door, Record
from clipkit_server.keys import Keys
from clipkit_server.schemas import ImageInput, TextInput
from clipkit_server.service import Service
from clipkit_web.guard import ANY_HOST, Guard

_ABOUT = """Embeddings of texts and pictures in one space, as OpenAI's clients ask for them, and searches over
collections of clipkit. Vectors are of unit length, so that a dot product is the cosine similarity. Errors are
OpenAI's: {"error": {"message", "type", "param", "code"}}."""
_HEADERS = ["authorization", "content-type"]  # that scripts of other sites may send
_TOLD = ["retry-after", "x-request-id"]  # and read


def application(
    service: Service,
    *,
    hosts: Sequence[str] = (),
    keys: Keys | None = None,
    origins: Sequence[str] = (),
) -> Any:
    """The ASGI application.

    `hosts` are names it answers to beside this machine's own; with keys, it answers to any. `origins` are the
    sites whose scripts may ask it, such as https://example.org.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="clipkit",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # their scripts would come from another site
        redoc_url=None,
        lifespan=lifespan,
    )
    handle_errors(app)
    for routes in (embeddings.routes, searching.routes, items.routes):
        app.include_router(routes(service), prefix="/v1")
    app.include_router(embeddings.routes(service), include_in_schema=False)
    app.include_router(health.routes(service))
    app.openapi = lambda: _openapi(app, keys)
    inner: Any = Door(app, service, keys)
    if origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=_HEADERS,
            expose_headers=_TOLD,
        )
    names = (ANY_HOST,) if keys is not None else tuple(hosts)
    guard = Guard(
        inner,
        hosts=names,
        max_body_bytes=service.limits.body_bytes,
        origins=origins,
        form=lambda status, text: ("application/json", error_bytes(status, text)),
    )
    return Record(guard, service)


def _openapi(app: FastAPI, keys: Keys | None) -> dict[str, Any]:
    """The document as FastAPI makes it, less the 422 that it answers nowhere, and with the key."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path in document["paths"].values():
            for operation in path.values():
                operation.get("responses", {}).pop("422", None)
                if operation.get("tags") != ["health"] and keys is not None:
                    operation["security"] = [{"key": []}]
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for model in (TextInput, ImageInput):
            schemas.setdefault(model.__name__, model.model_json_schema())
        if keys is not None:
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document = app.openapi_schema
    return document  # type: ignore[no-any-return] # FastAPI's own annotation

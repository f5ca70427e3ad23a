"""Answers as JSON, and what went wrong in OpenAI's words: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from clipkit.errors import (
    ClipkitError,
    CollectionError,
    CollectionMismatch,
    CollectionNotFound,
    FilterError,
    InvalidInput,
    ModelError,
    QueryError,
    UnknownModel,
)
from clipkit_server import logs
from clipkit_server.batching import Closed, ItemFailed, QueueFull
from clipkit_server.models import blamed
from clipkit_server.schemas import ErrorResponse

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS

_NAMED = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "request_too_large",
    421: "misdirected_request",
    429: "rate_limit_exceeded",
    500: "internal_error",
    503: "unavailable",
    504: "timeout",
}
_TYPE_NAMES = re.compile(r"[^\w.]|^(?:str|float|int|literal)$")  # of pydantic's, among the names of fields
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

# The first that fits an error is its status, and its code.
_STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (UnknownModel, 404, "model_not_found"),
    (CollectionNotFound, 404, "collection_not_found"),
    (CollectionMismatch, 409, "collection_mismatch"),
    (QueryError, 400, "invalid_query"),
    (FilterError, 400, "invalid_filter"),
    (InvalidInput, 400, "invalid_input"),
    (ModelError, 503, "model_unavailable"),
    (CollectionError, 503, "storage_unavailable"),
    (ClipkitError, 503, "unavailable"),
    (QueueFull, 429, "queue_full"),
    (Closed, 503, "shutting_down"),
    (TimeoutError, 504, "timeout"),
)


# What these errors say is for whoever runs the server: it names places on its disk.
_HIDDEN = {
    "model_unavailable": "this model cannot be loaded now; the server's log tells why",
    "storage_unavailable": "the collection cannot be read or written now; the server's log tells why",
    "unavailable": "this cannot be done now; the server's log tells why",
    "shutting_down": "the server is shutting down",
    "timeout": "this took too long: try again, or send less at once",
}


class Refusal(Exception):
    """A request that is not done, and how that is told."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or _NAMED.get(status, "error")
        self.param = param
        self.headers = dict(headers or {})


def json_bytes(document: Any) -> bytes:
    """`document` as JSON: NumPy's numbers as numbers, times in ISO 8601, null for what is not finite."""
    return orjson.dumps(document, default=_plain, option=_OPTIONS)


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`document` as an answer."""
    return Response(json_bytes(document), status, dict(headers or {}), "application/json")


def error_bytes(status: int, message: str, *, code: str = "", param: str | None = None) -> bytes:
    """An error of that status as OpenAI's clients read it."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    said = {"message": message, "type": kind, "param": param, "code": code or _NAMED.get(status, "error")}
    return json_bytes({"error": said})


def refused(refusal: Refusal) -> Response:
    """The answer of a refusal."""
    body = error_bytes(refusal.status, refusal.message, code=refusal.code, param=refusal.param)
    return Response(body, refusal.status, refusal.headers, "application/json")


def refusal_of(error: Exception) -> Refusal:
    """How an error is told: those of clipkit by what they say, others without a word of what they hold."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ItemFailed):
        return refusal_of(blamed(error))
    status, code = next(
        ((status, code) for kind, status, code in _STATUSES if isinstance(error, kind)), (500, "")
    )
    if status == 500:
        return Refusal(500, "the server failed at this; its log tells where")
    headers = {}
    if isinstance(error, QueueFull):
        headers = {"retry-after": str(error.retry_after)}
    elif status == 503:
        headers = {"retry-after": "5"}
    place = getattr(error, "position", None)
    param = "model" if isinstance(error, UnknownModel) else None if place is None else f"input.{place}"
    return Refusal(status, _HIDDEN.get(code) or str(error), code=code, param=param, headers=headers)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of errors: those of a route, and those that every route may have."""
    told = {
        400: "The request cannot be done as it is; the message says why.",
        401: "No key, or a wrong one.",
        404: "There is nothing of that name.",
        409: "The collection was made by another model than is there.",
        413: "The request is too large.",
        429: "Too much waits already, or too many wrong keys were tried; see Retry-After.",
        503: "The model or the storage cannot be had now, or the server is shutting down.",
        504: "It took too long.",
    }
    every = sorted({400, 401, 429, 503, 504, *statuses})
    return {status: {"model": ErrorResponse, "description": told[status]} for status in every}


def handle_errors(app: FastAPI) -> None:
    """Has all that handlers raise told in OpenAI's words."""

    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        return refused(_invalid(error.errors()))

    async def on_http(_: Request, error: HTTPException) -> Response:
        headers = error.headers or {}
        if error.status_code == 404:
            return refused(
                Refusal(404, "there is nothing at this address; /openapi.json tells what there is")
            )
        return refused(Refusal(error.status_code, str(error.detail), headers=headers))

    async def on_error(_: Request, error: Exception) -> Response:
        cause = error.error if isinstance(error, ItemFailed) else error
        refusal = refusal_of(error)
        if refusal.code in _HIDDEN and isinstance(cause, ClipkitError):
            logs.failed("unavailable", cause, {"reason": str(cause)})
        elif refusal.status == 500:
            logs.failed("failed", cause)
        return refused(refusal)

    async def on_bug(_: Request, error: Exception) -> Response:
        return refused(refusal_of(error))  # it is raised again, and `Record` logs it

    from starlette.exceptions import HTTPException as AnyHttpException

    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(AnyHttpException, on_http)
    app.add_exception_handler(Exception, on_bug)
    for kind in (Refusal, ItemFailed, *(kind for kind, _, _ in _STATUSES)):
        app.add_exception_handler(kind, on_error)


def _invalid(found: Iterable[Mapping[str, Any]]) -> Refusal:
    """What pydantic found, without the value: it may be a picture.

    Of a field that takes several types it finds something for each: what lies deepest is of the type meant.
    """
    first = max(found, key=lambda one: len(one["loc"]))
    where = ".".join(str(part) for part in first["loc"][1:] if not _TYPE_NAMES.search(str(part)))
    if first["type"] == "json_invalid":
        return Refusal(400, "the body is not JSON", code="invalid_json")
    message = str(first["msg"])
    return Refusal(400, f"{where}: {message}" if where else message, param=where or None)


def _plain(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)

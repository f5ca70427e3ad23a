"""The log: a line of JSON for each request and each event. What was sent, and keys, are never in it."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("clipkit.server")
_FIELDS = "event_fields"
_FRAMES = 6


class JsonLines(logging.Formatter):
    """Records as JSON: time, level and event, and the fields that were logged with it."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        return json.dumps(said, ensure_ascii=False, default=str)


def note(event: str, fields: Mapping[str, Any] | None = None, *, level: int = logging.INFO) -> None:
    """Logs an event with what is known of it."""
    LOGGER.log(level, event, extra={_FIELDS: fields or {}})


def failed(event: str, error: BaseException, fields: Mapping[str, Any] | None = None) -> None:
    """Logs where an error came from, not what it says: its message may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    at = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    note(event, {"error": type(error).__name__, "at": at, **(fields or {})}, level=logging.ERROR)


def to_stderr() -> None:
    """Has the server's own log and uvicorn's errors written to stderr, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("clipkit.server", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False

"""How much is under way: requests and the bytes of their bodies, and whether more is let in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clipkit_server.answers import Refusal


class Admission:
    """Counts what is under way. Of one event loop, and so without locks."""

    def __init__(self, most_requests: int, most_bytes: int) -> None:
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self.requests = 0
        self.held_bytes = 0
        self.draining = False

    @contextmanager
    def enter(self, size: int) -> Iterator[None]:
        """Lets a request with so large a body in. Raises Refusal if there is no room, or the server ends."""
        if self.draining:
            headers = {"retry-after": "5", "connection": "close"}
            raise Refusal(503, "the server is shutting down", code="shutting_down", headers=headers)
        if self.requests >= self._most_requests or self.held_bytes + size > self._most_bytes:
            raise Refusal(
                429,
                f"{self.requests:,} requests with {self.held_bytes:,} bytes are under way: try again in 1 s",
                code="too_many_requests",
                headers={"retry-after": "1"},
            )
        self.requests += 1
        self.held_bytes += size
        try:
            yield
        finally:
            self.requests -= 1
            self.held_bytes -= size

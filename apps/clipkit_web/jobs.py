"""Work that takes minutes: in a thread of its own, so that it outlives the request which started it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from clipkit.errors import ClipkitError, InvalidInput
from clipkit.reports import Progress

T = TypeVar("T")

RATE_OVER = 10.0  # seconds: the rate of late, since the first files of a run also wait for the model
_SEEN = 0.25  # seconds between two looks at the clock and the count


@dataclass(frozen=True, slots=True)
class State(Generic[T]):
    """How far a job is. `what` is "" before the first. `rate` is in items a second over the last seconds and
    `left` the seconds that it leaves to do; both are None as long as that is not known."""

    what: str = ""
    running: bool = False
    stopping: bool = False
    progress: Progress | None = None
    rate: float | None = None
    left: float | None = None
    result: T | None = None
    error: str | None = None


class Job(Generic[T]):
    """One job at a time. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: State[T] = State()
        self._seen: deque[tuple[float, int]] = deque()  # (time, done)
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> State[T]:
        with self._lock:
            return self._state

    def start(self, what: str, work: Callable[[Callable[[Progress], None]], T]) -> None:
        """Begins `work`, which gets a callback for its progress. Raises InvalidInput while another runs.

        The callback raises KeyboardInterrupt once the job is to stop, as Ctrl-C would.
        """
        with self._lock:
            if self._state.running:
                raise InvalidInput(f"{self._state.what} is still running: wait for its end, or stop it")
            self._state = State(what, running=True)
            self._seen.clear()
            # A daemon: what is stored is sound at any moment, so a server that ends need not wait for it.
            self._thread = threading.Thread(target=self._run, args=(what, work), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Asks the job to end; what it has stored stays."""
        with self._lock:
            if self._state.running:
                self._state = replace(self._state, stopping=True)

    def wait(self) -> State[T]:
        """The state once nothing runs any more."""
        thread = self._thread
        if thread is not None:
            thread.join()
        return self.state

    def _run(self, what: str, work: Callable[[Callable[[Progress], None]], T]) -> None:
        done: State[T]
        try:
            done = State(what, result=work(self._tell))
        except ClipkitError as error:
            done = State(what, error=str(error))
        except KeyboardInterrupt:
            done = State(what, error="stopped")
        except Exception as error:
            done = State(what, error=f"it failed unexpectedly ({type(error).__name__}: {error})")
            raise  # so that the thread's traceback is on the server's terminal
        finally:
            with self._lock:
                self._state = done

    def _tell(self, progress: Progress) -> None:
        now = time.monotonic()
        with self._lock:
            if self._state.stopping:
                raise KeyboardInterrupt
            if not self._seen or now - self._seen[-1][0] >= _SEEN:
                self._seen.append((now, progress.done))
            while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER:
                self._seen.popleft()
            began, before = self._seen[0]
            rate = (progress.done - before) / (now - began) if now - began >= 1 else None
            left = (progress.total - progress.done) / rate if rate else None
            self._state = State(self._state.what, True, False, progress, rate, left)

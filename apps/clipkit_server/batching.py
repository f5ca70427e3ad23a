"""Batches of what many clients ask for at once: threads to a model, a queue for each kind of input.

Whoever asks gets a turn for each item: a batch takes one item of each client in turn, and of a client one of
each of its requests. So one request of two thousand texts holds up nobody who has one. A batch that fails is
halved until the item that is to blame stands alone; only its request fails.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

Run: TypeAlias = Callable[[list[Any]], Sequence[Any]]
"""One result for each item, in order; what it raises is the fault of at least one of them."""

_LONGEST_WAIT = 60  # seconds, that a client is told to stay away for at most
_SMOOTHING = 0.2  # the share of the latest batch in the rate of a lane


class QueueFull(Exception):
    """So much waits already that no more is taken. `retry_after` are the seconds until most of it is done."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting:,} inputs wait already: try again in {retry_after} s")
        self.retry_after = retry_after


class ItemFailed(Exception):
    """A request failed with its item at `place`; `error` is what the lane's function raised for it."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(f"input {place}: {type(error).__name__}")
        self.place = place
        self.error = error


class Closed(Exception):
    """The worker has been told to end, and takes nothing more."""


class Watch(Protocol):
    """Who is told what a worker does, from its threads; `Metrics` is one."""

    def waited(self, kind: str, seconds: float) -> None: ...
    def ran(self, kind: str, items: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a batch is closed, and how much may wait: `Limits` says what each means."""

    size: int
    queued: int
    window: float
    age: float


@dataclass(slots=True, eq=False)
class _Ticket:
    """One request: its items, how many of them were taken, and what has come of them."""

    client: str
    items: Sequence[Any]
    results: list[Any]
    left: int
    since: float
    taken: int = 0
    future: Future[list[Any]] = field(default_factory=Future)


class Lane:
    """The queue of one kind of input. Its worker holds the lock around every call."""

    def __init__(self, kind: str, run: Run, bounds: Bounds) -> None:
        self.kind = kind
        self.run = run
        self.bounds = bounds
        self.waiting = 0  # items
        self.rate = 0.0  # items a second, lately; 0 as long as nothing ran
        self.served = 0  # the number of the batch that was taken last
        self._tickets: OrderedDict[str, deque[_Ticket]] = OrderedDict()  # by client, whose turn is next first
        self._held: dict[str, int] = {}  # items by client
        self._opened = self._latest = 0.0

    def put(self, ticket: _Ticket) -> None:
        """Raises QueueFull."""
        count, held = len(ticket.items), self._held.get(ticket.client, 0)
        if self.waiting + count > self.bounds.queued or (held and held + count > self.bounds.queued // 2):
            raise QueueFull(self.waiting, self._retry_after())
        self._latest = ticket.since
        if not self.waiting:
            self._opened = ticket.since
        self._tickets.setdefault(ticket.client, deque()).append(ticket)
        self._hold(ticket.client, count)

    def due(self) -> float:
        """The time from which on there is a batch to take; infinity if nothing waits."""
        if not self.waiting:
            return math.inf
        if self.waiting >= self.bounds.size:
            return -math.inf
        return min(self._opened + self.bounds.age, self._latest + self.bounds.window)

    def take(self) -> list[tuple[_Ticket, int]]:
        """The next batch: tickets, and which of their items."""
        batch: list[tuple[_Ticket, int]] = []
        while self._tickets and len(batch) < self.bounds.size:
            client, tickets = self._tickets.popitem(last=False)
            ticket = tickets.popleft()
            batch.append((ticket, ticket.taken))
            ticket.taken += 1
            self._hold(client, -1)
            if ticket.taken < len(ticket.items):
                tickets.append(ticket)
            if tickets:
                self._tickets[client] = tickets
        self._opened = self._latest = -math.inf  # what is left has waited for its turn already
        return batch

    def drop(self, ticket: _Ticket) -> None:
        """Takes out what is left of a ticket that nobody waits for any more."""
        tickets = self._tickets.get(ticket.client, deque())
        if ticket in tickets:
            tickets.remove(ticket)
            if not tickets:
                del self._tickets[ticket.client]
            self._hold(ticket.client, ticket.taken - len(ticket.items))

    def note(self, items: int, seconds: float) -> None:
        rate = items / max(seconds, 1e-6)
        self.rate = rate if not self.rate else self.rate + _SMOOTHING * (rate - self.rate)

    def _hold(self, client: str, more: int) -> None:
        self.waiting += more
        held = self._held.get(client, 0) + more
        if held:
            self._held[client] = held
        else:
            self._held.pop(client, None)

    def _retry_after(self) -> int:
        return min(_LONGEST_WAIT, max(1, math.ceil(self.waiting / self.rate))) if self.rate else 1


class Worker:
    """Threads that run one model, on batches from its lanes by turns. Safe for several threads.

    There are as many as the model runs batches `abreast`: none waits for another's to end.
    """

    def __init__(self, name: str, lanes: Sequence[Lane], watch: Watch, *, abreast: int = 1) -> None:
        self._lanes = {lane.kind: lane for lane in lanes}
        self._watch = watch
        self._ready = threading.Condition()
        self._closed = False
        self._batches = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"model {name}", daemon=True) for _ in range(abreast)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, kind: str, items: Sequence[Any], client: str) -> Future[list[Any]]:
        """The results of `items`, in order, once they are there; cancel it to have them left out.

        Raises QueueFull and Closed. The future raises ItemFailed, for the first item to fail.
        """
        lane = self._lanes[kind]
        ticket = _Ticket(client, items, [None] * len(items), len(items), time.monotonic())
        if not items:
            ticket.future.set_result([])
            return ticket.future
        with self._ready:
            if self._closed:
                raise Closed("the worker has been told to end")
            was_empty = not lane.waiting
            lane.put(ticket)
            if was_empty or lane.waiting >= lane.bounds.size:
                self._ready.notify()
        ticket.future.add_done_callback(lambda future: self._drop(lane, ticket, future))
        return ticket.future

    def waiting(self) -> Mapping[str, int]:
        """The number of items that wait, by kind."""
        return {kind: lane.waiting for kind, lane in self._lanes.items()}

    def close(self) -> None:
        """Ends the threads once all that waits is done. Returns at once."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def join(self, seconds: float) -> None:
        """Waits for the threads to end, for up to so long."""
        latest = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, latest - time.monotonic()))

    def _drop(self, lane: Lane, ticket: _Ticket, future: Future[list[Any]]) -> None:
        if future.cancelled():
            with self._ready:
                lane.drop(ticket)

    def _work(self) -> None:
        while True:
            with self._ready:
                lane = self._next()
                if lane is None:
                    return
                self._batches += 1
                lane.served = self._batches
                batch = lane.take()
                if lane.waiting:
                    self._ready.notify()  # there is enough for another thread
            self._run(lane, batch)

    def _next(self) -> Lane | None:
        """The lane whose batch is due, of several the one that waited longest; None once all is done."""
        while True:
            now = time.monotonic()
            waiting = [lane for lane in self._lanes.values() if lane.waiting]
            if not waiting and self._closed:
                return None
            due = [lane for lane in waiting if lane.due() <= now or self._closed]
            if due:
                return min(due, key=lambda lane: lane.served)
            soonest = min((lane.due() for lane in waiting), default=math.inf)
            self._ready.wait(None if math.isinf(soonest) else soonest - now)

    def _run(self, lane: Lane, batch: list[tuple[_Ticket, int]]) -> None:
        began = time.monotonic()
        for ticket, place in batch:
            if place == 0:
                self._watch.waited(lane.kind, began - ticket.since)
        outcomes = _outcomes(lane.run, [ticket.items[place] for ticket, place in batch])
        seconds = time.monotonic() - began
        lane.note(len(batch) * len(self._threads), seconds)
        self._watch.ran(lane.kind, len(batch), seconds)
        for (ticket, place), outcome in zip(batch, outcomes, strict=True):
            with suppress(InvalidStateError):  # cancelled, or failed with an earlier item
                self._settle(lane, ticket, place, outcome)

    def _settle(self, lane: Lane, ticket: _Ticket, place: int, outcome: Any) -> None:
        if isinstance(outcome, _Failed):
            ticket.future.set_exception(ItemFailed(place, outcome.error))
            with self._ready:
                lane.drop(ticket)
            return
        ticket.results[place] = outcome
        ticket.left -= 1
        if not ticket.left:
            ticket.future.set_result(ticket.results)


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


def _outcomes(run: Run, items: list[Any]) -> list[Any]:
    """What `run` gives for each item, or why it failed."""
    try:
        results = list(run(items))
        if len(results) != len(items):
            raise RuntimeError(f"a batch of {len(items)} gave {len(results)} results")
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told, and the thread goes on
        if len(items) == 1:
            return [_Failed(error)]
        half = len(items) // 2
        return _outcomes(run, items[:half]) + _outcomes(run, items[half:])
    return results

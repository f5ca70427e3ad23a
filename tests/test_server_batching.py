from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from clipkit_server.batching import Bounds, Closed, ItemFailed, Lane, QueueFull, Worker

BOUNDS = Bounds(size=4, queued=100, window=0.0, age=0.0)


class Told:
    """What a worker tells of its batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []

    def waited(self, kind: str, seconds: float) -> None:
        assert seconds >= 0

    def ran(self, kind: str, items: int, seconds: float) -> None:
        self.batches.append((kind, items))


class Held:
    """Runs batches once it is let go, so that a test decides what waits meanwhile. Doubles its items."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.started = threading.Event()
        self.batches: list[list[Any]] = []

    def __call__(self, items: list[Any]) -> Sequence[Any]:
        self.started.set()
        assert self.go.wait(30)
        self.batches.append(items)
        if "bad" in items:
            raise ValueError("bad")
        return [item * 2 for item in items]


@pytest.fixture
def workers() -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def make(*lanes: Lane, told: Told | None = None, abreast: int = 1) -> Worker:
        made.append(Worker("test", lanes, told or Told(), abreast=abreast))
        return made[-1]

    yield make
    for worker in made:
        worker.close()
        worker.join(30)


def busy(worker: Worker, run: Held, kind: str = "text") -> Future[list[Any]]:
    """The result of an item that holds the worker up until `run.go`."""
    first = worker.submit(kind, ["first"], "first")
    assert run.started.wait(30)
    return first


def test_results_come_in_the_order_of_the_items(workers: Callable[..., Worker]) -> None:
    run = Held()
    run.go.set()
    worker = workers(Lane("text", run, BOUNDS))
    assert worker.submit("text", list(range(11)), "a").result(30) == list(range(0, 22, 2))
    assert [len(batch) for batch in run.batches] == [4, 4, 3]


def test_nothing_asked_is_nothing_answered(workers: Callable[..., Worker]) -> None:
    run = Held()
    assert workers(Lane("text", run, BOUNDS)).submit("text", [], "a").result(0) == []


def test_what_waits_goes_together(workers: Callable[..., Worker]) -> None:
    run, told = Held(), Told()
    worker = workers(Lane("text", run, BOUNDS), told=told)
    first = busy(worker, run)
    others = [worker.submit("text", [name], name) for name in "abc"]
    run.go.set()
    assert [future.result(30) for future in (first, *others)] == [["firstfirst"], ["aa"], ["bb"], ["cc"]]
    assert run.batches == [["first"], ["a", "b", "c"]]
    assert told.batches == [("text", 1), ("text", 3)]


def test_batches_run_abreast_and_none_waits_for_another(workers: Callable[..., Worker]) -> None:
    held, at_once = Held(), threading.Barrier(2, timeout=30)

    def run(items: list[Any]) -> Sequence[Any]:
        if items[0] == "slow":
            return held(items)
        if len(items) == 4:
            at_once.wait()  # breaks unless the other half of the request is under way
        return items

    worker = workers(Lane("text", run, BOUNDS), abreast=3)
    slow = worker.submit("text", ["slow"], "a")
    assert held.started.wait(30)
    assert worker.submit("text", list(range(8)), "b").result(30) == list(range(8))
    assert worker.submit("text", ["quick"], "c").result(30) == ["quick"]
    assert not slow.done()
    held.go.set()
    assert slow.result(30) == ["slowslow"]


def test_a_batch_takes_one_item_of_each_client_in_turn(workers: Callable[..., Worker]) -> None:
    run = Held()
    worker = workers(Lane("text", run, BOUNDS))
    first = busy(worker, run)
    many = worker.submit("text", [f"a{i}" for i in range(6)], "a")
    few = [worker.submit("text", ["b"], "b"), worker.submit("text", ["c"], "c")]
    run.go.set()
    for future in (first, many, *few):
        future.result(30)
    assert run.batches[1:] == [["a0", "b", "c", "a1"], ["a2", "a3", "a4", "a5"]]


def test_a_client_s_own_requests_take_turns_too(workers: Callable[..., Worker]) -> None:
    run = Held()
    worker = workers(Lane("text", run, BOUNDS))
    first = busy(worker, run)
    many, one = worker.submit("text", ["a0", "a1", "a2"], "a"), worker.submit("text", ["b"], "a")
    run.go.set()
    for future in (first, many, one):
        future.result(30)
    assert run.batches[1:] == [["a0", "b", "a1", "a2"]]


def test_one_bad_item_fails_its_request_alone(workers: Callable[..., Worker]) -> None:
    run = Held()
    worker = workers(Lane("text", run, BOUNDS))
    first = busy(worker, run)
    good, bad = worker.submit("text", ["x", "y"], "good"), worker.submit("text", ["z", "bad"], "bad")
    run.go.set()
    assert first.result(30) == ["firstfirst"]
    assert good.result(30) == ["xx", "yy"]
    with pytest.raises(ItemFailed, match="input 1: ValueError") as failed:
        bad.result(30)
    assert failed.value.place == 1
    assert str(failed.value.error) == "bad"


def test_what_is_left_of_a_failed_request_is_not_run(workers: Callable[..., Worker]) -> None:
    run = Held()
    run.go.set()
    worker = workers(Lane("text", run, BOUNDS))
    future = worker.submit("text", ["bad", *"abcdefgh"], "a")
    with pytest.raises(ItemFailed, match="input 0"):
        future.result(30)
    assert worker.submit("text", ["later"], "a").result(30) == ["laterlater"]
    assert "h" not in [item for batch in run.batches for item in batch]


def test_a_cancelled_request_makes_room(workers: Callable[..., Worker]) -> None:
    run = Held()
    worker = workers(Lane("text", run, BOUNDS))
    first = busy(worker, run)
    future = worker.submit("text", ["a", "b"], "a")
    assert worker.waiting() == {"text": 2}
    assert future.cancel()
    assert worker.waiting() == {"text": 0}
    run.go.set()
    first.result(30)
    assert worker.submit("text", ["c"], "a").result(30) == ["cc"]
    assert run.batches == [["first"], ["c"]]


def test_a_full_queue_takes_nothing_more_and_says_when_to_come_back(workers: Callable[..., Worker]) -> None:
    run = Held()
    worker = workers(Lane("text", run, Bounds(size=4, queued=10, window=0.0, age=0.0)))
    first = busy(worker, run)
    worker.submit("text", ["a"] * 5, "a")
    with pytest.raises(QueueFull, match="5 inputs wait already: try again in 1 s"):
        worker.submit("text", ["a"], "a")  # half of the queue is one client's
    worker.submit("text", ["b"] * 5, "b")
    with pytest.raises(QueueFull, match="10 inputs") as full:
        worker.submit("text", ["c"], "c")
    assert full.value.retry_after >= 1
    run.go.set()
    assert first.result(30) == ["firstfirst"]


def test_kinds_have_queues_of_their_own_and_take_turns(workers: Callable[..., Worker]) -> None:
    run, told = Held(), Told()
    worker = workers(Lane("text", run, BOUNDS), Lane("image", run, BOUNDS), told=told)
    futures = [busy(worker, run)]
    futures += [worker.submit("text", ["t"] * 8, "a"), worker.submit("image", ["i"] * 8, "a")]
    run.go.set()
    for future in futures:
        future.result(30)
    assert [kind for kind, _ in told.batches] == ["text", "image", "text", "image", "text"]


def test_a_batch_waits_a_moment_for_company(workers: Callable[..., Worker]) -> None:
    run = Held()
    run.go.set()
    worker = workers(Lane("text", run, Bounds(size=3, queued=10, window=30.0, age=30.0)))
    futures = [worker.submit("text", [name], name) for name in "abc"]
    assert [future.result(20) for future in futures] == [["aa"], ["bb"], ["cc"]]  # full, so it goes at once
    assert run.batches == [["a", "b", "c"]]


def test_a_worker_that_is_closed_does_what_waits_and_takes_nothing_more(
    workers: Callable[..., Worker],
) -> None:
    run = Held()
    worker = workers(Lane("text", run, Bounds(size=3, queued=10, window=30.0, age=30.0)))
    future = worker.submit("text", ["a"], "a")
    worker.close()
    with pytest.raises(Closed, match="told to end"):
        worker.submit("text", ["b"], "a")
    run.go.set()
    assert future.result(20) == ["aa"]


def test_a_function_that_loses_results_is_an_error_of_every_item(workers: Callable[..., Worker]) -> None:
    worker = workers(Lane("text", lambda items: [], BOUNDS))
    with pytest.raises(ItemFailed, match="RuntimeError"):
        worker.submit("text", ["a"], "a").result(30)

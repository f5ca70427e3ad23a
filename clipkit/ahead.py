"""Work done ahead in threads, with its results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    inputs: Iterable[T],
    read: Callable[[T], R],
    ahead: int,
    *,
    threads: int | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Generator[R, None, None]:
    """The results of `read` in input order, computed in threads, up to `ahead` inputs in advance.

    There are as many threads as cores unless told otherwise, or those of a pool that others use too.
    """
    own = pool or ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="clipkit-read")
    waiting: deque[Future[R]] = deque()
    try:
        for value in inputs:
            waiting.append(own.submit(read, value))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        if pool is None:
            own.shutdown()

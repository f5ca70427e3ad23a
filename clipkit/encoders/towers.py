"""How a model is run: replicas on devices, several batches side by side, memory that runs out."""

from __future__ import annotations

import copy
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import batched

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Replica:
    """A model on its device. A `stream` of its own lets a GPU copy one batch while it computes another."""

    def __init__(self, model: Any, device: str, stream: Any = None) -> None:
        self.model = model
        self.device = device
        self.stream = stream
        self._pinned: torch.Tensor | None = None

    def batch(self, pixels: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Arrays of one shape as one, in memory that a GPU copies from at full speed.

        It is good until the next call: to pin memory takes longer than to fill it, so there is one piece.
        """
        import torch

        if self.stream is None:
            return torch.from_numpy(np.stack(pixels))
        shape = (len(pixels), *pixels[0].shape)
        if self._pinned is None or self._pinned.numel() < math.prod(shape):
            self._pinned = torch.empty(math.prod(shape), dtype=torch.uint8, pin_memory=True)
        batch = self._pinned[: math.prod(shape)].view(shape)
        for row, picture in zip(batch.numpy(), pixels, strict=True):
            row[:] = picture
        return batch

    def rows(self, encode: Callable[[Any, Any], Any], batch: torch.Tensor) -> NDArray[Any]:
        """The float32 rows that `encode(model, batch)` gives of a batch that is in memory."""
        import torch

        with torch.inference_mode():
            if self.stream is None:
                rows: NDArray[Any] = encode(self.model, batch.to(self.device)).float().cpu().numpy()
                return rows
            with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
                there = batch.to(self.device, non_blocking=True)
                on_gpu: NDArray[Any] = encode(self.model, there).float().cpu().numpy()  # waits for the stream
                return on_gpu


class Replicas:
    """A model on one or more devices. `borrow` gives whichever copy is free to one thread at a time.

    `lanes` is how many batches run side by side. On a CPU that is one a core, all through the same weights:
    threads that never wait for each other lose nothing to the decoders beside them, where the threads of one
    batch do at every layer. On a GPU it is three, so that others are brought there while one is computed.
    """

    def __init__(self, model: Any, devices: Sequence[str]) -> None:
        self.model = model
        self._devices = tuple(devices)
        each = 3 if devices[0].startswith("cuda") else 1
        self.lanes = cores() if self._devices == ("cpu",) else each * len(devices)
        self._lock = threading.Lock()
        self._free: SimpleQueue[Replica] | None = None

    @contextmanager
    def borrow(self) -> Iterator[Replica]:
        free = self._free or self._spread()
        taken = free.get()
        try:
            yield taken
        finally:
            free.put(taken)

    def _spread(self) -> SimpleQueue[Replica]:
        """Copies the model to the other devices, the first time that any is wanted."""

        with self._lock:
            if self._free is None:
                free: SimpleQueue[Replica] = SimpleQueue()
                first, *others = self._devices
                placed = [(self.model, first), *((copy.deepcopy(self.model).to(d), d) for d in others)]
                for model, device in placed * max(1, self.lanes // len(placed)):
                    stream = _stream(device)
                    free.put(Replica(model, device, stream))
                self._free = free
            return self._free


def _stream(device: str) -> Any:
    import torch

    if not device.startswith("cuda"):
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def cores() -> int:
    """How many threads torch may use here: as it was told, but no more than this process has cores."""
    import torch

    at_hand = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), at_hand))


def be_one_thread() -> None:
    """Lets torch use this thread alone for what it is called for in this thread; others keep theirs."""
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread; and, alas, of all that have not used torch yet
    others = threading.Thread(target=torch.set_num_threads, args=(usual,))
    others.start()
    others.join()


def halving(run: Callable[[list[T]], NDArray[Any]], batch: list[T]) -> tuple[NDArray[Any], int]:
    """What `run` makes of the batch, one row an input, and the largest part that memory sufficed for.

    Where it does not, the halves are tried, and so on; it raises torch.OutOfMemoryError for a single input.
    """
    import torch

    size = len(batch)
    while True:
        try:
            return np.concatenate([run(part) for part in batched(batch, size)]), size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = -(-size // 2)
        if torch.cuda.is_available():  # no longer inside the except: its traceback holds the tensors
            torch.cuda.empty_cache()

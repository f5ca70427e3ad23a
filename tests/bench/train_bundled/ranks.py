"""Several processes training one model, each with one thread.

On a processor whose cores others use too, threads of one process wait for each other thousands of times a
step, and one busy core makes the step ten times longer (measured). Processes meet once a step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    world: int = 1

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """Averages tensors over the processes, in place."""
        if self.world > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)
                tensor /= self.world

    def share(self, parameters: Sequence[nn.Parameter], more: Sequence[float]) -> list[float]:
        """Averages all gradients over the processes, and the numbers in `more`, which are returned."""
        if self.world == 1:
            return list(more)
        with_gradient = [p for p in parameters if p.grad is not None]
        parts = [p.grad.flatten() for p in with_gradient if p.grad is not None]
        flat = torch.cat([*parts, torch.tensor(list(more))])
        dist.all_reduce(flat)
        flat /= self.world
        at = 0
        for parameter in with_gradient:
            gradient = flat[at : at + parameter.numel()].view(parameter.shape)
            assert parameter.grad is not None
            parameter.grad.copy_(gradient)
            at += parameter.numel()
        return [float(value) for value in flat[at:]]


def start(work: Callable[..., None], world: int, folder: Path, *arguments: Any) -> None:
    """Runs `work(ranks, *arguments)` in `world` processes (in this one, if it is one)."""
    if world == 1:
        work(Ranks(), *arguments)
        return
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    from torch.multiprocessing.spawn import spawn

    spawn(_join, args=(world, meeting, work, arguments), nprocs=world)  # type: ignore[no-untyped-call]


def _join(
    rank: int, world: int, meeting: Path, work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    work(Ranks(rank, world), *arguments)
    dist.destroy_process_group()

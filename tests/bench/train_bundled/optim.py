"""How the weights move: the optimisers, and the schedule as a function of the time used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal (Jordan et al. 2024, "Muon"), for convolution weights.

    All directions of a weight matrix move alike far, so a short run gets further than with plain momentum.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
                velocity.lerp_(weight.grad, 1 - group["momentum"])
                step = orthogonal(weight.grad.lerp(velocity, group["momentum"]))
                rows, columns = weight.shape[0], weight[0].numel()
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(step, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(gradient: Tensor) -> Tensor:
    """The nearest matrix with all singular values about 1, by five Newton-Schulz steps."""
    x = gradient.reshape(len(gradient), -1).bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    found: Tensor = (x.T if tall else x).float().reshape(gradient.shape)
    return found


@dataclass(frozen=True)
class Schedule:
    """What depends on progress, the share of the time budget that is used: 0 at the start, 1 at the end."""

    warmup: float = 0.03
    sizes: tuple[tuple[float, int], ...] = ((0.50, 64), (0.65, 80), (1.0, 96))  # (until, px)
    last: float = 0.01  # the learning rate at the end, as a share of its peak

    def rate(self, progress: float) -> float:
        if progress < self.warmup:
            return max(progress / self.warmup, 0.02)
        return max((1 - progress) / (1 - self.warmup), self.last)

    def size(self, progress: float) -> int:
        return next((size for until, size in self.sizes if progress < until), self.sizes[-1][1])


def optimisers(clip: nn.Module, scaffold: nn.Module, peak: float) -> list[torch.optim.Optimizer]:
    """Muon for the image trunk's filters, AdamW for all else."""
    image = list(clip.visual.parameters())  # type: ignore[union-attr]
    inside = {id(p) for p in image}
    filters = [p for p in image if p.ndim == 4]
    others = [p for p in image if p.ndim != 4]
    text = [p for p in clip.parameters() if id(p) not in inside]
    decayed = [p for p in text if p.ndim >= 2]
    groups = [
        {"params": others, "lr": 4e-3, "weight_decay": 0.0},
        {"params": decayed, "lr": 1e-3, "weight_decay": 0.05},
        {"params": [p for p in text if p.ndim < 2], "lr": 1e-3, "weight_decay": 0.0},
        {"params": list(scaffold.parameters()), "lr": 2e-3, "weight_decay": 0.0},
    ]
    found: list[torch.optim.Optimizer] = [
        Muon(filters, lr=peak, momentum=0.9, weight_decay=0.05),
        torch.optim.AdamW(groups, betas=(0.9, 0.98)),
    ]
    for optimiser in found:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return found

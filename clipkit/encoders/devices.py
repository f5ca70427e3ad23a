"""Which device a model runs on, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "bf16", "fp16")

BATCH_SIZES = {"cuda": 256, "mps": 64, "cpu": 32}
"""Inputs per forward pass: what keeps each kind of device busy with a ViT-B without much memory."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs: `device` as torch writes it, and "fp32", "bf16" or "fp16"."""

    device: str
    precision: str

    @property
    def batch_size(self) -> int:
        return BATCH_SIZES[self.device.partition(":")[0]]

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]


def place(device: str | None = None, precision: str | None = None) -> Placement:
    """Where to run: as asked, or else the best that is there.

    The default device is cuda, mps or cpu, in that order. The default precision is fp32 on cpu and mps; on
    cuda bf16, which cannot overflow, or fp16 on cards that have no bf16. Raises InvalidInput for a device
    that is not there, saying which are.
    """
    there = available()
    chosen = device or there[0]
    if chosen not in there and f"{chosen}:0" not in there:
        if chosen.partition(":")[0] not in BATCH_SIZES:
            raise InvalidInput(f"no device is called {chosen!r}: choose {', '.join(BATCH_SIZES)}")
        raise InvalidInput(f"the device {chosen!r} is not there; this machine has {', '.join(there)}")
    if precision is not None and precision not in PRECISIONS:
        raise InvalidInput(f"no precision is called {precision!r}: choose {', '.join(PRECISIONS)}")
    return Placement(chosen, precision or _default_precision(chosen))


def available() -> list[str]:
    """The devices of this machine, the best first: cuda:0, cuda:1, ..., mps, cpu."""
    import torch

    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def _default_precision(device: str) -> str:
    import torch

    if not device.startswith("cuda"):
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"  # Ampere brought bf16

"""Which device a model runs on, and in which precision."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "bf16", "fp16", "int8")

BATCH_SIZES = {"cuda": 512, "mps": 64, "cpu": 16}
"""Inputs per forward pass: what keeps each kind of device busy with a ViT-B without much memory."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs: `device` as torch writes it, and "fp32", "bf16", "fp16" or "int8".

    In int8 are the products of an image tower; all the rest is in float32.

    `devices` are all those that share the batches, `device` first.
    """

    device: str
    precision: str
    others: tuple[str, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        return (self.device, *self.others)

    @property
    def batch_size(self) -> int:
        return BATCH_SIZES[self.device.partition(":")[0]]

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision, torch.float32)


def place(device: str | None = None, precision: str | None = None) -> Placement:
    """Where to run: as asked, or else the best that is there.

    The default device is cuda, mps or cpu, in that order; without a number, cuda is all cards that there are.
    The default precision is bf16, which cannot overflow, where the processor computes with it; else fp32 on
    cpu and mps, and fp16 on cards. Raises InvalidInput for a device that is not there, saying which are, and
    for int8 where nothing computes in it.
    """
    there = available()
    chosen = device or there[0]
    if chosen not in there and f"{chosen}:0" not in there:
        if chosen.partition(":")[0] not in BATCH_SIZES:
            raise InvalidInput(f"no device is called {chosen!r}: choose {', '.join(BATCH_SIZES)}")
        raise InvalidInput(f"the device {chosen!r} is not there; this machine has {', '.join(there)}")
    if precision is not None and precision not in PRECISIONS:
        raise InvalidInput(f"no precision is called {precision!r}: choose {', '.join(PRECISIONS)}")
    if precision == "int8":
        _check_int8(chosen)
    cards = [name for name in there if name.startswith("cuda")] if device in (None, "cuda") else []
    return Placement(cards[0] if cards else chosen, precision or _default_precision(chosen), tuple(cards[1:]))


def available() -> list[str]:
    """The devices of this machine, the best first: cuda:0, cuda:1, ..., mps, cpu."""
    import torch

    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself (AVX512-BF16, AMX, ARM's BF16): three times fp32's speed.

    Elsewhere bf16 is emulated, and slower.
    """
    import torch

    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if platform.machine() in ("arm64", "aarch64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def _check_int8(device: str) -> None:
    if device != "cpu":
        raise InvalidInput(f"int8 is for the device cpu, not for {device}: leave the precision out")
    if not cpu_has_int8():
        raise InvalidInput(
            "int8 needs a processor with VNNI (Intel's since 2019, AMD's since 2022): leave the precision out"
        )


def cpu_has_int8() -> bool:
    """Whether the processor multiplies 8-bit integers into sums of 32 bits (VNNI): twice fp32's speed."""
    import torch

    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    features: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    known = any(features.get(name) for name in ("avx512_vnni", "avx_vnni"))
    return known or bool(torch.cpu._is_vnni_supported())


def _default_precision(device: str) -> str:
    import torch

    if device == "cpu":
        return "bf16" if cpu_has_bf16() else "fp32"
    if not device.startswith("cuda"):
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"  # Ampere brought bf16

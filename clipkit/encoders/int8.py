"""Linear layers in 8-bit integers, for processors with VNNI.

Weights have a scale for each output, fixed when they are loaded, and inputs one for each row, found as it
comes (Yao et al., ZeroQuant: efficient and affordable post-training quantization for large-scale
transformers, 2022): so there is nothing to calibrate, and the row of a picture does not depend on those
beside it. With one scale for all rows, a few large values would take the others' digits. Imports torch, so
import it where that is there already.
"""

from __future__ import annotations

import torch

_MOST = 127  # of the magnitudes that are used: as many above zero as below
_LEAST_SCALE = 1e-12  # of a row of zeros


class Int8Linear(torch.nn.Module):
    """A float32 linear layer: its products are of integers, its sums exact, its results float32."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        weight = weight.detach().float()  # (to, from)
        self._scales = weight.abs().amax(dim=1).clamp(min=_LEAST_SCALE) / _MOST
        integers = (weight / self._scales[:, None]).round().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(integers, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = torch.zeros(len(weight)) if bias is None else bias.detach().float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        largest = torch.maximum(rows.amax(dim=1, keepdim=True), -rows.amin(dim=1, keepdim=True))
        scales = largest.clamp_(min=_LEAST_SCALE) / _MOST
        signed = rows.mul(scales.reciprocal()).round_().to(torch.int8)
        unsigned = signed.view(torch.uint8).bitwise_xor_(128)  # zero is 128 there: what VNNI multiplies
        products = torch.ops.onednn.qlinear_pointwise(
            *(unsigned, 1.0, 128),
            *(self._weight, self._scales, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        return torch.addcmul(self._bias, products, scales).view(*x.shape[:-1], -1)

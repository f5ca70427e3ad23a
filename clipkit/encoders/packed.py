"""A vision transformer in bfloat16 with its weights as oneDNN multiplies by them, on a CPU.

Otherwise they are brought into that order anew for each batch. What follows a product is done while it is at
hand, and nothing is copied for attention. For a ViT-B-32 on two cores with AMX, that is 1.1 times the
pictures a second. Imports torch, so import it where that is there already.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from clipkit.encoders.pooled import ClassTokenBlock

ROWS = 1600
"""Rows that packed weights are multiplied by, about: 32 pictures of 50 places. Others work as well."""


def pack(visual: Any) -> None:
    """Replaces the layers of a tower of open_clip's own, whose convolution has its result in float32."""
    (conv,) = visual.conv1
    if conv.stride == conv.kernel_size and conv.padding == (0, 0) and conv.groups == 1:
        visual.conv1 = _Patches(conv)
    for layer in visual.transformer.resblocks:
        last = isinstance(layer, ClassTokenBlock)
        block = layer.block if last else layer
        wide, act, narrow = block.mlp
        exact = type(act) is torch.nn.GELU and act.approximate == "none"
        block.mlp = torch.nn.Sequential(
            _Linear(wide.weight, wide.bias, "gelu" if exact else "none"),
            torch.nn.Identity() if exact else act,
            _Linear(narrow.weight, narrow.bias),
        )
        block.attn = _Attention(block.attn, apart=last)


class _Linear(torch.nn.Module):
    """A linear layer, and what oneDNN does with its result: "none", or "gelu" (the exact one)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, then: str = "none") -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self._bias = None if bias is None else bias.detach()
        self._then = then

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        linear = torch.ops.mkldnn._linear_pointwise
        y: torch.Tensor = linear(x, self._weight, self._bias, self._then, [], "none")
        return y


class _Attention(torch.nn.Module):
    """What torch's MultiheadAttention does of a sequence with itself; or, `apart`, of some of its places."""

    def __init__(self, of: torch.nn.MultiheadAttention, *, apart: bool) -> None:
        super().__init__()
        width = of.embed_dim
        sizes = [width, 2 * width] if apart else [3 * width]  # queries, keys and values
        parts = zip(torch.split(of.in_proj_weight, sizes), torch.split(of.in_proj_bias, sizes), strict=True)
        self._heads, self._width = of.num_heads, of.head_dim
        self._mixed = torch.nn.ModuleList(_Linear(weight, bias) for weight, bias in parts)
        self._out = _Linear(of.out_proj.weight, of.out_proj.bias)

    def forward(
        self,
        some: torch.Tensor,
        every: torch.Tensor,
        values: torch.Tensor,  # noqa: ARG002 - they are `every`, as torch's layer is given it
        *,
        need_weights: bool = False,  # noqa: ARG002
        attn_mask: torch.Tensor | None = None,  # noqa: ARG002 - pictures have none
    ) -> tuple[torch.Tensor, None]:
        mixed = (self._by_head(linear(x)) for linear, x in zip(self._mixed, (some, every), strict=False))
        seen = scaled_dot_product_attention(*(part for parts in mixed for part in parts))
        return self._out(seen.transpose(1, 2).flatten(2)), None

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        """(n, length, parts * width) to (parts, n, heads, length, width of one)."""
        return x.view(*x.shape[:2], -1, self._heads, self._width).permute(2, 0, 3, 1, 4)


class _Patches(torch.nn.Module):
    """A convolution whose steps are as wide as its kernel: (n, channels, rows, columns) float32."""

    def __init__(self, of: torch.nn.Conv2d) -> None:
        super().__init__()
        self._high, self._wide = of.kernel_size
        self._linear = _Linear(of.weight.permute(0, 2, 3, 1).flatten(1), of.bias)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        n, _, height, width = pixels.shape
        rows, columns = height // self._high, width // self._wide
        seen = pixels[..., : rows * self._high, : columns * self._wide].permute(0, 2, 3, 1)
        split = seen.reshape(n, rows, self._high, columns, -1).transpose(2, 3)
        values: torch.Tensor = self._linear(split.reshape(n * rows * columns, -1)).float()
        return values.view(n, rows, columns, -1).permute(0, 3, 1, 2)

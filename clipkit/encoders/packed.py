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
        block.attn = (_ClassTokenAttention if last else _Attention)(block.attn)


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
    """What torch's MultiheadAttention does of a sequence with itself."""

    def __init__(self, of: torch.nn.MultiheadAttention) -> None:
        super().__init__()
        self._heads = of.num_heads
        self._mixed = _Linear(of.in_proj_weight, of.in_proj_bias)
        self._out = _Linear(of.out_proj.weight, of.out_proj.bias)

    def forward(
        self,
        x: torch.Tensor,
        keys: torch.Tensor,  # noqa: ARG002 - and values: they are `x`, as torch's layer is given it
        values: torch.Tensor,  # noqa: ARG002
        *,
        need_weights: bool = False,  # noqa: ARG002
        attn_mask: torch.Tensor | None = None,  # noqa: ARG002 - pictures have none
    ) -> tuple[torch.Tensor, None]:
        n, length, width = x.shape
        mixed = self._mixed(x).view(n, length, 3, self._heads, width // self._heads)
        mixed = mixed.permute(2, 0, 3, 1, 4)  # queries, keys, values: (n, heads, length, width of one)
        seen = scaled_dot_product_attention(*mixed)
        return self._out(seen.transpose(1, 2).reshape(n, length, width)), None


class _ClassTokenAttention(torch.nn.Module):
    """What torch's MultiheadAttention does of some places with all."""

    def __init__(self, of: torch.nn.MultiheadAttention) -> None:
        super().__init__()
        self._heads = of.num_heads
        width = of.embed_dim
        self._queries = _Linear(of.in_proj_weight[:width], of.in_proj_bias[:width])
        self._mixed = _Linear(of.in_proj_weight[width:], of.in_proj_bias[width:])
        self._out = _Linear(of.out_proj.weight, of.out_proj.bias)

    def forward(
        self,
        some: torch.Tensor,
        every: torch.Tensor,
        values: torch.Tensor,  # noqa: ARG002 - they are `every`
        *,
        need_weights: bool = False,  # noqa: ARG002
        attn_mask: torch.Tensor | None = None,  # noqa: ARG002 - pictures have none
    ) -> tuple[torch.Tensor, None]:
        n, length, width = every.shape
        queries = self._queries(some).view(n, -1, self._heads, width // self._heads).transpose(1, 2)
        mixed = self._mixed(every).view(n, length, 2, self._heads, width // self._heads)
        keys_values = mixed.permute(2, 0, 3, 1, 4)  # (2, n, heads, length, width of one)
        seen = scaled_dot_product_attention(queries, *keys_values)  # (n, heads, some, width of one)
        return self._out(seen.transpose(1, 2).reshape(n, -1, width)), None


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

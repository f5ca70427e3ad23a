"""A vision transformer with its weights as oneDNN multiplies by them, on a CPU: in bfloat16, or in `int8`.

Otherwise they are brought into that order anew for each batch, and parts are copied for attention. For a
ViT-B-32 in bfloat16 on two cores with AMX, that is 1.1 times the pictures a second. Imports torch, so import
it where that is there already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.nn.functional import scaled_dot_product_attention

from clipkit.encoders.pooled import ClassTokenBlock

ROWS = 1600
"""Rows that packed weights are multiplied by, about: 32 pictures of 50 places. Others work as well."""


Linear: TypeAlias = Callable[[torch.Tensor, "torch.Tensor | None"], torch.nn.Module]
"""What makes a linear layer of a weight, (to, from), and a bias."""


def pack(visual: Any, linear: Linear) -> None:
    """Replaces the linear layers of a tower of open_clip's own, those of its attention too.

    All blocks but the last, whose input tells what the places of a picture mean, then add in place.
    """
    blocks = visual.transformer.resblocks
    for layer in blocks:
        last = isinstance(layer, ClassTokenBlock)
        block = layer.block if last else layer
        wide, act, narrow = block.mlp
        block.mlp = torch.nn.Sequential(
            linear(wide.weight, wide.bias), act, linear(narrow.weight, narrow.bias)
        )
        block.attn = _Attention(block.attn, linear, apart=last)
    for at in range(len(blocks) - 1):
        blocks[at] = _InPlaceBlock(blocks[at])


def pack_patches(visual: Any) -> None:
    """Replaces the convolution of a tower of open_clip's own, which has its result in float32."""
    (conv,) = visual.conv1
    if conv.stride == conv.kernel_size and conv.padding == (0, 0) and conv.groups == 1:
        visual.conv1 = _Patches(conv)


class PackedLinear(torch.nn.Module):
    """A linear layer with its weights in the order that oneDNN multiplies in.

    oneDNN could do the GELU behind it as well, which took a tenth longer than to leave that to torch.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self._bias = None if bias is None else bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        linear = torch.ops.mkldnn._linear_pointwise
        y: torch.Tensor = linear(x, self._weight, self._bias, "none", [], "none")
        return y


class _InPlaceBlock(torch.nn.Module):
    """What a ResidualAttentionBlock makes of its input, in place of that: it takes 3% less."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        block = self.block
        x += block.ls_1(block.attention(block.ln_1(x), attn_mask=attn_mask))
        x += block.ls_2(block.mlp(block.ln_2(x)))
        return x


class _Attention(torch.nn.Module):
    """What torch's MultiheadAttention does of a sequence with itself; or, `apart`, of some of its places."""

    def __init__(self, of: torch.nn.MultiheadAttention, linear: Linear, *, apart: bool) -> None:
        super().__init__()
        width = of.embed_dim
        sizes = [width, 2 * width] if apart else [3 * width]  # queries, keys and values
        parts = zip(torch.split(of.in_proj_weight, sizes), torch.split(of.in_proj_bias, sizes), strict=True)
        self._heads, self._width = of.num_heads, of.head_dim
        self._mixed = torch.nn.ModuleList(linear(weight, bias) for weight, bias in parts)
        self._out = linear(of.out_proj.weight, of.out_proj.bias)

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
        self._linear = PackedLinear(of.weight.permute(0, 2, 3, 1).flatten(1), of.bias)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        n, _, height, width = pixels.shape
        rows, columns = height // self._high, width // self._wide
        seen = pixels[..., : rows * self._high, : columns * self._wide].permute(0, 2, 3, 1)
        split = seen.reshape(n, rows, self._high, columns, -1).transpose(2, 3)
        values: torch.Tensor = self._linear(split.reshape(n * rows * columns, -1)).float()
        return values.view(n, rows, columns, -1).permute(0, 3, 1, 2)

"""The transformer of a CLIP model's texts in NumPy.

Wide blocks are computed by two threads, one half of the heads and of the hidden units each, of which the
results add up (Shoeybi et al., Megatron-LM: training multi-billion parameter language models using model
parallelism, 2019, section 3). A few tokens take most of their time for reading the weights, and two cores
read faster than one. The threads wait for each other twice a block, but do not spin: OpenBLAS's own two take
450 ms for a text in place of 20 where another process has one of the cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Floats: TypeAlias = "NDArray[np.float32]"
Norm: TypeAlias = "tuple[Floats, Floats]"  # scale and shift: (width, 1)

_EPSILON = 1e-5  # of torch's LayerNorm
_MULTIPLE = 8  # of tokens: OpenBLAS multiplies by 8 in three quarters of the time that 7 take
_WIDE = 512  # the width from which on half a block takes longer than to wake a thread for it
_FEW = 16  # tokens; up to so many, OpenBLAS takes longer to rearrange large weights than to multiply by them
_SMALL = 1_000_000  # multiplications; a product of no more it does with the weights as they lie

_one_at_a_time = Lock()  # the limit of NumPy's threads is the whole process's


class Transformer:
    """What open_clip builds of a text_cfg by default, but for the tokenizer.

    `weights` are float32, by the names that open_clip gives them.
    """

    def __init__(self, weights: Mapping[str, Floats], *, layers: int, heads: int, quick_gelu: bool) -> None:
        self._tokens = weights["token_embedding.weight"]
        self._places = weights["positional_embedding"]
        activate = _quick_gelu if quick_gelu else _gelu
        self._blocks = [
            _block(weights, f"transformer.resblocks.{at}", heads, activate) for at in range(layers)
        ]
        self._last = _norm(weights, "ln_final")
        self._projection = weights["text_projection"]  # (width, dim)

    def __call__(self, texts: Sequence[Sequence[int]]) -> Floats:
        """What each text's last token becomes after all layers, projected: (texts, dim) float32.

        The tokens of all go through each layer as one, but attend to those of their own text only.
        """
        with (
            _one_at_a_time,
            _threads().limit(limits=1),
            ThreadPoolExecutor(1, thread_name_prefix="clipkit-text") as helper,
        ):
            return self._read(texts, helper)

    def _read(self, texts: Sequence[Sequence[int]], helper: ThreadPoolExecutor) -> Floats:
        missing = -sum(map(len, texts)) % _MULTIPLE
        lengths = [len(tokens) for tokens in texts] + [missing] * (missing > 0)  # as a text of its own
        tokens = np.concatenate([*texts, np.zeros(missing, int)])
        places = np.concatenate([np.arange(n) for n in lengths])
        ends = np.cumsum(lengths)
        x = np.ascontiguousarray((self._tokens[tokens] + self._places[places]).T)  # (width, tokens)
        for block in self._blocks:
            x = x + block.attended(x, ends, helper)
            x = x + block.widened(x, helper)
        rows: Floats = _normed(x[:, ends[: len(texts)] - 1], self._last).T @ self._projection
        return rows


@dataclass(frozen=True, slots=True)
class _Share:
    """Some of a block's heads, and some units of its MLP. Weights are (to, from), biases (to, 1)."""

    heads: int
    attend: Floats  # to queries, keys and values: (3, own, width)
    attend_bias: Floats  # (3, own, 1)
    out: Floats
    widen: Floats
    widen_bias: Floats
    activate: Callable[[Floats], Floats]
    narrow: Floats

    def attended(self, x: Floats, ends: NDArray[np.int64]) -> Floats:
        """The part that these heads have in the self-attention of each text; (width, tokens), to the same."""
        mixed = _product(self.attend, x) + self.attend_bias
        by_head = mixed.reshape(3, self.heads, -1, x.shape[1])
        seen = [_attention(*of_text) for of_text in np.split(by_head, ends[:-1], axis=-1)]
        return _product(self.out, np.concatenate(seen, axis=-1).reshape(-1, x.shape[1]))

    def widened(self, x: Floats) -> Floats:
        """The part that these units have in the MLP; (width, tokens), to the same."""
        return _product(self.narrow, self.activate(_product(self.widen, x) + self.widen_bias))


@dataclass(frozen=True, slots=True)
class _Block:
    ln_1: Norm
    ln_2: Norm
    shares: list[_Share]
    out_bias: Floats
    narrow_bias: Floats

    def attended(self, x: Floats, ends: NDArray[np.int64], helper: ThreadPoolExecutor) -> Floats:
        seen = _normed(x, self.ln_1)
        return self._sum(lambda share: share.attended(seen, ends), helper) + self.out_bias

    def widened(self, x: Floats, helper: ThreadPoolExecutor) -> Floats:
        seen = _normed(x, self.ln_2)
        return self._sum(lambda share: share.widened(seen), helper) + self.narrow_bias

    def _sum(self, part: Callable[[_Share], Floats], helper: ThreadPoolExecutor) -> Floats:
        """What the parts of all shares add up to: that of the first computed here, another's beside it."""
        first, *others = self.shares
        beside = [helper.submit(part, share) for share in others]
        total = part(first)
        for other in beside:
            total = total + other.result()
        return total


def _norm(weights: Mapping[str, Floats], name: str) -> Norm:
    return weights[f"{name}.weight"][:, None], weights[f"{name}.bias"][:, None]


def _block(
    weights: Mapping[str, Floats], name: str, heads: int, activate: Callable[[Floats], Floats]
) -> _Block:
    def split(layer: str, axis: int) -> list[Floats]:
        """The weights of each share. Those of queries, keys and values are one: (3 * width, width)."""
        given = weights[f"{name}.{layer}"]
        parted = given.reshape(3, -1, *given.shape[1:]) if "in_proj" in layer else given
        return np.split(parted, shares, axis)

    width = len(weights[f"{name}.ln_1.weight"])
    shares = 2 if width >= _WIDE and heads % 2 == 0 else 1
    parts = zip(
        split("attn.in_proj_weight", 1),
        split("attn.in_proj_bias", 1),
        split("attn.out_proj.weight", 1),
        split("mlp.c_fc.weight", 0),
        split("mlp.c_fc.bias", 0),
        split("mlp.c_proj.weight", 1),
        strict=True,
    )
    return _Block(
        ln_1=_norm(weights, f"{name}.ln_1"),
        ln_2=_norm(weights, f"{name}.ln_2"),
        shares=[
            _Share(
                heads // shares, attend, bias[..., None], out, widen, widen_bias[:, None], activate, narrow
            )
            for attend, bias, out, widen, widen_bias, narrow in parts
        ],
        out_bias=weights[f"{name}.attn.out_proj.bias"][:, None],
        narrow_bias=weights[f"{name}.mlp.c_proj.bias"][:, None],
    )


@cache
def _threads() -> ThreadpoolController:
    """What bounds the threads of NumPy's matrix products."""
    return ThreadpoolController().select(user_api="blas")


def _product(weights: Floats, x: Floats) -> Floats:
    """weights (..., to, from) @ x (from, tokens); for few tokens in slices, which take 10 to 25% less."""
    *apart, rows, width = weights.shape
    while x.shape[1] <= _FEW and rows * x.size > _SMALL and rows % 2 == 0:
        rows //= 2
    product: Floats = weights.reshape(*apart, -1, rows, width) @ x  # of a view: half a block's lie apart
    return product.reshape(*weights.shape[:-1], x.shape[1])


def _attention(query: Floats, key: Floats, value: Floats) -> Floats:
    """Scaled dot-product attention of each token to those up to itself; (heads, depth, n), to the same."""
    scores = query.transpose(0, 2, 1) @ key / np.float32(math.sqrt(query.shape[1])) + _later(query.shape[2])
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    attended: Floats = value @ shares.transpose(0, 2, 1)
    return attended


@cache
def _later(n: int) -> Floats:
    """What is added to scores, (n, n), so that no token sees those behind it."""
    return np.triu(np.full((n, n), -np.inf, np.float32), 1)


def _normed(x: Floats, norm: Norm) -> Floats:
    """Layer normalisation over the first axis (Ba et al., Layer normalization, 2016)."""
    x = x - np.add.reduce(x) / np.float32(len(x))
    x /= np.sqrt(np.einsum("wt,wt->t", x, x) / np.float32(len(x)) + np.float32(_EPSILON))
    x *= norm[0]
    x += norm[1]
    return x


def _quick_gelu(x: Floats) -> Floats:
    activated: Floats = np.exp(np.float32(-1.702) * x)
    activated += 1
    return np.divide(x, activated, out=activated)


def _gelu(x: Floats) -> Floats:
    """x times the normal distribution function of x: max(x, 0) - |x| (1 - erf(|x| / sqrt(2))) / 2.

    The error function by Abramowitz and Stegun, Handbook of mathematical functions, 7.1.26: NumPy has none,
    and the error of at most 1.5e-7 is that of float32.
    """
    size = np.abs(x)
    t = size * np.float32(0.3275911 * math.sqrt(0.5))
    t += 1
    np.divide(1, t, out=t)
    missing = np.float32(1.061405429 / 2) * t  # half of 1 - erf, as a polynomial in t without its exponential
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        missing += np.float32(factor / 2)
        missing *= t
    np.multiply(x, x, out=t)
    t *= np.float32(-0.5)
    missing *= np.exp(t, out=t)
    missing *= size
    activated: Floats = np.maximum(x, 0, out=size)
    activated -= missing
    return activated

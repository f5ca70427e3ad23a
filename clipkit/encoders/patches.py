"""What each place of a picture means: image towers of open_clip read before they pool.

A tower makes one row of a picture out of many, one for each place of its last feature map. How these can be
had in the space of texts depends on how the tower pools:

- Global average pooling and a head behind it (ConvNeXt, FastViT of MobileCLIP, `bundled`): the head applied
  to each place, which is class activation mapping. Where the head is linear, the mean of all places is the
  picture's own row, but for its length.
- open_clip's VisionTransformer: MaskCLIP. In the last block each patch attends to itself alone, so that what
  is left of attention are its value and output projections. As Lan et al. found for this (ClearCLIP, ECCV
  2024), the block's residual connection and MLP are left out.
- CLIP's ResNets: the same of their attention pool, as MaskCLIP has it too.

Heads that pool by a query of their own (SigLIP, CoCa) were trained on mixtures only, and have an MLP behind
the pool; rows of single places through them are not known to mean anything, so they are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from clipkit.errors import PlacesUnavailable

Box: TypeAlias = tuple[float, float, float, float]

CAM = "Zhou et al., Learning deep features for discriminative localization, CVPR 2016"
MASKCLIP = "Zhou, Loy and Dai, Extract free dense labels from CLIP, ECCV 2022"

FINE = 6  # places along an edge: with fewer, which object is meant can hardly be seen


@dataclass(frozen=True, slots=True)
class Reader:
    """How the places of one tower are read.

    `read(pixels)` takes preprocessed pixels (1, 3, height, width) and gives a tensor (rows, cols, dim), rows
    of any length. `scale` is how much larger than usual the picture should be, for at least FINE places.
    """

    method: str
    source: str
    read: Callable[[Any], Any]
    scale: int = 1


def reader_of(visual: Any, name: str) -> Reader:
    """How to read the places of the image tower `visual`. Raises PlacesUnavailable, with the model's name."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    from clipkit.encoders.pooled import ClassTokenBlock

    if isinstance(visual, TimmModel):
        pool = getattr(getattr(visual.trunk, "head", None), "global_pool", None)
        pool = pool or getattr(visual.trunk, "global_pool", None)
        if getattr(pool, "pool_type", None) == "avg":
            scale = _scale(visual)
            return Reader("class activation mapping", CAM, lambda pixels: _activations(visual, pixels), scale)
        why = f"its tower, timm's {type(visual.trunk).__name__}, does not average a feature map"
    elif isinstance(visual, ModifiedResNet):
        return Reader("MaskCLIP, of the attention pool", MASKCLIP, lambda pixels: _pooled(visual, pixels))
    elif isinstance(visual, VisionTransformer):
        own = visual.attn_pool is None
        if own and isinstance(visual.transformer.resblocks[-1], (ResidualAttentionBlock, ClassTokenBlock)):
            return Reader("MaskCLIP", MASKCLIP, lambda pixels: _values(visual, pixels))
        why = "it pools by learned queries, through which no single place can be seen"
    else:
        why = f"a tower of the kind {type(visual).__name__} is not known"
    raise PlacesUnavailable(
        f"{name} cannot tell what the places of a picture mean: {why}. Models that can are fast and bundled"
    )


def box_of(
    width: int, height: int, *, size: int | tuple[int, int], mode: Literal["shortest", "longest", "squash"]
) -> Box:
    """Where what the model sees lies in a picture of `width` x `height`: left, top, right, bottom, as shares.

    `size` (of an edge, or height and width, in pixels) and `mode` are those of open_clip's preprocessing,
    which crops the middle, pads to below 0 and beyond 1 ("longest"), or takes all ("squash"). True to within
    a pixel of the preprocessed picture.
    """
    if mode == "squash":
        return 0.0, 0.0, 1.0, 1.0
    high, wide = (size, size) if isinstance(size, int) else size
    shrink = (min if mode == "shortest" else max)(width / wide, height / high)
    across, down = wide * shrink / width, high * shrink / height
    return (1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2


def _scale(visual: Any) -> int:
    """A convolutional trunk takes pictures of any size; others (Swin) none but their own."""
    if getattr(visual.trunk, "output_fmt", "NCHW") != "NCHW":
        return 1
    stride: int = visual.trunk.feature_info[-1]["reduction"]  # pixels
    edge: int = min(visual.image_size)
    return -(-FINE * stride // edge)


def _activations(visual: Any, pixels: Any) -> Any:
    features = visual.trunk.forward_features(pixels)
    last = getattr(visual.trunk, "output_fmt", "NCHW") == "NHWC"
    if not last:
        features = features.permute(0, 2, 3, 1)
    _, rows, cols, channels = features.shape
    one = (1, 1, channels) if last else (channels, 1, 1)
    places = features.reshape(rows * cols, *one)  # each a feature map of its own: its mean is itself
    return visual.head(visual.trunk.forward_head(places)).reshape(rows, cols, -1)


def _values(visual: Any, pixels: Any) -> Any:
    last = visual.transformer.resblocks[-1]
    with _input_of(last) as seen:
        visual(pixels)
    (tokens,) = seen  # (1, 1 + places, width)
    block = getattr(last, "block", last)  # that of a ClassTokenBlock
    alone = tokens[0, 1:, None]  # (places, 1, width): sequences of one token, which attends to itself
    values = block.ls_1(block.attention(block.ln_1(alone)))[:, 0]
    return (visual.ln_post(values) @ visual.proj).reshape(*visual.grid_size, -1)


def _pooled(visual: Any, pixels: Any) -> Any:
    pool = visual.attnpool
    with _input_of(pool) as seen:
        visual(pixels)
    (features,) = seen  # (1, channels, rows, cols)
    places = features[0].flatten(1).T  # (places, channels)
    places = places + pool.positional_embedding[1:].to(places.dtype)  # the first is that of their mean
    return pool.c_proj(pool.v_proj(places)).reshape(*features.shape[2:], -1)


@contextmanager
def _input_of(module: Any) -> Iterator[list[Any]]:
    """A list that holds what `module` was called with, once it has been."""
    seen: list[Any] = []
    handle = module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        yield seen
    finally:
        handle.remove()

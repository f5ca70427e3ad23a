"""The model: an ordinary open_clip CLIP, and what training adds to it and throws away afterwards."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from .data import MEAN, STD

EMBED_DIM = 256
CONTEXT = 48  # tokens; the longest caption of a drawn scene takes about 35
MERGES_FILE = "bpe_merges.txt.gz"
IMAGE_SIZE = 96  # cs3darknet halves its input five times: 96 px give 3x3 at the end


def config(vocab_size: int) -> dict[str, Any]:
    """open_clip_config.json. The path of the merges is relative to the folder of this file."""
    vision = {"timm_model_name": "cs3darknet_s", "timm_model_pretrained": False, "timm_pool": "avg",
              "timm_proj": "linear", "image_size": IMAGE_SIZE}  # fmt: skip
    text = {"context_length": CONTEXT, "vocab_size": vocab_size, "width": 192, "heads": 6, "layers": 4,
            "tokenizer_kwargs": {"bpe_path": MERGES_FILE}}  # fmt: skip
    preprocess = {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic",
                  "resize_mode": "shortest"}  # fmt: skip
    return {"model_cfg": {"embed_dim": EMBED_DIM, "vision_cfg": vision, "text_cfg": text},
            "preprocess_cfg": preprocess}  # fmt: skip


def create_clip(folder: Path, *, load_weights: bool = False) -> nn.Module:
    """The CLIP that `folder`/open_clip_config.json describes."""
    clip: nn.Module = open_clip.create_model(f"local-dir:{folder}", load_weights=load_weights)
    return clip.to(memory_format=torch.channels_last)


def write_config(folder: Path, vocab_size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config(vocab_size), indent=2)
    (folder / "open_clip_config.json").write_text(text + "\n")


def encode_texts(clip: Any, tokens: Tensor) -> Tensor:
    """Unit rows for tokens (n, <= CONTEXT). As open_clip's `encode_text`, but no longer than the longest row:
    causal attention never looks at the padding behind the last token, so the result is the same."""
    length = int((tokens != 0).sum(1).max())
    x = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]  # (n, length, width)
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
    x = clip.ln_final(x)[torch.arange(len(x)), tokens.argmax(1)]  # the end token has the largest id
    return functional.normalize((x @ clip.text_projection).float(), dim=-1)


def encode_images(clip: Any, images: Tensor) -> Tensor:
    return functional.normalize(clip.encode_image(images).float(), dim=-1)


class Scaffold(nn.Module):
    """What holds the two towers while they are built; none of it ships.

    `prototypes` are unit vectors in the shared space, one for each concept (200 classes, then wider groups).
    Images are pulled to their classes' prototypes by a softmax over all 200 and by a sigmoid over the groups;
    prompts are pulled to the same vectors. So each image meets all 200 class texts in every step at the price
    of one small product, and every true caption counts as true. `attributes` reads facts about a drawn scene
    off its image vector, which teaches the image side what captions talk about early on.
    """

    def __init__(self, start: Tensor, n_attributes: int) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(start.clone())
        self.class_scale = nn.Parameter(torch.tensor(math.log(16.0)))
        self.group_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.group_bias = nn.Parameter(torch.tensor(-5.0))
        self.text_scale = nn.Parameter(torch.tensor(math.log(16.0)))
        self.attributes = nn.Linear(EMBED_DIM, max(n_attributes, 1))

    def unit(self) -> Tensor:
        return functional.normalize(self.prototypes, dim=-1)

    def class_logits(self, images: Tensor, n_classes: int) -> Tensor:
        return self.class_scale.exp().clamp(max=60) * images @ self.unit()[:n_classes].T

    def group_logits(self, images: Tensor, n_classes: int) -> Tensor:
        return self.group_scale.exp().clamp(max=60) * images @ self.unit()[n_classes:].T + self.group_bias


@dataclass
class Average:
    """An exponential moving average of a module's parameters and buffers (batch-norm statistics too)."""

    values: dict[str, Tensor]

    @classmethod
    def of(cls, module: nn.Module) -> Average:
        return cls({name: value.detach().clone() for name, value in module.state_dict().items()})

    @torch.no_grad()
    def update(self, module: nn.Module, decay: float) -> None:
        for name, value in module.state_dict().items():
            kept = self.values[name]
            if kept.is_floating_point():
                kept.lerp_(value, 1 - decay)
            else:
                kept.copy_(value)

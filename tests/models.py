"""Models made on the fly: real architectures with random weights, and folders as open_clip expects them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode

torch.set_num_threads(1)  # two threads on two busy cores wait for each other

TINY_CLIP: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
TINY_SIGLIP: dict[str, Any] = {
    "embed_dim": 24,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": [32, 32], "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 300,
        "hf_tokenizer_name": "timm/ViT-B-16-SigLIP2",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 16,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "pool_type": "last",
    },
}
TINY_COCA: dict[str, Any] = {
    "embed_dim": 24,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 32,
        "layers": 1,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
        "attentional_pool": True,
        "attn_pooler_heads": 2,
        "output_tokens": True,
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "embed_cls": True,
        "output_tokens": True,
    },
    "multimodal_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "attn_pooler_heads": 2,
    },
}
SIGLIP_PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


def model_folder(
    folder: Path,
    config: dict[str, Any] = TINY_CLIP,
    *,
    seed: int = 0,
    preprocess: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """`folder`, filled with an open_clip model of that configuration, and a tokenizer if it names one."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {"model_cfg": config, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(written), encoding="utf-8")
    if "hf_tokenizer_name" in config["text_cfg"]:
        small_tokenizer(folder)
    save_random(f"local-dir:{folder}", folder / "open_clip_model.safetensors", seed=seed, dtype=dtype)
    return folder


def built_in(folder: Path) -> str:
    """The name of a small architecture that open_clip knows from now on."""
    (folder / "clipkit-tiny.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder)
    return "clipkit-tiny"


def save_random(arch: str, path: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """`path`, written with random weights for an architecture."""
    with uninitialised():
        model = open_clip.create_model(arch, load_weights=False, pretrained_text=False)
    weights = random_weights(model, seed, dtype)
    if any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()):
        model.load_state_dict(weights)
        weights |= normalising(model, seed, dtype)
    save_file(weights, path)
    return path


def normalising(model: Any, seed: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Statistics with which batch norms do what they are for; else rounding grows from layer to layer.

    They are those of four pictures of noise.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches seen, of which there is one
    size = model.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    noise = torch.randn(4, 3, height, width, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.visual.train()(noise)
    return {k: v.to(dtype).clone() for k, v in model.state_dict().items() if "running_" in k}


def random_weights(model: torch.nn.Module, seed: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights that let signals through: matrices that keep the variance, scales of one, small biases.

    Cut from one block of random numbers: a normal deviate for each of 10^8 weights takes seconds.
    """
    generator = torch.Generator().manual_seed(seed)
    block = torch.randn(1_000_003, generator=generator).to(dtype)
    starts = torch.randint(0, 500_000, (len(model.state_dict()),), generator=generator).tolist()
    weights = {}
    for start, (name, value) in zip(starts, model.state_dict().items(), strict=True):
        if not value.is_floating_point() or "running_" in name:
            weights[name] = value.clone()
        elif name.endswith("bias") or (value.ndim > 1 and not name.endswith("gamma")):
            numbers = block[start:].repeat(value.numel() // 500_000 + 1)[: value.numel()]
            spread = 0.02 if name.endswith("bias") else (value.numel() / len(value)) ** -0.5
            weights[name] = (numbers * spread).reshape(value.shape)
        else:
            weights[name] = torch.ones(value.shape, dtype=dtype)
    return weights


def text_model(folder: Path, kind: str = "bert", *, seed: int = 0, hidden: int = 32) -> Path:
    """`folder`, with a small BERT, GPT-2 or GPT-1 ("openai-gpt") of transformers, of random weights."""
    from transformers import AutoConfig, AutoModel

    names = {
        "bert": ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"),
        "gpt2": ("n_embd", "n_layer", "n_head", "n_positions"),
        "openai-gpt": ("n_embd", "n_layer", "n_head", "n_positions"),
    }[kind]
    config = AutoConfig.for_model(kind, vocab_size=300, **dict(zip(names, (hidden, 2, 2, 64), strict=True)))
    torch.manual_seed(seed)
    AutoModel.from_config(config).save_pretrained(str(folder))
    return small_tokenizer(folder, marks=kind == "bert")


def small_tokenizer(folder: Path, *, marks: bool = True) -> Path:
    """`folder`, with a Hugging Face tokenizer of 300 tokens: bytes, an end mark, and padding on the right.

    Without `marks`, as GPT's, it puts no mark at the end, and has none for padding.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "<eos>": 1, **{letter: i + 2 for i, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if marks:
        ending = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
        tokenizer.post_processor = ending
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>" if marks else None,
        eos_token="<eos>",
        padding_side="right",
    )
    wrapped.save_pretrained(str(folder))
    return folder


def shrunk(arch: str, **text: Any) -> dict[str, Any]:
    """A built-in architecture with other text settings, such as a vocabulary of a small tokenizer."""
    config: dict[str, Any] = deepcopy(open_clip.get_model_config(arch))
    config["text_cfg"].update(text)
    return config


@contextmanager
def uninitialised() -> Iterator[None]:
    """Models built here skip their random initialisation, seconds for weights that a file replaces."""

    class Skip(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(func, "__name__", "")
            if name in ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_"):
                return args[0] if args else kwargs["tensor"]
            return func(*args, **(kwargs or {}))

    with Skip():
        yield

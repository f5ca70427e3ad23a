from __future__ import annotations

import sys
from copy import deepcopy
from typing import Any

import open_clip
import pytest
import torch

from clipkit.encoders import fusing
from clipkit.encoders.devices import cpu_has_bf16
from clipkit.encoders.fusing import fuse
from clipkit.encoders.packed import PackedLinear, pack, pack_patches
from clipkit.encoders.texts import encode_texts, traced
from tests import models

TINY_DARKNET: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {
        "timm_model_name": "cs3darknet_s",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 32,
    },
    "text_cfg": models.TINY_CLIP["text_cfg"],
}
DEEP_CLIP = deepcopy(models.TINY_CLIP)
DEEP_CLIP["vision_cfg"] |= {"layers": 12, "width": 64, "patch_size": 8}
EOS = deepcopy(models.TINY_CLIP)
EOS["text_cfg"] |= {"pool_type": "eos", "eos_id": 49407}


def model_of(config: dict[str, Any], kind: Any = open_clip.CLIP) -> Any:
    settings = {key: value for key, value in config.items() if key not in ("custom_text", "multimodal_cfg")}
    model = kind(**deepcopy(settings))
    weights = models.random_weights(model, 0, torch.float32)
    model.load_state_dict(weights)
    if any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()):
        model.load_state_dict(weights | models.normalising(model, 0, torch.float32))
    return model.eval()


def noise(n: int = 6) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def rows(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.nn.functional.normalize(visual(pixels).double(), dim=-1)


@pytest.mark.parametrize("config", [TINY_DARKNET, models.TINY_CLIP], ids=["convolutions", "ViT"])
def test_a_fused_tower_gives_the_rows_of_the_plain_one(config: dict[str, Any]) -> None:
    visual = model_of(config).visual
    expected = rows(visual, noise())
    fuse(visual, torch.float32)
    torch.testing.assert_close(rows(visual, noise()), expected, atol=1e-5, rtol=0)


def test_the_last_block_computes_only_what_is_pooled() -> None:
    visual = model_of(DEEP_CLIP).visual
    fuse(visual, torch.float32)
    places: list[int] = []
    for block in visual.transformer.resblocks:
        block.register_forward_hook(lambda _, __, result: places.append(result.shape[1]))
    rows(visual, noise())
    assert places == [1 + (32 // 8) ** 2] * 11 + [1]


def test_a_tower_that_averages_its_places_computes_them_all() -> None:
    averaging = deepcopy(models.TINY_CLIP)
    averaging["vision_cfg"] |= {"pool_type": "avg"}
    visual = model_of(averaging).visual
    expected = rows(visual, noise())
    fuse(visual, torch.float32)
    torch.testing.assert_close(rows(visual, noise()), expected, atol=1e-5, rtol=0)


def test_no_batch_norm_is_left() -> None:
    visual = model_of(TINY_DARKNET).visual
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in visual.modules())
    fuse(visual, torch.float32)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in visual.modules())


def test_sums_in_full_come_nearer_to_float32() -> None:
    visual = model_of(DEEP_CLIP).visual
    expected = rows(visual, noise())
    plain = deepcopy(visual).to(torch.bfloat16)
    fuse(visual, torch.bfloat16)
    pixels = noise().to(torch.bfloat16)
    away = 1 - (rows(plain, pixels) * expected).sum(dim=1).min()
    fused = 1 - (rows(visual, pixels) * expected).sum(dim=1).min()
    assert fused < away / 2


def test_packed_weights_in_float32_give_the_rows_of_plain_ones() -> None:
    visual = model_of(DEEP_CLIP).visual
    expected = rows(visual, noise())
    fuse(visual, torch.float32)
    visual.conv1 = torch.nn.Sequential(visual.conv1)
    pack(visual, PackedLinear)
    pack_patches(visual)
    assert not any(isinstance(module, torch.nn.MultiheadAttention) for module in visual.modules())
    torch.testing.assert_close(rows(visual, noise()), expected, atol=1e-5, rtol=0)


@pytest.mark.skipif(not cpu_has_bf16(), reason="needs a processor that multiplies bfloat16")
@pytest.mark.parametrize("quick", [False, True], ids=["gelu", "quickgelu"])
def test_packed_weights_give_the_rows_of_plain_ones(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    visual = model_of(DEEP_CLIP | {"quick_gelu": quick}).visual
    assert ("QuickGELU" in str(visual)) is quick
    plain = deepcopy(visual)
    with monkeypatch.context() as patched:
        patched.setattr(fusing, "cpu_has_bf16", lambda: False)
        fuse(plain, torch.bfloat16)
    fuse(visual, torch.bfloat16)
    assert not any(isinstance(module, torch.nn.MultiheadAttention) for module in visual.modules())
    for n in (1, 6):
        pixels = noise(n).to(torch.bfloat16)
        expected = rows(plain, pixels)
        away = (rows(visual, pixels) * expected).sum(dim=1)
        assert away.min() > 0.9999


# --- texts


TOKENS = open_clip.get_tokenizer("ViT-B-32")(
    ["red", "a photo of two dogs", "", "word " * 40], context_length=20
)


@pytest.mark.parametrize("kind", [open_clip.CLIP, open_clip.CustomTextCLIP])
@pytest.mark.parametrize("config", [models.TINY_CLIP, EOS], ids=["argmax", "eos"])
@pytest.mark.parametrize("n", [1, 3, 4])
def test_a_text_without_its_padding_has_the_same_row(config: dict[str, Any], kind: Any, n: int) -> None:
    model = model_of(config, kind)
    seen: list[int] = []
    tower = model if kind is open_clip.CLIP else model.text
    tower.transformer.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    with torch.no_grad():
        short = encode_texts(model, TOKENS[:n])
        padded = model.encode_text(TOKENS[:n], normalize=False)
    torch.testing.assert_close(short, padded, atol=1e-6, rtol=1e-6)
    assert seen == [{1: 3, 3: 7, 4: 20}[n], 20]  # the marks of start and end count


@pytest.mark.parametrize("kind", [open_clip.CLIP, open_clip.CustomTextCLIP])
@pytest.mark.parametrize("config", [models.TINY_CLIP, EOS], ids=["argmax", "eos"])
def test_a_traced_tower_gives_texts_of_any_number_and_length_the_same_rows(
    config: dict[str, Any], kind: Any
) -> None:
    model = model_of(config, kind)
    run = traced(model, TOKENS[:2])
    assert run is not None
    with torch.inference_mode():
        for some in (TOKENS, TOKENS[:1], TOKENS[3:], TOKENS.repeat(5, 1)):
            torch.testing.assert_close(run(model, some), encode_texts(model, some), atol=1e-6, rtol=1e-6)


def test_a_traced_tower_runs_none_of_its_python() -> None:
    model = model_of(models.TINY_CLIP, open_clip.CLIP)
    run = traced(model, TOKENS)
    assert run is not None
    called: list[str] = []

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and "open_clip" in frame.f_code.co_filename:
            called.append(frame.f_code.co_qualname)

    with torch.inference_mode():
        for encode, expected in ((encode_texts, True), (run, False)):
            called.clear()
            sys.setprofile(note)
            try:
                encode(model, TOKENS)
            finally:
                sys.setprofile(None)
            assert ("Transformer.forward" in called) == expected


def test_a_tower_that_reads_the_last_place_or_all_keeps_the_padding() -> None:
    config = deepcopy(models.TINY_SIGLIP)
    for name in ("hf_tokenizer_name", "tokenizer_kwargs"):
        config["text_cfg"].pop(name)
    model = model_of(config, open_clip.CustomTextCLIP)
    tokens = torch.randint(0, 300, (3, 16), generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    model.text.transformer.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    with torch.no_grad():
        torch.testing.assert_close(encode_texts(model, tokens), model.encode_text(tokens, normalize=False))
    assert seen == [16, 16]
    assert traced(model, tokens) is None

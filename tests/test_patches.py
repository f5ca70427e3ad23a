from __future__ import annotations

from copy import deepcopy
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clipkit.encoder import PlaceEncoder
from clipkit.encoders import load_encoder
from clipkit.encoders.fusing import fuse
from clipkit.encoders.patches import CAM, MASKCLIP, Box, box_of, reader_of
from clipkit.errors import ImageError, InvalidInput, PlacesUnavailable
from tests import models
from tests.bench.places import scenes_of_two, warmer


def with_vision(**vision: Any) -> dict[str, Any]:
    return {**models.TINY_CLIP, "vision_cfg": vision}


VIT = with_vision(image_size=48, layers=2, width=32, head_width=16, patch_size=16)
AVERAGED_VIT = with_vision(**VIT["vision_cfg"], pool_type="avg", final_ln_after_pool=True, no_ln_pre=True)
RESNET = with_vision(image_size=96, layers=[1, 1, 1, 1], width=16, head_width=64)
DARKNET = with_vision(timm_model_name="cs3darknet_s", timm_pool="avg", timm_proj="linear", image_size=96)
CONVNEXT = with_vision(timm_model_name="test_convnext", timm_pool="", timm_proj="linear", image_size=160)
TOKENS = with_vision(timm_model_name="test_vit", timm_pool="token", timm_proj="linear", image_size=160)

READ = {  # configuration, the grid of places, and where the method is from
    "ViT": (VIT, (3, 3), MASKCLIP),
    "averaged ViT": (AVERAGED_VIT, (3, 3), MASKCLIP),
    "ResNet": (RESNET, (3, 3), MASKCLIP),
    "darknet": (DARKNET, (6, 6), CAM),
    "ConvNeXt": (CONVNEXT, (10, 10), CAM),
}


def picture(width: int = 150, height: int = 100) -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8))


def encoder(folder: Path, config: dict[str, Any], *, precision: str = "fp32") -> PlaceEncoder:
    models.model_folder(folder, config)
    loaded = load_encoder(f"local-dir:{folder}", device="cpu", precision=precision)
    assert isinstance(loaded, PlaceEncoder)
    return loaded


def tower(config: dict[str, Any]) -> Any:
    """The image tower of such a model with random weights, in eval mode."""
    with models.uninitialised():
        model = open_clip.CLIP(**deepcopy({**config, "embed_dim": 24}))
    model.load_state_dict(models.random_weights(model, 0, torch.float32))
    return model.eval().visual


def pixels(edge: int) -> torch.Tensor:
    return torch.randn(1, 3, edge, edge, generator=torch.Generator().manual_seed(1))


# --- rows of places


@pytest.mark.parametrize(("config", "grid", "source"), READ.values(), ids=READ)
def test_each_place_has_a_unit_row(
    config: dict[str, Any], grid: tuple[int, int], source: str, tmp_path: Path
) -> None:
    model = encoder(tmp_path / "model", config)
    before = model.encode_images([picture()])
    places = model.encode_places(picture())
    assert places.vectors.shape == (*grid, 24)
    assert places.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(places.vectors, axis=2), 1.0, atol=1e-6)
    assert places.source == source
    assert places.box == pytest.approx((1 / 6, 0, 5 / 6, 1))
    np.testing.assert_array_equal(model.encode_places(picture()).vectors, places.vectors)
    np.testing.assert_array_equal(model.encode_images([picture()]), before)
    rough = encoder(tmp_path / "model", config, precision="bf16").encode_places(picture())
    assert np.sum(rough.vectors * places.vectors, axis=2).min() > 0.98


def test_the_mean_of_class_activations_is_the_picture() -> None:
    visual = tower(DARKNET)
    with torch.inference_mode():
        places = reader_of(visual, "x").read(pixels(96))
        whole = visual(pixels(96))[0]
    assert places.shape == (3, 3, 24)
    torch.testing.assert_close(places.mean((0, 1)), whole, atol=1e-5, rtol=1e-5)


def test_a_head_that_normalises_sees_each_place_as_a_picture_of_its_own() -> None:
    visual = tower(CONVNEXT)
    with torch.inference_mode():
        places = reader_of(visual, "x").read(pixels(160))
        features = visual.trunk.forward_features(pixels(160))
        expected = visual.head(visual.trunk.forward_head(features[:, :, 2:3, 4:5]))[0]
    torch.testing.assert_close(places[2, 4], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("fused", [False, True], ids=["as it is", "fused"])
@pytest.mark.parametrize("config", [VIT, AVERAGED_VIT])
def test_a_vit_is_read_through_the_values_of_its_last_attention(config: dict[str, Any], fused: bool) -> None:
    visual = tower(config)
    block = visual.transformer.resblocks[-1]
    read = deepcopy(visual)
    if fused:
        fuse(read, torch.float32)
    with torch.inference_mode():
        places = reader_of(read, "x").read(pixels(48))
        (before,) = visual.forward_intermediates(pixels(48), indices=[0], output_fmt="NLC")[
            "image_intermediates"
        ]
        value, bias = (part[64:] for part in (block.attn.in_proj_weight, block.attn.in_proj_bias))
        values = block.attn.out_proj(torch.nn.functional.linear(block.ln_1(before[0]), value, bias))
        expected = visual.ln_post(values) @ visual.proj  # (places, dim)
    torch.testing.assert_close(places.reshape(9, 24), expected, atol=1e-5, rtol=1e-5)
    assert not read.transformer.resblocks[-1]._forward_pre_hooks


def test_the_mean_of_places_is_what_an_attention_pool_gives_that_attends_evenly() -> None:
    visual = tower(RESNET)
    pool = visual.attnpool
    for parameter in (pool.q_proj.weight, pool.q_proj.bias, pool.positional_embedding):
        parameter.data.zero_()
    with torch.inference_mode():
        places = reader_of(visual, "x").read(pixels(96))
        whole = visual(pixels(96))[0]
    torch.testing.assert_close(places.mean((0, 1)), whole, atol=1e-5, rtol=1e-5)


def test_places_lie_where_the_picture_has_them() -> None:
    """Rows run down and columns across: what changes in one corner changes that place most."""
    for config, edge in ((VIT, 48), (RESNET, 96), (DARKNET, 96)):
        visual = tower(config)
        changed = pixels(edge).clone()
        changed[:, :, : edge // 3, -edge // 3 :] += 3.0
        with torch.inference_mode():
            read = reader_of(visual, "x").read
            difference = torch.linalg.vector_norm(read(changed) - read(pixels(edge)), dim=2)  # (3, 3)
        assert divmod(int(difference.argmax()), 3) == (0, 2)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (models.TINY_COCA, "it pools by learned queries"),
        (TOKENS, "timm's VisionTransformer, does not average a feature map"),
    ],
    ids=["CoCa", "tokens"],
)
def test_a_tower_whose_places_cannot_be_had_says_so(config: dict[str, Any], why: str, tmp_path: Path) -> None:
    model = encoder(tmp_path / "model", config)
    with pytest.raises(PlacesUnavailable, match=f"local-dir:.*model cannot tell .* {why}.* fast and bundled"):
        model.encode_places(picture())


def test_siglip_is_refused(tmp_path: Path) -> None:
    """Its tower is timm's: a map head, which is one query and an MLP."""
    vision = {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160}
    vision["timm_model_pretrained"] = False
    model = encoder(tmp_path / "model", {**models.TINY_SIGLIP, "embed_dim": 64, "vision_cfg": vision})
    with pytest.raises(PlacesUnavailable, match="does not average a feature map"):
        model.encode_places(picture())


def test_a_tower_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(PlacesUnavailable, match=r"my-model cannot tell .* of the kind Linear is not known"):
        reader_of(torch.nn.Linear(1, 1), "my-model")


def test_a_picture_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    model = encoder(tmp_path / "model", VIT)
    with pytest.raises(ImageError, match=r"none\.jpg does not exist"):
        model.encode_places(tmp_path / "none.jpg")
    with torch.no_grad():
        model._model.visual.proj.fill_(float("inf"))  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="the embedding of a place is not finite"):
        model.encode_places(picture())


def test_a_picture_is_turned_upright_first(tmp_path: Path) -> None:
    model = encoder(tmp_path / "model", VIT)
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    out = BytesIO()
    picture().save(out, "PNG", exif=exif)
    upright = picture().transpose(Image.Transpose.ROTATE_270)
    turned = model.encode_places(out.getvalue())
    assert turned.box == pytest.approx((0, 1 / 6, 1, 5 / 6))
    np.testing.assert_allclose(turned.vectors, model.encode_places(upright).vectors, atol=1e-6)


# --- the box


@pytest.mark.parametrize(
    ("width", "height", "mode", "box"),
    [
        (300, 200, "shortest", (1 / 6, 0, 5 / 6, 1)),
        (200, 400, "shortest", (0, 1 / 4, 1, 3 / 4)),
        (300, 200, "longest", (0, -1 / 4, 1, 5 / 4)),
        (300, 200, "squash", (0, 0, 1, 1)),
        (64, 64, "shortest", (0, 0, 1, 1)),
    ],
)
def test_the_box_is_what_preprocessing_leaves(width: int, height: int, mode: Any, box: Box) -> None:
    assert box_of(width, height, size=96, mode=mode) == pytest.approx(box)
    assert box_of(width, height, size=(96, 96), mode=mode) == pytest.approx(box)


def test_a_box_need_not_be_square() -> None:
    assert box_of(400, 200, size=(100, 150), mode="shortest") == pytest.approx((1 / 8, 0, 7 / 8, 1))


def test_what_is_in_the_box_is_what_the_model_sees(tmp_path: Path) -> None:
    model = encoder(tmp_path / "model", VIT)
    whole = picture(80, 48)  # of the model's height, so that nothing is resized
    left, top, right, bottom = model.encode_places(whole).box
    part = whole.crop((round(left * 80), round(top * 48), round(right * 80), round(bottom * 48)))
    np.testing.assert_array_equal(model.preprocess(part), model.preprocess(whole))


# --- meaning


def test_places_of_the_named_thing_are_the_nearest() -> None:
    """Of two things in a drawn scene, the query names one: its places score higher than the other's."""
    bundled = load_encoder("bundled", device="cpu", precision="fp32")
    assert isinstance(bundled, PlaceEncoder)
    usual = bundled.encode_texts(["a photo"])
    found = [plain for scene in islice(scenes_of_two(), 30) for plain, _ in warmer(bundled, scene, usual)]
    assert len(found) == 60
    assert sum(found) >= 0.8 * len(found)

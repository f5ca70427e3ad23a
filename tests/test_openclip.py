from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipkit.encoders import load_encoder
from tests import models

TEXTS = ["a photo of a dog", "Two CATS, on a sofa!", "Größe — naïve café", "犬と猫", "x"]


@dataclass(frozen=True)
class Family:
    """A model on disk, as clipkit's spec and as the arguments of open_clip."""

    spec: str
    arch: str
    pretrained: str | None


def pictures() -> list[Image.Image]:
    wide = Image.new("RGB", (300, 200), "navy")
    ImageDraw.Draw(wide).ellipse((40, 20, 200, 180), fill="orange")
    tall = Image.fromarray(np.random.default_rng(1).integers(0, 256, (330, 210, 3), np.uint8))
    ramp = Image.linear_gradient("L").resize((240, 256)).convert("RGB")
    return [wide, tall, ramp]


def reference(family: Family) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows of `pictures()` and `TEXTS` by plain open_clip: preprocess, encode, normalise."""
    with models.uninitialised():
        model, preprocess = open_clip.create_model_from_pretrained(family.arch, pretrained=family.pretrained)
    model.eval()
    tokens = open_clip.get_tokenizer(family.arch)(TEXTS)
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(p) for p in pictures()]), normalize=True)
        texts = model.encode_text(tokens, normalize=True)
    return images.numpy(), texts.numpy()


@pytest.fixture(scope="module", params=["ViT-B-32", "SigLIP2", "CoCa", "ConvNeXt", "MobileCLIP2"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "SigLIP2":
        config = models.shrunk("ViT-B-32-SigLIP2-256", vocab_size=300)
        models.model_folder(folder, config, preprocess=models.SIGLIP_PREPROCESS, dtype=torch.float16)
        yield Family(f"local-dir:{folder}", f"local-dir:{folder}", None)
    else:
        arch = {"CoCa": "coca_ViT-B-32", "ConvNeXt": "convnext_tiny", "MobileCLIP2": "MobileCLIP2-S0"}
        name = arch.get(request.param, request.param)
        path = models.save_random(name, folder / "weights.safetensors", dtype=torch.float16)
        yield Family(f"{name}@{path}", name, str(path))
    for path in folder.glob("*.safetensors"):
        path.unlink()  # half a gigabyte each


def test_rows_equal_plain_open_clip(family: Family) -> None:
    expected_images, expected_texts = reference(family)
    encoder = load_encoder(family.spec, device="cpu", precision="fp32")

    images, texts = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)

    assert min(np.sum(images * expected_images, axis=1)) >= 0.99999
    assert min(np.sum(texts * expected_texts, axis=1)) >= 0.99999
    for rows in (images, texts):  # or else the comparison would prove nothing
        assert np.max(rows @ rows.T - 2 * np.eye(len(rows))) < 0.999

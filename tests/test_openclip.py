from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipkit.encoder import Encoder, TextCutWarning
from clipkit.encoders import load_encoder
from tests import models

HUB_WEIGHTS = "open_clip_model.safetensors"

# In a process of its own, open_clip is imported when the model is loaded, and transformers after it.
ELSEWHERE = """
import json, sys
from clipkit.encoders import load_encoder
assert not {"open_clip", "transformers"} & set(sys.modules)
encoder = load_encoder(sys.argv[1], precision="fp32")
print(json.dumps(encoder.encode_texts(sys.argv[2:]).tolist()))
"""
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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.model_folder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def tiny_arch(tmp_path_factory: pytest.TempPathFactory) -> str:
    return models.built_in(tmp_path_factory.mktemp("architectures"))


def load(spec: str) -> Encoder:
    return load_encoder(spec, device="cpu", precision="fp32")


def in_cache(home: Path, repo: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts files into a hub cache of the test's own, as huggingface_hub lays them out."""
    folder = home / f"models--{repo.replace('/', '--')}"
    commit = "0" * 40
    for name, source in files.items():
        target = folder / "snapshots" / commit / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home))


def test_the_same_model_has_the_same_rows_and_fingerprint_in_every_form(
    tiny: Path, tiny_arch: str, tmp_path: Path
) -> None:
    weights = safetensors.torch.load_file(tiny / "open_clip_model.safetensors")
    shutil.copytree(tiny, tmp_path / "copy")
    torch.save(weights, tmp_path / "plain.pt")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, tmp_path / "run.pt"
    )
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    specs = [
        f"local-dir:{tmp_path / 'copy'}",
        f"{tiny_arch}@{tiny / 'open_clip_model.safetensors'}",
        *(f"{tiny_arch}@{tmp_path / file}" for file in ("plain.pt", "run.pt", "old.pt")),
    ]
    first = load(f"local-dir:{tiny}")
    for spec in specs:
        encoder = load(spec)
        assert encoder.name == spec
        assert encoder.fingerprint == first.fingerprint
        np.testing.assert_array_equal(encoder.encode_texts(TEXTS), first.encode_texts(TEXTS))
        np.testing.assert_array_equal(encoder.encode_images(pictures()), first.encode_images(pictures()))


@pytest.mark.parametrize("config", [models.TINY_CLIP, models.TINY_COCA], ids=["CLIP", "CoCa"])
def test_precision_changes_no_fingerprint_and_hardly_a_row(config: dict[str, Any], tmp_path: Path) -> None:
    spec = f"local-dir:{models.model_folder(tmp_path / 'model', config)}"
    exact = load(spec)
    for precision in ("bf16", "fp16"):
        coarse = load_encoder(spec, device="cpu", precision=precision)
        assert coarse.fingerprint == exact.fingerprint
        for rows, coarse_rows in (
            (exact.encode_texts(TEXTS), coarse.encode_texts(TEXTS)),
            (exact.encode_images(pictures()), coarse.encode_images(pictures())),
        ):
            assert coarse_rows.dtype == np.float32
            assert min(np.sum(rows * coarse_rows, axis=1)) > 0.99


CHANGES: dict[str, dict[str, Any]] = {
    "weights": {"seed": 1},
    "one weight": {"nudge": "visual.proj"},
    "heads": {"vision_cfg": {"head_width": 8}},
    "activation": {"quick_gelu": True},
    "attention": {"text_cfg": {"no_causal_mask": True}},
    "context": {"text_cfg": {"context_length": 20, "tokenizer_kwargs": {"clean": "whitespace"}}},
    "mean": {"preprocess": {"mean": [0.5, 0.5, 0.5]}},
    "resize": {"preprocess": {"resize_mode": "squash"}},
    "interpolation": {"preprocess": {"interpolation": "bilinear"}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_rows_changes_the_fingerprint(tiny: Path, tmp_path: Path, change: str) -> None:
    changed = dict(CHANGES[change])
    seed, preprocess = changed.pop("seed", 0), changed.pop("preprocess", None)
    nudged = changed.pop("nudge", None)
    config = deepcopy(models.TINY_CLIP)
    for key, value in changed.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    folder = models.model_folder(tmp_path / "model", config, seed=seed, preprocess=preprocess)
    if nudged:
        path = folder / "open_clip_model.safetensors"
        weights = safetensors.torch.load_file(path)
        safetensors.torch.save_file({**weights, nudged: weights[nudged] * 1.01}, path)
    assert load(f"local-dir:{folder}").fingerprint != load(f"local-dir:{tiny}").fingerprint


def test_the_fingerprint_ignores_how_a_configuration_is_written(tiny: Path, tmp_path: Path) -> None:
    config = deepcopy(models.TINY_CLIP)
    config["vision_cfg"].update(image_size=[32, 32], mlp_ratio=4, patch_dropout=0.5)
    config["text_cfg"].update(pad_id=0, proj_bias=False)
    folder = models.model_folder(tmp_path / "model", config, preprocess={"resize_mode": "shortest"})
    assert load(f"local-dir:{folder}").fingerprint == load(f"local-dir:{tiny}").fingerprint


def test_a_model_is_in_eval_mode(tmp_path: Path) -> None:
    config = deepcopy(models.TINY_CLIP)
    config["vision_cfg"].update(image_size=64, patch_dropout=0.5)  # drops patches at random while training
    encoder = load(f"local-dir:{models.model_folder(tmp_path / 'model', config)}")
    np.testing.assert_array_equal(encoder.encode_images(pictures()), encoder.encode_images(pictures()))


def test_pixels_are_bytes(tiny: Path) -> None:
    pixels = load(f"local-dir:{tiny}").preprocess(pictures()[0])
    assert pixels.dtype == np.uint8
    assert pixels.shape == (32, 32, 3)


def test_the_fp16_copy_of_a_model_gives_nearly_its_rows(tiny: Path, tmp_path: Path) -> None:
    small = models.model_folder(tmp_path / "small", dtype=torch.float16)
    rows = load(f"local-dir:{small}").encode_texts(TEXTS)
    assert min(np.sum(rows * load(f"local-dir:{tiny}").encode_texts(TEXTS), axis=1)) > 0.9999


@pytest.mark.parametrize(("config", "longest"), [(models.TINY_CLIP, 18), (models.TINY_SIGLIP, 15)])
def test_texts_are_cut_exactly_beyond_the_context(
    config: dict[str, Any], longest: int, tmp_path: Path
) -> None:
    encoder = load(f"local-dir:{models.model_folder(tmp_path / 'model', config)}")
    words = "a" if "hf_tokenizer_name" in config["text_cfg"] else "a "  # a token each
    umlauts = "ä" if words == "a" else "ä "
    encoder.encode_texts([words * longest, "b" * (longest - 4)])
    assert encoder.texts_cut == 0
    with pytest.warns(TextCutWarning, match=r"2 of 3 texts .* positions 1, 2"):
        rows = encoder.encode_texts([words * longest, words * (longest + 1), umlauts * (longest + 1)])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_tag_that_wants_quick_gelu_gets_it(
    tiny: Path, tiny_arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache(tmp_path, "owner/tiny", {HUB_WEIGHTS: tiny / HUB_WEIGHTS}, monkeypatch)
    tags = {
        "plain": {"hf_hub": "owner/tiny/", "mean": (0.5,) * 3, "resize_mode": "squash"},
        "quick": {"hf_hub": "owner/tiny/", "mean": (0.5,) * 3, "resize_mode": "squash", "quick_gelu": True},
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, tiny_arch, tags)
    for tag, force in (("plain", False), ("quick", True)):
        model, preprocess = open_clip.create_model_from_pretrained(
            tiny_arch,
            str(tiny / HUB_WEIGHTS),
            force_quick_gelu=force,
            image_mean=(0.5,) * 3,
            image_resize_mode="squash",
        )
        model.eval()
        with torch.no_grad():
            expected = model.encode_image(torch.stack([preprocess(p) for p in pictures()]), normalize=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encoder = load(f"{tiny_arch}/{tag}")
        assert encoder.name == f"{tiny_arch}/{tag}"
        rows = encoder.encode_pixels([encoder.preprocess(picture) for picture in pictures()])
        assert min(np.sum(rows * expected.numpy(), axis=1)) > 0.99999
    assert load(f"{tiny_arch}/plain").fingerprint != load(f"{tiny_arch}/quick").fingerprint


def test_a_text_tower_of_transformers_is_built_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import RobertaConfig

    made = models.small_tokenizer(tmp_path / "made")
    tower = RobertaConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    tower.save_pretrained(made)
    in_cache(tmp_path / "hub", "owner/roberta", {file.name: file for file in made.iterdir()}, monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = {**models.TINY_CLIP, "text_cfg": {"hf_model_name": "owner/roberta", "context_length": 64}}
    config["text_cfg"]["hf_tokenizer_name"] = "owner/roberta"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    plain = deepcopy(config) | {"text_cfg": {"hf_model_name": str(made), "hf_model_pretrained": False}}
    plain.pop("custom_text", None)
    model = open_clip.CustomTextCLIP(**plain).eval()
    safetensors.torch.save_file(models.random_weights(model, 0, torch.float32), folder / HUB_WEIGHTS)
    model.load_state_dict(safetensors.torch.load_file(folder / HUB_WEIGHTS))

    encoder = load(f"local-dir:{folder}")

    tokens = open_clip.tokenizer.HFTokenizer(str(made), context_length=64)(TEXTS)
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-6)

    elsewhere = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, f"local-dir:{folder}", *TEXTS],
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    np.testing.assert_allclose(json.loads(elsewhere.stdout), expected, atol=1e-6)


def test_loading_logs_nothing_and_leaves_logging_alone(tiny: Path) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    heard: list[logging.LogRecord] = []
    try:
        load(f"local-dir:{tiny}")
        assert root.handlers == []
        assert root.filters == []
        listener = logging.Handler()
        listener.emit = heard.append  # type: ignore[assignment,method-assign]
        root.addHandler(listener)
        load(f"local-dir:{tiny}")
    finally:
        root.handlers = handlers
    assert heard == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.9999), ("fp16", 0.99), ("bf16", 0.99)])
def test_cuda_gives_the_rows_of_the_cpu(tiny: Path, precision: str, least: float) -> None:
    here, there = (
        load(f"local-dir:{tiny}"),
        load_encoder(f"local-dir:{tiny}", device="cuda", precision=precision),
    )
    assert min(np.sum(here.encode_texts(TEXTS) * there.encode_texts(TEXTS), axis=1)) > least
    assert min(np.sum(here.encode_images(pictures()) * there.encode_images(pictures()), axis=1)) > least

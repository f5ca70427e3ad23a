"""Names and files that cannot be loaded, and what is said about them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from clipkit.encoder import Encoder
from clipkit.encoders import load_encoder
from clipkit.errors import MissingExtra, ModelUnavailable, UnknownModel, WeightsError
from tests import models

HUB_WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.model_folder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def tiny_arch(tmp_path_factory: pytest.TempPathFactory) -> str:
    return models.built_in(tmp_path_factory.mktemp("architectures"))


def load(spec: str) -> Encoder:
    return load_encoder(spec, device="cpu", precision="fp32")


def test_the_bundled_model_is_a_folder_of_the_package(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipkit.encoders.sources.BUNDLED", tiny)
    encoder = load("bundled")
    assert encoder.name == "bundled"
    assert encoder.fingerprint == load(f"local-dir:{tiny}").fingerprint


def test_a_missing_bundled_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipkit.encoders.sources.BUNDLED", tmp_path)
    with pytest.raises(ModelUnavailable, match="the bundled model is missing from this installation"):
        load("bundled")


@pytest.mark.parametrize("spec", ["ViT-B-32", "ViT-B/32"])
def test_an_architecture_without_weights_lists_its_tags(spec: str) -> None:
    with pytest.raises(
        UnknownModel, match=r"without weights, and random weights find nothing.* ViT-B-32/openai"
    ):
        load(spec)
    with pytest.raises(UnknownModel, match="There are no public weights for it"):
        load("ViT-S-16")


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("fsat", r"no model is called 'fsat'\. Did you mean fast"),
        ("vit-b-32/openai", r"no model is called 'vit-b-32/openai'\. Did you mean ViT-B-32"),
        ("ViT-B-32/opneai", r"ViT-B-32 has no weights called 'opneai'\. Did you mean openai\?"),
        ("VitB32@/tmp/weights.safetensors", r"no model is called 'VitB32.*Did you mean ViT-B-32"),
        (
            "something else",
            r"Write an alias \(fast, best, multilingual\) or one of open_clip's architecture/tag",
        ),
    ],
)
def test_an_unknown_name_gets_close_matches(spec: str, complaint: str) -> None:
    with pytest.raises(UnknownModel, match=complaint):
        load(spec)


@pytest.mark.parametrize(
    "path", ["/models/mine", "./mine", "~/mine", "weights.safetensors", "runs/epoch_3.pt"]
)
def test_a_path_without_its_prefix_is_told_which_to_use(path: str) -> None:
    with pytest.raises(UnknownModel, match=f"looks like a path: write local-dir:{path} .*ViT-B-32@{path}"):
        load(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"there is no weights file /no/such/file.safetensors"):
        load("ViT-B-32@/no/such/file.safetensors")
    with pytest.raises(ModelUnavailable, match="there is no folder /no/such/folder"):
        load("local-dir:/no/such/folder")
    with pytest.raises(ModelUnavailable, match=r"is not an open_clip model: it has no open_clip_config.json"):
        load(f"local-dir:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": models.TINY_CLIP}))
    with pytest.raises(
        ModelUnavailable, match=r"holds no weights: put an open_clip_model.safetensors beside"
    ):
        load(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not an open_clip configuration: JSONDecodeError"),
        ("[]", "is not an open_clip configuration: TypeError"),
        ("{}", r"is not an open_clip configuration: KeyError\('model_cfg'\)"),
        ('{"model_cfg": {"embed_dim": 8}}', "it lacks text_cfg, vision_cfg"),
        (
            '{"model_cfg": {"embed_dim": 8, "text_cfg": {}, "vision_cfg": {"wings": 2}}}',
            "open_clip cannot build the architecture .*wings",
        ),
    ],
)
def test_a_broken_configuration_is_named(tiny: Path, tmp_path: Path, text: str, complaint: str) -> None:
    shutil.copy(tiny / HUB_WEIGHTS, tmp_path)
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(WeightsError, match=complaint):
        load(f"local-dir:{tmp_path}")


class Code:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("ran"),))  # type: ignore[return-value]


def damaged(path: Path, whole: Path, how: str) -> Path:
    weights = safetensors.torch.load_file(whole)
    if how.startswith("cut at "):
        path.write_bytes(whole.read_bytes()[: int(how.rpartition(" ")[2])])
    elif how == "pickle cut":
        torch.save(weights, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "not weights":
        path.write_text("hello world " * 100)
    elif how == "no tensors":
        torch.save({"epoch": 1}, path)
    elif how == "code":
        torch.save({"weights": Code()}, path)
    elif how == "program":
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    elif how == "other shape":
        safetensors.torch.save_file({**weights, "visual.proj": torch.zeros(3, 3)}, path)
    elif how == "one missing":
        weights.pop("visual.proj")
        safetensors.torch.save_file(weights, path)
    elif how == "another model":
        safetensors.torch.save_file({"linear.weight": torch.zeros(3, 3)}, path)
    return path


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("how", "suffix", "complaint"),
    [
        ("cut at 0", "safetensors", r"is damaged or cut short \(0 bytes; .*: delete it and get it again"),
        ("cut at 100", "safetensors", r"is damaged or cut short \(100 bytes"),
        ("cut at 100000", "safetensors", r"is damaged or cut short \(100,000 bytes; .*not fully covered"),
        ("cut at 0", "pt", r"is damaged or cut short \(0 bytes"),
        ("pickle cut", "pt", r"is damaged or cut short \(5,000 bytes"),
        ("not weights", "pt", "is damaged or cut short"),
        ("not weights", "safetensors", "is damaged or cut short"),
        ("no tensors", "pt", "holds no weights: it should hold tensors by name"),
        ("code", "pt", "holds more than weights and could run code when loaded, so it is not"),
        ("program", "pt", "is a TorchScript program, not a file of weights"),
        ("other shape", "safetensors", r"do not fit the architecture .*visual\.proj.*\[3, 3\]"),
        ("one missing", "safetensors", r"do not fit the architecture .*Missing key.*visual\.proj"),
        ("another model", "safetensors", r"do not fit the architecture .*Missing key"),
    ],
)
def test_damaged_weights_are_refused_by_name(
    tiny: Path,
    tiny_arch: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    suffix: str,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = damaged(tmp_path / f"weights.{suffix}", tiny / HUB_WEIGHTS, how)
    with pytest.raises(WeightsError, match=complaint) as caught:
        load(f"{tiny_arch}@{path}")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_text_side_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models.model_folder(tmp_path / "model", models.TINY_SIGLIP)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'clipkit\[text\]'"):
        load(f"local-dir:{folder}")


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    folder = models.model_folder(tmp_path / "model", models.TINY_SIGLIP)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=f"the tokenizer in {folder} cannot be read"):
        load(f"local-dir:{folder}")

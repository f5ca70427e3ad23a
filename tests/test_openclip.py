from __future__ import annotations

import json
import logging
import shutil
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
from clipkit.errors import MissingExtra, ModelUnavailable, UnknownModel, WeightsError
from tests import models

HUB_WEIGHTS = "open_clip_model.safetensors"

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
    """The name of a built-in architecture that is small."""
    folder = tmp_path_factory.mktemp("architectures")
    (folder / "clipkit-tiny.json").write_text(json.dumps(models.TINY_CLIP))
    open_clip.add_model_config(folder)
    return "clipkit-tiny"


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


def test_pixels_are_float32_channels_first(tiny: Path) -> None:
    pixels = load(f"local-dir:{tiny}").preprocess(pictures()[0])
    assert pixels.dtype == np.float32
    assert pixels.shape == (3, 32, 32)


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
        np.testing.assert_allclose(rows, expected.numpy(), atol=1e-6)
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


# What cannot be loaded


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

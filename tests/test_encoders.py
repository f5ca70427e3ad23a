from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clipkit.encoders import DEFAULT_MODEL, cached, canonical_name, load_encoder
from clipkit.encoders.catalog import card
from clipkit.encoders.devices import available, cpu_has_bf16, place
from clipkit.errors import InvalidInput, UnknownModel


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("ViT-B-32/openai", "ViT-B-32/openai"),
        ("  ViT-B-32/openai\n", "ViT-B-32/openai"),
        ("ViT-B/32/openai", "ViT-B-32/openai"),
        ("ViT-B-32/laion2b-s34b-b79K", "ViT-B-32/laion2b_s34b_b79k"),
        ("hf-hub:owner/name@v1", "hf-hub:owner/name@v1"),
        ("bundled", "bundled"),
        ("fake", "fake"),
        ("fake:32", "fake"),
        ("fake:064", "fake:64"),
    ],
)
def test_there_is_one_way_to_write_a_name(spec: str, canonical: str) -> None:
    assert canonical_name(spec) == canonical
    assert canonical_name(canonical) == canonical


def test_an_alias_is_the_model_it_stands_for() -> None:
    spec = card("fast").spec
    assert spec is not None
    assert canonical_name("fast") == canonical_name(spec)


def test_the_default_model_comes_with_the_package() -> None:
    assert cached(DEFAULT_MODEL)
    assert load_encoder(local_only=True).name == DEFAULT_MODEL


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert canonical_name("local-dir:a/../model") == f"local-dir:{tmp_path / 'model'}"
    assert canonical_name("local-dir:~/model") == f"local-dir:{tmp_path / 'home' / 'model'}"
    assert canonical_name("ViT-B/32@w@2.safetensors") == f"ViT-B-32@{tmp_path / 'w@2.safetensors'}"


@pytest.mark.parametrize("spec", ["", "  ", "local-dir:", "ViT-B-32@"])
def test_a_name_with_a_part_missing_says_how_names_are_written(spec: str) -> None:
    with pytest.raises(InvalidInput, match="A model is named by an alias"):
        canonical_name(spec)


def test_an_unknown_kind_of_name_names_the_closest() -> None:
    with pytest.raises(UnknownModel, match=r"no kind of model is called 'hfhub'\. Did you mean hf-hub\?"):
        load_encoder("hfhub:owner/name")


@pytest.mark.parametrize("spec", ["fake:", "fake:many", "fake:-3"])
def test_a_fake_encoder_has_a_whole_number_of_dimensions(spec: str) -> None:
    with pytest.raises(InvalidInput, match=r"should be fake:<number of dimensions>, as in fake:64"):
        load_encoder(spec)


def test_the_fake_encoder_has_the_dimensions_asked_for() -> None:
    assert load_encoder("fake:64").dim == 64
    assert load_encoder("fake").dim == 32


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_holds_at_least_one(size: int) -> None:
    with pytest.raises(InvalidInput, match=f"batch_size must be at least 1, not {size}"):
        load_encoder("fake", batch_size=size)


def test_importing_encoders_loads_no_backend() -> None:
    heavy = ("torch", "open_clip", "transformers", "huggingface_hub", "PIL")
    use = "import sys, clipkit.encoders as encoders; encoders.canonical_name('fast')"
    code = f"{use}; print([module for module in {heavy} if module in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_the_cpu_is_always_there_and_the_last_choice() -> None:
    assert available()[-1] == "cpu"
    assert place().device == available()[0]
    assert place("cpu").precision == ("bf16" if cpu_has_bf16() else "fp32")
    assert place("cpu", "fp32").precision == "fp32"
    assert place("cpu", "bf16").dtype is torch.bfloat16


def test_a_device_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(InvalidInput, match=r"the device 'cuda:97' is not there; this machine has .*cpu"):
        place("cuda:97")
    with pytest.raises(InvalidInput, match="no device is called 'gpu': choose cuda, mps, cpu"):
        place("gpu")
    with pytest.raises(InvalidInput, match="no precision is called 'int4': choose fp32, bf16, fp16"):
        place("cpu", "int4")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_is_refused() -> None:
    with pytest.raises(InvalidInput, match="the device 'cuda' is not there; this machine has"):
        load_encoder("ViT-B-32/openai", device="cuda", local_only=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_chosen_where_it_is() -> None:
    assert place().device == "cuda:0"
    assert place("cuda").precision in ("bf16", "fp16")

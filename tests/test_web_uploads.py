from __future__ import annotations

import hashlib
import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.errors import ImageError, InvalidInput
from clipkit_web.uploads import Uploads
from tests.pictures import draw


def drawn(seed: int, edge: int = 24) -> bytes:
    """The bytes of a PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (edge, edge, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def announced(width: int, height: int) -> bytes:
    """A PNG whose header tells a size, with next to nothing behind it."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")))
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in (*chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


# --- what is kept


def test_a_picture_is_kept_under_the_hash_of_its_bytes() -> None:
    uploads, data = Uploads(), drawn(1)
    key = uploads.keep(data)
    assert key == hashlib.sha256(data).hexdigest()[:32]
    assert uploads.keep(data) == key
    assert uploads.picture(key) == uploads.picture(key)
    assert opened(uploads.picture(key)).size == (24, 24)


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        ((40, 30), (40, 30)),  # never enlarged
        ((1024, 768), (1024, 768)),
        ((768, 1024), (768, 1024)),
        ((4000, 3000), (1024, 768)),
        ((3000, 4000), (768, 1024)),
        ((3000, 3000), (768, 768)),
        ((4000, 500), (4000, 500)),  # what an encoder takes is in the short edge
        ((10_000, 1000), (4096, 410)),
        ((70_000, 1), (4096, 1)),
        ((1, 1), (1, 1)),
    ],
)
def test_it_is_reduced_to_what_encoders_and_people_need(size: tuple[int, int], kept: tuple[int, int]) -> None:
    kind = "JPEG" if max(size) <= 65_535 else "PNG"  # JPEG's edges end there
    uploads = Uploads()
    picture = opened(uploads.picture(uploads.keep(encoded(Image.new("RGB", size, "red"), kind))))
    assert (picture.format, picture.size) == ("JPEG", kept)
    red, green, blue = picture.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    assert min(red, 255 - green, 255 - blue) > 250


def test_it_is_upright_and_tells_nothing_of_its_maker() -> None:
    image = Image.new("RGB", (60, 30), "white")
    image.paste("black", (0, 0, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # what lies on the left is the top
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    data = encoded(image, "JPEG", exif=exif, comment=b"home")
    uploads = Uploads()
    picture = opened(uploads.picture(uploads.keep(data)))
    assert picture.size == (30, 60)
    assert picture.convert("L").getpixel((15, 10)) < 10  # type: ignore[operator]
    assert picture.convert("L").getpixel((15, 50)) > 245  # type: ignore[operator]
    assert not picture.getexif()
    assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_what_was_transparent_is_white() -> None:
    uploads = Uploads()
    data = encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 0)))
    assert opened(uploads.picture(uploads.keep(data))).convert("RGB").getpixel((5, 5)) == (255, 255, 255)


# --- what is refused


def test_the_size_in_bytes_is_exact() -> None:
    data = drawn(1)
    assert Uploads(max_bytes=len(data)).keep(data)
    with pytest.raises(
        ImageError, match=rf"has {len(data):,} bytes, over the limit of {len(data) - 1:,}: make"
    ):
        Uploads(max_bytes=len(data) - 1).keep(data)


def test_the_size_in_pixels_is_exact() -> None:
    assert Uploads(max_pixels=24 * 24).keep(drawn(1))
    with pytest.raises(ImageError, match="the picture is 24x24 pixels, over the limit of 575"):
        Uploads(max_pixels=24 * 24 - 1).keep(drawn(1))


def test_100_megapixels_are_refused_by_what_the_header_says() -> None:
    with pytest.raises(ImageError, match="the picture is 10000x10000 pixels, over the limit of 64000000"):
        Uploads().keep(announced(10_000, 10_000))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"the picture is empty \(0 bytes\)"),
        (b"<!doctype html>", "the picture is not an image that Pillow can read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "the picture is not an image"),
        (drawn(1)[:500], "the picture cannot be decoded: "),
        (announced(10, 10), "the picture cannot be decoded: "),
    ],
)
def test_what_is_no_whole_picture_is_refused_and_not_kept(data: bytes, message: str) -> None:
    uploads = Uploads()
    with pytest.raises(ImageError, match=message):
        uploads.keep(data)
    with pytest.raises(InvalidInput, match="was dropped from memory"):
        uploads.picture(hashlib.sha256(data).hexdigest()[:32])


def test_a_path_is_no_picture(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 1)
    with pytest.raises(ImageError, match="the picture is not an image"):
        Uploads().keep(str(path).encode())


@pytest.mark.parametrize("key", ["", "0" * 32, "../../etc/passwd", "x" * 1000])
def test_a_key_of_nothing_says_what_to_do(key: str) -> None:
    with pytest.raises(InvalidInput, match="dropped from memory: drop it into the page again") as caught:
        Uploads().picture(key)
    assert len(str(caught.value)) < 150


# --- for how long


def test_the_least_recently_used_are_dropped_first() -> None:
    size = _kept_size(drawn(0))
    uploads = Uploads(held_bytes=3 * size + size // 2)
    keys = [uploads.keep(drawn(seed)) for seed in range(3)]
    uploads.picture(keys[0])
    uploads.keep(drawn(1))
    uploads.keep(drawn(3))
    assert uploads.picture(keys[0])
    assert uploads.picture(keys[1])
    with pytest.raises(InvalidInput, match="was dropped"):
        uploads.picture(keys[2])


def test_the_last_is_kept_however_large() -> None:
    uploads = Uploads(held_bytes=1)
    first, second = uploads.keep(drawn(1)), uploads.keep(drawn(2))
    assert uploads.picture(second)
    with pytest.raises(InvalidInput, match="was dropped"):
        uploads.picture(first)


def test_age_counts_from_the_last_use() -> None:
    now = 0.0
    uploads = Uploads(held_seconds=10, clock=lambda: now)
    used, unused = uploads.keep(drawn(1)), uploads.keep(drawn(2))
    now = 8.0
    assert uploads.picture(used)
    now = 10.0
    assert uploads.picture(used)
    assert uploads.picture(unused)
    now = 20.0
    assert uploads.picture(used)
    now = 20.5
    with pytest.raises(InvalidInput, match="was dropped"):
        uploads.picture(unused)
    now = 30.1
    with pytest.raises(InvalidInput, match="was dropped"):
        uploads.picture(used)
    assert uploads.keep(drawn(1)) == used
    assert uploads.picture(used)
    assert uploads._size == _kept_size(drawn(1))


def test_threads_that_drop_the_same_and_others_at_once_keep_the_count() -> None:
    size = _kept_size(drawn(0))
    uploads = Uploads(held_bytes=10 * size)
    found: list[bool] = []

    def drop(first: int) -> None:
        for seed in range(20):
            key = uploads.keep(drawn((first + seed) % 8))
            found.append(uploads.picture(key)[:2] == b"\xff\xd8")

    threads = [threading.Thread(target=drop, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 160
    assert uploads._size == sum(len(held.picture) for held in uploads._held.values())
    assert len(uploads._held) == 8


def _kept_size(data: bytes) -> int:
    uploads = Uploads()
    return len(uploads.picture(uploads.keep(data)))

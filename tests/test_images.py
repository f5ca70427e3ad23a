import io
import math
import os
import struct
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile

from clipkit import images
from clipkit.errors import ImageError, MissingExtra
from clipkit.images import MAX_PIXELS, SUFFIXES, open_image, read_picture

Array = NDArray[Any]

quiet_pillow = pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File", "ignore:.*palette")


def noise(height: int, width: int) -> Image.Image:
    """A picture of soft blobs without any symmetry."""
    small = np.random.default_rng(height * width).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def stored(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def by_pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def array_of(image: Image.Image) -> Array:
    assert image.mode == "RGB"
    return np.asarray(image)


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


LOSSLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "webp": ("WEBP", {"lossless": True}),
    "jp2": ("JPEG2000", {}),
    "ppm": ("PPM", {}),
}
LOSSY: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "gif": ("GIF", {}),
    "webp lossy": ("WEBP", {}),
    "tiff jpeg": ("TIFF", {"compression": "jpeg"}),
    "mpo": ("MPO", {}),
}
Image.init()
if "QOI" in Image.SAVE:  # since Pillow 11.3, and AVIF too
    LOSSLESS["qoi"] = ("QOI", {})
if "AVIF" in Image.SAVE:
    LOSSY["avif"] = ("AVIF", {})

SAMPLES = {name: stored(noise(33, 47), format, **kw) for name, (format, kw) in (LOSSLESS | LOSSY).items()}
every_sample = pytest.mark.parametrize("name", SAMPLES)


# --- what comes back


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_come_back_exactly(name: str) -> None:
    picture = read_picture(SAMPLES[name])
    assert picture.image.tobytes() == noise(33, 47).tobytes()
    assert (picture.width, picture.height) == (47, 33)
    assert type(picture.image) is Image.Image  # no file hangs on it


@every_sample
def test_every_format_equals_what_pillow_decodes(name: str) -> None:
    assert open_image(SAMPLES[name]).tobytes() == by_pillow(SAMPLES[name]).tobytes()


@every_sample
def test_paths_bytes_and_streams_are_one(name: str, tmp_path: Path) -> None:
    data = SAMPLES[name]
    path = tmp_path / "name.says.nothing"
    path.write_bytes(data)
    stream = io.BytesIO(data)
    stream.seek(7)
    expected = open_image(data).tobytes()
    assert open_image(path).tobytes() == expected
    assert open_image(str(path)).tobytes() == expected
    assert open_image(stream).tobytes() == expected
    assert not stream.closed
    with path.open("rb") as file:
        assert open_image(file).tobytes() == expected
        assert not file.closed


class Pipe(io.RawIOBase):
    """A stream without a way back."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self.data.readinto(buffer)


def test_a_stream_without_a_way_back() -> None:
    pipe = cast(BinaryIO, Pipe(SAMPLES["png"]))
    assert open_image(pipe).tobytes() == open_image(SAMPLES["png"]).tobytes()


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9 \xff.png"
    with open(path, "wb") as file:  # pathlib takes no bytes
        file.write(SAMPLES["png"])
    assert open_image(os.fsdecode(path)).size == (47, 33)


@pytest.mark.parametrize(
    ("format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})]
)
def test_of_many_frames_the_first_is_taken(format: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "lime", "blue")]
    data = stored(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert set(map(tuple, array_of(open_image(data)).reshape(-1, 3).tolist())) == {(255, 0, 0)}


def test_of_a_stereo_picture_the_first_is_taken() -> None:
    left, right = noise(48, 64), noise(64, 48).resize((64, 48))
    data = stored(left, "MPO", save_all=True, append_images=[right], quality=95)
    assert open_image(data).tobytes() == open_image(stored(left, "JPEG", quality=95)).tobytes()


def test_suffixes_are_lower_case_and_hold_what_needs_an_extra_too() -> None:
    assert {
        ".jpg",
        ".jpeg",
        ".png",
        ".gif",
        ".tif",
        ".webp",
        ".avif",
        ".heic",
        ".hif",
        ".dng",
        ".cr3",
    } <= SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
    assert not {".txt", ".pdf", ".eps", ".mp4", "."} & SUFFIXES


# --- upright

TURNED: dict[
    int, Callable[[Array], Array]
] = {  # by the EXIF standard: where the stored first row and column are
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.swapaxes(0, 1),  # left, top
    6: lambda a: a[::-1].swapaxes(0, 1),  # right, top
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda a: a[:, ::-1].swapaxes(0, 1),  # left, bottom
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("name", ["png", "webp", "jpeg", "tiff", "tiff lzw"])
def test_all_orientations_are_turned_upright(name: str, orientation: int) -> None:
    format, options = (LOSSLESS | LOSSY)[name]
    data = stored(noise(30, 40), format, exif=oriented(orientation), **options)
    lying = array_of(open_image(stored(noise(30, 40), format, **options)))
    upright = TURNED[orientation](lying)

    picture = read_picture(data)
    assert np.array_equal(array_of(picture.image), upright)
    assert (picture.width, picture.height) == picture.image.size

    off = read_picture(data, upright=False)
    assert off.image.tobytes() == by_pillow(data).tobytes()  # parity; Pillow turns TIFF by itself
    assert np.array_equal(array_of(off.image), upright if name.startswith("tiff") else lying)
    assert (off.width, off.height) == (picture.width, picture.height)


def test_the_standards_own_example() -> None:
    # Orientation 6, a phone held upright: the stored right edge is shown at the bottom.
    image = Image.new("RGB", (2, 1))
    image.putdata([(255, 0, 0), (0, 0, 255)])
    shown = open_image(stored(image, "PNG", exif=oriented(6)))
    assert array_of(shown).tolist() == [[[255, 0, 0]], [[0, 0, 255]]]


def test_a_pil_image_is_turned_by_the_orientation_it_carries_and_stays_as_it_is() -> None:
    data = stored(noise(30, 40), "PNG", exif=oriented(6))
    image = Image.open(io.BytesIO(data))
    image.load()
    before = (image.size, image.mode, image.tobytes(), dict(image.info), image.getexif().tobytes())
    assert open_image(image).tobytes() == open_image(data).tobytes()
    assert open_image(image, upright=False).tobytes() == noise(30, 40).tobytes()
    assert (image.size, image.mode, image.tobytes(), dict(image.info), image.getexif().tobytes()) == before


def test_nothing_is_turned_twice() -> None:
    once = open_image(stored(noise(30, 40), "PNG", exif=oriented(6)))
    assert once.info == {}
    assert open_image(once).tobytes() == once.tobytes()


def test_a_pil_image_that_is_changed_later_does_not_change_the_result() -> None:
    image = noise(8, 8)
    result = open_image(image)
    image.putpixel((0, 0), (1, 2, 3))
    assert result.tobytes() == noise(8, 8).tobytes()


# --- reduced


@pytest.mark.parametrize(
    ("reduce_to", "scale"), [(0, 1), (215, 1), (214, 2), (108, 2), (107, 4), (54, 4), (53, 8)]
)
def test_a_jpeg_is_scaled_while_it_is_decoded(reduce_to: int, scale: int) -> None:
    data = stored(noise(600, 800), "JPEG")
    draft = Image.open(io.BytesIO(data))
    draft.draft(None, (800 // scale, 600 // scale))
    picture = read_picture(data, reduce_to=reduce_to)
    assert picture.image.size == (800 // scale, 600 // scale)
    assert picture.image.tobytes() == draft.tobytes()
    assert (picture.width, picture.height) == (800, 600)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK"])
@pytest.mark.parametrize(("reduce_to", "factor"), [(101, 1), (100, 3), (75, 4), (20, 15)])
def test_other_formats_are_averaged(mode: str, reduce_to: int, factor: int) -> None:
    if (reduce_to, factor) == (101, 1):
        reduce_to = 301
    image = noise(600, 700).convert(mode)
    picture = read_picture(stored(image, "TIFF"), reduce_to=reduce_to)
    expected = image.convert("RGB")
    assert picture.image.tobytes() == (expected.reduce(factor) if factor > 1 else expected).tobytes()
    assert (picture.width, picture.height) == (700, 600)


def test_a_reduced_picture_is_upright_too() -> None:
    data = stored(noise(600, 800), "JPEG", exif=oriented(6))
    picture = read_picture(data, reduce_to=75)
    assert (picture.image.size, picture.width, picture.height) == ((150, 200), 600, 800)
    lying = array_of(read_picture(data, reduce_to=75, upright=False).image)
    assert np.array_equal(array_of(picture.image), TURNED[6](lying))


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 100), st.sampled_from(["JPEG", "PNG"]))
def test_the_shorter_edge_keeps_more_pixels_than_asked_for(
    width: int, height: int, reduce_to: int, format: str
) -> None:
    size = read_picture(stored(Image.new("RGB", (width, height)), format), reduce_to=reduce_to).image.size
    least = math.ceil(reduce_to * 7 / 5) if format == "JPEG" else 2 * reduce_to
    if min(width, height) < 2 * least:
        assert size == (width, height)
    else:
        assert least <= min(size) < min(width, height)
    assert abs(size[0] * height - size[1] * width) <= max(width, height)  # the shape stays


def test_images_and_arrays_are_reduced_too() -> None:
    image = noise(600, 700)
    assert open_image(image, reduce_to=75).tobytes() == image.reduce(4).tobytes()
    assert open_image(np.asarray(image), reduce_to=75).tobytes() == image.reduce(4).tobytes()


# --- what cannot be read


def failure(source: Any, **options: Any) -> str:
    with pytest.raises(ImageError, match=r".") as caught:
        read_picture(source, **options)
    return str(caught.value)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert failure(tmp_path / "missing.jpg") == "does not exist"
    assert failure(tmp_path / "gone.jpg") == "does not exist"
    assert failure(empty / "below.jpg") == "cannot be opened: Not a directory"
    assert failure(tmp_path) == "is a directory"
    assert failure(tmp_path / "pipe.jpg") == "is not a regular file"
    assert failure(empty) == "is empty (0 bytes)"
    assert failure("a\0b.jpg").startswith("cannot be opened: ")
    assert failure("x" * 300) == "cannot be opened: File name too long"


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(SAMPLES["jpeg"])
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything, so be nobody for a moment
    try:
        assert failure(path) == "cannot be opened: Permission denied"
    finally:
        os.seteuid(user)


def test_bytes_that_are_no_image() -> None:
    assert failure(b"") == "is empty (0 bytes)"
    assert failure(io.BytesIO()) == "is empty (0 bytes)"
    assert failure(b"\xff") == "is not an image that Pillow can read"
    assert failure(b"hello, this is text " * 9) == "is not an image that Pillow can read"
    assert failure(b"%PDF-1.7 " * 9) == "is not an image that Pillow can read"
    assert failure(b"%!PS-Adobe-3.0 EPSF-3.0\n" * 9) == "is not an image that Pillow can read"


def test_values_that_are_no_image() -> None:
    for value, name in ((3, "int"), (None, "NoneType"), ([1, 2], "list")):
        assert failure(value) == f"is of type {name}, not a path, bytes, a PIL image or an array"
    with pytest.raises(ImageError, match=r"^has no pixels \(0x5\)$"):
        open_image(Image.new("RGB", (0, 5)))


def test_the_cause_is_kept() -> None:
    with pytest.raises(ImageError, match=r"^cannot be decoded: ") as caught:
        open_image(SAMPLES["jpeg"][:-200])
    assert isinstance(caught.value.__cause__, OSError)
    assert "truncated" in str(caught.value)


@quiet_pillow
@every_sample
def test_a_file_cut_off_is_an_error_or_complete_but_never_half_grey(name: str) -> None:
    data, complete = SAMPLES[name], open_image(SAMPLES[name]).tobytes()
    tail = range(len(data) - 20, len(data))
    for length in (*range(1, len(data), len(data) // 50 + 1), *tail):
        try:
            assert open_image(data[:length]).tobytes() == complete, length
        except ImageError:
            continue


def test_a_large_jpeg_cut_off_is_an_error_when_reduced_too() -> None:
    data = stored(noise(600, 800), "JPEG")
    assert "truncated" in failure(data[: len(data) * 2 // 3], reduce_to=37)


def test_pillow_stays_strict() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width: int, height: int, *chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IDAT", b"x")


def test_a_png_with_a_text_bomb() -> None:
    bomb = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000)))
    assert failure(png_header(5, 5, bomb)).startswith("cannot be decoded: Decompressed data too large")


# --- limits


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = png_header(20_000, 20_000)
    expected = f"is 20000x20000 pixels, over the limit of {MAX_PIXELS} (--max-pixels)"
    assert failure(bomb) == expected
    assert failure(bomb, reduce_to=224) == expected
    assert failure(png_header(2**31 - 1, 2**31 - 1)).startswith("is 2147483647x2147483647 pixels")


@every_sample
def test_the_limit_itself_is_allowed(name: str) -> None:
    assert read_picture(SAMPLES[name], max_pixels=33 * 47).width == 47
    expected = f"is 47x33 pixels, over the limit of {33 * 47 - 1} (--max-pixels)"
    assert failure(SAMPLES[name], max_pixels=33 * 47 - 1) == expected
    with pytest.raises(ImageError, match=r"^is 47x33 pixels, over the limit of 9 \(--max-pixels\)$"):
        open_image(Image.open(io.BytesIO(SAMPLES[name])), max_pixels=9)


@pytest.mark.filterwarnings("error")
@every_sample
def test_pillows_own_limit_neither_matters_nor_changes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = open_image(SAMPLES[name]).tobytes()
    for limit in (33 * 47 - 1, 100):  # Pillow would warn; Pillow would refuse
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert open_image(SAMPLES[name]).tobytes() == complete
        assert limit == Image.MAX_IMAGE_PIXELS


def test_big_pictures_come_one_at_a_time_and_a_broken_one_does_not_stop_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "_BIG_PIXELS", 1)
    complete = open_image(SAMPLES["png"]).tobytes()
    sources = [SAMPLES["png"], SAMPLES["png"][:400]] * 20

    def opened(data: bytes) -> bytes:
        try:
            return open_image(data).tobytes()
        except ImageError:
            return b""

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(opened, sources)) == [complete, b""] * 20


def test_threads_decode_side_by_side(tmp_path: Path) -> None:
    paths = []
    for name, data in SAMPLES.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    expected = [open_image(path).tobytes() for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert [image.tobytes() for image in pool.map(open_image, paths)] == expected


@pytest.fixture
def open_files() -> Callable[[], int]:
    if not Path("/proc/self/fd").exists():
        pytest.skip("counts open files in /proc")
    return lambda: len(os.listdir("/proc/self/fd"))


@quiet_pillow
def test_every_file_is_closed(tmp_path: Path, open_files: Callable[[], int]) -> None:
    before, kept = open_files(), []
    for name, data in SAMPLES.items():
        path = tmp_path / name
        for content in (data, data[:-100], data[:40], b"no image", b""):
            path.write_bytes(content)
            try:
                kept.append(read_picture(path))
            except ImageError as error:
                kept.append(error)  # type: ignore[arg-type]
    assert open_files() == before


# --- anything at all


def survives(data: bytes) -> None:
    try:
        picture = read_picture(data, reduce_to=8, max_pixels=1_000_000)
    except (ImageError, MissingExtra):
        return
    assert picture.image.mode == "RGB"
    assert min(picture.image.size) >= 1


@quiet_pillow
@settings(max_examples=200)
@given(st.data())
def test_damaged_files_raise_nothing_but_image_errors(data: st.DataObject) -> None:
    damaged = bytearray(SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))])
    end = data.draw(st.sampled_from([64, 200, len(damaged)]))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, min(end, len(damaged)) - 1))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        if not damaged:
            break
    survives(bytes(damaged))


@quiet_pillow
@settings(max_examples=150)
@given(st.sampled_from(sorted(SAMPLES)), st.integers(2, 40), st.binary(max_size=120))
def test_nonsense_behind_a_true_beginning_raises_nothing_but_image_errors(
    name: str, length: int, rest: bytes
) -> None:
    survives(SAMPLES[name][:length] + rest)


# --- HEIC


def heic(image: Image.Image, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=-1, chroma=444, **options)
    return out.getvalue()


HEIC_START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "called.jpg"
    path.write_bytes(HEIC_START)
    for source in (HEIC_START, path):
        with pytest.raises(MissingExtra, match=r"^reading HEIC needs .* pip install 'clipkit\[heif\]'$"):
            open_image(source)


def test_heic_is_read() -> None:
    image = Image.new("RGB", (64, 48), (200, 30, 60))
    image.paste((10, 220, 90), (0, 0, 32, 48))
    picture = read_picture(heic(image))
    assert (picture.width, picture.height) == (64, 48)
    assert np.abs(array_of(picture.image).astype(int) - array_of(image)).max() <= 4
    assert read_picture(heic(image), reduce_to=12).image.size == (32, 24)


def test_heic_keeps_pillow_as_it_is_and_the_limits_too() -> None:
    data = heic(noise(48, 64))
    before = set(Image.OPEN)
    open_image(data)
    assert set(Image.OPEN) == before
    assert failure(data, max_pixels=100) == "is 64x48 pixels, over the limit of 100 (--max-pixels)"


def test_heic_is_turned_once() -> None:
    image = Image.new("RGB", (64, 48), "white")
    image.paste((0, 0, 0), (0, 0, 32, 48))
    picture = read_picture(heic(image, exif=oriented(6)))
    assert (picture.image.size, picture.width, picture.height) == ((48, 64), 48, 64)
    assert array_of(picture.image)[:20].max() < 20
    assert array_of(picture.image)[-20:].min() > 235


def test_a_damaged_heic_is_an_error() -> None:
    data = heic(noise(48, 64))
    assert failure(data[:-50]).startswith("cannot be decoded: ")
    assert failure(HEIC_START).startswith("cannot be decoded: ")


# --- camera RAW


def directory(entries: list[tuple[int, int, list[int]]], at: int, following: int = 0) -> bytes:
    """A TIFF directory, little-endian, for offset `at`; types 1 byte, 3 short, 4 long, 5 and 10 rational."""
    code = {1: "B", 3: "H", 4: "I", 5: "I", 10: "i"}
    table, values, start = struct.pack("<H", len(entries)), b"", at + 2 + 12 * len(entries) + 4
    for tag, kind, numbers in sorted(entries):
        packed = struct.pack(f"<{len(numbers)}{code[kind]}", *numbers)
        count = len(numbers) // 2 if kind in (5, 10) else len(numbers)
        if len(packed) > 4:
            values, packed = values + packed, struct.pack("<I", start + len(values))
        table += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
    return table + struct.pack("<I", following) + values


def dng(width: int, height: int, *, orientation: int = 1, preview: bytes = b"") -> bytes:
    """A DNG of one colour, with or without a JPEG preview in its first directory."""
    sensor = np.zeros((height, width), "<u2")
    sensor[0::2, 0::2], sensor[0::2, 1::2], sensor[1::2, 0::2], sensor[1::2, 1::2] = (
        60_000,
        20_000,
        20_000,
        9_000,
    )
    data = sensor.tobytes()
    raw = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [16]),
        (259, 3, [1]),
        (262, 3, [32803]),
        (273, 4, [8]),
    ]
    raw += [
        (277, 3, [1]),
        (278, 4, [height]),
        (279, 4, [len(data)]),
        (33421, 3, [2, 2]),
        (33422, 1, [0, 1, 1, 2]),
    ]
    unit = [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]  # a 3x3 matrix of rationals
    top = [(271, 1, list(b"Make\0")), (274, 3, [orientation]), (50706, 1, [1, 4, 0, 0]), (50721, 10, unit)]
    top += [(50728, 5, [1, 1, 1, 1, 1, 1]), (50778, 3, [21])]
    start = 8 + len(data) + len(preview)
    begin = struct.pack("<2sHI", b"II", 42, start) + data + preview
    if not preview:
        return begin + directory([(254, 4, [0]), *raw, *top], start)
    shown = Image.open(io.BytesIO(preview))
    small = [
        (254, 4, [1]),
        (256, 4, [shown.width]),
        (257, 4, [shown.height]),
        (258, 3, [8, 8, 8]),
        (259, 3, [7]),
    ]
    small += [(262, 3, [6]), (273, 4, [8 + len(data)]), (277, 3, [3]), (278, 4, [shown.height])]
    small += [(279, 4, [len(preview)]), *top]
    second = start + len(directory([*small, (330, 4, [0])], start))
    return begin + directory([*small, (330, 4, [second])], start) + directory([(254, 4, [0]), *raw], second)


def test_raw_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    nef = tmp_path / "DSC_1.NEF"
    nef.write_bytes(SAMPLES["tiff"])
    preview = stored(noise(30, 40), "JPEG")
    for source in (
        nef,
        dng(16, 12),
        dng(16, 12, preview=preview),
        b"FUJIFILMCCD-RAW 0201",
        b"\0\0\0\x18ftypcrx \0",
    ):
        with pytest.raises(MissingExtra, match=r"^reading camera RAW needs .* pip install 'clipkit\[raw\]'$"):
            open_image(source)


def test_a_raw_files_name_does_not_make_one(tmp_path: Path) -> None:
    path = tmp_path / "really.nef"
    path.write_bytes(SAMPLES["png"])
    assert open_image(path).size == (47, 33)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_raw_file_shows_its_preview_upright(orientation: int) -> None:
    pytest.importorskip("rawpy", reason="needs the extra clipkit[raw]")
    preview = stored(noise(120, 160), "JPEG", quality=95)
    picture = read_picture(dng(160, 120, orientation=orientation, preview=preview))
    assert np.array_equal(array_of(picture.image), TURNED[orientation](array_of(open_image(preview))))
    assert (picture.width, picture.height) == picture.image.size
    assert picture.camera == "Make"


@pytest.mark.parametrize("preview", [b"", stored(noise(30, 40), "JPEG")], ids=["none", "small"])
def test_a_raw_file_without_a_fit_preview_is_developed_at_half_size(preview: bytes) -> None:
    pytest.importorskip("rawpy", reason="needs the extra clipkit[raw]")
    data = dng(160, 120, orientation=6, preview=preview)
    picture = read_picture(data)
    assert (picture.image.size, picture.width, picture.height) == ((60, 80), 120, 160)
    red, green, blue = array_of(picture.image).reshape(-1, 3).mean(axis=0)
    assert red > max(green, blue)
    assert read_picture(data, upright=False).image.size == (80, 60)
    assert failure(data[:3000]).startswith("cannot be decoded: ")

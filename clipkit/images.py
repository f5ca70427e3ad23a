"""Pictures from files, bytes, PIL images and arrays: RGB, upright, decoded no larger than needed.

Of an animation or a file of many pages, the first is taken. How colours become RGB is in `colours`.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from clipkit.colours import from_array, rgb
from clipkit.errors import ClipkitError, ImageError, MissingExtra
from clipkit.exif import Facts, facts_of, orientation_of, tiff_facts, tiff_tags

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"
"""A path, the bytes of an image file, or a stream of them."""

# The largest sensors in phones give 16320 x 12240, just below. Decoded, that is 0.8 GB (Pillow keeps 4 bytes
# a pixel), which an ordinary machine still survives.
MAX_PIXELS = 200_000_000
_BIG_PIXELS = 50_000_000  # beyond what most cameras give; of such pictures one is decoded at a time

# Only formats that begin with a signature (any file may be a TGA), decode in this process (EPS would start
# Ghostscript) and whose header tells the size of what comes out (an icon's does not).
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "PSD", "QOI")
_PILLOW_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .tif .tiff .webp .avif .avifs .jp2 .j2k .jpx .jpf .jpc"
    " .j2c .ppm .pgm .pbm .pnm .pfm .psd .qoi"
)
_HEIF_SUFFIXES = ".heic .heics .heif .heifs .hif"
_RAW_SUFFIXES = (
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .rwl"
    " .sr2 .srf .srw .x3f"
)
RAW_SUFFIXES: frozenset[str] = frozenset(_RAW_SUFFIXES.split())
SUFFIXES: frozenset[str] = frozenset(f"{_PILLOW_SUFFIXES} {_HEIF_SUFFIXES} {_RAW_SUFFIXES}".split())
"""Lower-case suffixes of the files to try. HEIF and RAW are among them even without their extras, so that a
walk over folders reports what is missing rather than ignore such files silently."""

_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")
)
_RAW_SIGNATURES = (
    b"IIRO",
    b"IIRS",
    b"MMOR",
    b"IIU\0",
    b"II\x1a\0\0\0HEAP",
    b"FUJIFILMCCD-RAW",
    b"FOVb",
    b"\0MRM",
)
_DNG_VERSION, _NEW_SUBFILE_TYPE, _SUB_IFDS = 50706, 254, 330  # TIFF tags

_TURNS = {  # EXIF orientation: what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LIBRAW_FLIPS = {3: 3, 5: 8, 6: 6}  # LibRaw's own code for an orientation: EXIF's

_FULL_SIZE = "clipkit full size"  # in a reduced picture's `info`

_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded file and what its header says.

    `image` is RGB and perhaps reduced; `width` and `height` are of the full upright picture, in pixels.
    `taken_at` is the camera's local time without a zone, `camera` its make and model, `latitude` and
    `longitude` are degrees in WGS 84. What the header does not say, or says wrongly, is None.
    """

    image: Image.Image
    width: int
    height: int
    taken_at: datetime | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class _Wish:
    upright: bool
    reduce_to: int
    max_pixels: int

    def factor(self, image: Image.Image) -> int:
        """By how much it can be averaged down while its shorter edge keeps 2 * reduce_to pixels."""
        return max(1, min(image.size) // (2 * self.reduce_to)) if self.reduce_to > 0 else 1

    @property
    def decoded_edge(self) -> int:
        """The shorter edge, in pixels, that a JPEG is decoded to at least.

        So 12 megapixels can be decoded to an eighth, and rows stay those of full size (cosine 0.9999 for most
        pictures, least 0.9987 of 216; tests/bench/fidelity.py).
        """
        return -(-self.reduce_to * 7 // 5)

    def check(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise ImageError(
                f"is {width}x{height} pixels, over the limit of {self.max_pixels} (--max-pixels)"
            )
        if not width or not height:
            raise ImageError(f"has no pixels ({width}x{height})")

    def turned(self, image: Image.Image, orientation: int) -> Image.Image:
        return image.transpose(_TURNS[orientation]) if self.upright and orientation > 1 else image


def read_picture(
    source: Source, *, upright: bool = True, reduce_to: int = 0, max_pixels: int = MAX_PIXELS
) -> Picture:
    """The picture in a file (a path, its bytes, or a stream, which stays open), with its header's facts.

    With `reduce_to`, a large picture may come out smaller, as long as its shorter edge keeps 1.4 times as
    many pixels (JPEG) or twice as many; 0 asks for full size. `full_size` tells what a reduced one was.
    `upright=False` leaves out the EXIF orientation: pixels then lie as `PIL.Image.open` gives them (which
    turns TIFF and HEIF by itself). Raises ImageError for a file that is no whole image or has over
    `max_pixels`, MissingExtra for HEIF or RAW without their packages.
    """
    wish = _Wish(upright, reduce_to, max_pixels)
    with _as_image_errors(), ExitStack() as stack:
        file, suffix = _opened(source, stack)
        kind = _kind(file, suffix)
        file.seek(0)
        if kind == "raw":
            return _read_raw(file, wish)
        return _decoded(_heif(file) if kind == "heif" else _identified(file), wish)


def open_image(
    source: Source | Image.Image | NDArray[Any],
    *,
    upright: bool = True,
    reduce_to: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """An RGB picture of any image input: a file as in `read_picture`, a PIL image, or an array.

    Arrays are (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) with uint8, uint16, bool, or floats in [0, 1]. A PIL
    image is turned by the EXIF orientation it carries, too, and is never changed. Transparent parts come on
    white; colour profiles are ignored, as every CLIP tool ignores them. Raises as `read_picture` does.
    """
    if isinstance(source, np.ndarray):
        source = from_array(source)
    if not isinstance(source, Image.Image):
        return read_picture(source, upright=upright, reduce_to=reduce_to, max_pixels=max_pixels).image
    wish = _Wish(upright, reduce_to, max_pixels)
    with _as_image_errors():
        wish.check(*source.size)
        source.load()
        pixels = wish.turned(rgb(source, factor=wish.factor(source)), orientation_of(source))
        return _noted(pixels, *source.size)


def full_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in pixels of the picture that `image` is, before it was reduced.

    An edge that is no multiple of the reduction comes out rounded, so `image.size` has not quite its shape.
    """
    width, height = image.info.get(_FULL_SIZE, image.size)
    return width, height


def enough_for(edge: int) -> int:
    """The least `reduce_to` with which the shorter edge of a large picture keeps `edge` pixels."""
    return -(-edge * 5 // 7)


@contextmanager
def _as_image_errors() -> Iterator[None]:
    """The one place where what Pillow, libheif and LibRaw raise becomes an ImageError."""
    try:
        yield
    except ClipkitError:
        raise
    except MemoryError as exc:
        raise ImageError("needs more memory than there is") from exc
    except Exception as exc:  # their parsers trip over broken files in every way there is
        why = exc.args[0] if exc.args else ""
        why = why.decode(errors="replace") if isinstance(why, bytes) else str(exc)  # LibRaw gives bytes
        raise ImageError(f"cannot be decoded: {why or type(exc).__name__}") from exc


# --- from a source to a stream, and what is in it


def _opened(source: Any, stack: ExitStack) -> tuple[BinaryIO, str]:
    """The source as a stream at its start, closed by `stack` if opened here; and the suffix of its name."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return stack.enter_context(_open_file(path)), path.suffix.lower()
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source), ""
    if not hasattr(source, "read"):
        raise ImageError(f"is of type {type(source).__name__}, not a path, bytes, a PIL image or an array")
    if not source.seekable():
        return io.BytesIO(source.read()), ""
    source.seek(0)
    return source, Path(str(getattr(source, "name", ""))).suffix.lower()


def _open_file(path: Path) -> BinaryIO:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("is a directory")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe could wait for ever
            raise ImageError("is not a regular file")
        return _Unmapped(io.FileIO(path))
    except FileNotFoundError as exc:
        raise ImageError("does not exist") from exc
    except ImageError:
        raise
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        raise ImageError(f"cannot be opened: {getattr(exc, 'strerror', None) or exc}") from exc


class _Unmapped(io.BufferedReader):
    """A file that libtiff has to read: mapped into memory, one cut short meanwhile would kill the process."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


def _kind(file: BinaryIO, suffix: str) -> Literal["pillow", "heif", "raw"]:
    head = file.read(32)
    if not head:
        raise ImageError("is empty (0 bytes)")
    if head[4:8] == b"ftyp":
        if head[8:11] == b"crx":
            return "raw"
        return "heif" if head[8:12] in _HEIF_BRANDS and b"avif" not in head else "pillow"
    if head.startswith(_RAW_SIGNATURES) or (head.startswith((b"II", b"MM")) and suffix in RAW_SUFFIXES):
        return "raw"
    return "raw" if head.startswith((b"II*\0", b"MM\0*")) and _is_raw_tiff(file, head) else "pillow"


def _is_raw_tiff(file: BinaryIO, head: bytes) -> bool:
    """Whether it is a RAW file in TIFF's structure: Pillow would show no more than its tiny preview."""
    if head[8:10] == b"CR":  # CR2
        return True
    tags = tiff_tags(file)  # DNG says so; in NEF and ARW, the first directory is the preview of another
    return _DNG_VERSION in tags or (tags.get(_NEW_SUBFILE_TYPE) == 1 and _SUB_IFDS in tags)


# --- from a stream to pixels


def _identified(file: BinaryIO) -> ImageFile.ImageFile:
    """What `Image.open` gives, save that it neither asks nor changes Pillow's global pixel limit."""
    head = file.read(16)
    Image.preinit()
    why = "is not an image that Pillow can read"
    for name in _FORMATS:
        if name not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN.get(name, (None, None))
        accepted = accept(head) if accept else False
        if isinstance(accepted, str):  # known, but this Pillow was built without it
            why = f"cannot be decoded: {accepted}"
        elif accepted and factory:
            file.seek(0)
            return factory(file, "")  # without its name, by which Pillow would map it into memory
    raise ImageError(why)


def _heif(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as exc:
        raise MissingExtra("reading HEIC", "heif") from exc
    image: ImageFile.ImageFile = HeifImageFile(file, "")
    return image


def _decoded(image: ImageFile.ImageFile, wish: _Wish) -> Picture:
    width, height = image.size
    wish.check(width, height)
    with _one_at_a_time if width * height > _BIG_PIXELS else nullcontext():
        if isinstance(image, JpegImageFile) and wish.reduce_to > 0:
            image.draft(None, (wish.decoded_edge, wish.decoded_edge))  # decodes to 1/2, 1/4 or 1/8, or not
        _make_room(image, wish)
        image.load()
        facts = facts_of(image)
        pixels = wish.turned(rgb(image, factor=wish.factor(image)), facts.orientation)
    return _picture(pixels, width, height, facts)


def _make_room(image: ImageFile.ImageFile, wish: _Wish) -> None:
    """TIFF asks Pillow's global limit again when it decodes, unless memory for its tiles is there already."""
    tile, limit = getattr(image, "_tile_size", None), Image.MAX_IMAGE_PIXELS
    if tile is not None and limit is not None and tile[0] * tile[1] > limit:
        wish.check(*tile)
        image.im = Image.core.new(image.mode, tile)  # type: ignore[attr-defined]  # as Pillow's plugins do


def _picture(pixels: Image.Image, width: int, height: int, facts: Facts) -> Picture:
    if facts.orientation >= 5:
        width, height = height, width
    return Picture(
        _noted(pixels, width, height),
        width,
        height,
        facts.taken_at,
        facts.camera,
        facts.latitude,
        facts.longitude,
    )


def _noted(pixels: Image.Image, width: int, height: int) -> Image.Image:
    """The picture with its full size, given upright or lying, in its `info` if it is that one reduced."""
    if (pixels.width - pixels.height) * (width - height) < 0:
        width, height = height, width
    alike = abs(pixels.width * height - pixels.height * width) <= max(width, height)  # rounded by a pixel
    if alike and pixels.size != (width, height):
        pixels.info[_FULL_SIZE] = (width, height)
    return pixels


def _read_raw(file: BinaryIO, wish: _Wish) -> Picture:
    """The preview that the camera stored, where it is large enough, else the sensor's data at half size."""
    try:
        import rawpy
    except ImportError as exc:
        raise MissingExtra("reading camera RAW", "raw") from exc
    with rawpy.imread(file) as raw:
        width, height = raw.sizes.width, raw.sizes.height
        wish.check(width, height)
        orientation = _LIBRAW_FLIPS.get(raw.sizes.flip, 1)
        preview = _raw_preview(raw, min(width, height) // 2, wish)
        if preview is None:
            half = raw.postprocess(half_size=True, use_camera_wb=True, user_flip=0)
            pixels = from_array(half)
        else:
            pixels = preview.image
    pixels = wish.turned(rgb(pixels, factor=wish.factor(pixels)), orientation)
    picture = _picture(pixels, width, height, replace(tiff_facts(file), orientation=orientation))
    if preview is None or picture.taken_at is not None:
        return picture
    return replace(preview, image=pixels, width=picture.width, height=picture.height)  # RAF, CR3


def _raw_preview(raw: Any, half: int, wish: _Wish) -> Picture | None:
    """The embedded JPEG, as it lies, if its shorter edge is half the sensor's or all that is wished for."""
    import rawpy

    try:
        stored = raw.extract_thumb()
    except rawpy.LibRawError:  # there is none, or none that LibRaw knows
        return None
    if stored.format != rawpy.ThumbFormat.JPEG:
        return None
    try:
        preview = read_picture(
            stored.data, upright=False, reduce_to=wish.reduce_to, max_pixels=wish.max_pixels
        )
    except ImageError:  # a damaged preview; the sensor's data may be sound
        return None
    least = min(half, 2 * wish.reduce_to) if wish.reduce_to > 0 else half
    return preview if min(preview.width, preview.height) >= least else None

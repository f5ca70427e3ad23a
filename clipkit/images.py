"""Pictures from files, bytes, PIL images and arrays: RGB, upright, decoded no larger than needed.

Colours are what Pillow decodes: an ICC profile is ignored, as every CLIP tool ignores it, so that vectors
agree with theirs. Transparent parts are shown on white. 16-bit levels are scaled to 8 bits, never clipped.
Of an animation or a file of many pages, the first is taken.
"""

from __future__ import annotations

import io
import math
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from clipkit.encoder import ImageInput
from clipkit.errors import ClipkitError, ImageError, InvalidInput, MissingExtra

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"

# The largest sensors in phones give 16320 x 12240, just below. Decoded, that is 0.8 GB (Pillow keeps 4 bytes
# a pixel), which an ordinary machine still survives.
MAX_PIXELS = 200_000_000
THUMBNAIL_EDGE = 256  # pixels; sharp in a result grid on a dense screen, about 15 kB
_THUMBNAIL_QUALITY = 80
_STRIP_PIXELS = 1 << 20  # conversion goes strip by strip, so that its temporaries stay at a few MB

# Only formats that begin with a signature (a TGA may be any file), decode in-process (EPS would start
# Ghostscript) and hold one picture whose size the header tells (an icon does not).
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
SUFFIXES: frozenset[str] = frozenset(f"{_PILLOW_SUFFIXES} {_HEIF_SUFFIXES} {_RAW_SUFFIXES}".split())
"""Lower-case suffixes of files worth trying. HEIF and RAW are listed without their extras installed too, so
that a walk over folders reports what is missing and ignores nothing silently."""

_HEIF_BRANDS = frozenset(b"heic heix hevc hevx heim heis hevm hevs mif1 msf1 mif2".split())
_RAW_SIGNATURES = (
    b"IIRO",
    b"IIRS",
    b"MMOR",
    b"IIU\0",
    b"FUJIFILMCCD-RAW",
    b"FOVb",
    b"\0MRM",
    b"II\x1a\0\0\0HEAP",
)
_DNG_VERSION = 50706  # TIFF tags
_NEW_SUBFILE_TYPE = 254
_SUB_IFDS = 330

_UPRIGHT = {  # EXIF orientation: what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FLIP_TO_ORIENTATION = {3: 3, 5: 8, 6: 6}  # LibRaw's sizes.flip: 180°, 90° counter-clockwise, 90° clockwise

_big_picture = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded file and what its header says.

    `image` is RGB and perhaps reduced; `width` and `height` are of the full upright picture, in pixels.
    `taken_at` is the camera's local time without a zone, `camera` is make and model, `latitude` and
    `longitude` are degrees in WGS 84. What the header does not say, or says wrongly, is None.
    """

    image: Image.Image
    width: int
    height: int
    taken_at: datetime | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None


def read_picture(
    source: Source, *, upright: bool = True, reduce_to: int = 0, max_pixels: int = MAX_PIXELS
) -> Picture:
    """The picture in a file (a path, its bytes, or a stream, which stays open), with its header's facts.

    With `reduce_to`, a larger picture may come out smaller, as long as its shorter edge keeps twice as many
    pixels; 0 asks for full size. `upright=False` leaves out the EXIF orientation: pixels then lie as
    `PIL.Image.open` gives them (which turns TIFF and HEIF itself). Raises ImageError for a file that is no
    whole image or has over `max_pixels`, MissingExtra for HEIF or RAW without their packages.
    """
    with _as_image_errors(), ExitStack() as stack:
        file, suffix = _opened(source, stack)
        kind = _kind(file, suffix)
        if kind == "raw":
            return _read_raw(file, upright, reduce_to, max_pixels)
        image = _heif(file) if kind == "heif" else _identified(file)
        stack.callback(image.close)
        if _is_raw_tiff(image):
            file.seek(0)
            return _read_raw(file, upright, reduce_to, max_pixels)
        return _decoded(image, upright, reduce_to, max_pixels)


def open_image(
    source: ImageInput | BinaryIO, *, upright: bool = True, reduce_to: int = 0, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """An RGB picture of any image input: a file as in `read_picture`, a PIL image, or an array.

    Arrays are (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) with uint8, uint16, bool, or floats in [0, 1]. A PIL
    image is turned by its EXIF orientation too, and is never changed. Raises as `read_picture` does.
    """
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if not isinstance(source, Image.Image):
        return read_picture(source, upright=upright, reduce_to=reduce_to, max_pixels=max_pixels).image
    with _as_image_errors():
        _check_size(source.size, max_pixels)
        source.load()
        orientation = _orientation(_exif(source)) if upright else 1
        return _turned(_rgb(source, _factor(source.size, reduce_to)), orientation)


def thumbnail(image: Image.Image, *, edge: int = THUMBNAIL_EDGE) -> bytes:
    """JPEG bytes of `image` with no edge above `edge` pixels, never enlarged, without metadata."""
    if edge < 1:
        raise InvalidInput(f"a thumbnail's edge is at least 1 pixel, not {edge}")
    small = _rgb(image, 1)
    small.thumbnail((edge, edge))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_THUMBNAIL_QUALITY)
    return out.getvalue()


# --- from a source to an undecoded Pillow image ------------------------------------------------------------


@contextmanager
def _as_image_errors() -> Iterator[None]:
    """The one place where what Pillow, libheif or LibRaw raise becomes an ImageError."""
    try:
        yield
    except ClipkitError:
        raise
    except MemoryError as exc:
        raise ImageError("needs more memory than there is") from exc
    except Exception as exc:  # parsers trip over broken files in every way there is
        raise ImageError(f"is damaged or cut off ({str(exc) or type(exc).__name__})") from exc


def _opened(source: Any, stack: ExitStack) -> tuple[BinaryIO, str]:
    """The source as a stream at its start, and the suffix of its name; closed by `stack` if opened here."""
    if isinstance(source, bytes | bytearray | memoryview):
        if not len(source):
            raise ImageError("is empty (0 bytes)")
        return io.BytesIO(source), ""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return stack.enter_context(_open_file(path)), path.suffix.lower()
    if not hasattr(source, "read"):
        raise ImageError(f"is no image: a path, bytes, PIL image or array is, not {type(source).__name__}")
    if not source.seekable():
        return _opened(source.read(), stack)
    source.seek(0)
    return source, ""


def _open_file(path: Path) -> BinaryIO:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("is a directory")
        if not stat.S_ISREG(status.st_mode):  # to open a pipe could wait for ever
            raise ImageError("is not a regular file")
        if not status.st_size:
            raise ImageError("is empty (0 bytes)")
        return path.open("rb")
    except FileNotFoundError as exc:
        raise ImageError("does not exist") from exc
    except ImageError:
        raise
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        raise ImageError(f"cannot be opened ({getattr(exc, 'strerror', None) or exc})") from exc


def _kind(file: BinaryIO, suffix: str) -> str:
    head = file.read(32)
    file.seek(0)
    if not head:
        raise ImageError("is empty (0 bytes)")
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head:
        return "heif"
    if head.startswith(_RAW_SIGNATURES) or head[4:12] == b"ftypcrx " or head[8:10] == b"CR":
        return "raw"
    return "raw" if suffix in _RAW_SUFFIXES.split() and head.startswith((b"II", b"MM")) else ""


def _identified(file: BinaryIO) -> ImageFile.ImageFile:
    """What `Image.open` gives, save that Pillow's global pixel limit has no say; `_check_size` has.

    Nor does it hand on the file's name: Pillow would map the file into memory, and the process would die
    of SIGBUS when somebody cuts the file short meanwhile.
    """
    head = file.read(16)
    Image.preinit()
    why = "is not an image that Pillow can read"
    for name in _FORMATS:
        if name not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(head)
        if isinstance(accepted, str):  # known, but this Pillow was built without it
            why = f"cannot be read: {accepted}"
        elif accepted:
            file.seek(0)
            return factory(file, "")
    raise ImageError(why)


def _heif(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as exc:
        raise MissingExtra("reading HEIC", "heif") from exc
    image: ImageFile.ImageFile = HeifImageFile(file, "")
    return image


def _is_raw_tiff(image: ImageFile.ImageFile) -> bool:
    """Whether this is a RAW file in TIFF's clothes (DNG, NEF, ARW): Pillow would see its tiny preview."""
    tags = getattr(image, "tag_v2", {})
    return _DNG_VERSION in tags or bool(tags.get(_NEW_SUBFILE_TYPE, 0) & 1 and _SUB_IFDS in tags)


# --- from there to pixels ----------------------------------------------------------------------------------


def _decoded(image: ImageFile.ImageFile, upright: bool, reduce_to: int, max_pixels: int) -> Picture:
    width, height = image.size
    _check_size(image.size, max_pixels)
    if isinstance(image, JpegImageFile) and _factor(image.size, reduce_to) > 1:
        image.draft(None, (2 * reduce_to, 2 * reduce_to))  # scales by 2, 4 or 8 while it decodes
    with _pillow_limit_lifted(width * height):
        image.load()
    exif = _exif(image)
    orientation = _orientation(exif)
    if orientation >= 5:
        width, height = height, width
    rgb = _turned(_rgb(image, _factor(image.size, reduce_to)), orientation if upright else 1)
    return Picture(rgb, width, height, _taken_at(exif), _camera(exif), *_position(exif))


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(f"is {width}x{height} pixels, over the limit of {max_pixels} (--max-pixels)")
    if not width or not height:
        raise ImageError(f"has no pixels ({width}x{height})")


@contextmanager
def _pillow_limit_lifted(pixels: int) -> Iterator[None]:
    """Room for a picture above Pillow's global limit, which TIFF asks again when it decodes.

    Such pictures come one at a time, which bounds memory too; all others pass without a lock.
    """
    if Image.MAX_IMAGE_PIXELS is None or pixels <= Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _big_picture:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _factor(size: tuple[int, int], reduce_to: int) -> int:
    """By how much a picture can shrink with its shorter edge still at least 2 * reduce_to."""
    return max(1, min(size) // (2 * reduce_to)) if reduce_to > 0 else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _rgb(image: Image.Image, factor: int) -> Image.Image:
    """A new RGB picture on white, `factor` times smaller, free of metadata."""
    width, height = image.size
    to_rgb = _converter(image)
    rows = max(1, _STRIP_PIXELS // (width * factor)) * factor
    out = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, rows):
        strip = to_rgb(image.crop((0, top, width, min(top + rows, height))))
        out.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return out


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """How strips of `image` become RGB."""
    if image.mode[0] in "IF":  # I, I;16, I;16B, F
        black, white = _levels(image)
        return lambda strip: _from_levels(strip, black, white)
    if image.has_transparency_data:
        return _on_white
    return lambda strip: strip.convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    rgba = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
    white = Image.new("RGB", strip.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _levels(image: Image.Image) -> tuple[float, float]:
    """The values shown as black and as white.

    16 bits span 0..65535 and floats 0..1 or 0..255; other ranges have no agreed meaning and are stretched
    from their least to their greatest value.
    """
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    least, greatest = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
    for white in (65535.0,) if image.mode == "I" else (1.0, 255.0):
        if least >= 0.0 and greatest <= white:
            return 0.0, white
    if not math.isfinite(greatest - least):
        raise ImageError(f"has values from {least} to {greatest}, which cannot be shown")
    return least, greatest


def _from_levels(strip: Image.Image, black: float, white: float) -> Image.Image:
    values = np.nan_to_num(np.asarray(strip).astype(np.float64), nan=black)  # (h, w)
    shown = np.rint(np.clip((values - black) / ((white - black) or 1.0), 0.0, 1.0) * 255.0)
    if isinstance(clear := strip.info.get("transparency"), int):
        shown[values == clear] = 255.0
    return Image.fromarray(shown.astype(np.uint8)).convert("RGB")


def _from_array(array: NDArray[Any]) -> Image.Image:
    shape = array.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        hint = "; put channels last: array.transpose(1, 2, 0)" if shape[0:1] in ((1,), (3,), (4,)) else ""
        raise ImageError(f"has shape {shape}, but (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) is needed{hint}")
    if not array.size:
        raise ImageError(f"has no pixels (shape {shape})")
    if array.dtype == np.bool_:
        levels = array * np.uint8(255)
    elif array.dtype == np.uint16:
        levels = np.rint(array / 257.0)  # 65535 / 255
    elif array.dtype.kind == "f":
        least, greatest = array.min(), array.max()  # NaN if there is any
        if not (least >= 0.0 and greatest <= 1.0):
            raise ImageError(
                f"has floats from {least} to {greatest}, but 0 to 1 is needed: scale or clip them"
            )
        levels = np.rint(array.astype(np.float64) * 255.0)
    elif array.dtype == np.uint8:
        levels = array
    else:
        raise ImageError(f"has dtype {array.dtype}, but uint8, uint16, bool or floats in [0, 1] are needed")
    squeezed = levels[:, :, 0] if len(shape) == 3 and shape[2] == 1 else levels
    return Image.fromarray(np.ascontiguousarray(squeezed.astype(np.uint8)))


def _read_raw(file: BinaryIO, upright: bool, reduce_to: int, max_pixels: int) -> Picture:
    """The camera's own preview where it is large enough, else the sensor's data at half size."""
    try:
        import rawpy
    except ImportError as exc:
        raise MissingExtra("reading camera RAW", "raw") from exc
    with rawpy.imread(file) as raw:
        width, height = raw.sizes.width, raw.sizes.height
        _check_size((width, height), max_pixels)
        orientation = _FLIP_TO_ORIENTATION.get(raw.sizes.flip, 1)
        preview = _raw_preview(raw, min(width, height) // 2)
        if preview is None:
            flip = None if upright else 0
            image = Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True, user_flip=flip))
        else:
            image = _turned(preview, orientation if upright else 1)
    if orientation >= 5:
        width, height = height, width
    exif = _raw_exif(file)
    rgb = _rgb(image, _factor(image.size, reduce_to))
    return Picture(rgb, width, height, _taken_at(exif), _camera(exif), *_position(exif))


def _raw_preview(raw: Any, least: int) -> Image.Image | None:
    """The embedded JPEG as it is stored, if its shorter edge has at least `least` pixels."""
    import rawpy

    try:
        preview = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if preview.format != rawpy.ThumbFormat.JPEG:
        return None
    image = read_picture(preview.data, upright=False).image
    return image if min(image.size) >= least else None


# --- what the header says ----------------------------------------------------------------------------------

Exif: TypeAlias = dict[int, Any]
"""IFD0 and the Exif IFD in one, and under the tag GPSInfo the GPS IFD."""


def _exif(image: Image.Image) -> Exif:
    try:
        return _merged(image.getexif())
    except Exception:  # noqa: BLE001  a corrupt header leaves facts out, it does not spoil the pixels
        return {}


def _raw_exif(file: BinaryIO) -> Exif:
    """Most RAW files are TIFF; of the others (CR3, RAF) nothing is known."""
    exif = Image.Exif()
    try:
        file.seek(0)
        exif.load_from_fp(file)
        return _merged(exif)
    except Exception:  # noqa: BLE001  as above
        return {}


def _merged(exif: Image.Exif) -> Exif:
    facts = dict(exif)
    facts.update(exif.get_ifd(ExifTags.IFD.Exif))
    facts[ExifTags.IFD.GPSInfo] = exif.get_ifd(ExifTags.IFD.GPSInfo)
    return facts


def _orientation(exif: Exif) -> int:
    value = exif.get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())


def _taken_at(exif: Exif) -> datetime | None:
    tags = ExifTags.Base
    for tag, fraction in (
        (tags.DateTimeOriginal, tags.SubsecTimeOriginal),
        (tags.DateTimeDigitized, tags.SubsecTimeDigitized),
        (tags.DateTime, tags.SubsecTime),
    ):
        text = _text(exif.get(tag))[:19].replace("-", ":").replace("/", ":").replace("T", " ")
        try:
            taken = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")  # cameras know no zone
        except ValueError:
            continue
        digits = _text(exif.get(fraction))
        if digits.isascii() and digits.isdigit():
            return taken.replace(microsecond=int(digits[:6].ljust(6, "0")))
        return taken
    return None


def _camera(exif: Exif) -> str | None:
    make, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    if make and model.lower().startswith(make.split()[0].lower()):  # NIKON CORPORATION, NIKON D750
        return model
    return f"{make} {model}".strip() or None


def _position(exif: Exif) -> tuple[float | None, float | None]:
    gps, tags = exif.get(ExifTags.IFD.GPSInfo) or {}, ExifTags.GPS
    latitude = _degrees(gps.get(tags.GPSLatitude), gps.get(tags.GPSLatitudeRef), "NS", 90.0)
    longitude = _degrees(gps.get(tags.GPSLongitude), gps.get(tags.GPSLongitudeRef), "EW", 180.0)
    if latitude is None or longitude is None or latitude == longitude == 0.0:  # (0, 0): no fix, not the gulf
        return None, None
    return latitude, longitude


def _degrees(parts: Any, sign: object, signs: str, limit: float) -> float | None:
    """Degrees, minutes and seconds as signed degrees; None without a hemisphere or out of range."""
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    letter = _text(sign)[:1].upper()
    degrees = sum(number / scale for number, scale in zip(numbers, (1.0, 60.0, 3600.0), strict=False))
    if not letter or letter not in signs or not all(n >= 0.0 for n in numbers) or not degrees <= limit:
        return None
    return degrees if letter == signs[0] else -degrees

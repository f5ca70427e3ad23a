"""What a picture's header says: which way is up, when, where and with which camera it was taken.

Headers are written by every camera and editor ever made, so each fact is read for itself, and one that is
missing, corrupt or impossible is None (orientation: 1). Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from PIL.ExifTags import GPS, IFD, Base
from PIL.Image import Exif, Image


@dataclass(frozen=True, slots=True)
class Facts:
    """`orientation` is EXIF's 1..8; `taken_at` local time without a zone; the position degrees in WGS 84."""

    orientation: int = 1
    taken_at: datetime | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None


def facts_of(image: Image) -> Facts:
    """The facts in a Pillow image's header. To be asked after loading: a PNG may keep them at its end."""
    try:
        exif = image.getexif()
    except Exception:  # noqa: BLE001  a corrupt header leaves facts out, it does not spoil the pixels
        return Facts()
    return _facts(exif)


def orientation_of(image: Image) -> int:
    """EXIF's 1..8 for a Pillow image, whose header is only looked at: `facts_of` would fill it up."""
    try:
        return _orientation(image.getexif())
    except Exception:  # noqa: BLE001  as above
        return 1


def tiff_tags(file: BinaryIO) -> Exif:
    """The tags of the first directory of a file in TIFF's structure, as most RAW files are; else none."""
    exif = Exif()
    try:
        file.seek(0)
        exif.load_from_fp(file)
    except Exception:  # noqa: BLE001  as above
        return Exif()
    return exif


def tiff_facts(file: BinaryIO) -> Facts:
    """The facts in a file in TIFF's structure."""
    return _facts(tiff_tags(file))


def _facts(exif: Exif) -> Facts:
    latitude, longitude = _position(_directory(exif, IFD.GPSInfo))
    return Facts(
        _orientation(exif),
        _taken_at(exif, _directory(exif, IFD.Exif)),
        _camera(_text(_get(exif, Base.Make)), _text(_get(exif, Base.Model))),
        latitude,
        longitude,
    )


def _orientation(exif: Exif) -> int:
    value = _get(exif, Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _directory(exif: Exif, tag: int) -> Mapping[int, Any]:
    try:
        return exif.get_ifd(tag)
    except Exception:  # noqa: BLE001  as above
        return {}


def _get(tags: Mapping[int, Any], tag: int) -> Any:
    try:
        return tags.get(tag)  # Pillow decodes a value when asked for it
    except Exception:  # noqa: BLE001  as above
        return None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return " ".join("".join(char if char.isprintable() else " " for char in value).split())


def _taken_at(first: Mapping[int, Any], exif: Mapping[int, Any]) -> datetime | None:
    for tags, tag, fraction in (
        (exif, Base.DateTimeOriginal, Base.SubsecTimeOriginal),
        (exif, Base.DateTimeDigitized, Base.SubsecTimeDigitized),
        (first, Base.DateTime, Base.SubsecTime),
    ):
        text = _text(_get(tags, tag))[:19].replace("-", ":").replace("/", ":").replace("T", " ")
        try:
            taken = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
        except ValueError:  # also the "0000:00:00 00:00:00" of a camera whose clock was never set
            continue
        digits = _text(_get(exif, fraction))
        if digits.isascii() and digits.isdigit():
            return taken.replace(microsecond=int(digits[:6].ljust(6, "0")))
        return taken
    return None


def _camera(make: str, model: str) -> str | None:
    if make and model.lower().startswith(make.split()[0].lower()):  # NIKON CORPORATION, NIKON D750
        return model
    return f"{make} {model}".strip() or None


def _position(gps: Mapping[int, Any]) -> tuple[float | None, float | None]:
    latitude = _degrees(_get(gps, GPS.GPSLatitude), _get(gps, GPS.GPSLatitudeRef), "NS", 90.0)
    longitude = _degrees(_get(gps, GPS.GPSLongitude), _get(gps, GPS.GPSLongitudeRef), "EW", 180.0)
    if (
        latitude is None or longitude is None or latitude == longitude == 0.0
    ):  # no fix, not the Gulf of Guinea
        return None, None
    return latitude, longitude


def _degrees(parts: Any, hemisphere: Any, letters: str, limit: float) -> float | None:
    """Degrees, minutes and seconds as signed degrees; None without a hemisphere or out of range."""
    letter = _text(hemisphere)[:1].upper()
    try:
        numbers = [float(part) for part in parts][:3]
    except (TypeError, ValueError, ArithmeticError):
        return None
    degrees = sum(number / scale for number, scale in zip(numbers, (1.0, 60.0, 3600.0), strict=False))
    known = letter and letter in letters and numbers and all(number >= 0.0 for number in numbers)
    if not known or not degrees <= limit:  # "not <=" and ">=" also sort out NaN
        return None
    return degrees if letter == letters[0] else -degrees

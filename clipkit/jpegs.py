"""JPEGs that are not decoded here: what their header says."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL.JpegImagePlugin import JpegImageFile

from clipkit.exif import facts_of
from clipkit.images import MAX_PIXELS, Picture

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Header:
    """What a JPEG's header says. `picture` has it as `read_picture` tells it, with nothing decoded yet."""

    picture: Picture
    orientation: int


def header_of(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Header | None:
    """The header of a whole JPEG of which any decoder makes the same picture; None of anything else.

    Such are colour pictures in YCbCr, with the mark that ends a file at its end: Pillow reads the others, and
    says what is wrong with them.
    """
    if not (data.startswith(_START) and data.endswith(_END)):
        return None
    try:
        image = JpegImageFile(io.BytesIO(data))
    except Exception:  # noqa: BLE001 - Pillow's parsers trip over broken files in every way there is
        return None
    width, height = image.size
    plain = image.mode == "RGB" and image.info.get("adobe_transform", 1) == 1
    if not plain or not 0 < width * height <= max_pixels:
        return None
    facts = facts_of(image)
    if facts.orientation >= 5:
        width, height = height, width
    picture = Picture(image, width, height, facts.taken_at, facts.camera, facts.latitude, facts.longitude)
    return Header(picture, facts.orientation)

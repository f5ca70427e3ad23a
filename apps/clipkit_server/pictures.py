"""Pictures that clients send: data: URIs, base64, and where it is allowed URLs, made into bytes."""

from __future__ import annotations

import binascii
import re

from clipkit.errors import ImageError, InvalidInput, MissingExtra
from clipkit.fetching import fetch_picture
from clipkit.images import open_image
from clipkit_server.limits import Limits

_DATA = re.compile(r"data:image/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*(;base64)?,", re.ASCII | re.IGNORECASE)
_ADDRESSES = ("http://", "https://")
_PIECE = 1 << 20  # characters decoded at once, a multiple of 4: Python's other threads wait meanwhile
_SHOWN = 64  # pixels, to which a picture is reduced that is only tried


def picture_bytes(said: str, limits: Limits, *, allow_urls: bool) -> bytes:
    """The bytes of a picture as a client says it. Blocks while a URL is fetched.

    Raises ImageError for what is neither a data: URI of an image in base64 nor base64, and for over
    `picture_bytes`; FetchError, and InvalidInput for a URL where none are allowed. No path is ever opened.
    """
    if said[:8].lower().startswith(_ADDRESSES):
        if not allow_urls:
            raise InvalidInput(
                "this server fetches no pictures by their address: send a data: URI or base64, or start it "
                "with clipkit serve --allow-urls"
            )
        return fetch_picture(said, max_bytes=limits.picture_bytes)
    start = 0
    if said[:5].lower() == "data:":
        match = _DATA.match(said)
        if match is None or match[1] is None:
            raise ImageError("the data: URI is not one of an image in base64: data:image/jpeg;base64,...")
        start = match.end()
    if (len(said) - start) * 3 // 4 > limits.picture_bytes:
        raise ImageError(f"the picture has over {limits.picture_bytes:,} bytes: make it smaller")
    return _decoded(said, start)


def checked_bytes(said: str, limits: Limits, *, allow_urls: bool) -> bytes:
    """As `picture_bytes`, of a picture that was decoded once, so that it is whole and within `pixels`."""
    data = picture_bytes(said, limits, allow_urls=allow_urls)
    try:
        open_image(data, reduce_to=_SHOWN, max_pixels=limits.pixels)
    except (ImageError, MissingExtra) as error:
        raise unreadable(error) from error
    return data


def unreadable(error: ImageError | MissingExtra) -> ImageError:
    """Why a picture cannot be read, as those are told who cannot start the server with other options."""
    if isinstance(error, MissingExtra):
        return ImageError("the picture is HEIC or camera RAW, which this server does not read: send JPEG")
    return ImageError(f"the picture {error.reason.replace(' (--max-pixels)', ': make it smaller')}")


def _decoded(said: str, start: int) -> bytes:
    try:
        pieces = [
            binascii.a2b_base64(said[at : at + _PIECE], strict_mode=True)
            for at in range(start, len(said), _PIECE)
        ]
    except (binascii.Error, ValueError) as error:  # ValueError: more than ASCII
        raise ImageError("the picture is not base64; a text goes under text") from error
    if not any(pieces):
        raise ImageError("the picture is empty (0 bytes)")
    return b"".join(pieces)

"""Pictures that people drop into the page: checked, reduced, and in memory for as long as they are of use."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from clipkit.errors import ImageError, InvalidInput
from clipkit.images import enough_for, open_image
from clipkit.resizing import thumbnail

MAX_BYTES = 25_000_000  # JPEGs of phones have up to 20 MB at their largest setting
MAX_PIXELS = 64_000_000  # phones give 48 or 50 million; decoded, 256 MB
HELD_BYTES = 64_000_000  # some hundred pictures as they are kept
HELD_SECONDS = 7200.0  # since the last use: an afternoon's break, and the page still knows the picture

_KEY_LENGTH = 32  # hexadecimal digits, 128 bits: whoever has no picture cannot guess its key
_SHORT_EDGE = 768  # pixels, twice what the encoders with the largest input take
_LONG_EDGE = 4096  # of panoramas, whose short edge may then be less
_QUALITY = 92  # JPEG's, at which nothing shows
_DECODING = 2  # at once, each with the memory of MAX_PIXELS


class Uploads:
    """Pictures by the hash of their bytes, in memory only, as JPEG: upright, reduced, without metadata.

    Of more than `held_bytes`, those not used for longest are dropped, and so is each that was not used for
    `held_seconds`. All methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        max_pixels: int = MAX_PIXELS,
        held_bytes: int = HELD_BYTES,
        held_seconds: float = HELD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_pixels = max_pixels
        self.held_bytes = held_bytes
        self.held_seconds = held_seconds
        self._clock = clock
        self._held: OrderedDict[str, _Held] = OrderedDict()  # what was used last comes last
        self._size = 0
        self._lock = threading.Lock()
        self._decoding = threading.BoundedSemaphore(_DECODING)

    def keep(self, data: bytes) -> str:
        """The key of a picture, by which `picture` gives it from now on; the same bytes have the same key.

        Raises ImageError for over `max_bytes`, for over `max_pixels` (told by the header, before anything is
        decoded) and for what is no whole picture, and MissingExtra for HEIF or RAW without their packages.
        """
        if len(data) > self.max_bytes:
            raise ImageError(
                f"the picture has {len(data):,} bytes, over the limit of {self.max_bytes:,}: make it smaller"
            )
        key = hashlib.sha256(data).hexdigest()[:_KEY_LENGTH]
        if self._used(key) is None:
            with self._decoding:
                picture = _reduced(data, self.max_pixels)
            self._hold(key, picture)
        return key

    def picture(self, key: str) -> bytes:
        """JPEG bytes of what was kept under `key`. Raises InvalidInput once it has been dropped."""
        picture = self._used(key)
        if picture is None:
            raise InvalidInput(
                f"the picture {key[:_KEY_LENGTH]!r} was dropped from memory: drop it into the page again"
            )
        return picture

    def _used(self, key: str) -> bytes | None:
        with self._lock:
            self._forget()
            held = self._held.pop(key, None)
            if held is None:
                return None
            self._held[key] = _Held(held.picture, self._clock())
            return held.picture

    def _hold(self, key: str, picture: bytes) -> None:
        with self._lock:
            before = self._held.pop(key, None)  # of a thread that was given the same
            self._size += len(picture) - (len(before.picture) if before else 0)
            self._held[key] = _Held(picture, self._clock())
            self._forget()

    def _forget(self) -> None:
        """Drops what is too old or too much, but never the last."""
        oldest = self._clock() - self.held_seconds
        while self._held:
            key, held = next(iter(self._held.items()))
            if held.used_at >= oldest and (self._size <= self.held_bytes or len(self._held) == 1):
                return
            del self._held[key]
            self._size -= len(held.picture)


@dataclass(frozen=True, slots=True)
class _Held:
    picture: bytes
    used_at: float


def _reduced(data: bytes, max_pixels: int) -> bytes:
    try:
        image = open_image(data, reduce_to=enough_for(_SHORT_EDGE), max_pixels=max_pixels)
    except ImageError as exc:
        reason = exc.reason.replace(" (--max-pixels)", ": make it smaller first")  # no option of the page's
        raise ImageError(f"the picture {reason}") from exc
    short, long = sorted(image.size)
    return thumbnail(image, edge=min(max(1, long * _SHORT_EDGE // short), _LONG_EDGE), quality=_QUALITY)

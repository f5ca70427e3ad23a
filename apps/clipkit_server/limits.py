"""How much a server takes on: what one request may hold, what waits, and how long."""

from __future__ import annotations

from dataclasses import dataclass

from clipkit_web.guard import MAX_BODY_BYTES
from clipkit_web.uploads import MAX_BYTES, MAX_PIXELS


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one server. Times are in seconds.

    A request holds up to `inputs` texts (as OpenAI's) and up to `images` pictures, each text of up to
    `characters` (OpenAI's 8,192 tokens, at four each) and each picture of up to `picture_bytes` and `pixels`.
    Up to `requests` are under way at once, with up to `held_bytes` of bodies, each for up to `seconds`.

    `queued_texts` and `queued_images` wait for a model; one client has up to half of each, so that there is
    room for another. Pictures wait as pixels: 1,024 of the largest models' are 1.8 GB. A batch is closed when
    it is full, when nothing came for `window`, or when its oldest item is `age` old.
    """

    inputs: int = 2_048
    images: int = 256
    characters: int = 32_768
    body_bytes: int = MAX_BODY_BYTES
    picture_bytes: int = MAX_BYTES
    pixels: int = MAX_PIXELS
    requests: int = 1_024
    held_bytes: int = 512_000_000
    seconds: float = 60.0
    queued_texts: int = 8_192
    queued_images: int = 1_024
    window: float = 0.002
    age: float = 0.010

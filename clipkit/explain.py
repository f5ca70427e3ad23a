"""Why an item matches a query: what each part and word adds to its score, and where in a picture it is.

The score is the cosine to a weighted sum of unit vectors, normalised once, so it is a sum itself: of the
weight of each part times its own cosine, over the length of the weighted sum. These are the shares of the
parts. A text is embedded as a whole, so its words have no shares: the effect of one is by how much the score
falls when it is left out (Li, Monroe and Jurafsky, Understanding neural networks through representation
erasure, 2016).

A heat map has the plain cosine of each place to the query. Taking from it what the place scores for other
texts hardly changes it: of 240 things in drawn scenes of two, the map of `bundled` was warmer on the one that
the query named for 231 and 234 (`tests/bench/places.py`), and a number that is a cosine says more.
`encoders.patches` has how the places of each kind of model are had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.encoder import Encoder, ImageInput, PlaceEncoder
from clipkit.errors import ImageError, InvalidInput, PlacesUnavailable
from clipkit.hits import Item
from clipkit.images import open_image
from clipkit.query import Query
from clipkit.queryline import What
from clipkit.reading import original
from clipkit.refining import vectors_of
from clipkit.searching import parsed_query

if TYPE_CHECKING:
    from clipkit.collection import Collection

WORDS = 64  # of a text, whose effects are told: what is beyond has no place in a context of 77 tokens
SHOWN_EDGE = 512  # pixels; half of the shorter edge, at least, of what heat is laid over
OPACITY = 0.75  # of the hottest place; beneath it the picture can still be recognised

# The colour map inferno by Smith and van der Walt (CC0), at tenths: its lightness rises evenly.
_INFERNO = np.array(
    [
        *((0, 0, 4), (27, 12, 66), (75, 12, 107), (120, 28, 109), (165, 44, 96)),
        *((207, 68, 70), (237, 105, 37), (251, 154, 6), (247, 208, 60), (252, 255, 164)),
    ],
    np.float32,
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a query. `effect` is the score less what it is without the word: above 0 it pulls up."""

    text: str
    effect: float


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a part of a query adds to the score of an item.

    `part` is the part as the one-line form has it, without its `weight`. `cosine` is that of the item to the
    part alone; the shares of all parts add up to the score. `words` are those of a text of two words or more,
    the first 64, in their order.
    """

    part: str
    what: What
    weight: float
    cosine: float
    share: float
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """Where a picture matches a query.

    `values` are the cosines of places to the query, (rows, cols) float32 in [-1, 1]. They cover `box`: left,
    top, right, bottom, as shares of the picture; the model sees nothing beyond it. `method` is the name of
    how the places were had and `source` where it is described. `picture` is what was looked at, RGB and
    perhaps reduced: from the item's file, or `from_thumbnail` where that is gone or has changed. `upright` is
    whether it is turned as its EXIF orientation says.
    """

    values: NDArray[np.float32]
    box: tuple[float, float, float, float]
    method: str
    source: str
    picture: Image.Image = field(repr=False)
    from_thumbnail: bool = False
    upright: bool = True

    def overlay(self, image: ImageInput | None = None) -> Image.Image:
        """The picture with the heat laid over it, RGB, from hardly any for the coldest place to yellow.

        `image` is the same picture in another size; by default it is `picture`. Colours span what this
        picture has: they say where it matches best, not how well. Raises ImageError.
        """
        shown = self.picture if image is None else open_image(image, upright=self.upright)
        levels = self._levels(*shown.size)[:, :, None]  # (h, w, 1)
        at = np.linspace(0.0, 1.0, len(_INFERNO))
        colours = np.stack([np.interp(levels[:, :, 0], at, channel) for channel in _INFERNO.T], axis=2)
        opacity = OPACITY * levels**2  # squared, so that what is lukewarm does not veil the picture
        laid = np.asarray(shown, np.float32) * (1 - opacity) + colours * opacity
        return Image.fromarray(np.rint(laid).astype(np.uint8))

    def _levels(self, width: int, height: int) -> NDArray[np.float32]:
        """The heat of each pixel, (height, width): from 0, the coldest place or beyond the box, to 1."""
        least, greatest = float(self.values.min()), float(self.values.max())
        scaled = (self.values - least) / ((greatest - least) or 1.0)
        edges = np.rint(np.array(self.box) * (width, height, width, height)).astype(int)
        left, top, right, bottom = edges.tolist()
        size = (max(1, right - left), max(1, bottom - top))
        canvas = Image.new("F", (width, height), 0.0)
        canvas.paste(Image.fromarray(scaled).resize(size, Image.Resampling.BICUBIC), (left, top))
        levels: NDArray[np.float32] = np.clip(np.asarray(canvas), 0.0, 1.0)  # bicubic overshoots
        return levels


def contributions(collection: Collection, query: str | Query, id: str) -> tuple[Contribution, ...]:
    """What each part of `query` adds to the score of the item `id`, in the order of the parts.

    The shares add up to the score that a search gives, to the accuracy of float32 (1e-6). Raises QueryError,
    or InvalidInput for an item that is not there.
    """
    parsed, encoder = parsed_query(query), collection.encoder
    (item,) = vectors_of(collection, [id]).astype(np.float64)  # (dim,)
    rows = parsed.embedded(encoder, partial(vectors_of, collection))  # (parts, dim)
    cosines = rows @ item
    shares = parsed.coefficients(rows) * cosines
    words = _words(parsed, encoder, rows, item)
    return tuple(
        Contribution(
            str(Query((replace(part, weight=1.0),))),
            part.what,
            part.weight,
            float(cosines[at]),
            float(shares[at]),
            tuple(words.get(at, ())),
        )
        for at, part in enumerate(parsed.parts)
    )


def heat(collection: Collection, query: str | Query, id: str) -> Heat:
    """Where the picture `id` matches `query`.

    The picture is read from its file, or from its thumbnail where the file is gone or is another by now.
    Raises QueryError, InvalidInput for a text and for an item that is not there, PlacesUnavailable for a
    model of which it cannot be had, and ImageError if there is no picture to be read any more.
    """
    parsed, encoder = parsed_query(query), collection.encoder
    (item,) = collection.get([id])
    if item.kind != "image":
        raise InvalidInput(f"{id!r} is a text, and only pictures have places to show heat on")
    if not isinstance(encoder, PlaceEncoder):
        raise PlacesUnavailable(f"{encoder.name} embeds pictures as wholes and tells no places of them")
    vector = parsed.resolve(encoder, partial(vectors_of, collection))  # (dim,)
    picture, from_thumbnail = _picture(collection, encoder, item)
    places = encoder.encode_places(picture)
    return Heat(
        places.vectors @ vector,
        places.box,
        places.method,
        places.source,
        picture,
        from_thumbnail,
        encoder.upright,
    )


def _words(
    query: Query, encoder: Encoder, rows: NDArray[np.float64], item: NDArray[np.float64]
) -> dict[int, list[Word]]:
    """The words of the texts among the parts, by the place of the part."""
    left_out = list(_left_out(query))
    if not left_out:
        return {}
    score = _score(query, rows, item)
    found: dict[int, list[Word]] = {}
    vectors = encoder.encode_queries([rest for _, _, rest in left_out])
    for (at, word, _), vector in zip(left_out, vectors, strict=True):
        changed = rows.copy()
        changed[at] = vector
        found.setdefault(at, []).append(Word(word, score - _score(query, changed, item)))
    return found


def _left_out(query: Query) -> Iterator[tuple[int, str, str]]:
    """(place of the part, a word of it, the text without the word)"""
    for at, part in enumerate(query.parts):
        words = part.value.split() if part.what == "text" else []
        for place, word in enumerate(words[:WORDS]):
            if len(words) > 1:
                yield at, word, " ".join(words[:place] + words[place + 1 :])


def _score(query: Query, rows: NDArray[np.float64], item: NDArray[np.float64]) -> float:
    try:
        return float(query.coefficients(rows) @ rows @ item)
    except InvalidInput:  # without the word, the parts cancel: what has no direction is like nothing
        return 0.0


def _picture(collection: Collection, encoder: Encoder, item: Item) -> tuple[Image.Image, bool]:
    """The picture of an item, and whether it is only its thumbnail."""
    source = {"uri": item.uri, "content_hash": item.metadata["content_hash"]}
    picture = original(source, encoder, max(encoder.image_size, SHOWN_EDGE))
    if picture is not None:
        return picture, False
    jpeg = collection.thumbnails([item.id]).get(item.id)
    if jpeg is None:
        raise ImageError(
            f"the picture {item.id!r} cannot be looked at: its file is gone or has changed, and it has no "
            "thumbnail"
        )
    return open_image(jpeg), True

"""Vectors made shorter: cut, where a model was trained for it, or along principal axes that a file holds.

Both are linear maps, and the rows are of unit length again. A cut keeps the first numbers of each row, which
is what Matryoshka models are trained for (Kusupati et al., Matryoshka representation learning, NeurIPS 2022).
Axes are fitted by `clipkit.reduction`, and saved as safetensors with the name and the fingerprint of the
model whose vectors they are for; nothing in such a file can run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import Encoder, ImageInput, Pixels, PlaceEncoder, Places, Vectors, unit_places, unit_rows
from clipkit.errors import CollectionMismatch, InvalidInput, ModelUnavailable, PlacesUnavailable, WeightsError
from clipkit.files import replaced

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT_VERSION = 1
_KEY = "clipkit.axes"


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """Directions, (dim, m) float32, in the space of the model `encoder` with that `fingerprint`."""

    encoder: str
    fingerprint: str
    directions: NDArray[np.float32]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file that appears only when complete. Raises InvalidInput where there is one already."""
        from safetensors.numpy import save

        if os.path.lexists(path):
            raise InvalidInput(
                f"{os.fspath(path)} is there already, and vectors may depend on it: choose another file"
            )
        told = {"version": FORMAT_VERSION, "encoder": self.encoder, "fingerprint": self.fingerprint}
        arrays = {"directions": np.ascontiguousarray(self.directions)}
        with replaced(path) as part:
            part.write_bytes(save(arrays, metadata={_KEY: json.dumps(told)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Axes:
        """The axes of a file. Raises ModelUnavailable or WeightsError."""
        from safetensors import SafetensorError, safe_open

        name = os.fspath(path)
        try:
            with safe_open(name, framework="numpy") as file:
                told = json.loads((file.metadata() or {})[_KEY])
                directions = file.get_tensor("directions")
            found = cls(told["encoder"], told["fingerprint"], directions)
            version = told["version"]
        except FileNotFoundError as error:
            raise ModelUnavailable(
                f"there is no file {name} with axes: bring it back to where clipkit reduce wrote it"
            ) from error
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{name} does not hold axes that clipkit reduce has written") from error
        if version != FORMAT_VERSION or directions.ndim != 2:
            raise WeightsError(f"{name} has axes of format {version}; this clipkit reads {FORMAT_VERSION}")
        return found

    def of(self, encoder: Encoder) -> Encoder:
        """`encoder`, if the axes are for its vectors. Raises CollectionMismatch."""
        if encoder.fingerprint != self.fingerprint or encoder.dim != len(self.directions):
            raise CollectionMismatch(
                f"the axes are for vectors of {self.encoder} (fingerprint {self.fingerprint}), not for those "
                f"of {encoder.name} ({encoder.fingerprint}): bring back that model, or reduce anew"
            )
        return encoder


class Reduced:
    """An Encoder that makes the vectors of another, `whole`, shorter."""

    def __init__(
        self,
        whole: Encoder,
        shorten: Callable[[Vectors], NDArray[Any]],
        *,
        name: str,
        dim: int,
        fingerprint: str,
    ) -> None:
        self.whole = whole
        self.name = name
        self.dim = dim
        self.fingerprint = fingerprint
        self._shorten = shorten

    @property
    def modalities(self) -> frozenset[str]:
        return self.whole.modalities

    @property
    def image_size(self) -> int:
        return self.whole.image_size

    @property
    def upright(self) -> bool:
        return self.whole.upright

    @property
    def texts_cut(self) -> int:
        return self.whole.texts_cut

    def shortened(self, vectors: Vectors) -> Vectors:
        """Rows of `whole`, (n, whole.dim), as this encoder has them, (n, dim).

        Raises InvalidInput, with its position, for a row of which nothing is left.
        """
        return unit_rows(self._shorten(vectors), len(vectors), self.dim)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self.shortened(self.whole.encode_texts(texts))

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.shortened(self.whole.encode_queries(texts))

    def encode_images(self, images: Sequence[ImageInput]) -> Vectors:
        return self.shortened(self.whole.encode_images(images))

    def preprocess(self, image: Image) -> Pixels:
        return self.whole.preprocess(image)

    def encode_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
        return self.shortened(self.whole.encode_pixels(pixels))

    def encode_places(self, image: ImageInput) -> Places:
        """As the whole encoder has them. Raises PlacesUnavailable where it has none."""
        if not isinstance(self.whole, PlaceEncoder):
            raise PlacesUnavailable(f"{self.name} embeds pictures as wholes and tells no places of them")
        found = self.whole.encode_places(image)
        rows, columns, dim = found.vectors.shape
        short = self._shorten(found.vectors.reshape(-1, dim)).reshape(rows, columns, self.dim)
        return Places(unit_places(short), found.box, found.method, found.source)


def cut(whole: Encoder, name: str, dim: int) -> Reduced:
    """The first `dim` numbers of the vectors of `whole`. Raises InvalidInput if there are not so many."""
    if dim >= whole.dim:
        raise InvalidInput(f"{whole.name} has {whole.dim} dimensions, which cannot be cut to {dim}")
    fingerprint = f"{whole.fingerprint} cut to {dim}"
    return Reduced(whole, lambda rows: rows[:, :dim], name=name, dim=dim, fingerprint=fingerprint)


def along(axes: Axes, whole: Encoder, name: str) -> Reduced:
    """The vectors of `whole` along `axes`. Raises CollectionMismatch for another model than theirs."""
    directions = axes.directions
    digest = hashlib.sha256(axes.fingerprint.encode() + np.ascontiguousarray(directions).tobytes())
    return Reduced(
        axes.of(whole),
        lambda rows: rows @ directions,
        name=name,
        dim=directions.shape[1],
        fingerprint=digest.hexdigest()[:32],
    )


def load(name: str, load_encoder: Callable[[str], Encoder]) -> Reduced:
    """The encoder reduced:PATH; `load_encoder` loads the model that the file names."""
    axes = Axes.load(name.partition(":")[2])
    return along(axes, load_encoder(axes.encoder), name)

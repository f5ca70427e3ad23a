"""What a picture shows: the texts of a collection nearest to it, and the tags of a vocabulary that hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from clipkit import Query
from clipkit.encoder import Vectors
from clipkit.hits import Hit
from clipkit.labels import Tag, Tagger, calibrated
from clipkit.vocabulary import EVERYDAY, Vocabulary
from clipkit_web.site import Site

TEXTS = 10
_KEPT = 4  # vocabularies embedded and kept: to embed one takes seconds


@dataclass(frozen=True, slots=True)
class Description:
    """The texts nearest to a picture, best first, and its tags, strongest first."""

    texts: tuple[Hit, ...]
    tags: tuple[Tag, ...]


class Describer:
    """Describes pictures by what the collections of a site hold. Safe for several threads."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tagger = lru_cache(_KEPT)(self._calibrated)

    def kept(self, data: bytes) -> str:
        """The key of a picture among the uploads. Raises ImageError."""
        return self._site.uploads.keep(data)

    def vector(self, name: str, key: str) -> Vectors:
        """The vector of an upload, (dim,), by the collection's model. Raises InvalidInput if it has gone."""
        picture = self._site.uploads.picture(key)
        vector: Vectors = self._site.collection(name).encoder.encode_images([picture])[0]
        return vector

    def description(self, name: str, vector: Vectors, vocabulary: str = "") -> Description:
        """What the picture of that vector shows; labels are a vocabulary's lines, the built-in one if empty.

        Raises InvalidInput for a vocabulary that is none.
        """
        tags = self.tags(name, vector, vocabulary)
        return Description(self.texts(name, vector), tags)

    def texts(self, name: str, vector: Vectors) -> tuple[Hit, ...]:
        return tuple(self._site.collection(name).search(Query.vector(vector), k=TEXTS, kind="text"))

    def tags(self, name: str, vector: Vectors, vocabulary: str = "") -> tuple[Tag, ...]:
        collection = self._site.collection(name)
        lines = vocabulary.strip() or EVERYDAY.read_text(encoding="utf-8").strip()
        tagger = self._tagger(collection.name, collection.encoder_name, lines)
        return tagger.tags(vector[None])[0]

    def _calibrated(self, name: str, _model: str, vocabulary: str) -> Tagger:
        return calibrated(self._site.collection(name), Vocabulary.parse(vocabulary))

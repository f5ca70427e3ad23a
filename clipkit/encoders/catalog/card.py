"""What is known of a model, and who published it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Family = Literal["pictures", "sentences", "words", "tokens", "service"]

ENGLISH = "English"
MULTILINGUAL = "multilingual"
TEXT = frozenset({"text"})


@dataclass(frozen=True, slots=True)
class Score:
    """A published figure in percent, and where it is published."""

    percent: float
    source: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What to know before choosing a model.

    `name` is its alias, or else its `spec`; `spec` is None where there is none to load it by, and `note` says
    why. `dim` is the length of its vectors; `dimensions` are the lengths that it can be asked for, where that
    is more than one. `image_size` is the edge in pixels that pictures are reduced to, `context_length` in
    tokens. `parameters` counts both towers, `size_mb` is the size of the files in 10^6 bytes, `rows` the most
    texts that a service takes in a request. `local` is whether it can be run on a machine of one's own.
    `needs` names the extra to install, `source` says who states all this. What nobody states is None.

    Scores: `imagenet` is zero-shot top-1; the next four are recall@1 on MS-COCO (5,000 images) and on
    Crossmodal-3600 (mean of 36 languages), from text to image or from image to text. `sentences` is
    sentence-transformers' mean over 14 data sets of sentences, `semantic_search` that over 6 of searches,
    `average` the mean of the two, and `speed` in sentences a second on a V100.
    """

    name: str
    spec: str | None
    languages: str
    dim: int
    note: str
    family: Family = "pictures"
    repo: str | None = None
    licence: str | None = None
    image_size: int | None = None
    context_length: int | None = None
    parameters: int | None = None
    size_mb: int | None = None
    dimensions: Sequence[int] = ()
    rows: int | None = None
    local: bool = True
    needs: str | None = None
    source: str = ""
    imagenet: Score | None = None
    coco_text_to_image: Score | None = None
    coco_image_to_text: Score | None = None
    xm3600_text_to_image: Score | None = None
    xm3600_image_to_text: Score | None = None
    sentences: Score | None = None
    semantic_search: Score | None = None
    average: Score | None = None
    speed: int | None = None

    @property
    def modalities(self) -> frozenset[str]:
        return TEXT | {"image"} if self.family == "pictures" else TEXT

    @property
    def download_mb(self) -> int | None:
        """The size of the files; where nobody states it, of the parameters at 4 bytes each, as on the hub."""
        if self.size_mb is not None or self.parameters is None or not self.local:
            return self.size_mb
        return round(self.parameters * 4 / 1e6)

    def speaks(self, language: str) -> bool:
        """Whether `languages` names that one, or says "multilingual" without naming any."""
        said = self.languages.lower()
        return language.lower() in said or (MULTILINGUAL in said and "," not in said)

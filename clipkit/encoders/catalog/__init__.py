"""Model cards: data, not code. What is known of the models worth choosing from, and who published it.

Figures are copied from their sources and never estimated; what no source states is None.
"""

from __future__ import annotations

from clipkit.encoders.catalog import pictures, sentences, services, words
from clipkit.encoders.catalog.card import ENGLISH, Family, ModelCard, Score
from clipkit.encoders.catalog.services import DASHSCOPE, STUDIO_CARDS
from clipkit.errors import UnknownModel, did_you_mean

__all__ = [
    "DASHSCOPE",
    "ENGLISH",
    "STUDIO_CARDS",
    "Family",
    "ModelCard",
    "Score",
    "aliases",
    "card",
    "cards",
    "find",
]

_CARDS = (*pictures.CARDS, *sentences.CARDS, *words.CARDS, *services.CARDS)


def cards() -> tuple[ModelCard, ...]:
    """All cards, those with an alias first."""
    return _CARDS


def find(name: str) -> ModelCard | None:
    """The card of that alias or spec; the family and the owner, as in st:owner/name, may be left out."""
    for found in _CARDS:
        _, _, place = (found.spec or "").partition(":")
        if name in (found.name, found.spec) or (place and name in (place, place.rpartition("/")[2])):
            return found
    return None


def card(name: str) -> ModelCard:
    """The same. Raises UnknownModel for another name, with those closest to it."""
    found = find(name)
    if found is None:
        raise UnknownModel(f"there is no card of {name!r}. {did_you_mean(name, (c.name for c in _CARDS))}")
    return found


def aliases() -> dict[str, str]:
    """What each alias stands for: "fast" and its like, to specs."""
    return {found.name: found.spec for found in _CARDS if found.spec and found.name != found.spec}

"""The ?dimensions= in a model's name: vectors shorter than the model's own, where it was trained for that."""

from __future__ import annotations

from clipkit.encoders import catalog
from clipkit.errors import InvalidInput

FAMILIES = ("api", "st", "fake")
"""Those some of whose models were trained to be cut. A model without a card is taken at its word."""

_FEW = 8  # lengths that are listed one by one
_KEY = "dimensions="


def split(name: str) -> tuple[str, int | None]:
    """The name less its dimensions, and these; None if it does not say any. Raises InvalidInput."""
    head, _, tail = name.partition("?")
    parts = tail.split("&")
    found = [part.removeprefix(_KEY) for part in parts if part.startswith(_KEY)]
    if not found:
        return name, None
    if len(found) > 1:
        raise InvalidInput(f"{name!r} says dimensions twice")
    if not found[0].isdecimal() or int(found[0]) < 1:
        raise InvalidInput(f"dimensions are a whole number from 1 on, not {found[0]!r}")
    rest = "&".join(part for part in parts if not part.startswith(_KEY))
    return (f"{head}?{rest}" if rest else head), int(found[0])


def joined(name: str, dimensions: int) -> str:
    """The one way to write `name`, a canonical one, with so many dimensions.

    Raises InvalidInput where the model has no vectors of that length.
    """
    head, mark, tail = name.partition("?")
    family, colon, _ = head.partition(":")
    card = catalog.find(head.partition("@")[0])
    if card is not None and dimensions == card.dim:
        return name
    known = [*card.dimensions] if card else []
    if (family if colon else head) not in FAMILIES or (card is not None and dimensions not in known):
        told = ", ".join(map(str, known)) if len(known) < _FEW else f"{known[0]} to {known[-1]}"
        raise InvalidInput(
            f"{name} has no vectors of {dimensions} dimensions, but of {told or 'one length'}: clipkit "
            "reduce shortens those of a collection, whatever the model"
        )
    parts = [*(tail.split("&") if mark else ()), f"{_KEY}{dimensions}"]
    return f"{head}?{'&'.join(sorted(parts))}"

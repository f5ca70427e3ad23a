"""`clipkit models`: what is known of models worth choosing from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clipkit.cli.machine import complete_model
from clipkit.cli.output import is_terminal, note, print_facts, print_json, print_table, size
from clipkit.cli.session import Session
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    from clipkit.encoders.catalog import ModelCard

BUNDLED = "bundled"
_FEW = 8  # lengths of vectors that are listed one by one


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the options ask of a model."""

    modality: str | None
    language: str | None
    licence: str | None
    max_size: float | None
    local_only: bool

    def passes(self, card: ModelCard) -> bool:
        downloaded = 0 if card.family == "service" else card.download_mb
        return (
            (self.modality is None or (self.modality == "image") == ("image" in card.modalities))
            and (self.language is None or card.speaks(self.language))
            and (self.licence is None or self.licence.lower() in (card.licence or "").lower())
            and (self.max_size is None or (downloaded is not None and downloaded <= self.max_size))
            and (card.local or not self.local_only)
        )

    @property
    def passes_bundled(self) -> bool:
        """It embeds pictures, knows English, comes along, and has clipkit's licence."""
        english = self.language is None or self.language.lower() in "english"
        return self.modality != "text" and english and (self.licence or "").lower() in "apache-2.0"


def models(
    session: Session,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One model, in full.", autocompletion=complete_model),
    ] = None,
    modality: Annotated[
        Literal["text", "image"] | None,
        typer.Option(help="Those that embed texts only, or those that embed pictures as well."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(metavar="NAME", help="Those that know it, as in German.")
    ] = None,
    licence: Annotated[str | None, typer.Option(metavar="TEXT", help="Those with such a licence.")] = None,
    max_size: Annotated[
        float | None, typer.Option(metavar="MB", help="Those that are not larger to download.")
    ] = None,
    local_only: Annotated[
        bool, typer.Option("--local-only", help="Leave out services, and what cannot be run.")
    ] = False,
) -> None:
    """List models worth choosing from. Any other model works, too, named by its family as in the README.

    The score of models that embed pictures is recall@1 from text to image on MS-COCO in percent, of models of
    sentences the mean of sentence-transformers' benchmarks; the sources are told with each model. Bundled
    comes with clipkit, and its card has scores of its own.

    Example: clipkit models --modality text --max-size 100
    """
    from clipkit.encoders import catalog

    wanted = _Wanted(modality, language, licence, max_size, local_only)
    if name is not None and wanted != _Wanted(None, None, None, None, False):
        raise InvalidInput("name a model, or say what to list: not both")
    if name == BUNDLED:
        _print_bundled(session)
    elif name is not None:
        card = catalog.card(name)
        if session.json:
            print_json({"models": [_document(card)]})
        else:
            print_facts(_facts(card))
    else:
        _list(session, [card for card in catalog.cards() if wanted.passes(card)], wanted.passes_bundled)


def _list(session: Session, cards: Sequence[ModelCard], with_bundled: bool) -> None:
    if session.json:
        bundled = [{"name": BUNDLED, "spec": BUNDLED, "download_mb": 0}] if with_bundled else []
        print_json({"models": [*bundled, *map(_document, cards)]})
        return
    if not (cards or with_bundled):
        note("no model here is like that")
        return
    rows = [(BUNDLED, "256", "none", "", "see its card", "en")] if with_bundled else []
    rows += [
        (
            card.name,
            str(card.dim),
            _size(card),
            _score(card),
            (card.licence or "").partition(":")[0],
            _languages(card),
        )
        for card in cards
    ]
    print_table(("name", "dim", "size", "score", "licence", "lang"), rows, right=("dim", "size", "score"))


def _size(card: ModelCard) -> str:
    if not card.local:
        return "service" if card.family == "service" else "-"
    return "" if card.download_mb is None else size(card.download_mb * 1e6).replace(".0 ", " ")


def _score(card: ModelCard) -> str:
    found = card.average or card.coco_text_to_image
    return f"{found.percent:.1f}" if found else ""


def _languages(card: ModelCard) -> str:
    """How many it knows, in a few letters: a name of a model is long."""
    if card.languages == "English":
        return "en"
    return "many" if "multilingual" in card.languages else str(card.languages.count(",") + 1)


def _document(card: ModelCard) -> dict[str, Any]:
    lengths = [*card.dimensions]
    shown = lengths if len(lengths) < _FEW else {"from": lengths[0], "to": lengths[-1]}
    facts = {"modalities": card.modalities, "download_mb": card.download_mb, "dimensions": shown}
    return {**asdict(card), **facts}


def _print_bundled(session: Session) -> None:
    from clipkit.encoders.sources import bundled_card

    card = bundled_card()
    if session.json:
        print_json({"models": [{"name": BUNDLED, "spec": BUNDLED, "card": card}]})
    elif is_terminal():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(card))
    else:
        print(card)


def _facts(card: ModelCard) -> dict[str, str]:
    facts = {
        "model": card.spec or card.name,
        "what": card.note,
        "licence": card.licence or "none stated",
        "languages": card.languages,
    }
    if card.local and card.download_mb is not None:
        facts["download"] = size(card.download_mb * 1e6) + (f" from {card.repo}" if card.repo else "")
    elif not card.local:
        facts["runs"] = "as a service" if card.family == "service" else "nowhere that clipkit can reach"
    facts["vectors"] = _vectors(card)
    if card.rows:
        facts["a request"] = f"up to {card.rows} texts"
    scores = {
        "ImageNet": card.imagenet,
        "COCO, text to image": card.coco_text_to_image,
        "COCO, image to text": card.coco_image_to_text,
        "XM3600, text to image": card.xm3600_text_to_image,
        "XM3600, image to text": card.xm3600_image_to_text,
        "sentences": card.sentences,
        "semantic search": card.semantic_search,
        "mean of both": card.average,
    }
    facts |= {what: f"{score.percent}% ({score.source})" for what, score in scores.items() if score}
    if card.speed:
        facts["speed"] = f"{card.speed} sentences a second on a V100"
    if card.source:
        facts["source"] = card.source
    return facts | ({"needs": f"pip install 'clipkit[{card.needs}]'"} if card.needs else {})


def _vectors(card: ModelCard) -> str:
    told = f"{card.dim} dimensions"
    lengths = [length for length in card.dimensions if length != card.dim]
    if lengths:
        which = ", ".join(map(str, lengths)) if len(lengths) < _FEW else f"{lengths[0]} to {lengths[-1]}"
        told += f", or {which} with ?dimensions="
    reads = [f"{card.image_size} pixels"] if card.image_size else []
    reads += [f"{card.context_length} tokens"] if card.context_length else []
    return f"{told}; reads {', '.join(reads)}" if reads else told

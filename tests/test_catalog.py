from __future__ import annotations

import open_clip
import pytest
import torch

from clipkit.encoders import canonical_name
from clipkit.encoders.catalog import ModelCard, Score, aliases, card, cards
from clipkit.errors import UnknownModel

PERMISSIVE = {"MIT", "Apache-2.0"}
SCORES = (
    "imagenet",
    "coco_text_to_image",
    "coco_image_to_text",
    "xm3600_text_to_image",
    "xm3600_image_to_text",
)


def test_the_aliases_are_these_and_free_to_use() -> None:
    assert set(aliases()) == {"fast", "best", "multilingual"}
    assert {card(alias).licence for alias in aliases()} <= PERMISSIVE


def test_the_fast_model_needs_no_further_package() -> None:
    assert card("fast").needs is None


def test_names_and_specs_are_unique_and_canonical() -> None:
    assert len({c.name for c in cards()}) == len({c.spec for c in cards()}) == len(cards())
    for model in cards():
        assert canonical_name(model.name) == canonical_name(model.spec) == model.spec


@pytest.mark.parametrize("model", cards(), ids=lambda model: str(model.spec))
def test_a_card_says_what_open_clip_says(model: ModelCard) -> None:
    arch, tag = model.spec.split("/")
    config = open_clip.get_model_config(arch)

    assert open_clip.get_pretrained_cfg(arch, tag)["hf_hub"] == f"{model.repo}/"
    assert model.dim == config["embed_dim"]
    assert model.image_size == config["vision_cfg"]["image_size"]
    assert model.context_length == config["text_cfg"].get("context_length", 77)
    assert (model.needs == "text") == ("hf_tokenizer_name" in config["text_cfg"])
    if "hf_model_name" not in config["text_cfg"]:  # such a tower's size is written at the hub only
        with torch.device("meta"):
            built = open_clip.create_model(arch, load_weights=False, pretrained_text=False, device="meta")
        assert model.parameters == sum(p.numel() for p in built.parameters())


@pytest.mark.parametrize("model", cards(), ids=lambda model: str(model.spec))
def test_every_figure_is_plausible_and_has_its_source(model: ModelCard) -> None:
    found = [getattr(model, name) for name in SCORES]
    for score in found:
        assert score is None or (isinstance(score, Score) and 20 < score.percent < 100 and score.source)
    assert any(found)
    assert model.note
    assert model.languages


def test_best_has_the_highest_recall_of_the_aliases_and_fast_the_smallest_size() -> None:
    chosen = [card(alias) for alias in aliases()]
    assert (
        max(chosen, key=lambda c: c.coco_text_to_image.percent if c.coco_text_to_image else 0).name == "best"
    )
    assert min(chosen, key=lambda c: c.download_mb).name == "fast"


def test_an_unknown_card_names_the_closest() -> None:
    with pytest.raises(UnknownModel, match=r"no card of 'fsat'\. Did you mean fast\?"):
        card("fsat")

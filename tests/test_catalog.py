from __future__ import annotations

import open_clip
import pytest
import torch

from clipkit.encoders import _FAMILIES, canonical_name
from clipkit.encoders.catalog import ModelCard, Score, aliases, card, cards, find
from clipkit.errors import UnknownModel

PERMISSIVE = {"MIT", "Apache-2.0"}
PICTURES = [each for each in cards() if each.family == "pictures"]
# What the introduction's table of thirteen says: sentences, searches, their mean, speed, MB.
INTRO = {
    "all-mpnet-base-v2": (69.57, 57.02, 63.30, 2800, 420),
    "multi-qa-mpnet-base-dot-v1": (66.76, 57.60, 62.18, 2800, 420),
    "all-distilroberta-v1": (68.73, 50.94, 59.84, 4000, 290),
    "all-MiniLM-L12-v2": (68.70, 50.82, 59.76, 7500, 120),
    "multi-qa-distilbert-cos-v1": (65.98, 52.83, 59.41, 4000, 250),
    "all-MiniLM-L6-v2": (68.06, 49.54, 58.80, 14200, 80),
    "multi-qa-MiniLM-L6-cos-v1": (64.33, 51.83, 58.08, 14200, 80),
    "paraphrase-multilingual-mpnet-base-v2": (65.83, 41.68, 53.75, 2500, 970),
    "paraphrase-albert-small-v2": (64.46, 40.04, 52.25, 5000, 43),
    "paraphrase-multilingual-MiniLM-L12-v2": (64.25, 39.19, 51.72, 7500, 420),
    "paraphrase-MiniLM-L3-v2": (62.29, 39.19, 50.74, 19000, 61),
    "distiluse-base-multilingual-cased-v1": (61.30, 29.87, 45.59, 4000, 480),
    "distiluse-base-multilingual-cased-v2": (60.18, 27.35, 43.77, 4000, 480),
}
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
    specs = [c.spec for c in cards() if c.spec]
    assert len({c.name for c in cards()}) == len(cards())
    assert len(set(specs)) == len(specs)
    for model in cards():
        if model.spec and (model.family == "pictures" or model.spec.partition(":")[0] in _FAMILIES):
            assert canonical_name(model.name if model.name in aliases() else model.spec) == model.spec


@pytest.mark.parametrize("model", PICTURES, ids=lambda model: str(model.spec))
def test_a_card_says_what_open_clip_says(model: ModelCard) -> None:
    assert model.spec is not None
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


@pytest.mark.parametrize("model", PICTURES, ids=lambda model: str(model.spec))
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
    assert min(chosen, key=lambda c: c.download_mb or 0).name == "fast"


def test_an_unknown_card_names_the_closest() -> None:
    with pytest.raises(UnknownModel, match=r"no card of 'fsat'\. Did you mean fast\?"):
        card("fsat")


# --- the other families


def test_the_thirteen_models_of_sentences_are_as_the_introduction_has_them() -> None:
    for name, (sentences, search, average, speed, size) in INTRO.items():
        found = card(f"st:{name}")
        scores = (found.sentences, found.semantic_search, found.average)
        assert [score and score.percent for score in scores] == [sentences, search, average]
        assert (found.speed, found.download_mb) == (speed, size)
        assert found.context_length in (128, 256, 384, 512)
        assert found.dim in (384, 512, 768)


@pytest.mark.parametrize(
    ("name", "dim", "rows", "tokens"),
    [
        ("text-embedding-v3", 1024, 10, 8192),
        ("text-embedding-v2", 1536, 25, 2048),
        ("text-embedding-v1", 1536, 25, 2048),
        ("text-embedding-async-v2", 1536, 100_000, 2048),
        ("text-embedding-async-v1", 1536, 100_000, 2048),
    ],
)
def test_the_services_are_as_the_introduction_has_them(name: str, dim: int, rows: int, tokens: int) -> None:
    found = card(name)
    assert (found.dim, found.rows, found.context_length) == (dim, rows, tokens)
    assert list(found.dimensions) == ([512, 768, 1024] if name == "text-embedding-v3" else [])
    assert not found.local
    assert found.modalities == {"text"}


@pytest.mark.parametrize(
    ("name", "dim", "local"),
    [
        ("openai-gpt", 768, True),
        ("gpt2-xl", 1600, True),
        ("GPT-3", 12_288, False),
        ("DeepSeek-V3", 7168, False),
        ("bert-base-uncased", 768, True),
        ("bert-base-nli-mean-tokens", 768, True),
        ("hkunlp/instructor-large", 768, True),
        ("Word2Vec", 300, True),
        ("GloVe", 300, True),
        ("ViT-B-32/openai", 512, True),
    ],
)
def test_each_model_that_the_introduction_names_has_a_card(name: str, dim: int, local: bool) -> None:
    found = card(name)
    assert (found.dim, found.local) == (dim, local)
    assert found.source or found.imagenet
    assert found.note


def test_what_cannot_be_loaded_says_how_or_why_not() -> None:
    for found in cards():
        if found.spec is None:
            assert "words:PATH" in found.note if found.local else found.note.startswith("Cannot be run")


def test_a_shorter_length_can_be_asked_for_where_the_model_was_trained_for_it() -> None:
    assert canonical_name("api:text-embedding-3-small?dimensions=700").endswith("?dimensions=700")
    for found in cards():
        assert not found.dimensions or (found.dim == max(found.dimensions) and min(found.dimensions) > 0)
    assert find("nothing") is None


def test_a_language_is_known_to_those_that_name_it_or_all() -> None:
    names = {found.name for found in cards() if found.speaks("german")}
    assert {"multilingual", "st:distiluse-base-multilingual-cased-v1", "api:text-embedding-v2"} <= names
    assert not names & {"fast", "st:all-MiniLM-L6-v2", "api:text-embedding-v1"}

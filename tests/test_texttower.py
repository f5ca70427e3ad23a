from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from clipkit import Collection, Query, load_encoder
from clipkit.documents import index_documents
from clipkit.encoder import TextCutWarning
from clipkit.encoders import Load, load_texts, texttower, transformer
from clipkit.encoders.bpe import BytePairs, default_vocabulary
from clipkit.errors import InvalidInput
from tests.models import TINY_CLIP, TINY_COCA, TINY_SIGLIP, model_folder

TEXTS = [
    "a dog",
    "",
    "A photo of 2 dogs, on the beach!",
    "Größe naïve",
    "犬と猫 🐕",
    "word " * 300,
    "an <end_of_text> within",
    "it's they're I'LL &amp; x_y\n\t",
]
BUNDLED = Path(texttower.__file__).parents[1] / "bundled" / "bpe_merges.txt.gz"


@pytest.fixture(scope="module")
def tokenizers() -> list[tuple[SimpleTokenizer, BytePairs]]:
    return [
        (SimpleTokenizer(bpe_path=str(path)), BytePairs(path)) for path in (default_vocabulary(), BUNDLED)
    ]


# --- the tokenizer


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_open_clip(
    tokenizers: list[tuple[SimpleTokenizer, BytePairs]], text: str
) -> None:
    for theirs, ours in tokenizers:
        assert ours.tokens(text) == [theirs.sot_token_id, *theirs.encode(text), theirs.eot_token_id]


@given(st.one_of(st.text(max_size=60), st.text("abcdefgh 'ABC0123!&;<>_|-", max_size=60)))
def test_tokens_of_any_text_are_those_of_open_clip(
    tokenizers: list[tuple[SimpleTokenizer, BytePairs]], text: str
) -> None:
    for theirs, ours in tokenizers:
        assert ours.tokens(text)[1:-1] == theirs.encode(text)


# --- the tower


def rows_of_both(spec: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    whole = load_encoder(spec, precision="fp32")
    tower = load_texts(spec)
    assert isinstance(tower, texttower.TextTower)
    assert (tower.name, tower.dim, tower.fingerprint) == (whole.name, whole.dim, whole.fingerprint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TextCutWarning)
        rows = whole.encode_texts(TEXTS), tower.encode_texts(TEXTS)
    assert whole.texts_cut == tower.texts_cut == 1
    return rows


@pytest.mark.parametrize("changes", [{}, {"quick_gelu": True}, {"custom_text": True}])
def test_rows_are_those_of_the_whole_model(tmp_path: Path, changes: dict[str, Any]) -> None:
    spec = f"local-dir:{model_folder(tmp_path / 'model', {**TINY_CLIP, **changes})}"
    ours, theirs = rows_of_both(spec)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_rows_of_wide_towers_too_that_two_threads_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heads: int
) -> None:
    monkeypatch.setattr(transformer, "_WIDE", TINY_CLIP["text_cfg"]["width"])
    config = {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "heads": heads, "layers": 2}}
    ours, theirs = rows_of_both(f"local-dir:{model_folder(tmp_path / 'model', config)}")
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_rows_of_the_bundled_model_are_its_own() -> None:
    ours, theirs = rows_of_both("bundled")
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_the_row_of_a_text_is_the_same_whatever_is_embedded_beside_it(folder: Path) -> None:
    tower = load_texts(f"local-dir:{folder}")
    assert tower is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TextCutWarning)
        alone = np.concatenate([tower.encode_texts([text]) for text in TEXTS])
        np.testing.assert_allclose(tower.encode_texts(TEXTS), alone, atol=1e-6)


def test_weights_in_half_precision_are_read(tmp_path: Path) -> None:
    import torch

    spec = f"local-dir:{model_folder(tmp_path / 'model', dtype=torch.float16)}"
    ours, theirs = rows_of_both(spec)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("config", [TINY_SIGLIP, TINY_COCA], ids=["siglip", "coca"])
def test_towers_of_another_kind_are_left_to_the_whole_model(tmp_path: Path, config: dict[str, Any]) -> None:
    spec = f"local-dir:{model_folder(tmp_path / 'model', config)}"
    load_encoder(spec)
    assert load_texts(spec) is None


def test_a_tower_that_gives_other_rows_is_not_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "_gelu", lambda x: x)
    spec = f"local-dir:{model_folder(tmp_path / 'model')}"
    load_encoder(spec)
    assert load_texts(spec) is None


def test_it_takes_no_pictures(tmp_path: Path) -> None:
    load_encoder("bundled")
    tower = load_texts("bundled")
    assert tower is not None
    assert tower.modalities == {"text"}
    with pytest.raises(InvalidInput, match="embeds text only"):
        tower.encode_images([np.zeros((8, 8, 3), np.uint8)])


# --- the note


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = model_folder(tmp_path / "model")
    load_encoder(f"local-dir:{folder}")
    return folder


def test_before_a_model_was_loaded_there_is_no_note(tmp_path: Path) -> None:
    assert load_texts(f"local-dir:{model_folder(tmp_path / 'model')}") is None


def test_a_note_is_for_pictures_turned_alike(folder: Path) -> None:
    assert load_texts(f"local-dir:{folder}") is not None
    assert load_texts(f"local-dir:{folder}", upright=False) is None
    whole = load_encoder(f"local-dir:{folder}", upright=False)
    tower = load_texts(f"local-dir:{folder}", upright=False)
    assert tower is not None
    assert tower.fingerprint == whole.fingerprint


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_config.json"])
def test_a_note_does_not_hold_once_a_file_has_changed(folder: Path, name: str) -> None:
    os.utime(folder / name, (0, 0))
    assert load_texts(f"local-dir:{folder}") is None


def test_neither_once_a_file_was_added(folder: Path) -> None:
    (folder / "model.safetensors").touch()
    assert load_texts(f"local-dir:{folder}") is None


def test_neither_once_a_file_is_gone(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    assert load_texts(f"local-dir:{folder}") is None


def test_neither_in_another_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipkit.__version__", "0.0.1")
    assert load_texts(f"local-dir:{folder}") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "bundled"}', "\x00"])
def test_neither_where_it_is_damaged(folder: Path, own_cache: Path, content: str) -> None:
    (note,) = own_cache.rglob("*.json")
    note.write_text(content)
    assert load_texts(f"local-dir:{folder}") is None
    load_encoder(f"local-dir:{folder}")
    assert load_texts(f"local-dir:{folder}") is not None


def test_where_no_note_can_be_written_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIPKIT_CACHE", str(tmp_path / "file"))
    assert load_encoder("bundled").dim == 256
    assert load_texts("bundled") is None


def test_neither_does_a_folder_in_its_place_matter(own_cache: Path) -> None:
    texttower._path("bundled", True).mkdir(parents=True)
    assert load_encoder("bundled").dim == 256
    assert load_texts("bundled") is None


def test_who_asks_for_a_device_or_a_precision_gets_the_whole_model(folder: Path) -> None:
    assert Load().texts(f"local-dir:{folder}") is not None
    assert Load("cpu").texts(f"local-dir:{folder}") is None
    assert Load(None, "bf16").texts(f"local-dir:{folder}") is None


# --- searches with it


def test_a_search_for_texts_imports_no_torch(folder: Path, db: Path, tmp_path: Path) -> None:
    Collection.create(db=db, encoder=f"local-dir:{folder}").add_texts(["a dog", "a cat"], ids=["d", "c"])
    (tmp_path / "dog.txt").write_text("It rains. A dog barks.", encoding="utf-8")
    documents = Collection.create("documents", db=db, encoder=f"local-dir:{folder}")
    index_documents(documents, [tmp_path / "dog.txt"])
    code = (
        "import sys, clipkit\n"
        f"collection = clipkit.Collection.open(db={str(db)!r})\n"
        "hits = collection.search('a dog - 0.2*id:c', min_score='auto')\n"
        "from clipkit.refining import refined\n"
        "better = collection.search(refined(collection, 'a dog - a cat', good=['d']))\n"
        "from clipkit.documents import search_documents\n"
        f"documents = clipkit.Collection.open('documents', db={str(db)!r})\n"
        "(found,) = search_documents(documents, 'A dog barks.')\n"
        "print(hits[0].id, better[0].id, 'torch' in sys.modules, 'open_clip' in sys.modules, found.snippet)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["d", "d", "False", "False", "A", "dog", "barks."]


def test_a_search_finds_the_same_with_either(folder: Path, db: Path) -> None:
    created = Collection.create(db=db, encoder=load_encoder(f"local-dir:{folder}", precision="fp32"))
    created.add_texts([f"{number} dogs" for number in range(30)])
    opened = Collection.open(db=db)
    for query in ("7 dogs", "a cat", "7 dogs - 0.5*a cat"):
        with_whole, with_tower = created.search(query), opened.search(query)
        assert [hit.id for hit in with_whole] == [hit.id for hit in with_tower]
        np.testing.assert_allclose(
            [hit.score for hit in with_whole], [hit.score for hit in with_tower], atol=2e-6
        )


def test_a_picture_in_the_query_is_embedded_by_the_whole_model(folder: Path, db: Path) -> None:
    collection = Collection.create(db=db, encoder=f"local-dir:{folder}")
    picture = np.full((32, 32, 3), 200, np.uint8)
    collection.add_images([picture], ids=["p"])
    opened = Collection.open(db=db)
    assert opened.search("a dog")[0].id == "p"
    (hit,) = opened.search(Query.image(picture))
    assert hit.score == pytest.approx(1.0, abs=1e-5)

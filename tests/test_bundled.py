"""What the model that ships means, and what becomes of it when its files are damaged."""

from __future__ import annotations

import gzip
import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from clipkit import sketch
from clipkit.cli import main
from clipkit.collection import Collection
from clipkit.encoder import Encoder, TextCutWarning, Vectors
from clipkit.encoders import load_encoder, sources
from clipkit.errors import ModelUnavailable, WeightsError
from clipkit.evaluate import read_queries
from clipkit.labelled import open_labelled
from clipkit.sketch import Scene, Thing
from clipkit.sketch.scenes import SIZES
from clipkit.sketch.words import SETTING_WORDS, article

WEIGHTS = "open_clip_model.safetensors"
MERGES = "bpe_merges.txt.gz"
ALL_FILES = ("open_clip_config.json", WEIGHTS, MERGES)
QUERIES = Path(__file__).parent / "bench" / "tiny_imagenet_queries.json"
PHOTOS = os.environ.get("CLIPKIT_TEST_PHOTOS")
SIZE = 128  # pixels of the drawn scenes: the model sees 96

pytestmark = pytest.mark.skipif(
    not (sources.BUNDLED / WEIGHTS).is_file(), reason="clipkit/bundled holds no weights in this checkout"
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("bundled", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Seeds from 0 are never used in training."""
    return [sketch.scene(seed) for seed in range(499)]


@pytest.fixture(scope="module")
def pictures(encoder: Encoder, scenes: list[Scene]) -> Vectors:
    return encoder.encode_images([sketch.draw(scene, size=SIZE) for scene in scenes])


def alone(kind: str, colour: str, setting: str, *, seed: int = 7, count: int = 1) -> Scene:
    return Scene(seed, setting, (Thing(kind, colour, "large", count),), None)


def embed(encoder: Encoder, scenes: Sequence[Scene]) -> Vectors:
    return encoder.encode_images([sketch.draw(scene, size=SIZE) for scene in scenes])


# --- drawn scenes


@pytest.mark.parametrize(
    ("text", "kind", "colour", "setting"),
    [
        ("a red boat at night", "sailboat", "red", "night"),
        ("a pink flower in the meadow", "flower", "pink", "meadow"),
        ("an orange cat in a room", "cat", "orange", "room"),
        ("a purple umbrella in the desert", "umbrella", "purple", "desert"),
    ],
)
def test_a_text_finds_its_scene_among_five_hundred(
    encoder: Encoder, scenes: list[Scene], pictures: Vectors, text: str, kind: str, colour: str, setting: str
) -> None:
    assert (colour, kind) not in sketch.HELD_OUT_PAIRS
    target = embed(encoder, [alone(kind, colour, setting)])[0]
    others = [
        i for i, s in enumerate(scenes) if not sketch.matches(s, kind=kind, colour=colour, setting=setting)
    ]
    assert len(others) > 490
    (query,) = encoder.encode_texts([text])
    assert target @ query > (pictures[others] @ query).max()


def test_short_texts_find_their_scenes_among_five_hundred(
    encoder: Encoder, scenes: list[Scene], pictures: Vectors
) -> None:
    """Forty of them: a colour, a thing, a setting."""
    rng = Random(1)
    ranks: list[int] = []
    while len(ranks) < 40:
        kind, colour, setting = map(rng.choice, (sketch.KINDS, sketch.COLOURS, sketch.SETTINGS))
        if (colour, kind) in sketch.HELD_OUT_PAIRS:
            continue
        others = [i for i, s in enumerate(scenes) if not sketch.matches(s, kind=kind, colour=colour)]
        target = embed(encoder, [alone(kind, colour, setting, seed=len(ranks))])[0]
        (query,) = encoder.encode_texts([f"{article(f'{colour} {kind}')} {SETTING_WORDS[setting][0]}"])
        ranks.append(1 + int((pictures[others] @ query >= target @ query).sum()))
    assert sum(rank == 1 for rank in ranks) >= 24
    assert sum(rank <= 5 for rank in ranks) >= 37


def test_a_minus_takes_away(encoder: Encoder, tmp_path: Path) -> None:
    boats = {f"{colour} boat": alone("sailboat", colour, "sea") for colour in sketch.COLOURS}
    others = {
        f"{kind} {colour}": alone(kind, colour, "sea")
        for kind in ("house", "fish")
        for colour in sketch.COLOURS
    }
    collection = Collection.create(db=tmp_path, encoder=encoder)
    drawn = {name: sketch.draw(scene, size=SIZE) for name, scene in {**boats, **others}.items()}
    collection.add_images(list(drawn.values()), ids=list(drawn))

    with_it = [hit.id for hit in collection.search("a boat", k=36)]
    without = [hit.id for hit in collection.search("a boat - red", k=36)]
    assert with_it.index("red boat") < 3
    assert without.index("red boat") >= 12
    assert set(without[:8]) <= set(boats)


def test_a_picture_is_named_by_its_caption(encoder: Encoder, scenes: list[Scene], pictures: Vectors) -> None:
    """Each of 499 pictures against all 499 captions, and the other way round."""
    captions = encoder.encode_texts([sketch.caption(scene) for scene in scenes])
    scores = pictures @ captions.T
    own = np.arange(len(scenes))
    assert (scores.argmax(axis=1) == own).mean() > 0.8
    assert (scores.argmax(axis=0) == own).mean() > 0.8


def test_colours_and_things_that_never_met_in_training_are_told_apart(encoder: Encoder) -> None:
    scenes = [sketch.scene(seed, held_out=True) for seed in range(100)]
    scores = embed(encoder, scenes) @ encoder.encode_texts([sketch.caption(scene) for scene in scenes]).T
    assert (scores.argmax(axis=1) == np.arange(100)).mean() > 0.7


def changed(scene: Scene, what: str, rng: Random) -> Scene | None:
    """The scene with one thing changed that its caption says, if the model was made to know such scenes."""
    words = {"kind": sketch.KINDS, "colour": sketch.COLOURS, "size": SIZES, "count": (1, 2, 3, 4)}
    thing = scene.things[0]
    try:
        if what == "setting":
            return replace(scene, setting=rng.choice(sketch.SETTINGS))
        thing = replace(thing, **{what: rng.choice(words[what])})  # type: ignore[arg-type]
        other = replace(scene, things=(thing, *scene.things[1:]))
    except ValueError:  # too large for the picture
        return None
    return None if (thing.colour, thing.kind) in sketch.HELD_OUT_PAIRS else other


@pytest.mark.parametrize(
    ("what", "share"), [("colour", 0.95), ("setting", 0.95), ("size", 0.75), ("count", 0.75), ("kind", 0.65)]
)
def test_a_caption_that_is_wrong_in_one_thing_scores_lower(
    encoder: Encoder, scenes: list[Scene], pictures: Vectors, what: str, share: float
) -> None:
    rng = Random(2)
    pairs = ((row, changed(scene, what, rng)) for row, scene in enumerate(scenes[:120]))
    rows, others = zip(*((row, other) for row, other in pairs if other and other != scenes[row]), strict=True)
    assert len(rows) >= 40
    right = encoder.encode_texts([sketch.caption(scenes[row]) for row in rows])
    wrong = encoder.encode_texts([sketch.caption(other) for other in others])
    own = pictures[list(rows)]
    assert ((own * right).sum(axis=1) > (own * wrong).sum(axis=1)).mean() > share


# --- words, and photos where there are some

DOGS = ("n02085620", "n02113978")  # the first and the last of the dogs among ImageNet's ids


def test_a_kind_is_nearer_to_what_it_is_of_than_to_other_kinds(encoder: Encoder) -> None:
    """A golden retriever is a dog, and so on: what the text side learned from WordNet."""
    kinds = ["a dog", "a cat", "a bird", "an insect", "food", "a bridge"]
    narrow = ["a golden retriever", "a Persian cat", "an albatross", "a cockroach", "a pizza", "a viaduct"]
    scores = encoder.encode_texts(narrow) @ encoder.encode_texts(kinds).T
    assert scores.argmax(axis=1).tolist() == list(range(6))


@pytest.mark.skipif(
    PHOTOS is None,
    reason="no photo ships with clipkit: CLIPKIT_TEST_PHOTOS may name some, as clipkit evaluate takes them",
)
def test_a_photo_of_a_dog_is_nearer_to_a_dog_than_to_twenty_other_words(encoder: Encoder) -> None:
    rows = (row for row in open_labelled(PHOTOS or "").rows())
    dogs = [row.read() for row in rows if row.truth.label and DOGS[0] <= row.truth.label <= DOGS[1]][:300]
    assert dogs
    queries = [query for query in read_queries(QUERIES) if query not in ("a dog", "an animal")]
    words = ["a dog", *queries, "a mushroom", "a bottle"]
    assert len(words) == 21
    scores = encoder.encode_images(dogs) @ encoder.encode_texts(words).T
    assert (scores.argmax(axis=1) == 0).mean() > 0.5  # by chance it would be a twenty-first


def test_other_languages_work_and_score_low(encoder: Encoder) -> None:
    boat = embed(encoder, [alone("sailboat", "red", "night")])[0]
    english, *others = encoder.encode_texts(
        [
            "a red boat at night",
            "ein rotes Boot bei Nacht",
            "un bateau rouge la nuit",
            "夜の赤い船",
            "קאַץ",
            "🚤",
        ]
    )
    assert boat @ english > max(boat @ other for other in others) + 0.1


def test_any_text_has_a_direction(encoder: Encoder) -> None:
    rows = encoder.encode_texts(["", " ", "!?", "\x00", "a" * 40, "DOG", "dog"])
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[5], rows[6], atol=1e-5)


def test_long_texts_are_cut_with_a_warning(encoder: Encoder) -> None:
    with pytest.warns(TextCutWarning, match="1 of 1 texts are longer than the context of bundled"):
        encoder.encode_texts(["a red boat " * 40])


# --- pictures of any size


@pytest.mark.parametrize("size", [(1, 1), (20_000, 10), (10, 20_000), (1, 300), (96, 96), (97, 3)])
def test_pictures_of_any_size_have_a_direction(encoder: Encoder, size: tuple[int, int]) -> None:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, "PNG")
    rows = encoder.encode_images([Image.new("RGB", size, "red"), out.getvalue()])
    assert rows.shape == (2, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-2)


def test_the_size_of_a_picture_hardly_matters(encoder: Encoder) -> None:
    scene = alone("lighthouse", "blue", "sea")
    rows = encoder.encode_images([sketch.draw(scene, size=size) for size in (96, 128, 256, 512)])
    assert (rows @ rows.T).min() > 0.85


# --- the files


def test_the_files_are_small_and_hold_no_code() -> None:
    found = {path.name: path.stat().st_size for path in sources.BUNDLED.iterdir() if path.is_file()}
    assert set(ALL_FILES) <= set(found)
    assert found[WEIGHTS] < 20e6
    assert not [name for name in found if name.endswith((".bin", ".pt", ".pth", ".pkl", ".py"))]
    with safe_open(sources.BUNDLED / WEIGHTS, "np") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - not a dict
    assert kinds <= {"F16", "I64"}


def test_the_model_is_known_by_its_name(encoder: Encoder) -> None:
    assert encoder.name == "bundled"
    assert load_encoder("bundled").fingerprint == encoder.fingerprint
    assert load_encoder(f"local-dir:{sources.BUNDLED}").fingerprint == encoder.fingerprint


def test_its_card_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "bundled"]) == 0
    assert (sources.BUNDLED / "card.md").read_text(encoding="utf-8").strip() in capsys.readouterr().out


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files, in a folder where they may be damaged."""
    for name in ALL_FILES:
        shutil.copyfile(sources.BUNDLED / name, tmp_path / name)
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    return tmp_path


def test_missing_weights_are_told(copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    with pytest.raises(ModelUnavailable, match="holds no weights"):
        load_encoder("bundled")
    (copy / "open_clip_config.json").unlink()
    with pytest.raises(ModelUnavailable, match="the bundled model is missing from this installation"):
        load_encoder("bundled")


def test_weights_cut_short_are_told(copy: Path) -> None:
    whole = (copy / WEIGHTS).read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 4, 0):
        (copy / WEIGHTS).write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=f"{WEIGHTS} is damaged or cut short"):
            load_encoder("bundled")


def test_weights_of_another_model_are_told(copy: Path) -> None:
    config = (copy / "open_clip_config.json").read_text()
    (copy / "open_clip_config.json").write_text(config.replace('"layers": 4', '"layers": 5'))
    with pytest.raises(WeightsError, match="do not fit the architecture"):
        load_encoder("bundled")


def test_a_missing_or_damaged_vocabulary_is_told(copy: Path) -> None:
    whole = (copy / MERGES).read_bytes()
    words = gzip.decompress(whole)
    for data in (whole[:-100], b"", b"no gzip", whole[:20] + b"\x00" * 50 + whole[70:]):
        (copy / MERGES).write_bytes(data)
        with pytest.raises(WeightsError, match=f"{MERGES} (is damaged|has .* words)"):
            load_encoder("bundled")
    (copy / MERGES).write_bytes(gzip.compress(words.rpartition(b"\n")[0]))
    with pytest.raises(WeightsError, match=rf"{MERGES} has \d+ words, and the model was made for"):
        load_encoder("bundled")
    (copy / MERGES).unlink()
    with pytest.raises(ModelUnavailable, match=f"{MERGES} of the model is missing"):
        load_encoder("bundled")

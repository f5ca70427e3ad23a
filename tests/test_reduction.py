from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit import Collection
from clipkit.encoders import cached, canonical_name, load_encoder
from clipkit.encoders.reduced import Axes, Reduced, along, cut
from clipkit.errors import CollectionMismatch, InvalidInput, ModelUnavailable, PlacesUnavailable, WeightsError
from clipkit.reduction import costs, fit
from clipkit.testing import COLOURS, FakeEncoder

WORDS = [*COLOURS]


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (32, 32), COLOURS[colour])


def texts(count: int) -> list[str]:
    """Sums of colours, which lie in the twelve axes of the colours alone."""
    random = np.random.default_rng(3)
    return [" ".join(random.choice(WORDS, 5)) + f" {WORDS[i % 12]}" for i in range(count)]


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    made = Collection.create("mine", db=tmp_path, encoder="fake:64")
    made.add_texts(texts(300), ids=[f"t{i}" for i in range(300)])
    return made


# --- cut


def test_a_cut_keeps_the_first_numbers_at_unit_length() -> None:
    whole = load_encoder("fake:64").encode_texts(["red blue", "a car"])
    short = load_encoder("fake:64?dimensions=20")
    expected = whole[:, :20] / np.linalg.norm(whole[:, :20], axis=1, keepdims=True)
    np.testing.assert_allclose(short.encode_texts(["red blue", "a car"]), expected, atol=1e-6)
    np.testing.assert_allclose(short.encode_texts(["red blue"]), short.encode_texts(["red blue"]))
    assert (short.dim, short.name) == (20, "fake:64?dimensions=20")
    assert short.fingerprint != load_encoder("fake:64").fingerprint


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("fake:64?dimensions=64", "fake:64 has 64 dimensions, which cannot be cut to 64"),
        ("fake:64?dimensions=0", "dimensions are a whole number from 1 on, not '0'"),
        ("fast?dimensions=128", r"no vectors of 128 dimensions, but of one length: clipkit reduce shortens"),
        (
            "bundled?dimensions=128",
            r"no vectors of 128 dimensions, but of one length: clipkit reduce shortens",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        load_encoder(name)


def test_a_row_of_which_nothing_is_left_is_named() -> None:
    encoder = cut(FakeEncoder(64), "cut", 12)
    with pytest.raises(InvalidInput, match="input 1: its embedding is zero"):
        encoder.encode_texts(["red", "car"])


def test_pictures_and_places_are_shortened_like_texts() -> None:
    encoder = cut(FakeEncoder(64), "cut", 16)
    images = encoder.encode_images([picture("red"), picture("blue")])
    assert images.shape == (2, 16)
    np.testing.assert_array_equal((encoder.encode_texts(["red", "blue"]) @ images.T).argmax(axis=1), [0, 1])
    places = encoder.encode_places(picture("red"))
    assert places.vectors.shape == (8, 8, 16)
    assert (places.vectors @ encoder.encode_texts(["red"])[0] > 0.99).all()
    assert encoder.modalities == {"text", "image"}
    assert (encoder.image_size, encoder.upright, encoder.texts_cut) == (8, True, 0)
    np.testing.assert_array_equal(encoder.encode_queries(["red"]), encoder.encode_texts(["red"]))


def test_a_model_that_tells_no_places_tells_none_when_shortened() -> None:
    class Blind:
        name = "blind"

    whole = Reduced(Blind(), lambda rows: rows, name="x", dim=2, fingerprint="x")  # type: ignore[arg-type]
    with pytest.raises(PlacesUnavailable, match="x embeds pictures as wholes"):
        whole.encode_places(picture("red"))


# --- axes


def test_axes_that_hold_all_keep_every_score(collection: Collection, tmp_path: Path) -> None:
    encoder = fit(collection, 12, path=tmp_path / "axes")
    whole = collection.encoder.encode_texts(texts(20))
    short = encoder.encode_texts(texts(20))
    assert short.shape == (20, 12)
    np.testing.assert_allclose(short @ short.T, whole @ whole.T, atol=1e-5)


def test_the_name_of_the_axes_loads_them_again(collection: Collection, tmp_path: Path) -> None:
    encoder = fit(collection, 8, path=tmp_path / "axes")
    assert encoder.name == canonical_name(encoder.name) == f"reduced:{tmp_path / 'axes'}"
    again = load_encoder(encoder.name)
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode_texts(["red"]), encoder.encode_texts(["red"]))
    assert cached(encoder.name)
    assert not cached(f"reduced:{tmp_path / 'nowhere'}")


def test_a_collection_changes_to_shorter_vectors_without_embedding_anything(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.add_images([picture("red")], ids=["picture"])
    encoder = fit(collection, 16, path=tmp_path / "axes")
    with monkeypatch.context() as patch:
        patch.setattr(FakeEncoder, "_text_batch", None)
        patch.setattr(FakeEncoder, "_pixel_batch", None)
        report = collection.reindex(encoder)
    assert (report.embedded, report.switched, report.from_thumbnails) == (301, True, 0)

    again = Collection.open("mine", db=tmp_path)
    assert (again.dim, again.encoder_name) == (16, encoder.name)
    stored = again.to_arrow(columns=["vector"], where="id = 't7'")["vector"].to_pylist()[0]
    np.testing.assert_allclose(stored, encoder.encode_texts([texts(300)[7]])[0], atol=1e-6)
    assert again.search("red", k=1, kind="image")[0].id == "picture"
    again.add_texts(["green green green"], ids=["new"])
    assert again.search("green", k=1)[0].id == "new"
    assert again.reindex_back() == "fake:64"


def test_a_collection_without_the_whole_vectors_is_embedded(collection: Collection, tmp_path: Path) -> None:
    encoder = fit(collection, 12, path=tmp_path / "axes")
    other = Collection.create("other", db=tmp_path, encoder="fake")
    other.add_texts(["red", "blue"])
    assert other.reindex(encoder).embedded == 2
    np.testing.assert_allclose(other.search("red", k=1)[0].score, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("dimensions", "complaint"),
    [
        (64, "fake:64 has 64 dimensions: ask for fewer, not for 64"),
        (0, "the number of dimensions is a whole number of at least 1, not 0"),
    ],
)
def test_lengths_that_are_none(
    collection: Collection, tmp_path: Path, dimensions: int, complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        fit(collection, dimensions, path=tmp_path / "axes")
    assert not (tmp_path / "axes").exists()


def test_too_few_items_fit_no_axes(tmp_path: Path) -> None:
    small = Collection.create("small", db=tmp_path, encoder="fake:64")
    small.add_texts(["red", "blue"])
    with pytest.raises(InvalidInput, match="2 items cannot say which 3 dimensions matter"):
        fit(small, 3, path=tmp_path / "axes")
    with pytest.raises(InvalidInput, match="2 items say too little of recall: index at least 200"):
        costs(small)


def test_too_small_a_sample_says_nothing(collection: Collection) -> None:
    with pytest.raises(InvalidInput, match="a sample of 49 items says too little: take at least 50"):
        costs(collection, sample=49)


def test_axes_are_never_overwritten_and_bound_to_their_model(collection: Collection, tmp_path: Path) -> None:
    fit(collection, 8, path=tmp_path / "axes")
    with pytest.raises(InvalidInput, match="is there already, and vectors may depend on it"):
        fit(collection, 8, path=tmp_path / "axes")
    with pytest.raises(
        CollectionMismatch, match=r"the axes are for vectors of fake:64 .* not for those of fake:"
    ):
        along(Axes.load(tmp_path / "axes"), FakeEncoder(48), "x")


def test_files_that_hold_no_axes_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"there is no file .*gone with axes"):
        load_encoder(f"reduced:{tmp_path / 'gone'}")
    (tmp_path / "text").write_text("axes")
    with pytest.raises(WeightsError, match="text does not hold axes that clipkit reduce has written"):
        load_encoder(f"reduced:{tmp_path / 'text'}")
    Axes("fake", "f", np.zeros(3, np.float32)).save(tmp_path / "flat")
    with pytest.raises(WeightsError, match="flat has axes of format 1"):
        Axes.load(tmp_path / "flat")


# --- costs


def test_costs_are_told_for_each_length_and_storage(collection: Collection) -> None:
    found = costs(collection, lengths=(12, 4, 64, 100))
    assert (found.sampled, dict(found.queries)) == (225, {"text": 75})
    told = {(cost.dimensions, cost.method, cost.storage): cost for cost in found.costs}
    assert {key[:2] for key in told} == {(64, "whole"), (12, "axes"), (12, "cut"), (4, "axes"), (4, "cut")}
    assert told[64, "whole", "float32"].recall == told[12, "axes", "float32"].recall == 1
    assert told[64, "whole", "float32"].size_bytes == 256
    assert told[12, "axes", "int8"].size_bytes == 12
    assert told[64, "whole", "binary"].size_bytes == 8
    assert told[12, "axes", "int8"].recall > 0.9
    assert told[12, "axes", "binary"].recall < told[12, "axes", "binary, rescored"].recall < 1
    assert told[4, "axes", "float32"].recall < 0.9


def test_given_texts_are_queries_too(collection: Collection) -> None:
    found = costs(collection, lengths=(12,), texts=["red", "blue green"], sample=50)
    assert (found.sampled, dict(found.queries)) == (50, {"text": 2})


def test_pictures_and_texts_are_asked_for_apart(tmp_path: Path) -> None:
    both = Collection.create("both", db=tmp_path, encoder="fake:64")
    both.add_images([picture(WORDS[i % 12]) for i in range(210)])
    found = costs(both, lengths=(16,))
    assert dict(found.queries) == {"image": 52, "text": 54}
    assert all(set(cost.recalls) == {"image", "text"} for cost in found.costs)
    assert found.costs[0].recalls == {"image": 1.0, "text": 1.0}

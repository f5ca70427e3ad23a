from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipkit import Collection
from clipkit.encoder import Vectors
from clipkit.errors import FilterError, InvalidInput, StorageError
from clipkit.labels import SHRINKAGE, Tag, Tagged, Tagger, tag, tag_image, to_column, to_csv
from clipkit.reports import Progress
from clipkit.testing import COLOURS, FakeEncoder
from clipkit.vocabulary import Vocabulary

NAMES = ["red", "green", "blue", "zebra"]
WORDS = Vocabulary.of(NAMES)
PICTURES = ["red", "green", "blue", "red", "green", "blue", "brown", "pink"]


def plain(colour: str, number: int = 0) -> Image.Image:
    picture = Image.new("RGB", (16, 16), COLOURS[colour])
    picture.putpixel((number % 16, number // 16 % 16), (7, 7, 7))
    return picture


@pytest.fixture(scope="module")
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture(scope="module")
def tagger(encoder: FakeEncoder) -> Tagger:
    return Tagger(encoder, WORDS)


def made(db: Path) -> Collection:
    """Pictures of plain colours, and a text, which is never tagged."""
    collection = Collection.create(db=db, encoder=FakeEncoder(), columns={"shelf": int})
    ids = [f"{number}-{colour}" for number, colour in enumerate(PICTURES)]
    collection.add_images(
        [plain(colour, number) for number, colour in enumerate(PICTURES)],
        ids=ids,
        metadata=[{"shelf": number % 2} for number in range(len(PICTURES))],
    )
    collection.add_texts(["red"], ids=["a text"])
    return collection


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """One for all tests that only read."""
    return made(tmp_path_factory.mktemp("coloured"))


def vectors_of(colours: list[str]) -> Vectors:
    return FakeEncoder().encode_images([plain(colour, number) for number, colour in enumerate(colours)])


def labels(tagged: Tagged) -> list[str]:
    return [tag.label for tag in tagged.tags]


# --- strengths


def test_strength_is_the_score_in_deviations_of_the_cohort(tagger: Tagger, encoder: FakeEncoder) -> None:
    pictures = vectors_of(PICTURES)
    scores = pictures.astype(np.float64) @ WORDS.vectors(encoder).T
    cohort = pictures.astype(np.float64) @ Vocabulary.everyday().vectors(encoder, ["a photo of {a}"]).T
    expected = (scores - cohort.mean(axis=1, keepdims=True)) / cohort.std(axis=1, keepdims=True)
    np.testing.assert_allclose(tagger.strengths(pictures), expected, atol=1e-4)
    assert (np.argmax(expected[:6], axis=1) == [0, 1, 2, 0, 1, 2]).all()


def test_baselines_are_low_quantiles_drawn_to_their_mean(encoder: FakeEncoder) -> None:
    pictures = vectors_of(PICTURES)
    calibrated = Tagger(encoder, WORDS)
    calibrated.calibrate(pictures)

    def centred(labels: Vectors) -> NDArray[np.float64]:
        scores = pictures.astype(np.float64) @ labels.T
        own = np.quantile(scores, 0.25, axis=0)
        share = len(pictures) / (len(pictures) + SHRINKAGE)
        centred: NDArray[np.float64] = scores - (share * own + (1 - share) * own.mean())
        return centred

    cohort = centred(Vocabulary.everyday().vectors(encoder, ["a photo of {a}"]))
    expected = centred(WORDS.vectors(encoder)) - cohort.mean(axis=1, keepdims=True)
    expected /= cohort.std(axis=1, keepdims=True)
    np.testing.assert_allclose(calibrated.strengths(pictures), expected, atol=1e-4)


def test_a_label_that_is_near_to_all_pictures_loses_its_lead(encoder: FakeEncoder) -> None:
    """All pictures lean to one direction, and a label lies in it: with baselines that tells nothing."""
    lean = encoder.encode_texts(["zebra"])
    mixed = vectors_of(["red", "green", "blue"] * 100) + 1.5 * lean
    pictures: Vectors = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    tagger = Tagger(encoder, Vocabulary.of(NAMES), templates=["{}"])
    assert [own[0].label for own in tagger.tags(pictures[:3])] == ["zebra"] * 3
    tagger.calibrate(pictures)
    assert [own[0].label for own in tagger.tags(pictures[:3])] == ["red", "green", "blue"]


def test_a_label_that_holds_for_most_pictures_is_still_found(encoder: FakeEncoder) -> None:
    pictures = vectors_of(["red"] * 70 + ["blue"] * 30)
    tagger = Tagger(encoder, WORDS)
    tagger.calibrate(pictures)
    assert all(own and own[0].label == "red" for own in tagger.tags(pictures[:70]))


def test_other_labels_make_no_difference_to_a_label(tagger: Tagger, encoder: FakeEncoder) -> None:
    pictures = vectors_of(PICTURES)
    alone = Tagger(encoder, Vocabulary.of(["blue"])).strengths(pictures)
    np.testing.assert_allclose(tagger.strengths(pictures)[:, 2], alone[:, 0], atol=1e-5)


def test_no_pictures_change_no_baselines(encoder: FakeEncoder, tagger: Tagger) -> None:
    other = Tagger(encoder, WORDS)
    other.calibrate(np.empty((0, encoder.dim), np.float32))
    pictures = vectors_of(["red"])
    np.testing.assert_array_equal(other.strengths(pictures), tagger.strengths(pictures))


# --- which labels hold


def test_tags_come_strongest_first_with_their_scores(tagger: Tagger, encoder: FakeEncoder) -> None:
    pictures = vectors_of(["green"])
    (tags,) = tagger.tags(pictures, threshold=-100, top=10)
    assert tags[0].label == "green"
    assert [tag.strength for tag in tags] == sorted((tag.strength for tag in tags), reverse=True)
    scores = dict(zip(NAMES, (pictures @ WORDS.vectors(encoder).T)[0].tolist(), strict=True))
    assert {tag.label: tag.score for tag in tags} == pytest.approx(scores, abs=1e-6)


def test_the_threshold_is_part_of_what_holds(tagger: Tagger) -> None:
    pictures = vectors_of(["green"])
    edge = tagger.tags(pictures, threshold=-100)[0][0].strength
    assert [tag.label for tag in tagger.tags(pictures, threshold=edge)[0]] == ["green"]
    assert tagger.tags(pictures, threshold=np.nextafter(edge, np.inf)) == [()]


def test_no_more_tags_than_top(tagger: Tagger) -> None:
    assert len(tagger.tags(vectors_of(["red"]), threshold=-100, top=3)[0]) == 3
    with pytest.raises(InvalidInput, match="top, the number of tags wanted, is a whole number of at least 1"):
        tagger.tags(vectors_of(["red"]), top=0)


def test_one_picture_is_tagged_without_a_collection(encoder: FakeEncoder) -> None:
    (only,) = tag_image(encoder, plain("red"), WORDS)
    assert isinstance(only, Tag)
    assert only.label == "red"


# --- collections


def test_all_images_are_tagged_and_no_text(coloured: Collection) -> None:
    tagged = {one.id: labels(one) for one in tag(coloured, WORDS)}
    assert tagged == {
        f"{number}-{colour}": [colour] if colour in NAMES else [] for number, colour in enumerate(PICTURES)
    }


def test_a_filter_leaves_out_and_changes_nothing(coloured: Collection) -> None:
    every = {one.id: one for one in tag(coloured, WORDS)}
    some = list(tag(coloured, WORDS, where="shelf = 1"))
    assert [one.id for one in some] == ["1-green", "3-red", "5-blue", "7-pink"]
    for one in some:
        assert [tag.strength for tag in one.tags] == pytest.approx(
            [tag.strength for tag in every[one.id].tags], abs=1e-5
        )


def test_progress_is_told(coloured: Collection) -> None:
    seen: list[Progress] = []
    assert len(list(tag(coloured, WORDS, progress=seen.append))) == len(PICTURES)
    assert seen == [Progress(len(PICTURES), len(PICTURES), 0)]


def test_an_empty_collection_has_nothing_to_tag(collection: Collection) -> None:
    assert list(tag(collection, WORDS)) == []


def test_a_bad_call_fails_before_the_first_image(coloured: Collection) -> None:
    with pytest.raises(InvalidInput, match="top, the number of tags wanted"):
        tag(coloured, WORDS, top=0)
    with pytest.raises(FilterError, match="colour"):
        tag(coloured, WORDS, where="colour = 1")


# --- where tags go


def test_tags_go_into_a_column_that_filters_can_ask(db: Path) -> None:
    collection = made(db)
    before = collection.to_arrow(columns=["id", "vector", "shelf"]).sort_by("id")
    assert to_column(collection, tag(collection, WORDS, where="shelf = 0")) == 4
    assert collection.columns["tags"].startswith("list<")
    assert collection.count(where="array_has(tags, 'red')") == 1
    assert collection.count(where="tags IS NULL") == 5, "those that were not tagged, and the text"
    assert collection.get(["6-brown"])[0].metadata["tags"] == []
    assert to_column(collection, tag(collection, WORDS)) == 8
    assert collection.count(where="array_has(tags, 'red')") == 2
    assert collection.to_arrow(columns=["id", "vector", "shelf"]).sort_by("id") == before


def test_values_are_updated_by_id_and_all_else_stays(db: Path) -> None:
    collection = made(db)
    collection.add_columns({"note": str})
    values: list[dict[str, object]] = [{"shelf": 7}, {"note": "mine", "shelf": 8}, {}, {"shelf": 9}]
    assert collection.update(["0-red", "a text", "1-green", "nobody"], values) == 2
    found = {item.id: item.metadata for item in collection.get(["0-red", "a text", "1-green"])}
    assert {id: (own["shelf"], own["note"]) for id, own in found.items()} == {
        "0-red": (7, None),
        "a text": (8, "mine"),
        "1-green": (1, None),
    }
    assert collection.count() == len(PICTURES) + 1
    with pytest.raises(InvalidInput, match="input 1: the id 'x' is given twice, first at 0"):
        collection.update(["x", "x"], [{}, {}])
    with pytest.raises(InvalidInput, match="input 0: the collection has no column 'shelv'"):
        collection.update(["0-red"], [{"shelv": 1}])


def test_a_column_of_another_type_is_refused(db: Path) -> None:
    collection = made(db)
    with pytest.raises(InvalidInput, match="the column 'shelf' holds int64, not lists of strings"):
        to_column(collection, [], column="shelf")


def test_a_csv_has_a_line_for_each_tag(coloured: Collection, tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("old")
    assert to_csv(path, tag(coloured, WORDS)) == 8
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["red", "green", "blue", "red", "green", "blue"]
    assert [row["path"] for row in rows] == [f"{n}-{colour}" for n, colour in enumerate(PICTURES[:6])]
    first = next(iter(tag(coloured, WORDS))).tags[0]
    assert float(rows[0]["score"]) == pytest.approx(first.score, abs=1e-4)
    assert float(rows[0]["strength"]) == pytest.approx(first.strength, abs=1e-2)


def test_a_csv_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("old")

    def broken() -> list[Tagged]:
        raise InvalidInput("stop")

    with pytest.raises(InvalidInput, match="stop"):
        to_csv(path, (one for _ in range(1) for one in broken()))
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["tags.csv"]
    with pytest.raises(StorageError, match="cannot be written"):
        to_csv(tmp_path / "no" / "tags.csv", [])

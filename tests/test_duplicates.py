from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from clipkit import Collection, load_encoder, sketch
from clipkit.errors import FilterError, InvalidInput
from clipkit.neighbours import STRENGTHS, Duplicates, duplicates, looks
from clipkit.neighbours.groups import connected, stars
from clipkit.neighbours.wording import folded, resembling, rewritten

Change = Callable[[Image.Image], Image.Image]

CHANGES: dict[str, tuple[str, Change]] = {
    "resaved": ("resaved", lambda image: image),
    "resized": ("resaved", lambda image: image.resize((image.width // 2, image.height // 2))),
    "cropped": ("edited", lambda image: image.crop((50, 30, image.width - 10, image.height - 40))),
    "mirrored": ("edited", lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "lighter": ("edited", lambda image: ImageEnhance.Brightness(image).enhance(1.2)),
    "grey": ("edited", lambda image: image.convert("L").convert("RGB")),
    "turned": ("similar", lambda image: image.rotate(4, resample=Image.Resampling.BICUBIC)),
}
"""What is done to a copy, and the weakest strength that has to find it."""

SCENES = 30


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Drawn scenes, of the first of which there are copies, named for the change: 0003-cropped.jpg."""
    folder = tmp_path_factory.mktemp("scenes")
    for seed in range(SCENES):
        sketch.draw(sketch.scene(seed), size=320).save(folder / f"{seed:04}.png")
    for seed, (name, (_, change)) in enumerate(CHANGES.items()):
        with Image.open(folder / f"{seed:04}.png") as image:
            change(image.convert("RGB")).save(folder / f"{seed:04}-{name}.jpg", quality=60)
    for seed in (0, 20):
        shutil.copy(folder / f"{seed:04}.png", folder / f"{seed:04}-exact.png")
    collection = Collection.create(db=folder / "db", encoder=load_encoder("bundled"))
    collection.index(folder)
    return collection


def names(found: Duplicates) -> list[list[str]]:
    """The file names of each group without their suffixes, that of the kept first, the others sorted."""
    return sorted(
        [Path(group.keep.id).stem, *sorted(Path(hit.id).stem for hit in group.others)]
        for group in found.groups
    )


@pytest.mark.parametrize("strength", STRENGTHS)
def test_each_strength_finds_what_it_says_and_no_more(planted: Collection, strength: Any) -> None:
    found = duplicates(planted, strength)
    reach = STRENGTHS.index(strength)
    expected = {0: ["0000", "0000-exact"], 20: ["0020", "0020-exact"]}
    for seed, (name, (least, _)) in enumerate(CHANGES.items()):
        if STRENGTHS.index(least) <= reach:
            expected.setdefault(seed, [f"{seed:04}"]).append(f"{seed:04}-{name}")
    groups = [[first, *sorted(others)] for first, *others in expected.values()]
    assert names(found) == sorted(groups)
    assert (found.strength, found.items, found.unseen) == (strength, SCENES + len(CHANGES) + 2, ())


def test_scores_are_cosines_to_the_one_that_is_kept(planted: Collection) -> None:
    found = duplicates(planted, "edited")
    assert found.groups
    for group in found.groups:
        kept, *others = planted.get([group.keep.id, *(hit.id for hit in group.others)])
        assert group.keep.score == pytest.approx(1.0, abs=1e-6)
        expected = [float(other.vector @ kept.vector) for other in others]
        assert [hit.score for hit in group.others] == pytest.approx(expected, abs=1e-6)
        assert expected == sorted(expected, reverse=True)


def test_a_filter_leaves_out(planted: Collection) -> None:
    assert duplicates(planted, "edited", where="width < 0").groups == ()
    only = duplicates(planted, "resaved", where="uri LIKE '%/0000%' -- the first")
    assert names(only) == [["0000", "0000-exact", "0000-resaved"]]
    with pytest.raises(FilterError, match="no column 'widht'"):
        duplicates(planted, where="widht > 3")


def test_progress_ends_with_all_that_is_compared(planted: Collection) -> None:
    told: list[tuple[int, int]] = []
    duplicates(planted, "resaved", progress=lambda now: told.append((now.done, now.total)))
    assert told[-1] == (SCENES + len(CHANGES), SCENES + len(CHANGES))


def test_nothing_is_deleted(planted: Collection) -> None:
    before = planted.count()
    duplicates(planted, "similar")
    assert planted.count() == before


# --- what is kept


def scene(seed: int, size: int) -> Image.Image:
    return sketch.draw(sketch.scene(seed), size=size)


def encoded(image: Image.Image, kind: str = "JPEG", quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, quality=quality)
    return out.getvalue()


def test_kept_is_the_one_of_most_pixels_then_the_largest_file_then_the_first(collection: Collection) -> None:
    small, fine, coarse = encoded(scene(1, 160)), encoded(scene(1, 320), quality=95), encoded(scene(1, 320))
    collection.add_images([small, coarse, fine, fine], ids=["a", "b", "d", "c"])
    (group,) = duplicates(collection, "resaved").groups
    assert group.keep.id == "c"
    assert {hit.id for hit in group.others} == {"a", "b", "d"}


def test_of_equal_files_the_oldest_is_kept(tmp_path: Path, collection: Collection) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, age in (("a", 1_000_000_000), ("b", 900_000_000), ("c", 1_100_000_000)):
        (folder / f"{name}.jpg").write_bytes(encoded(scene(1, 64)))
        os.utime(folder / f"{name}.jpg", (age, age))
    collection.index(folder)
    (group,) = duplicates(collection).groups
    assert Path(group.keep.id).name == "b.jpg"


# --- few items, and items without pictures


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("kind", ["image", "text"])
def test_none_and_one_have_no_duplicates(collection: Collection, strength: Any, kind: Any) -> None:
    assert duplicates(collection, strength, kind=kind) == Duplicates(strength, 0, ())
    collection.add_images([scene(1, 64)], ids=["a"])
    collection.add_texts(["red"], ids=["t"])
    assert duplicates(collection, strength, kind=kind) == Duplicates(strength, 1, ())


@pytest.mark.parametrize("strength", STRENGTHS[1:])
def test_two_are_enough(collection: Collection, strength: Any) -> None:
    collection.add_images([scene(1, 320), scene(1, 200)], ids=["a", "b"])
    (group,) = duplicates(collection, strength).groups
    assert (group.keep.id, [hit.id for hit in group.others]) == ("a", ["b"])
    collection.add_images([scene(2, 320)], ids=["b"])
    assert duplicates(collection, strength).groups == ()


def test_plain_pictures_of_other_colours_are_not_the_same(collection: Collection) -> None:
    grey = Image.new("RGB", (60, 60), (76, 76, 76))
    red = Image.new("RGB", (60, 60), (254, 0, 0))  # of the same brightness
    collection.add_images([grey, red, red.resize((90, 90))], ids=["grey", "red", "large"])
    for strength in STRENGTHS[1:]:
        (group,) = duplicates(collection, strength).groups
        assert (group.keep.id, [hit.id for hit in group.others]) == ("large", ["red"])


def test_of_pictures_without_a_thumbnail_exact_copies_are_found(collection: Collection) -> None:
    data = encoded(scene(1, 100))
    collection.add_images([data, data, encoded(scene(1, 80))], ids=["a", "b", "c"])
    collection._store.thumbnails.delete_ids(["a", "b"])
    found = duplicates(collection, "edited")
    assert [(group.keep.id, [hit.id for hit in group.others]) for group in found.groups] == [("a", ["b"])]
    assert found.unseen == ("a",)  # which stands for its copies


def test_texts_are_compared_by_their_words(collection: Collection) -> None:
    texts = {
        "a": "A red boat on the lake, at night",
        "b": "a red  BOAT on the lake at night!",
        "c": "a red boat on the lake by night",
        "d": "A red boat on the lake, at night",
        "e": "two green trees behind a house",
    }
    collection.add_texts(list(texts.values()), ids=list(texts))

    def found(strength: Any) -> list[set[str]]:
        groups = duplicates(collection, strength, kind="text").groups
        return [{group.keep.id, *(hit.id for hit in group.others)} for group in groups]

    assert found("exact") == [{"a", "d"}]
    assert found("resaved") == [{"a", "b", "d"}]
    assert found("edited") == [{"a", "b", "c", "d"}]
    assert found("similar") == [{"a", "b", "c", "d"}]
    assert duplicates(collection, "edited") == duplicates(collection, "edited", kind="text")
    assert duplicates(collection, "edited", kind="image").items == 0


def test_texts_of_one_meaning_are_those_with_near_vectors(collection: Collection) -> None:
    """FakeEncoder adds up words: the cosines to "red" are 4 / sqrt(17), 1 / sqrt(2) and 0."""
    texts = {"red": "red", "redder": "red red red red zebra", "less": "blue red", "other": "green"}
    collection.add_texts(list(texts.values()), ids=list(texts))
    (group,) = duplicates(collection, "similar", kind="text").groups
    assert (group.keep.id, [hit.id for hit in group.others]) == ("redder", ["red"])
    assert duplicates(collection, "edited", kind="text").groups == ()


@pytest.mark.parametrize("strength", ["same", "", None, "EXACT"])
def test_an_unknown_strength_is_refused(collection: Collection, strength: Any) -> None:
    with pytest.raises(InvalidInput, match="there is no strength"):
        duplicates(collection, strength)


# --- groups


def test_components_are_those_of_the_pairs() -> None:
    pairs = np.array([[0, 1], [2, 3], [1, 4], [5, 6], [3, 5]])
    assert [sorted(set(part.ravel().tolist())) for part in connected(pairs)] == [[0, 1, 4], [2, 3, 5, 6]]


def test_a_chain_is_taken_apart() -> None:
    """Each of a hundred numbers matches those up to two away, and no group may span more than that."""
    pairs = np.array([[i, j] for i in range(100) for j in (i + 1, i + 2) if j < 100])
    groups = list(stars(pairs, lambda asked: np.abs(asked[:, 0] - asked[:, 1]) <= 2))
    places = [place for group in groups for place in group]
    assert len(places) == len(set(places))
    assert max(group[-1] - group[0] for group in groups) <= 4
    assert len(places) >= 90


def test_whom_the_candidates_missed_is_asked_about() -> None:
    asked: list[tuple[int, int]] = []

    def match(pairs: Any) -> Any:
        asked.extend((one, other) for one, other in pairs.tolist())
        return np.ones(len(pairs), bool)

    pairs = np.array([[0, 1], [1, 2], [2, 3]])
    assert list(stars(pairs, match)) == [[0, 1, 2, 3]]
    assert asked == [(1, 3)]


def test_a_chain_of_crops_does_not_join_what_differs(collection: Collection) -> None:
    """A window slides across a wide picture: each step matches the next, and the ends share nothing."""
    wide = Image.new("RGB", (1600, 320))
    for place in range(5):
        wide.paste(scene(40 + place, 320), (320 * place, 0))
    steps = [wide.crop((left, 0, left + 320, 320)) for left in range(0, 1281, 32)]
    collection.add_images(steps, ids=[f"{at:02}" for at in range(len(steps))])
    found = duplicates(collection, "edited")
    for group in found.groups:
        places = [int(hit.id) for hit in (group.keep, *group.others)]
        assert max(places) - min(places) < 10


# --- looks and words


def test_looks_tell_which_have_no_thumbnail() -> None:
    thumbnails = {"a": encoded(scene(1, 100)), "b": b"no picture"}
    found = looks.read_looks(lambda _: thumbnails, ["a", "b", "c"])
    assert found.known.tolist() == [True, False, False]
    pairs = np.array([[0, 0], [0, 1], [1, 2]])
    assert looks.resaved(found, pairs).tolist() == [True, False, False]
    assert looks.agreeing(found, pairs, looks.SIMILAR).tolist() == [True, False, False]


def test_no_pairs_are_no_matches() -> None:
    none = np.empty((0, 2), np.int64)
    found = looks.read_looks(lambda _: {}, [])
    assert looks.agreeing(found, none, looks.EDITED).tolist() == []
    assert rewritten([], none).tolist() == []
    assert resembling([], none).tolist() == []


def test_words_are_folded() -> None:
    assert folded("  Ｒｅｄ—Boat, ÉTÉ ") == folded("red boat e\u0301te\u0301") == "red boat été"
    texts, pairs = ["!?", "😀", "😡", " 😀"], np.array([[0, 1], [1, 2], [1, 3]])
    assert rewritten(texts, pairs).tolist() == resembling(texts, pairs).tolist() == [False, False, True]

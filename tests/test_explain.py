from __future__ import annotations

from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from PIL import Image

from clipkit import Collection, Query
from clipkit.encoder import Encoder, PlaceEncoder
from clipkit.errors import ImageError, InvalidInput, PlacesUnavailable, QueryError
from clipkit.explain import OPACITY, WORDS, Heat, contributions, heat
from clipkit.testing import COLOURS, FakeEncoder

HALF = 4  # columns of the fake encoder's 8 that are red


def halves(width: int = 80, height: int = 80) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), COLOURS["blue"])
    image.paste(COLOURS["red"], (0, 0, width // 2, height))
    return image


@pytest.fixture
def file(collection: Collection, tmp_path: Path) -> Path:
    """A picture, in the collection among others."""
    path = tmp_path / "pictures" / "halves.png"
    path.parent.mkdir()
    halves().save(path)
    for colour in ("red", "green"):
        Image.new("RGB", (30, 30), colour).save(path.with_name(f"{colour}.png"))
    collection.index(path.parent)
    collection.add_texts(["a red car"], ids=["text"])
    return path


def of(collection: Collection, query: str | Query, id: str) -> float:
    """The score that a search gives to that item."""
    (hit,) = (hit for hit in collection.search(query) if hit.id == id)
    return hit.score


# --- parts and words


@pytest.mark.parametrize(
    "query",
    [
        "red",
        "-red",
        "red car - green",
        "0.25*red + 3*a green tree - 2*blue sky - boat",
        "1e30*red - 5e29*green",
        "red + id:text",
        Query.vector(np.arange(1.0, 33.0)) - 0.5 * Query.text("blue"),
        Query.image(Image.new("RGB", (9, 9), "red")) + Query.text("a car"),
    ],
    ids=str,
)
def test_the_shares_add_up_to_the_score(collection: Collection, file: Path, query: str | Query) -> None:
    for id in (str(file), str(file.with_name("red.png")), str(file.with_name("green.png"))):
        parts = contributions(collection, query, id)
        assert sum(part.share for part in parts) == pytest.approx(of(collection, query, id), abs=1e-6)


def test_the_shares_add_up_with_a_real_model(tmp_path: Path) -> None:
    collection = Collection.create(db=tmp_path / "db", encoder="bundled")
    collection.add_images([halves(), halves(90, 50)], ids=["a", "b"])
    query = "a red sky + 0.5*id:b - two boats at sea"
    parts = contributions(collection, query, "a")
    assert sum(part.share for part in parts) == pytest.approx(of(collection, query, "a"), abs=1e-6)
    assert [len(part.words) for part in parts] == [3, 0, 4]


def test_a_part_is_told_by_itself(collection: Collection, file: Path) -> None:
    id = str(file.with_name("red.png"))
    first, second, third = contributions(collection, "0.5*red car - 2*blue + id:text", id)
    assert [(part.part, part.what, part.weight) for part in (first, second, third)] == [
        ("red car", "text", 0.5),
        ("blue", "text", -2.0),
        ("id:text", "id", 1.0),
    ]
    assert first.cosine == pytest.approx(of(collection, "red car", id), abs=1e-6)
    assert third.cosine == pytest.approx(of(collection, "id:text", id), abs=1e-6)
    assert (second.cosine, second.share) == (0.0, 0.0)
    assert first.share / (0.5 * first.cosine) == pytest.approx(third.share / third.cosine)


def test_a_words_effect_is_what_the_score_loses_without_it(collection: Collection, file: Path) -> None:
    id, query = str(file.with_name("red.png")), "a red car - green tree"
    score = of(collection, query, id)
    first, second = contributions(collection, query, id)
    without = {
        "a": "red car - green tree",
        "red": "a car - green tree",
        "car": "a red - green tree",
        "green": "a red car - tree",
        "tree": "a red car - green",
    }
    words = first.words + second.words
    assert [word.text for word in words] == list(without)
    for word in words:
        assert word.effect == pytest.approx(score - of(collection, without[word.text], id), abs=1e-6)
    effects = {word.text: word.effect for word in words}
    assert effects["red"] > 0.3
    assert effects["car"] < 0


def test_a_word_that_stands_twice_is_left_out_once_each_time(collection: Collection, file: Path) -> None:
    (part,) = contributions(collection, "red red car", str(file))
    assert [word.text for word in part.words] == ["red", "red", "car"]
    assert part.words[0] == part.words[1]


def test_one_word_alone_has_no_effect_of_its_own(collection: Collection, file: Path) -> None:
    (part,) = contributions(collection, "red", str(file))
    assert part.words == ()
    assert part.share == part.cosine


def test_a_word_without_which_nothing_is_left_has_all_of_the_score(
    collection: Collection, file: Path
) -> None:
    id = str(file.with_name("red.png"))
    score = of(collection, "red car - red", id)
    (part, _) = contributions(collection, "red car - red", id)
    assert score < -0.1
    assert part.words[1].text == "car"
    assert part.words[1].effect == pytest.approx(score, abs=1e-6)


@pytest.mark.filterwarnings("ignore:.* longer than the context")
def test_of_a_long_text_only_the_first_words_are_told(collection: Collection, file: Path) -> None:
    words = [f"word{n}" for n in range(WORDS + 30)]
    (part,) = contributions(collection, " ".join(words), str(file))
    assert [word.text for word in part.words] == words[:WORDS]


def test_texts_have_contributions_too(collection: Collection, file: Path) -> None:
    (part,) = contributions(collection, "a red car", "text")
    assert part.cosine == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("explained", [contributions, heat])
def test_what_cannot_be_explained_is_an_error(
    explained: type[object], collection: Collection, file: Path
) -> None:
    with pytest.raises(InvalidInput, match="there is no item 'nowhere'"):
        explained(collection, "red", "nowhere")  # type: ignore[call-arg]
    with pytest.raises(InvalidInput, match="there is no item 'nowhere'"):
        explained(collection, "red + id:nowhere", str(file))  # type: ignore[call-arg]
    with pytest.raises(QueryError, match="this quote is never closed"):
        explained(collection, '"red', str(file))  # type: ignore[call-arg]
    with pytest.raises(InvalidInput, match="a query is a string or a Query"):
        explained(collection, 3, str(file))  # type: ignore[call-arg]
    with pytest.raises(InvalidInput, match="cancel each other"):
        explained(collection, "red - red", str(file))  # type: ignore[call-arg]


# --- heat


def test_heat_is_the_cosine_of_each_place_to_the_whole_query(collection: Collection, file: Path) -> None:
    plain = heat(collection, "red", str(file))
    assert plain.values.dtype == np.float32
    expected = np.zeros((8, 8))
    expected[:, :HALF] = 1.0
    np.testing.assert_allclose(plain.values, expected, atol=1e-6)
    both = heat(collection, "red - blue", str(file))
    expected[:, HALF:] = -1.0
    np.testing.assert_allclose(both.values, expected / sqrt(2), atol=1e-6)
    assert (both.box, both.method, both.source) == ((0, 0, 1, 1), "colours", "clipkit.testing")
    assert not both.from_thumbnail
    assert both.picture.size == (80, 80)


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "changed"])
def test_without_the_file_its_thumbnail_is_looked_at(collection: Collection, file: Path, gone: bool) -> None:
    if gone:
        file.unlink()
    else:
        Image.new("RGB", (80, 80), "green").save(file)
    found = heat(collection, "red", str(file))
    assert found.from_thumbnail
    np.testing.assert_allclose(found.values[:, [0, 1, 6, 7]], [[1, 1, 0, 0]] * 8, atol=1e-6)


def test_a_picture_that_was_handed_over_has_its_thumbnail(collection: Collection) -> None:
    collection.add_images([halves(1000, 500)], ids=["given"])
    found = heat(collection, "blue", "given")
    assert found.from_thumbnail
    assert found.picture.size == (256, 128)
    assert found.values[3, 7] == pytest.approx(1.0)


def test_a_picture_of_which_nothing_is_left_is_an_error(collection: Collection, file: Path) -> None:
    collection._store.thumbnails.delete_ids([str(file)])
    assert not heat(collection, "red", str(file)).from_thumbnail
    file.unlink()
    with pytest.raises(ImageError, match=r"halves\.png' cannot be looked at: its file is gone"):
        heat(collection, "red", str(file))


def test_a_text_has_no_heat(collection: Collection, file: Path) -> None:
    with pytest.raises(InvalidInput, match="'text' is a text, and only pictures have places"):
        heat(collection, "red", "text")


class Wholes(FakeEncoder):
    """An encoder made before there were places: it inherits that it has none."""

    _places = FakeEncoder.__mro__[1]._places  # type: ignore[attr-defined]


def bare() -> Encoder:
    """An encoder of nothing but what the protocol asks for."""
    fake = FakeEncoder()
    names = [name for name in dir(Encoder) if not name.startswith("_")]
    return cast(Encoder, SimpleNamespace(**{name: getattr(fake, name) for name in names}))


@pytest.mark.parametrize("encoder", [Wholes(), bare()], ids=["inherits", "bare"])
def test_an_encoder_without_places_says_so(encoder: Encoder, db: Path) -> None:
    collection = Collection.create("plain", db=db, encoder=encoder)
    collection.add_images([halves()], ids=["a"])
    assert len(contributions(collection, "red car", "a")) == 1
    with pytest.raises(PlacesUnavailable, match="fake embeds pictures as wholes and tells no places"):
        heat(collection, "red", "a")


def test_only_encoders_that_can_are_place_encoders() -> None:
    assert isinstance(FakeEncoder(), PlaceEncoder)
    assert not isinstance(bare(), PlaceEncoder)


# --- the picture of it


def made(values: list[list[float]], box: tuple[float, float, float, float], size: tuple[int, int]) -> Heat:
    grey = Image.new("RGB", size, (100, 100, 100))
    return Heat(np.array(values, np.float32), box, "by hand", "this test", grey)


def test_the_overlay_leaves_what_is_cold_and_beyond_the_box() -> None:
    shown = np.asarray(made([[0.1, 0.1], [0.1, 0.3]], (0.25, 0, 0.75, 1), (80, 40)).overlay())
    assert shown.shape == (40, 80, 3)
    assert (shown[:, :20] == 100).all()
    assert (shown[:, 60:] == 100).all()
    assert (shown[2, 22] == 100).all()
    hottest = np.rint(100 * (1 - OPACITY) + np.array([252, 255, 164]) * OPACITY)
    np.testing.assert_array_equal(shown[38, 58], hottest)


def test_a_box_beyond_the_picture_is_cut_where_the_picture_ends() -> None:
    """As of a model that pads: the places above and below it show nothing."""
    shown = np.asarray(made([[0.0], [1.0], [0.0]], (0, -1, 1, 2), (10, 10)).overlay())
    assert shown.shape == (10, 10, 3)
    assert (shown[5] != 100).any()
    shown = np.asarray(made([[1.0], [0.0], [0.0], [0.0]], (0, -1, 1, 3), (10, 10)).overlay())
    assert (shown[8] == 100).all()


def test_even_heat_shows_the_picture_as_it_is() -> None:
    assert (np.asarray(made([[0.4, 0.4]], (0, 0, 1, 1), (8, 8)).overlay()) == 100).all()


def test_the_overlay_takes_the_picture_in_another_size(collection: Collection, file: Path) -> None:
    found = heat(collection, "red", str(file))
    large = np.asarray(found.overlay(halves(400, 400)))
    assert large.shape == (400, 400, 3)
    np.testing.assert_array_equal(large[:, 300:], np.asarray(halves(400, 400))[:, 300:])
    assert (large[:, :150] != np.asarray(halves(400, 400))[:, :150]).any()
    np.testing.assert_array_equal(np.asarray(found.overlay(file)), np.asarray(found.overlay()))


def test_hotter_is_lighter_throughout() -> None:
    """Perceptually ordered: lightness (CIE L*) rises with the heat, on black and laid thinly."""
    ramp = made([list(np.linspace(0, 1, 200))], (0, 0, 1, 1), (200, 1))
    black = Heat(ramp.values, ramp.box, "by hand", "this test", Image.new("RGB", (200, 1)))
    share = np.asarray(black.overlay())[0] / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    assert (np.diff(lightness) > -0.3).all()  # colours are rounded to whole levels
    assert lightness[-1] - lightness[0] > 60

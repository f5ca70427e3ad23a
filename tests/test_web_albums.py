from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipkit import Collection, albums
from clipkit.encoder import Vectors
from clipkit.errors import InvalidInput
from clipkit_web.albums_tab import opened, save
from clipkit_web.asking import question
from clipkit_web.form import Form, Weighted
from clipkit_web.site import Options, Site
from tests.web_site import draw_scenes, fill


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    place = tmp_path_factory.mktemp("albums")
    draw_scenes(place / "pictures", range(6))
    return fill(place / "db", place / "pictures")


@pytest.fixture(scope="module")
def site(collection: Collection) -> Site:
    return Site(Options(db=collection.db))


def images(collection: Collection) -> list[str]:
    return sorted(collection.to_arrow(columns=["id"], where="kind = 'image'")["id"].to_pylist())


def test_a_question_comes_back_from_its_album(site: Site, collection: Collection) -> None:
    good, bad, liked = images(collection)[:3]
    key = site.uploads.keep(Path(good).read_bytes())
    form = Form(
        collection="default",
        q="2*a boat - the sea",
        picture=(Weighted(key, 0.5),),
        item=(Weighted(liked, -0.5),),
        good=(good,),
        bad=(bad,),
        edge=100,
        cut="auto",
        words=True,
    )
    save(site, form, "Boats", again=False)
    again = opened(site, "default", albums.named(collection, "Boats"))
    before, after = question(site, collection, form), question(site, collection, again)
    assert before is not None
    assert after is not None
    encoder = collection.encoder

    def stored(ids: list[str]) -> Vectors:
        return np.stack([item.vector for item in collection.get(ids)])

    cosine = float(np.dot(before.resolve(encoder, stored), after.resolve(encoder, stored)))
    assert cosine == pytest.approx(1.0, abs=2e-3)  # the picture is kept reduced
    assert (again.good, again.bad, again.cut, again.words) == ((good,), (bad,), "auto", True)
    assert again.where == "(least(width, height) >= 100)"


def test_a_name_is_taken_until_it_is_to_be_replaced(site: Site, collection: Collection) -> None:
    save(site, Form(q="a boat"), "Taken", again=False)
    with pytest.raises(InvalidInput, match="there is an album 'Taken' already"):
        save(site, Form(q="a house"), "Taken", again=False)
    save(site, Form(q="a house"), "Taken", again=True)
    assert str(albums.named(collection, "Taken").query) == "a house"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Form(since="2020"), "nothing to look for"),
        (Form(q="a boat", picked="x"), "a selection of the map cannot fill itself"),
    ],
)
def test_what_cannot_fill_itself_is_no_album(site: Site, form: Form, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        save(site, form, "Nothing", again=False)

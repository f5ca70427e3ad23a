"""The map: what is drawn, and in a browser the way from a point or a lasso into the gallery."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import plotly
import pytest
from starlette.testclient import TestClient

from clipkit import Collection, Query, maps
from clipkit.errors import ClipkitError
from clipkit.hiding import hide, unhide
from clipkit_web.components import Gallery
from clipkit_web.form import Form
from clipkit_web.map_tab import MapTab, _drawn_apart
from clipkit_web.serving import application
from clipkit_web.site import Options, Site
from tests.web_site import (
    DESKTOP,
    HOW_TO_GET_ONE,
    PHONE,
    browser_path,
    draw_scenes,
    fill,
    serving,
    visitor,
    watched,
)

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    place = tmp_path_factory.mktemp("pictures")
    draw_scenes(place, range(40))
    db = tmp_path_factory.mktemp("db")
    Collection.create("empty", db=db, encoder="bundled")
    return fill(db, place)


@pytest.fixture(scope="module")
def site(collection: Collection) -> Site:
    return Site(Options(db=collection.db))


@pytest.fixture
def tab(site: Site) -> MapTab:
    """The tab; what it asks the search to show is the form itself."""
    with gr.Blocks():
        return MapTab(site, gr.Dropdown(), Gallery(lambda form: [form], [gr.State()]))


def acted(tab: MapTab, **data: Any) -> Any:
    (shown,) = tab._acted(gr.EventData(None, data), "default")
    return shown


def test_the_map_is_that_of_the_library(tab: MapTab, collection: Collection) -> None:
    drawn = tab.draw({"collection": "default", "method": "pca"})
    found = maps.project(collection, method="pca")
    assert drawn["ids"] == list(found.ids)
    assert (drawn["total"], drawn["method"], drawn["explained"]) == (40, "pca", found.explained)
    np.testing.assert_allclose(np.stack([drawn["x"], drawn["y"]], axis=1), found.xy, atol=1e-5)


def test_groups_are_found_by_a_process_of_its_own(tab: MapTab, collection: Collection) -> None:
    """Like ones lie nearer than others, as in the library's tests; the layout itself is chance."""
    drawn = tab.draw({"collection": "default", "method": "umap"})
    assert drawn["ids"] == list(pictures(collection))
    assert (drawn["total"], drawn["method"], drawn["explained"]) == (40, "umap", None)
    xy = np.stack([drawn["x"], drawn["y"]], axis=1)
    assert np.ptp(xy, axis=0).max() == pytest.approx(2.0)
    distances = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    vectors = np.stack([item.vector for item in collection.get(drawn["ids"])])
    assert np.corrcoef(distances.ravel(), (vectors @ vectors.T).ravel())[0, 1] < -0.3


def test_what_stops_that_process_is_told(collection: Collection) -> None:
    with pytest.raises(ClipkitError, match="nosuch"):
        _drawn_apart(collection, "nosuch > 3")


def test_a_map_is_drawn_once_until_pictures_come_or_go(tab: MapTab, collection: Collection) -> None:
    asked = {"collection": "default", "method": "pca"}
    first, key = tab.draw(asked), tab.shown("default")["key"]
    assert tab.draw(asked) is first
    hide(collection, [first["ids"][3]])
    try:
        assert tab.shown("default")["key"] != key
        assert tab.draw(asked)["ids"] == [*first["ids"][:3], *first["ids"][4:]]
    finally:
        unhide(collection, [first["ids"][3]])
    assert tab.draw(asked) is first


def test_an_empty_collection_has_an_empty_map(tab: MapTab) -> None:
    assert tab.draw({"collection": "empty", "method": "umap"})["ids"] == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"collection": "default", "method": "som"}, "there is no method 'som': it is pca or umap"),
        ({"collection": "nowhere", "method": "pca"}, "no collection 'nowhere'"),
    ],
)
def test_what_cannot_be_drawn_is_told(tab: MapTab, asked: dict[str, str], message: str) -> None:
    assert message in tab.draw(asked)["error"]


def test_without_plotly_the_install_line_is_told(tab: MapTab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert "pip install 'clipkit[web]'" in tab.draw({"collection": "default", "method": "pca"})["error"]


def test_what_is_picked_is_what_the_search_shows(tab: MapTab, site: Site, collection: Collection) -> None:
    ids = collection.to_arrow(columns=["id"], where="kind = 'image'")["id"].to_pylist()
    form = acted(tab, action="pick", ids=ids[:7])
    assert form == Form(collection="default", picked=form.picked)
    assert site.picked(form.picked) == tuple(ids[:7])
    assert str(acted(tab, action="similar", id=ids[0]).item[0]) == f"1*{ids[0]}"


@pytest.mark.parametrize("ids", [None, [], [7, None], ["x" * 5000], ["x"] * 20_001])
def test_a_selection_that_is_none_changes_nothing(tab: MapTab, ids: Any) -> None:
    with pytest.warns(UserWarning, match="a selection has from 1 to 20,000 pictures"):
        assert acted(tab, action="pick", ids=ids) == gr.skip()


def test_plotly_comes_from_this_machine(site: Site) -> None:
    with TestClient(application(site), base_url="http://127.0.0.1:7860") as client:
        served = client.get("/static/plotly.min.js")
    assert served.content == PLOTLY.read_bytes()
    assert served.headers["content-type"].startswith("text/javascript")


# --- in a browser


@pytest.fixture(scope="module")
def url(site: Site) -> Iterator[str]:
    with serving(site) as address:
        yield address


@pytest.fixture(scope="module")
def person() -> Iterator[Any]:
    if browser_path() is None:
        pytest.skip(HOW_TO_GET_ONE)
    with visitor() as someone:
        yield someone


@pytest.fixture
def page(person: Any, url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The map, with its groups found."""
    with watched(person, url, getattr(request, "param", DESKTOP), request.node.name) as page:
        tab = page.get_by_role("tab", name="Map")
        if not tab.count():  # on a phone the last tabs are in a menu
            page.click(".overflow-menu > button")
            tab = page.locator(".overflow-dropdown >> text=Map")
        tab.click()
        page.wait_for_selector(".ck-map[data-method=umap]")
        yield page


PLACES = """() => {
    const plot = document.querySelector(".ck-plot"), box = plot.getBoundingClientRect();
    const { xaxis, yaxis } = plot._fullLayout, { x, y } = plot._fullData[0];
    return Array.from(x, (_, at) => [box.left + xaxis._offset + xaxis.l2p(x[at]),
                                     box.top + yaxis._offset + yaxis.l2p(y[at])]);
}"""


def places(page: Any) -> list[tuple[float, float]]:
    """Where the points are on the screen, in the order of their ids."""
    return [(float(x), float(y)) for x, y in page.evaluate(PLACES)]


def lonely(page: Any) -> int:
    """The point that is farthest from the others: no other is near the pointer."""
    at = np.array(places(page))
    distances = np.linalg.norm(at[:, None] - at[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return int(distances.min(axis=1).argmax())


def shown(page: Any) -> list[str]:
    """The ids in the gallery, once it has what the address asks for."""
    page.wait_for_function(
        "() => { const look = document.querySelector('.ck-gallery');"
        " return look.dataset.link && look.dataset.link === location.search.replace(/^\\?/, '') }"
    )
    ids: list[str] = page.eval_on_selector_all("figure", "all => all.map(one => one.dataset.id)")
    return ids


def pictures(collection: Collection) -> tuple[str, ...]:
    return maps.project(collection, method="pca").ids


@pytest.mark.parametrize("page", [DESKTOP, PHONE], indirect=True, ids=["desktop", "phone"])
def test_all_points_are_in_sight(page: Any) -> None:
    box = page.locator(".ck-stage-map").bounding_box()
    at = np.array(places(page))
    assert len(at) == 40
    assert (at > [box["x"], box["y"]]).all()
    assert (at < [box["x"] + box["width"], box["y"] + box["height"]]).all()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.inner_text(".ck-told") == "40 pictures"


def test_a_point_shows_its_picture_at_the_pointer(page: Any, collection: Collection) -> None:
    point = lonely(page)
    x, y = places(page)[point]
    page.mouse.move(x - 40, y - 40)
    page.mouse.move(x, y, steps=4)
    page.wait_for_selector(".ck-tip:visible")
    source = page.get_attribute(".ck-tip", "src")
    assert source.endswith(page.evaluate("encodeURIComponent", pictures(collection)[point]))
    page.mouse.move(2, 2)
    page.wait_for_selector(".ck-tip", state="hidden")
    assert not page.locator(".ck-tip").is_visible()


def test_a_click_leads_to_what_is_similar(page: Any, collection: Collection) -> None:
    point = lonely(page)
    page.mouse.click(*places(page)[point])
    page.wait_for_selector(".ck-picked >> text=1 picture")
    page.click(".ck-picked >> text=similar")
    page.wait_for_selector("#ck-box:visible")
    page.wait_for_function("() => location.search.includes('item=')")
    like = Query.item(pictures(collection)[point])
    assert shown(page) == [hit.id for hit in collection.search(like, k=60, kind="image")]


def test_a_lasso_leads_into_the_gallery_and_out_again(page: Any, collection: Collection) -> None:
    at = np.array(places(page))
    columns = np.sort(at[:, 0])
    gap = 10 + int(np.diff(columns[10:30]).argmax())  # around the middle, where no point is near the line
    left, top = columns[gap : gap + 2].mean(), at[:, 1].min() - 15
    corners = [(left, at[:, 1].max() + 15), (at[:, 0].max() + 15, at[:, 1].max() + 15)]
    page.click(".ck-tools >> text=lasso")
    page.mouse.move(left, top)
    page.mouse.down()
    for corner in [*corners, (at[:, 0].max() + 15, top), (left, top)]:
        page.mouse.move(*corner, steps=6)
    page.mouse.up()
    page.wait_for_selector(".ck-picked strong")
    inside = {name for name, (x, _) in zip(pictures(collection), at, strict=True) if x > left}
    assert page.inner_text(".ck-picked strong") == f"{len(inside)} pictures"
    assert page.locator(".ck-preview img").count() == min(24, len(inside))
    page.click("text=show in the gallery")
    page.wait_for_function("() => location.search.includes('picked=')")
    assert set(shown(page)) == inside
    page.click("text=a part of the map >> button")
    page.wait_for_function("() => !location.search.includes('picked=')")
    page.wait_for_function("() => document.querySelectorAll('figure').length === 40")
    assert page.locator("text=a part of the map").count() == 0


def test_a_selection_is_given_up(page: Any) -> None:
    page.mouse.click(*places(page)[lonely(page)])
    page.wait_for_selector(".ck-picked:visible")
    page.click(".ck-picked >> text=clear")
    page.wait_for_selector(".ck-picked", state="hidden")
    assert page.evaluate("() => document.querySelector('.ck-plot').data[0].selectedpoints") is None


def test_the_map_is_moved_nearer_and_back(page: Any) -> None:
    before = np.array(places(page))
    page.click("[aria-label=nearer]")
    page.wait_for_timeout(100)
    nearer = np.array(places(page))
    np.testing.assert_allclose(np.ptp(nearer, axis=0), 1.6 * np.ptp(before, axis=0), rtol=0.01)
    page.click("[aria-label='all of the map']")
    page.wait_for_timeout(100)
    np.testing.assert_allclose(np.array(places(page)), before, atol=0.5)


def test_the_other_method_is_drawn_at_a_press(page: Any) -> None:
    page.click(".ck-tools >> text=spread")
    page.wait_for_selector(".ck-map[data-method=pca]")
    page.wait_for_selector(".ck-told >> text=of the differences")
    assert page.get_attribute(".ck-tools >> text=spread", "aria-pressed") == "true"


def test_an_empty_collection_says_that_there_is_nothing_to_map(page: Any, url: str) -> None:
    page.goto(f"{url}?collection=empty")
    page.wait_for_selector(".ck-empty")
    page.get_by_role("tab", name="Map").click()
    page.wait_for_selector(".ck-stage-map .ck-empty")
    assert "no pictures to map yet" in page.inner_text(".ck-stage-map")


def test_dark_points_are_light(page: Any) -> None:
    colour = "() => document.querySelector('.ck-plot').data[0].marker.color"
    light = page.evaluate(colour)
    page.click("#ck-dark")
    page.wait_for_function(f"light => ({colour})() !== light", arg=light)
    assert page.evaluate(colour) == "#5eead4"

"""The page in a real browser, on a desktop and on a phone. Screenshots are left in build/screenshots/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipkit import Collection, Query, albums, filters
from clipkit.hiding import hidden, unhide
from clipkit.sketch import caption, scene
from clipkit_web.site import Options, Site
from tests.web_site import (
    DESKTOP,
    HOW_TO_GET_ONE,
    PHONE,
    SCREENSHOTS,
    browser_path,
    draw_scenes,
    fill,
    serving,
    visitor,
    watched,
)

pytestmark = pytest.mark.skipif(browser_path() is None, reason=HOW_TO_GET_ONE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pictures")
    draw_scenes(place, range(40))
    return place


@pytest.fixture(scope="module")
def collection(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    db = tmp_path_factory.mktemp("db")
    Collection.create("empty", db=db, encoder="bundled")
    return fill(db, folder)


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that may be indexed from the page: five pictures, and one that is none."""
    place = tmp_path_factory.mktemp("more")
    draw_scenes(place / "trip", range(100, 105))
    (place / "trip" / "broken.jpg").write_bytes(b"no picture")
    return place


@pytest.fixture(scope="module")
def url(collection: Collection, more: Path) -> Iterator[str]:
    with serving(Site(Options(db=collection.db, roots=(more,)))) as address:
        yield address


@pytest.fixture(scope="module")
def person() -> Iterator[Any]:
    with visitor() as someone:
        yield someone


@pytest.fixture
def page(person: Any, url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page on a desktop, or in the size that the test asks for."""
    with watched(person, url, getattr(request, "param", DESKTOP), request.node.name) as opened:
        yield opened


def ask(page: Any, text: str) -> None:
    before = page.url
    page.fill("#ck-box textarea", text)
    page.press("#ck-box textarea", "Enter")
    page.wait_for_function("before => location.href !== before", arg=before)
    settled(page)


def settled(page: Any) -> None:
    """Waits until what the address asks for is what the gallery shows."""
    page.wait_for_function(
        "() => { const look = document.querySelector('.ck-gallery');"
        " return look && look.dataset.link === location.search.replace(/^\\?/, '') }"
    )


def shown(page: Any) -> list[str]:
    """The ids in the gallery, in order."""
    ids: list[str] = page.eval_on_selector_all("figure", "all => all.map(one => one.dataset.id)")
    return ids


def found(collection: Collection, query: str | Query, where: str | None = None) -> list[str]:
    return [hit.id for hit in collection.search(query, k=60, kind="image", where=where)]


@pytest.mark.parametrize("page", [DESKTOP, PHONE], indirect=True, ids=["desktop", "phone"])
def test_words_find_what_they_say(page: Any, collection: Collection) -> None:
    said = caption(scene(7))
    ask(page, said)
    assert shown(page) == found(collection, said)
    assert shown(page)[0].endswith("0007.jpg")
    best = collection.search(said, kind="image")[0]
    assert page.locator("figure .ck-score").first.inner_text() == f"{best.score:.3f}"
    assert "40 pictures, the nearest first" in page.inner_text("#ck-status")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_pictures_without_a_question_are_the_latest_first(page: Any, collection: Collection) -> None:
    when = collection.to_arrow(columns=["id", "taken_at"], where="kind = 'image'").to_pylist()
    assert shown(page) == [row["id"] for row in sorted(when, key=lambda row: row["taken_at"], reverse=True)]
    assert "40 pictures, the latest first" in page.inner_text("#ck-status")


def test_a_minus_in_the_line_is_unlike(page: Any, collection: Collection) -> None:
    line = "2*a boat - 0.5*the sea"
    ask(page, line)
    assert shown(page) == found(collection, line)
    assert shown(page) != found(collection, "a boat")


def test_a_picture_dropped_on_the_box_finds_itself(page: Any, folder: Path) -> None:
    before = page.url
    page.set_input_files("#ck-box input[type=file]", folder / "0011.jpg")
    page.wait_for_selector("#ck-box button.thumbnail-item, #ck-box .thumbnail-image, #ck-box img")
    page.press("#ck-box textarea", "Enter")
    page.wait_for_function("before => location.href !== before", arg=before)
    settled(page)
    assert shown(page)[0].endswith("0011.jpg")
    assert page.locator(".ck-chip img").count() == 1
    page.click("text=clear")
    page.wait_for_function("() => !document.querySelector('.ck-chip')")
    assert page.locator(".ck-chip").count() == 0


def test_a_file_that_is_no_picture_is_refused_in_words(page: Any, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("no picture at all")
    page.set_input_files("#ck-box input[type=file]", tmp_path / "holiday.jpg")
    page.wait_for_selector("#ck-box button.thumbnail-item, #ck-box .thumbnail-image, #ck-box img")
    page.press("#ck-box textarea", "Enter")
    page.wait_for_selector(".ck-error")
    assert "the picture is not an image that Pillow can read" in page.inner_text(".ck-error")
    page.fill("#ck-box textarea", "a boat")
    page.reload()
    page.wait_for_selector("figure")
    assert len(shown(page)) == 40


def test_a_hit_opens_large_with_what_is_known_of_it(page: Any) -> None:
    said = caption(scene(7))
    ask(page, said)
    page.locator("figure").first.click()
    page.wait_for_selector("dialog .ck-bar")
    side = page.inner_text("dialog .ck-side")
    assert "0007.jpg" in side
    assert "2020-01-08 12:00" in side
    assert "Maker Model 1" in side
    assert "256 × 256" in side
    assert said in side  # the caption, and the best of the texts
    words = page.locator("dialog .ck-words .ck-bar-label").all_inner_texts()
    assert words == said.split()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('dialog nav span').textContent.startsWith('2 /')")
    page.keyboard.press("Escape")
    assert not page.locator("dialog[open]").count()


def test_why_lays_heat_over_the_picture_and_names_its_method(page: Any) -> None:
    ask(page, caption(scene(7)))
    page.locator("figure").first.click()
    page.click("dialog >> text=why?")
    page.wait_for_selector(".ck-why >> text=class activation mapping")
    assert page.get_attribute("dialog img.ck-large", "src").startswith("data:image/jpeg;base64,")


def test_similar_asks_for_what_is_like_a_hit(page: Any, collection: Collection) -> None:
    ask(page, caption(scene(7)))
    first = shown(page)[0]
    page.locator("figure").first.click()
    page.click("dialog .ck-buttons >> text=similar")
    page.wait_for_function("() => location.search.includes('item=')")
    settled(page)
    assert shown(page) == found(collection, Query.item(first))
    assert first not in shown(page)
    assert page.input_value("#ck-box textarea") == ""


def test_weights_of_what_was_added_can_be_moved(page: Any, collection: Collection) -> None:
    ask(page, "a boat")
    added = shown(page)[-1]
    page.locator("figure").last.click()
    page.click("dialog .ck-buttons >> text=more like this")
    page.wait_for_selector(".ck-chip")
    settled(page)
    assert shown(page) == found(collection, Query.text("a boat") + 0.5 * Query.item(added))
    page.locator(".ck-chip input").fill("-0.5")
    page.wait_for_function("() => location.search.includes('item=-0.5')")
    settled(page)
    assert shown(page) == found(collection, Query.text("a boat") - 0.5 * Query.item(added))


def test_marks_refine_and_the_question_is_kept_as_an_album(page: Any, collection: Collection) -> None:
    ask(page, "a house")
    good, bad = shown(page)[2], shown(page)[0]
    for mark, place in (("g", 2), ("b", 0)):
        page.locator("figure").nth(place if mark == "g" else shown(page).index(bad)).focus()
        page.keyboard.press(mark)
        page.wait_for_function(
            "mark => location.search.includes(mark)", arg={"g": "good=", "b": "bad="}[mark]
        )
        settled(page)
    assert shown(page).index(good) < 2
    assert "1 good" in page.inner_text(".ck-asked")
    page.click("text=save as album")
    page.fill(".ck-save input[type=text]", "Houses")
    page.press(".ck-save input[type=text]", "Enter")
    page.wait_for_selector("text=Saved as the album Houses")
    kept = albums.named(collection, "Houses")
    assert (kept.good, kept.bad, str(kept.query)) == ((good,), (bad,), "a house")
    page.get_by_role("tab", name="Albums").click()
    page.wait_for_selector(".ck-album >> text=Houses")
    page.screenshot(path=SCREENSHOTS / "albums.png")
    page.click(".ck-covers")
    page.wait_for_selector("#ck-box textarea:visible")
    page.wait_for_function("() => document.querySelector('#ck-box textarea').value === 'a house'")
    settled(page)
    assert shown(page).index(good) < 2
    albums.delete(collection, "Houses")


def test_filters_pass_what_they_say(page: Any, collection: Collection) -> None:
    page.click("text=Filters")
    page.get_by_label("taken since").fill("2020-01-21")
    page.get_by_label("taken since").press("Enter")
    page.wait_for_function("() => location.search.includes('since=')")
    settled(page)
    assert sorted(shown(page)) == sorted(found(collection, "x", filters.since("2020-01-21")))
    assert len(shown(page)) == 20
    page.get_by_label("SQL").fill("width >")
    page.get_by_label("SQL").press("Enter")
    page.wait_for_selector(".ck-error")
    assert "width >" in page.inner_text(".ck-error")
    page.get_by_label("SQL").fill("width > 255")
    page.get_by_label("SQL").press("Enter")
    page.wait_for_function("() => !document.querySelector('.ck-error')")
    settled(page)
    assert len(shown(page)) == 20


def test_the_cut_off_keeps_what_stands_out(page: Any, collection: Collection) -> None:
    said = caption(scene(7))
    ask(page, said)
    least = collection.cutoffs(said)["image"]
    assert f"auto {least:.2f}" in page.inner_text(".ck-mark")
    page.click("text=what stands out")
    page.wait_for_function("() => location.search.includes('cut=auto')")
    settled(page)
    kept = [hit.id for hit in collection.search(said, k=60, kind="image", min_score="auto")]
    assert shown(page) == kept
    assert 0 < len(kept) < 40


def test_a_link_shows_another_person_the_same(page: Any, person: Any) -> None:
    ask(page, "a boat - people")
    other = person.browser.new_page()
    other.goto(page.url)
    other.wait_for_selector("figure")
    settled(other)
    assert shown(other) == shown(page)
    assert other.input_value("#ck-box textarea") == "a boat - people"
    other.close()


def test_the_browsers_buttons_go_back_and_forth(page: Any) -> None:
    ask(page, "a boat")
    first = shown(page)
    ask(page, "a house")
    second = shown(page)
    page.go_back()
    page.wait_for_function("() => document.querySelector('#ck-box textarea').value === 'a boat'")
    settled(page)
    assert shown(page) == first
    page.go_forward()
    page.wait_for_function("() => document.querySelector('#ck-box textarea').value === 'a house'")
    settled(page)
    assert shown(page) == second


def test_more_hits_come_when_the_end_is_reached(page: Any, url: str, collection: Collection) -> None:
    page.goto(f"{url}?q=a+boat&k=10")
    page.wait_for_selector("figure")
    page.mouse.wheel(0, 10_000)
    page.wait_for_function("() => document.querySelectorAll('figure').length === 40")
    assert shown(page) == found(collection, "a boat")


def test_everything_works_by_keyboard(page: Any) -> None:
    ask(page, "a boat")
    page.locator("figure").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.id") == shown(page)[1]
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.id") not in shown(page)[:2]
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    assert not page.locator("dialog[open]").count()


def test_what_is_hidden_goes_and_can_be_shown_again(page: Any, collection: Collection) -> None:
    ask(page, "a boat")
    first = shown(page)[0]
    page.locator("figure").first.click()
    page.click("dialog .ck-buttons >> text=hide")
    page.wait_for_function("() => document.querySelectorAll('figure').length === 39")
    assert first not in shown(page)
    assert hidden(collection) == [first]
    unhide(collection, [first])


def test_an_empty_collection_says_what_to_do(page: Any, url: str) -> None:
    page.goto(f"{url}?collection=empty")
    page.wait_for_selector(".ck-empty")
    told = page.inner_text(".ck-empty")
    assert "This collection is empty." in told
    assert "Index a folder on the page Manage." in told


def test_a_collection_that_is_not_there_is_told_with_its_name(page: Any, url: str) -> None:
    page.goto(f"{url}?collection=holiday")
    page.wait_for_selector(".ck-error")
    assert "no collection 'holiday'" in page.inner_text(".ck-error")


def test_a_path_typed_as_a_picture_is_not_opened(page: Any, folder: Path) -> None:
    page.fill("#ck-box textarea", f"image:{folder}/0001.jpg")
    page.press("#ck-box textarea", "Enter")
    page.wait_for_selector(".ck-error")
    assert "is a path, which the page does not open" in page.inner_text(".ck-error")


def test_a_picture_is_described_by_texts_and_tags(page: Any, folder: Path) -> None:
    page.get_by_role("tab", name="Describe").click()
    page.set_input_files("#ck-described input[type=file]", folder / "0007.jpg")
    page.wait_for_selector(".ck-described ol.ck-texts li")
    assert caption(scene(7)) in page.locator(".ck-described ol.ck-texts li").first.inner_text()


def test_dark_is_dark(page: Any) -> None:
    lightness = (
        "() => Math.max(...getComputedStyle(document.querySelector('gradio-app'))"
        ".backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
    )
    assert page.evaluate(lightness) > 200
    page.click("#ck-dark")
    page.wait_for_function(f"() => ({lightness})() < 80")
    page.click("#ck-dark")
    page.wait_for_function(f"() => ({lightness})() > 200")


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
def test_a_hit_fills_a_phone(page: Any) -> None:
    ask(page, "a boat")
    page.locator("figure").first.click()
    page.wait_for_selector("dialog .ck-bar")
    box = page.locator("dialog").bounding_box()
    assert (box["x"], box["y"], box["width"]) == (0, 0, PHONE[0])
    assert page.locator("dialog >> text=similar").is_visible()


def test_a_folder_is_indexed_from_the_page_and_its_failures_are_listed(
    page: Any, url: str, collection: Collection, more: Path
) -> None:
    page.get_by_role("tab", name="Manage").click()
    page.wait_for_selector("#ck-manage-collections td")  # which moves what is below it
    page.fill("#ck-below textarea, #ck-below input", "../..")
    page.fill("#ck-into input", "trips")
    page.press("#ck-into input", "Enter")
    page.click("#ck-start-index")
    page.wait_for_selector(".ck-indexing .ck-wrong")
    assert Collection.names(collection.db) == ["default", "empty"]
    page.fill("#ck-below textarea, #ck-below input", "trip")
    page.click("#ck-start-index")
    page.wait_for_selector(".ck-indexing >> text=Done in")
    told = page.inner_text(".ck-indexing")
    assert "5 added" in told
    assert str(more / "trip" / "broken.jpg") in told
    made = Collection.open("trips", db=collection.db)
    assert made.count(kind="image") == 5
    page.goto(f"{url}?collection=trips")
    page.wait_for_selector("figure")
    assert len(shown(page)) == 5


def test_duplicates_stand_side_by_side_and_can_be_hidden(page: Any, collection: Collection) -> None:
    twin = Path(shown(page)[0]).with_name("twin.jpg")
    twin.write_bytes(Path(shown(page)[0]).read_bytes())
    collection.index(twin)
    page.get_by_role("tab", name="Manage").click()
    page.click("text=Near-duplicates")
    page.click("#ck-start-doubles")
    page.wait_for_selector(".ck-doubles img >> nth=1")
    page.locator(".ck-doubles button", has_text="hide").first.click()
    for _ in range(100):
        if hidden(collection):
            break
        page.wait_for_timeout(100)
    assert len(hidden(collection)) == 1
    unhide(collection, hidden(collection))
    collection.delete([twin.as_posix()])

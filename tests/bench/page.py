"""How fast the page answers: python -m tests.bench.page [--rows N ...] [--browser]

For each number of pictures, in ms, p50 and p95 of: a text, a picture, a text refined by four marks, a text
with three filters, and the pictures without a question, each as the page asks them (query embedded, cut-off,
search, cards of the gallery); then the text asked by ten people at once. With --browser also from Enter to
the first pictures on the screen, in Chromium.

The model is `bundled`; the vectors are synthetic (`ann.clustered`), the thumbnails all the same drawn one.
Each search asks a text of its own, so none is remembered.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import gradio as gr

from clipkit import Collection, load_encoder
from clipkit.resizing import thumbnail
from clipkit.schema import ItemRow
from clipkit.sketch import draw, scene
from clipkit_web.form import Form
from clipkit_web.search_tab import SearchTab
from clipkit_web.site import Options, Site
from tests.bench.ann import clustered

REPEATS = 40
PEOPLE = 10
AT_ONCE = 10_000
THINGS = ["dog", "boat", "house", "tree", "car", "bird", "cup", "shoe", "hat", "lamp"]
SCENES = ["at sea", "in snow", "at night", "in a room", "in a meadow", "in the desert"]


def texts() -> Iterator[str]:
    """Texts without end, no two the same."""
    for number in itertools.count():
        yield f"a {THINGS[number % len(THINGS)]} {SCENES[number % len(SCENES)]} {number}"


def filled(db: str, rows: int) -> None:
    encoder = load_encoder("bundled")
    collection = Collection.create("default", db=db, encoder=encoder)
    vectors = clustered(rows, encoder.dim)
    jpeg = thumbnail(draw(scene(1)))
    first = datetime(2020, 1, 1)
    for start in range(0, rows, AT_ONCE):
        chunk = [
            ItemRow(
                f"/photos/{number // 1000}/{number}.jpg",
                "image",
                uri=f"/photos/{number // 1000}/{number}.jpg",
                width=4000,
                height=3000 - number % 2000,
                camera=f"camera {number % 7}",
                taken_at=first + timedelta(hours=number % 40_000),
                thumbnail=jpeg,
            )
            for number in range(start, min(rows, start + AT_ONCE))
        ]
        collection._store.write(chunk, vectors[start : start + AT_ONCE], made_by=encoder)
    collection.optimize()


def forms(site: Site) -> dict[str, Callable[[str], Form]]:
    key = site.uploads.keep(thumbnail(draw(scene(2)), edge=512))
    marks = Form(good=tuple(f"/photos/0/{n}.jpg" for n in range(3)), bad=("/photos/1/1000.jpg",))
    filters = Form(since="2021", camera="camera 3", edge=1500)
    return {
        "text": lambda text: Form(q=text),
        "picture": lambda text: Form().weighted("picture", key, 1.0 + hash(text) % 100 / 1000),
        "refined": lambda text: replace(marks, q=text),
        "filtered": lambda text: replace(filters, q=text),
        "no question": lambda _: Form(),
    }


def timed(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def told(rows: int, what: str, taken: list[float]) -> None:
    p95 = statistics.quantiles(taken, n=20)[-1]
    print(f"{rows:>7}  {what:<22}{statistics.median(taken):8.0f}{p95:8.0f}", flush=True)


def measure(rows: int, browser: bool) -> None:
    with tempfile.TemporaryDirectory() as db:
        filled(db, rows)
        site = Site(Options(db=db))
        with gr.Blocks():
            tab = SearchTab(site)
        words = texts()
        for what, form in forms(site).items():
            asked = [form(next(words)) for _ in range(3 + REPEATS)]
            taken = [timed(partial(tab.answered, one)) for one in asked]
            told(rows, what, taken[3:])  # the first open what the others use
        with ThreadPoolExecutor(PEOPLE) as people:
            asked = [Form(q=next(words)) for _ in range(REPEATS)]
            taken = list(people.map(lambda form: timed(partial(tab.answered, form)), asked))
        told(rows, f"text, {PEOPLE} people at once", taken)
        if browser:
            told(rows, "Enter to pictures", _on_screen(site, words))


def _on_screen(site: Site, words: Iterator[str]) -> list[float]:
    from playwright.sync_api import sync_playwright

    from tests.web_site import chromium, serving

    with serving(site) as url, sync_playwright() as play, chromium(play) as browser:
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("figure")
        taken = []
        for text in itertools.islice(words, REPEATS):
            page.fill("#ck-box textarea", text)
            began = time.perf_counter()
            page.press("#ck-box textarea", "Enter")
            page.wait_for_function(
                "text => new URLSearchParams(location.search).get('q') === text"
                " && document.querySelector('figure .ck-score')"
                " && [...document.querySelectorAll('figure img')].slice(0, 12).every((one) => one.complete)",
                arg=text,
            )
            taken.append((time.perf_counter() - began) * 1000)
    return taken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--browser", action="store_true")
    arguments = parser.parse_args()
    print(f"{'rows':>7}  {'ms':<22}{'p50':>8}{'p95':>8}")
    for number in arguments.rows:
        measure(number, arguments.browser)

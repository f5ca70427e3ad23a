"""The page on loopback, over a small collection of drawn scenes, and a browser to look at it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from PIL import ExifTags, Image

from clipkit import Collection
from clipkit.sketch import caption, draw, scene
from clipkit_web.auth import Auth
from clipkit_web.serving import application
from clipkit_web.site import Site

SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
DESKTOP, PHONE = (1280, 900), (390, 844)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOW_TO_GET_ONE = "needs Chromium: apt-get install chromium (or CLIPKIT_TEST_BROWSER=its path)"


def draw_scenes(folder: Path, seeds: range, *, size: int = 256) -> list[Path]:
    """The drawn scenes as JPEGs with their captions beside them, one taken each day from 1 January 2020 on
    with one of three cameras."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in seeds:
        path = folder / f"{seed:04}.jpg"
        exif = Image.Exif()
        exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Maker", f"Model {seed % 3}"
        taken = datetime(2020, 1, 1, 12) + timedelta(days=seed)
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"{taken:%Y:%m:%d %H:%M:%S}"
        draw(scene(seed), size=size).save(path, quality=85, exif=exif)
        path.with_suffix(".txt").write_text(caption(scene(seed)), encoding="utf-8")
        paths.append(path)
    return paths


def fill(db: Path, folder: Path, name: str = "default") -> Collection:
    """A collection of the scenes in `folder`, by the bundled model."""
    collection = Collection.create(name, db=db, encoder="bundled")
    collection.index(folder)
    return collection


@contextmanager
def serving(site: Site, *, auth: Auth | None = None) -> Iterator[str]:
    """The page's address, as long as it is served."""
    config = uvicorn.Config(
        application(site, auth=auth), port=0, log_level="error", timeout_graceful_shutdown=1, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server ended before it answered")
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def browser_path() -> str | None:
    """Where a Chromium is; None if there is none."""
    named = os.environ.get("CLIPKIT_TEST_BROWSER")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def watched(person: Any, url: str, size: tuple[int, int], shot: str) -> Iterator[Any]:
    """The page in a window of that size, with its first pictures, as a person sees it who comes again.

    In the end, and where the test fails, a screenshot is left in build/screenshots/. The page must not have
    failed or asked anybody else for anything.
    """
    page = person.new_page()
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: wrong.append(asked.url) if _is_foreign(asked.url, url) else None)
    page.goto(url)
    page.wait_for_selector("figure")
    try:
        yield page
    finally:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{shot.replace('/', '-')}.png")
        page.close()
    assert wrong == []


def _is_foreign(address: str, url: str) -> bool:
    return not address.startswith((url, url.replace("http", "ws", 1), "data:", "blob:"))


@contextmanager
def chromium(play: Any) -> Iterator[Any]:
    """A browser of Playwright's, without a window."""
    browser = play.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def visitor() -> Iterator[Any]:
    """A person with a browser, who has the page's scripts at hand from one visit to the next."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, chromium(play) as browser:
        yield browser.new_context()

"""The pictures of the page in the README: python -m tests.bench.screenshots [FOLDER]

Draws 200 scenes, indexes them, and takes the page in Chromium: the search on a desktop, a hit with its heat
map, the map, and the search on a phone. They are written into FOLDER, by default apps/screenshots.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from clipkit_web.site import Options, Site
from tests.web_site import chromium, draw_scenes, fill, serving

SCENES = 200
QUERY = "a turquoise submarine"


def ready(page: Any) -> None:
    """Waits for what is in sight."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('img')]"
        ".every((one) => one.complete || !one.offsetParent || one.getBoundingClientRect().top > innerHeight)"
    )
    page.wait_for_timeout(600)  # fades


def take(page: Any, path: Path) -> None:
    ready(page)
    page.screenshot(path=path, type="jpeg", quality=82)
    print(path)


def desktop(browser: Any, url: str, into: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.goto(f"{url}?q={QUERY}")
    page.wait_for_selector("figure .ck-score")
    take(page, into / "search.jpg")
    page.locator("figure").first.click()
    page.click("dialog >> text=why?")
    page.wait_for_selector(".ck-why >> text=Method")
    take(page, into / "why.jpg")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Map").click()
    page.wait_for_selector("#ck-map canvas")
    page.wait_for_function("() => !document.querySelector('#ck-map').innerText.includes('Finding groups')")
    take(page, into / "map.jpg")
    page.close()


def phone(browser: Any, url: str, into: Path) -> None:
    page = browser.new_page(
        viewport={"width": 390, "height": 844}, device_scale_factor=2, color_scheme="dark"
    )
    page.goto(f"{url}?q={QUERY}")
    page.wait_for_selector("figure .ck-score")
    take(page, into / "phone.jpg")
    page.close()


def main(into: Path) -> None:
    from playwright.sync_api import sync_playwright

    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        draw_scenes(Path(work, "pictures"), range(SCENES), size=512)
        collection = fill(Path(work, "db"), Path(work, "pictures"))
        site = Site(Options(db=collection.db))
        with serving(site) as url, sync_playwright() as play, chromium(play) as browser:
            desktop(browser, url, into)
            phone(browser, url, into)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(__file__).parents[2] / "apps/screenshots"
    )
    main(parser.parse_args().folder)

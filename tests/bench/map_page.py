"""How long a step takes while a map of many points is moved, in a browser without a window.

    python -m tests.bench.map_page

`frame` is the time from one frame to the next while the pointer drags the map, `script` that of plotly's
handler of one step, both as median and 95th percentile. Where there is no graphics card, Chromium draws WebGL
on the CPU, and a frame says how fast that is; a map of 100 points tells what a frame takes anyway. `script`
is what remains for the CPU where there is one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import plotly
from playwright.sync_api import sync_playwright

import clipkit_web
from tests.web_site import chromium

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
MAP = Path(clipkit_web.__file__).parent / "static" / "map.js"
PAGE = """<style>#stage { position: relative; width: 1192px; height: 648px }
.ck-plot { position: absolute; inset: 0 }</style><div id="stage"></div>"""
DRAW = """(count) => {
    const random = Math.random;
    const normal = () => 0.3 * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const all = (make) => Array.from({ length: count }, make);
    const points = { ids: all((_, at) => `${at}`), x: all(normal), y: all(normal) };
    drawMap(document.querySelector("#stage"), { ...points, thumbnailUrl: () => "data:," });
}"""
DRAG = """async (steps) => {
    const area = document.querySelector(".nsewdrag"), box = area.getBoundingClientRect();
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    const send = (type, on, clientX, clientY) =>
        on.dispatchEvent(new MouseEvent(type, { bubbles: true, clientX, clientY, buttons: 1, view: window }));
    const frames = [], scripts = [];
    send("mousedown", area, x, y);
    let last = await new Promise(requestAnimationFrame);
    for (let at = 0; at < steps; at++) {
        const began = performance.now();
        send("mousemove", document, x + 40 * Math.sin(at / 5), y + 40 * Math.cos(at / 5));
        scripts.push(performance.now() - began);
        const now = await new Promise(requestAnimationFrame);
        frames.push(now - last);
        last = now;
    }
    send("mouseup", document, x, y);
    const at = (all, share) => all.sort((one, other) => one - other)[Math.floor(all.length * share)];
    return [frames, scripts].map((all) => [at(all, 0.5), at(all, 0.95)]);
}"""


def measure(browser: Any, count: int, steps: int) -> str:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_content(PAGE)
    page.add_script_tag(path=PLOTLY)
    page.add_script_tag(content=MAP.read_text(encoding="utf-8").partition("// --- the tab")[0])
    page.evaluate(DRAW, count)
    page.wait_for_timeout(1_000)  # plotly draws in its own time
    (frame, late), (script, slow) = page.evaluate(DRAG, steps)
    page.close()
    return f"{count:6} points: frame {frame:.0f} ms ({late:.0f}), script {script:.1f} ms ({slow:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--points", type=int, nargs="+", default=[100, 5_000, 20_000])
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    with sync_playwright() as play, chromium(play) as browser:
        for count in options.points:
            print(measure(browser, count, options.steps), flush=True)


if __name__ == "__main__":
    main()

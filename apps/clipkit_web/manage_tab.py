"""Manage: the collections, folders to index, near-duplicates, and how good searches are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import gradio as gr

from clipkit.encoders import DEFAULT_MODEL
from clipkit.errors import ClipkitError
from clipkit.neighbours import STRENGTHS
from clipkit_web.components import Gallery, widget
from clipkit_web.doubles import Doubles
from clipkit_web.figures import Figures
from clipkit_web.form import Form
from clipkit_web.indexing import MODELS, Indexer
from clipkit_web.jobs import Job
from clipkit_web.site import Site

LOOKS = 0.4  # seconds between two looks at a job
HOW_TO_ALLOW = (
    "No folder may be indexed from this page. Start it with those that may:\n\n"
    "    clipkit ui --allow-index FOLDER"
)
_QUIET = {"show_progress": "hidden", "api_visibility": "private"}
_WATCHING = {**_QUIET, "concurrency_limit": None}  # whoever watches only waits
_SAID = {
    "exact": "exact copies",
    "resaved": "saved again or resized",
    "edited": "cropped, mirrored, in other colours",
    "similar": "one scene, taken twice",
}

View = Callable[[str], dict[str, Any]]


class ManageTab:
    """The tab. `which` holds the name of the collection."""

    def __init__(self, site: Site, which: gr.Dropdown, gallery: Gallery) -> None:
        self._site = site
        self._which = which
        self._gallery = gallery
        self.indexer, self.doubles, self.figures = Indexer(site), Doubles(site), Figures(site)
        with gr.Accordion("Collections", elem_id="ck-manage-collections"):
            self.list = widget("collections", {})
        self.list.input(self._opened, None, [which, *gallery.into], **_QUIET)
        with gr.Accordion("Index a folder", elem_id="ck-manage-index"):
            self.run = self._folders() if site.options.roots else None
            if self.run is None:
                gr.Markdown(HOW_TO_ALLOW)
        with gr.Accordion("Near-duplicates", open=False, elem_id="ck-manage-doubles"):
            self.groups = self._near_duplicates()
        with gr.Accordion("How good searches are", open=False, elem_id="ck-manage-figures"):
            self.measured = self._figures()

    def connect(self, tab: gr.Tab) -> None:
        """Has the tab show what there is and what goes on, when it is opened or the collection changes."""
        tab.select(self.collections, None, self.list, **_QUIET)
        for event in (tab.select, self._which.change):
            event(self._watched(self.doubles.view, self.doubles.job), self._which, self.groups, **_WATCHING)
            event(self._watched(self.figures.view, self.figures.job), self._which, self.measured, **_WATCHING)
        if self.run is not None:
            watched = self._watched(lambda _: self.indexer.view(), self.indexer.job)
            tab.select(watched, self._which, self.run, **_WATCHING)

    def collections(self) -> dict[str, Any]:
        """What there is, as the widget shows it."""
        return {"collections": [_described(self._site, name) for name in self._site.names()]}

    # --- the sections

    def _folders(self) -> gr.HTML:
        roots = [str(root) for root in self._site.options.roots]
        with gr.Row():
            root = gr.Dropdown(roots, value=roots[0], label="folder", elem_id="ck-root", scale=2)
            below = gr.Textbox(label="only this folder in it", placeholder="all of it", elem_id="ck-below")
            name = gr.Dropdown(
                [self._site.options.name],
                value=self._site.options.name,
                label="into the collection",
                info="A name that is not there makes a new one.",
                allow_custom_value=True,
                elem_id="ck-into",
            )
            model = gr.Dropdown(
                list(MODELS),
                value=DEFAULT_MODEL,
                label="model",
                info="Of a new collection.",
                elem_id="ck-model",
            )
        start = gr.Button("Index", variant="primary", elem_id="ck-start-index")
        run = widget("indexing", {})
        inputs = [root, below, name, model]

        def begin(*given: str) -> None:
            self.indexer.start(given[0], given[1], name=given[2], model=given[3])

        watched = self._watched(lambda _: self.indexer.view(), self.indexer.job, begin)
        done = start.click(watched, [self._which, *inputs], run, **_WATCHING)
        done.then(self._refreshed, self._which, [self._which, name, self.list], **_QUIET)
        run.input(lambda: self.indexer.job.stop(), None, None, **_QUIET)
        return run

    def _near_duplicates(self) -> gr.HTML:
        with gr.Row():
            strength = gr.Radio(
                [(_SAID[each], each) for each in STRENGTHS],
                value="edited",
                label="what counts as a duplicate",
                info="Each has what the ones before it have.",
                scale=3,
            )
            start = gr.Button("Look for duplicates", elem_id="ck-start-doubles", scale=1)
        groups = widget("doubles", {})
        doubles = self.doubles
        watched = self._watched(doubles.view, doubles.job, lambda which, how: doubles.start(which, how))
        start.click(watched, [self._which, self._which, strength], groups, **_WATCHING)
        groups.input(self._sorted_out, self._which, groups, **_QUIET)
        return groups

    def _figures(self) -> gr.HTML:
        start = gr.Button("Measure", elem_id="ck-start-figures")
        measured = widget("figures", {})
        watched = self._watched(self.figures.view, self.figures.job, self.figures.start)
        start.click(watched, [self._which, self._which], measured, **_WATCHING)
        measured.input(lambda: self.figures.job.stop(), None, None, **_QUIET)
        return measured

    # --- what happens

    def _watched(
        self, view: View, job: Job[Any], begin: Callable[..., None] | None = None
    ) -> Callable[..., AsyncIterator[dict[str, Any]]]:
        """A handler that begins a job, if so it is told, and shows it until it ends."""

        async def watched(which: str, *given: Any) -> AsyncIterator[dict[str, Any]]:
            try:
                if begin is not None:
                    await asyncio.to_thread(partial(begin, *given))
            except ClipkitError as error:
                yield {**await asyncio.to_thread(view, which), "refused": str(error)}
                if not job.state.running:
                    return
                await asyncio.sleep(5 * LOOKS)  # so that it can be read
            while True:
                shown = await asyncio.to_thread(view, which)  # which may wait for somebody who hides
                yield shown
                if not shown.get("running"):
                    return
                await asyncio.sleep(LOOKS)

        return watched

    def _refreshed(self, which: str) -> list[Any]:
        names = self._site.names()
        chosen = which if which in names else self.indexer.view().get("collection")
        return [
            gr.Dropdown(choices=names, value=chosen if chosen in names else None),
            gr.Dropdown(choices=names),
            self.collections(),
        ]

    def _opened(self, event: gr.EventData) -> list[Any]:
        name = str((event._data or {}).get("name") or "")
        return [
            gr.Dropdown(choices=self._site.names(), value=name),
            *self._gallery.show(Form(collection=name)),
        ]

    def _sorted_out(self, event: gr.EventData, which: str) -> dict[str, Any]:
        """Somebody hid a picture, kept one, or took that back."""
        data = event._data or {}
        doubles = self.doubles
        try:
            match data.get("action"):
                case "hide":
                    doubles.hide([str(data.get("id"))])
                case "keep":
                    doubles.keep([str(data.get("id"))])
                case "best":
                    group = data.get("group")
                    doubles.keep_best(None if group is None else int(group))
                case "undo":
                    doubles.undo()
                case "stop":
                    doubles.job.stop()
        except ClipkitError as error:
            return {**doubles.view(which), "refused": str(error)}
        return doubles.view(which)


def _described(site: Site, name: str) -> dict[str, Any]:
    try:
        status = site.collection(name).status()
    except ClipkitError as error:
        return {"name": name, "error": str(error)}
    return {
        "name": name,
        "images": status.images,
        "texts": status.texts,
        "failures": status.failures,
        "model": status.encoder,
        "bytes": status.size_bytes,
        "index": status.index.kind if status.index else None,
    }

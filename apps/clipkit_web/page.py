"""The page as a whole: its head, its tabs, its look."""

from __future__ import annotations

from typing import Any

import gradio as gr

from clipkit.errors import ClipkitError
from clipkit_web import api
from clipkit_web.albums_tab import AlbumsTab
from clipkit_web.components import Gallery
from clipkit_web.describe_tab import DescribeTab
from clipkit_web.describer import Describer
from clipkit_web.form import Form
from clipkit_web.manage_tab import ManageTab
from clipkit_web.map_tab import MapTab
from clipkit_web.search_tab import SearchTab
from clipkit_web.site import Site

AT_ONCE = 8  # requests that run side by side; the model and the disk are shared, so more would only wait
_LEFT_BEHIND = (600, 3_600)  # seconds: how often uploads that nobody asked about are dropped, and how old
_FONTS = ["system-ui", "sans-serif"]
THEME = gr.themes.Soft(
    primary_hue="teal", neutral_hue="slate", font=_FONTS, font_mono=["ui-monospace", "monospace"]
)
_DARK = "() => { document.body.classList.toggle('dark') }"


def build(site: Site) -> gr.Blocks:
    """The page. Nothing is loaded before somebody opens it."""
    describer = Describer(site)
    with gr.Blocks(
        title="clipkit", analytics_enabled=False, fill_width=True, delete_cache=_LEFT_BEHIND
    ) as page:
        api.register(site, describer)  # before what else takes names of functions
        with gr.Row(elem_id="ck-head"):
            gr.Markdown("# clipkit", elem_id="ck-title")
            which = gr.Dropdown(
                [],
                show_label=False,
                label="collection",
                container=False,
                elem_id="ck-collection",
                min_width=120,
            )
            dark = gr.Button("◐", elem_id="ck-dark", min_width=40, scale=0)
        dark.click(None, js=_DARK, api_visibility="private")
        with gr.Tabs(elem_id="ck-tabs") as tabs:
            with gr.Tab("Search", id="search"):
                search = SearchTab(site)

            def show(form: Form) -> list[Any]:
                return [gr.Tabs(selected="search"), *search.opened(str(form))]

            gallery = Gallery(show, [tabs, *search.shown.all])
            with gr.Tab("Albums", id="albums") as tab:
                albums = AlbumsTab(site, which, gallery)
            with gr.Tab("Describe", id="describe"):
                DescribeTab(describer, which)
            with gr.Tab("Map", id="map") as map_tab:
                drawn = MapTab(site, which, gallery)
            with gr.Tab("Manage", id="manage") as last:
                manage = ManageTab(site, which, gallery)

        def load(request: gr.Request) -> list[Any]:
            link = str(request.query_params or "")
            return [_collections(site, link), *search.opened(link)]

        def switch(name: str) -> list[Any]:
            return search.opened(str(Form(collection=name or "")))

        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        page.load(load, None, [which, *search.shown.all], **quiet)
        tab.select(albums.shown, which, albums.list, **quiet)
        gr.on([map_tab.select, which.input], drawn.shown, which, drawn.map, **quiet)
        which.input(switch, which, search.shown.all, **quiet)
        manage.connect(last)
    page.queue(default_concurrency_limit=AT_ONCE)
    return page


def _collections(site: Site, link: str) -> Any:
    names = site.names()
    try:
        chosen = Form.read(link).collection or site.options.name
    except ClipkitError:
        chosen = site.options.name
    return gr.Dropdown(choices=names, value=chosen if chosen in names else None)

"""Search: one box, the query's other parts, filters, a cut-off, the gallery, and the look at one hit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from clipkit import Collection
from clipkit.errors import ClipkitError
from clipkit.hiding import hide, unhide
from clipkit_web import asking, look
from clipkit_web.albums_tab import save
from clipkit_web.choices import Choices, choices
from clipkit_web.components import uploads_only, widget
from clipkit_web.form import MOST, PAGE, Form
from clipkit_web.site import Site

WEIGHT_OF_ADDED = 0.5  # of a hit that is added to a query: it bends the query, and does not replace it
_FRESH = ("clear", "go", "similar")  # what somebody does that sets the box and the filters, too


@dataclass(frozen=True, slots=True)
class Shown:
    """The components of the tab. `filters` are named as the fields of `Form` that they fill."""

    address: gr.HTML
    box: gr.MultimodalTextbox
    asked: gr.HTML
    status: gr.Markdown
    cut: gr.HTML
    gallery: gr.HTML
    look: gr.HTML
    filters: dict[str, Any]

    @property
    def answers(self) -> list[Any]:
        """What each search sets."""
        return [self.address, self.asked, self.status, self.cut, self.gallery]

    @property
    def all(self) -> list[Any]:
        """What a link sets: the answers, the box, and the filters."""
        return [*self.answers, self.box, *self.filters.values()]


class SearchTab:
    """The tab, and what happens in it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.shown = self._built()
        self._connect()

    # --- the layout

    def _built(self) -> Shown:
        address = widget("address", visible=False)
        box = gr.MultimodalTextbox(
            placeholder="a dog on a beach · beach - people · or drop a picture",
            show_label=False,
            label="query",
            file_types=["image"],
            file_count="multiple",
            sources=["upload"],
            max_plain_text_length=10_000_000,  # longer text is refused with a sentence, not made a file
            lines=1,
            max_lines=4,
            autofocus=True,
            elem_id="ck-box",
        )
        uploads_only(box)
        asked = widget("asked")
        filters = self._filters()
        cut = widget("cut")
        status = gr.Markdown(elem_id="ck-status")
        gallery = widget("gallery")
        close = widget("look", calls=[self.details, self.why])
        return Shown(address, box, asked, status, cut, gallery, close, filters)

    def _filters(self) -> dict[str, Any]:
        with gr.Accordion("Filters", open=False, elem_id="ck-filters"):
            with gr.Row():
                kind = gr.Radio(
                    [("pictures", "image"), ("texts", "text"), ("both", "")], value="image", label="kind"
                )
                since = gr.Textbox(label="taken since", placeholder="2024, 2024-06 or 2024-06-01")
                until = gr.Textbox(label="until the end of", placeholder="2024, 2024-06 or 2024-06-01")
                near = gr.Textbox(label="near", placeholder="48.2,16.4,20km")
            with gr.Row():
                folder = gr.Dropdown([], label="folder", allow_custom_value=True)
                camera = gr.Dropdown([], label="camera", allow_custom_value=True)
                edge = gr.Dropdown(
                    [("any", 0), ("500 px", 500), ("1000 px", 1_000), ("2000 px", 2_000), ("4000 px", 4_000)],
                    value=0,
                    label="shorter edge at least",
                )
                own = gr.Dropdown([], label="your own columns", multiselect=True, allow_custom_value=True)
            with gr.Row():
                where = gr.Textbox(label="SQL", placeholder="width > height AND camera IS NOT NULL", scale=3)
                words = gr.Checkbox(label="find the words themselves, too", info="in captions and names")
                hidden = gr.Checkbox(label="show what is hidden")
        return {
            **{"kind": kind, "since": since, "until": until, "near": near, "folder": folder},
            **{"camera": camera, "edge": edge, "own": own, "where": where, "words": words, "hidden": hidden},
        }

    def _connect(self) -> None:
        shown = self.shown
        filters = list(shown.filters.values())
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        inputs = [shown.address, shown.box, *filters]
        gr.on(
            [shown.box.submit, *(_changed(one) for one in filters)],
            self._submitted,
            inputs,
            [*shown.answers, shown.box],
            trigger_mode="always_last",  # who types on while a search runs means the later one
            api_visibility="private",
            show_progress="minimal",  # the first question waits for the model
            show_progress_on=shown.status,
        )
        acting = [shown.asked.input, shown.cut.input, shown.gallery.input, shown.look.input]
        gr.on(
            [*acting, shown.address.input],
            self._acted,
            shown.address,
            shown.all,
            trigger_mode="multiple",
            **quiet,
        )

    # --- what happens

    def _submitted(self, address: Any, box: Any, *filters: Any) -> list[Any]:
        """Somebody pressed Enter, dropped a picture, or changed a filter."""
        form = Form()
        try:
            form = Form.read(_link(address)).with_filters(list(self.shown.filters), filters)
            form = replace(form, q=(box or {}).get("text") or "")
            for file in (box or {}).get("files") or ():
                form = form.weighted("picture", self._kept(file), 1.0)
        except ClipkitError as error:
            return [*self._refused(form, error), gr.skip()]
        return [*self.answered(form), {"text": form.q, "files": []}]

    def _acted(self, event: gr.EventData, address: Any) -> list[Any]:
        """Somebody pressed something on a hit, on a part of the query, on the cut-off, or went back."""
        data = event._data or {}
        action = data.get("action")
        try:
            form = self._after(Form.read(_link(address)), action, data)
        except ClipkitError as error:
            gr.Warning(str(error))  # the hits stay: what was pressed did not work, the question does
            return [gr.skip()] * len(self.shown.all)
        answers = self.answered(form, replace_link=action == "more")
        return [*answers, *(self._set(form) if action in _FRESH else self._kept_as_set())]

    def _after(self, form: Form, action: str | None, data: Mapping[str, Any]) -> Form:
        """The form after something was pressed."""
        name = str(data.get("id") or data.get("name") or "")
        match action:
            case "more":
                return replace(form, k=min(form.k + PAGE, MOST))
            case "good" | "bad":
                return form.marked(name, action)
            case "unpick":
                return replace(form, picked="", k=PAGE)
            case "forget":
                return replace(form, good=(), bad=(), k=PAGE)
            case "similar":
                kept = Form(collection=form.collection, kind=form.kind, hidden=form.hidden)
                return kept.weighted("item", name, 1.0)
            case "add" | "less":
                return form.weighted("item", name, WEIGHT_OF_ADDED if action == "add" else -WEIGHT_OF_ADDED)
            case "weigh" | "drop":
                where: Literal["picture", "item"] = "picture" if data.get("where") == "picture" else "item"
                return form.weighted(where, name, None if action == "drop" else float(data["weight"]))
            case "cut":
                return replace(form, cut=str(data.get("cut") or ""), k=PAGE)
            case "hide" | "unhide":
                (hide if action == "hide" else unhide)(self._site.collection(form.collection), [name])
                return form
            case "save":
                saved = save(self._site, form, name, again=bool(data.get("again")))
                gr.Info(f"Saved as the album {saved.name}: it is among the albums, and fills itself.")
                return form
            case "clear":
                return Form(collection=form.collection)
            case "go":
                return Form.read(str(data.get("link") or ""))
        return form

    def _kept_as_set(self) -> list[Any]:
        return [gr.skip()] * (1 + len(self.shown.filters))

    def _kept(self, file: str) -> str:
        """The key of a dropped picture, whose file goes at once."""
        path = Path(file)
        try:
            return self._site.uploads.keep(path.read_bytes())
        finally:
            with suppress(OSError):
                path.unlink()

    # --- what is shown

    def opened(self, link: str) -> list[Any]:
        """All components as a link sets them."""
        form = Form()
        try:
            form = Form.read(link)
            return [*self.answered(form, replace_link=True), *self._set(form)]
        except ClipkitError as error:
            return [*self._refused(form, error), *self._set(form)]

    def answered(self, form: Form, *, replace_link: bool = False) -> list[Any]:
        """The answers to a form, for `Shown.answers`."""
        site = self._site
        try:
            answer = asking.ask(site, form)
            collection = site.collection(form.collection)
            told = asking.advice(site, collection, answer)
        except ClipkitError as error:
            return self._refused(form, error)
        autos = {kind: score for kind, score in answer.cutoffs.items() if form.wanted in (None, kind)}
        gallery = {
            "collection": collection.name,
            "link": str(form),
            "cards": answer.cards,
            "more": answer.more and form.k < MOST,
            "good": form.good,
            "bad": form.bad,
            "advice": told,
        }
        return [
            {"link": str(form), "replace": replace_link},
            self._parts(form, collection),
            asking.explained(answer, form),
            {"cut": form.cut, "autos": autos},
            gallery,
        ]

    def _refused(self, form: Form, error: ClipkitError) -> list[Any]:
        """What is shown instead of an answer: the error, in the user's words."""
        return [gr.skip(), gr.skip(), "", gr.skip(), {"cards": [], "link": str(form), "error": str(error)}]

    def _parts(self, form: Form, collection: Collection) -> dict[str, Any]:
        parts = [
            {"where": where, "name": one.name, "weight": one.weight, "label": f"{where} {at}"}
            for where in ("picture", "item")
            for at, one in enumerate(getattr(form, where), 1)
        ]
        return {
            "collection": collection.name,
            "parts": parts,
            "good": len(form.good),
            "bad": len(form.bad),
            "picked": bool(form.picked),
            "asks": form.asks,
            "shared": bool(str(form)),
        }

    def _set(self, form: Form) -> list[Any]:
        """The box and the filters as the form has them, with the choices of its collection."""
        known = Choices()
        with suppress(ClipkitError):
            known = choices(self._site.collection(form.collection))
        offered = {"folder": known.folders, "camera": known.cameras, "own": known.own}
        widgets: list[Any] = [{"text": form.q, "files": []}]
        for name in self.shown.filters:
            value = getattr(form, name)
            value = list(value) if isinstance(value, tuple) else value
            if name in offered:
                nothing: Any = [] if name == "own" else None
                widgets.append(gr.Dropdown(choices=list(offered[name]), value=value or nothing))
            else:
                widgets.append(value)
        return widgets

    # --- what the look asks for

    def details(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return _told(look.details, self._site, asked)

    def why(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return _told(look.why, self._site, asked)


def _told(
    tell: Callable[[Site, Form, str], dict[str, Any]], site: Site, asked: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        return tell(site, Form.read(str(asked.get("link") or "")), str(asked.get("id") or ""))
    except ClipkitError as error:
        return {"error": str(error), "reason": str(error)}


def _link(address: Any) -> str:
    return str(address.get("link") or "") if isinstance(address, dict) else ""


def _changed(widget: Any) -> Any:
    """The event of a filter that somebody has set: Enter or leaving it, where text is typed."""
    return widget.submit if isinstance(widget, gr.Textbox) else widget.input

"""The parts of the page that Gradio has not: each is a `gr.HTML` with a script of ours in `static/`.

Values are JSON. The scripts build elements and set their text, never markup, so that a file called
`<script>` is shown as that. What somebody does comes back as the `input` event, with an `action` in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from clipkit_web.form import Form

_STATIC = Path(__file__).parent / "static"
STYLE = (_STATIC / "style.css").read_text(encoding="utf-8")
_SHARED = (_STATIC / "shared.js").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Gallery:
    """The gallery as the other tabs know it: `show` gives what a form sets in the components `into`."""

    show: Callable[[Form], Sequence[Any]]
    into: Sequence[Any]

    @property
    def untouched(self) -> list[Any]:
        """What leaves them as they are."""
        return [gr.skip()] * len(self.into)


def widget(
    script: str, value: Any = None, *, calls: Sequence[Callable[..., Any]] = (), visible: bool = True
) -> gr.HTML:
    """The component that `static/SCRIPT.js` draws. It may call `calls` by their names, with one object."""
    return gr.HTML(
        value,
        html_template=f'<div class="ck-{script}"></div>',
        js_on_load=_SHARED + (_STATIC / f"{script}.js").read_text(encoding="utf-8"),
        server_functions=[_function(call) for call in calls] or None,
        elem_id=f"ck-{script}",
        elem_classes="ck",
        apply_default_css=False,
        visible=True if visible else "hidden",
    )


def _function(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`call` as a function of its own: Gradio puts a mark on it, which a method cannot have."""

    @wraps(call)
    def function(asked: Any) -> Any:
        return call(asked)

    return function


def uploads_only(component: Any) -> Any:
    """`component`, for files that were uploaded: Gradio by itself fetches one whose path is an address.

    (As a class of its own it would have Gradio write a stub file beside this one.)
    """
    move = component.async_move_resource_to_block_cache

    async def from_disk(path: Any) -> Any:
        if str(path or "").lower().startswith(("http:", "https:")):
            raise gr.Error(
                "pictures are uploaded to this page, not named by an address: drop the picture on it"
            )
        return await move(path)

    component.async_move_resource_to_block_cache = from_disk
    return component

"""Describe: a picture in, the texts of the collection that fit it best and tags of a vocabulary out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from clipkit.errors import ClipkitError
from clipkit.vocabulary import EVERYDAY
from clipkit_web.components import uploads_only, widget
from clipkit_web.describer import Describer


class DescribeTab:
    """The tab. `which` holds the name of the collection."""

    def __init__(self, describer: Describer, which: gr.Dropdown) -> None:
        self._describer = describer
        with gr.Row():
            with gr.Column(scale=1):
                picture = gr.Image(
                    type="filepath",
                    sources=["upload", "clipboard"],
                    label="a picture: drop it, paste it, or choose a file",
                    elem_id="ck-described",
                    height=320,
                )
                uploads_only(picture)
                with gr.Accordion("Vocabulary of the tags", open=False):
                    vocabulary = gr.Textbox(
                        EVERYDAY.read_text(encoding="utf-8"),
                        lines=14,
                        max_lines=14,
                        show_label=False,
                        label="vocabulary",
                        info="One label a line; other words for it behind a colon; groups in brackets.",
                    )
                    again = gr.Button("Describe with these labels")
            with gr.Column(scale=2):
                result = widget("described", {})
        key = gr.State("")  # of the picture among the uploads
        quiet = {"api_visibility": "private", "show_progress_on": result}
        picture.change(self.dropped, [which, picture, vocabulary], [result, key], **quiet)
        again.click(self.described, [which, key, vocabulary], result, **quiet)

    def dropped(self, name: str, file: str | None, vocabulary: str) -> tuple[dict[str, Any], str]:
        """What the picture in a file shows, and its key among the uploads; the file goes at once."""
        if not file:
            return {}, ""
        try:
            key = self._describer.kept(Path(file).read_bytes())
        except ClipkitError as error:
            return {"error": str(error)}, ""
        finally:
            with suppress(OSError):
                Path(file).unlink()
        return self.described(name, key, vocabulary), key

    def described(self, name: str, key: str, vocabulary: str) -> dict[str, Any]:
        """What an upload shows, as the widget has it; {"error"} where it cannot be said."""
        if not key:
            return {}
        try:
            return self._said(name, key, vocabulary)
        except ClipkitError as error:
            return {"error": str(error)}

    def _said(self, name: str, key: str, vocabulary: str) -> dict[str, Any]:
        found = self._describer.description(name, self._describer.vector(name, key), vocabulary)
        return {
            "texts": [{"said": hit.text, "score": round(hit.score, 4)} for hit in found.texts],
            "tags": [
                {"said": tag.label, "score": round(tag.score, 4), "strength": round(tag.strength, 2)}
                for tag in found.tags
            ],
            "advice": _advice(len(found.texts)),
        }


def _advice(texts: int) -> Sequence[str]:
    if texts:
        return ()
    return ("This collection holds no texts. Add some: clipkit add-texts FILE, or captions beside pictures.",)

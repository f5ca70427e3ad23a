"""Describe: a picture in, the texts of the collection that fit it best and tags of a vocabulary out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from clipkit import Query
from clipkit.errors import ClipkitError
from clipkit.labels import Tagger, calibrated
from clipkit.vocabulary import EVERYDAY, Vocabulary
from clipkit_web.components import widget
from clipkit_web.site import Site

TEXTS = 10
_KEPT = 4  # vocabularies embedded and kept: to embed one takes seconds


class DescribeTab:
    """The tab. `which` holds the name of the collection."""

    def __init__(self, site: Site, which: gr.Dropdown) -> None:
        self._site = site
        self._tagger = lru_cache(_KEPT)(self._calibrated)
        with gr.Row():
            with gr.Column(scale=1):
                picture = gr.Image(
                    type="filepath",
                    sources=["upload", "clipboard"],
                    label="a picture: drop it, paste it, or choose a file",
                    elem_id="ck-described",
                    height=320,
                )
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
        inputs = [which, picture, vocabulary]
        for event in (picture.change, again.click):
            event(self.described, inputs, result, api_visibility="private", show_progress_on=result)

    def described(self, name: str, file: str | None, vocabulary: str) -> dict[str, Any]:
        """What the picture shows, as the widget has it; {"error"} where it cannot be said."""
        if not file:
            return {}
        try:
            data = self._site.uploads.picture(self._site.uploads.keep(Path(file).read_bytes()))
            return self._said(name, data, vocabulary)
        except ClipkitError as error:
            return {"error": str(error)}
        finally:
            with suppress(OSError):
                Path(file).unlink()

    def _said(self, name: str, data: bytes, vocabulary: str) -> dict[str, Any]:
        collection = self._site.collection(name)
        vector = collection.encoder.encode_images([data])  # (1, dim)
        hits = collection.search(Query.vector(vector[0]), k=TEXTS, kind="text")
        tagger = self._tagger(collection.name, collection.encoder_name, vocabulary)
        return {
            "texts": [{"said": hit.text, "score": round(hit.score, 4)} for hit in hits],
            "tags": [
                {"said": tag.label, "score": round(tag.score, 4), "strength": round(tag.strength, 2)}
                for tag in tagger.tags(vector)[0]
            ],
            "advice": _advice(len(hits)),
        }

    def _calibrated(self, name: str, _model: str, vocabulary: str) -> Tagger:
        return calibrated(self._site.collection(name), Vocabulary.parse(vocabulary))


def _advice(texts: int) -> Sequence[str]:
    if texts:
        return ()
    return ("This collection holds no texts. Add some: clipkit add-texts FILE, or captions beside pictures.",)

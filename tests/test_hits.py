from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from datetime import datetime
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from clipkit.errors import MissingExtra
from clipkit.hits import Hit, Hits, Item, from_rows

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("uri", pa.string()),
        pa.field("text", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("taken_at", pa.timestamp("us")),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("score", pa.float32()),
    ]
)
TYPES = {
    "id": pa.string(),
    "uri": pa.string(),
    "kind": pa.string(),
    "text": pa.string(),
    "score": pa.float32(),
    "width": pa.int32(),
    "taken_at": pa.timestamp("us"),
    "tags": pa.list_(pa.string()),
}
NOON = datetime(2024, 5, 1, 12)
ROWS = [
    ("/a.jpg", "image", "/a.jpg", None, 640, NOON, ["x", "y"], 0.75),
    ("word", "text", None, "red", None, None, None, 0.5),
    ("/b.jpg", "image", "/b.jpg", None, 1, None, [], -0.25),
]
JPEG = {"/a.jpg": b"\xff\xd8 a", "/b.jpg": b"\xff\xd8 b"}


def hits_of(rows: Sequence[tuple[object, ...]] = ROWS) -> Hits:
    table = pa.table(
        [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(SCHEMA)], SCHEMA
    )
    return from_rows(table, lambda ids: {i: JPEG[i] for i in ids if i in JPEG})


def test_a_hit_has_the_fields_and_all_else_as_metadata() -> None:
    first, word, _ = hits_of()
    assert first == Hit(
        "/a.jpg",
        "/a.jpg",
        "image",
        None,
        0.75,
        {"width": 640, "taken_at": NOON, "tags": ["x", "y"]},
    )
    assert (word.text, word.uri, word.metadata["tags"]) == ("red", None, None)
    with pytest.raises(FrozenInstanceError, match="score"):
        first.score = 1.0  # type: ignore[misc]


def test_hits_are_a_sequence() -> None:
    hits = hits_of()
    assert isinstance(hits, Sequence)
    assert len(hits) == 3
    assert [hit.id for hit in hits] == ["/a.jpg", "word", "/b.jpg"]
    assert hits[-1].id == "/b.jpg"
    assert [hit.id for hit in reversed(hits)] == ["/b.jpg", "word", "/a.jpg"]
    assert hits[1] in hits
    assert hits.index(hits[1]) == 1
    assert bool(hits)
    assert not hits_of([])
    with pytest.raises(IndexError, match="out of range"):
        hits[3]


def test_a_slice_of_hits_is_hits_with_thumbnails_and_columns() -> None:
    tail = hits_of()[1:]
    assert isinstance(tail, Hits)
    assert [hit.id for hit in tail] == ["word", "/b.jpg"]
    assert sources(tail) == [JPEG["/b.jpg"]]
    assert tail[5:].to_arrow().schema.names == list(TYPES)


def test_hits_and_hits_are_hits_with_thumbnails_and_columns() -> None:
    hits = hits_of()
    turned = hits[1:] + hits[:1]
    assert [hit.id for hit in turned] == ["word", "/b.jpg", "/a.jpg"]
    assert sources(turned) == [JPEG["/b.jpg"], JPEG["/a.jpg"]]
    assert turned.to_arrow().schema.names == list(TYPES)
    cut = Hits((), SCHEMA, lambda _: {}, {"image": 0.1}) + Hits((), SCHEMA, lambda _: {}, {"text": 0.2})
    assert cut.cutoffs == {"image": 0.1, "text": 0.2}


def test_equal_hits_are_equal_and_hash_alike() -> None:
    assert hits_of() == hits_of()
    assert hits_of() == list(hits_of())
    assert hash(hits_of()) == hash(hits_of())
    assert hits_of() != hits_of()[:2]
    assert hits_of() != 3


def test_hits_show_themselves_in_a_shell() -> None:
    assert repr(hits_of()).splitlines() == [
        "Hits(3)",
        "   0.750  image  /a.jpg",
        "   0.500  text   red",
        "  -0.250  image  /b.jpg",
    ]
    assert repr(hits_of([])) == "Hits(0)"


@pytest.mark.parametrize("rows", [ROWS, ROWS[1:2], []], ids=["all", "empty columns", "none"])
def test_arrow_keeps_the_types_however_few_values_there_are(rows: list[tuple[object, ...]]) -> None:
    table = hits_of(rows).to_arrow()
    assert {field.name: field.type for field in table.schema} == TYPES
    assert table.schema.names[:5] == ["id", "uri", "kind", "text", "score"]
    assert table["score"].to_pylist() == [row[-1] for row in rows]
    assert table["tags"].to_pylist() == [row[-2] for row in rows]


def test_pandas_has_the_same_columns() -> None:
    frame = hits_of().to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(TYPES)
    assert frame["score"].tolist() == [0.75, 0.5, -0.25]
    assert frame["taken_at"][0] == NOON
    assert list(hits_of([]).to_pandas().columns) == list(TYPES)


def test_without_pandas_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"to_pandas\(\) needs .*pip install 'clipkit\[pandas\]'"):
        hits_of().to_pandas()


class Page(HTMLParser):
    """The tags with their attributes, and the text, of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def sources(hits: Hits) -> list[bytes]:
    images = [attributes for tag, attributes in Page(hits._repr_html_()).tags if tag == "img"]
    prefix = "data:image/jpeg;base64,"
    assert all(str(image["src"]).startswith(prefix) for image in images)
    return [base64.b64decode(str(image["src"]).removeprefix(prefix), validate=True) for image in images]


def test_a_notebook_shows_thumbnails_and_texts_with_their_scores() -> None:
    assert sources(hits_of()) == [JPEG["/a.jpg"], JPEG["/b.jpg"]]
    page = Page(hits_of()._repr_html_())
    assert [tag for tag, _ in page.tags] == [
        *("div", "figure", "img", "figcaption"),
        *("figure", "p", "figcaption", "figure", "img", "figcaption"),
    ]
    assert page.texts == ["0.750", "red", "0.500", "-0.250"]


@pytest.mark.parametrize("nasty", ['<script>alert("x")</script>', "\" onerror='x' <b>", "a & b &amp; c", "'"])
def test_what_files_and_texts_are_called_cannot_become_markup(nasty: str) -> None:
    JPEG[nasty] = b"x"
    rows: list[tuple[object, ...]] = [
        (nasty, "image", nasty, None, 1, None, [], 0.5),
        ("t", "text", None, nasty, 1, None, [], 0.5),
    ]
    page = Page(hits_of(rows)._repr_html_())
    assert [tag for tag, _ in page.tags] == [
        "div",
        *("figure", "img", "figcaption"),
        *("figure", "p", "figcaption"),
    ]
    assert page.tags[2][1]["title"] == nasty
    assert set(page.tags[2][1]) == {"src", "title", "style"}
    assert page.texts == ["0.500", nasty, "0.500"]


def test_an_item_is_equal_to_another_of_the_same_values() -> None:
    one, other = (
        Item("a", None, "text", "red", np.zeros(2, np.float32), {"rating": 5}),
        Item("a", None, "text", "red", np.ones(2, np.float32), {"rating": 5}),
    )
    assert one == other
    assert "vector" not in repr(one)

"""What one question on the page costs, and what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from clipkit import Collection
from clipkit.encoder import ImageInput, Vectors
from clipkit.testing import FakeEncoder
from clipkit_web.asking import ask
from clipkit_web.form import Form
from clipkit_web.site import Options, Site
from tests.pictures import draw_folder


@pytest.fixture
def site(tmp_path: Path) -> Site:
    draw_folder(tmp_path / "photos", 40)
    collection = Collection.create(db=tmp_path / "db", encoder="fake")
    collection.index(tmp_path / "photos")
    return Site(Options(db=collection.db))


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the model is given: "text" or "picture", one after the other."""
    given: list[str] = []
    texts, images = FakeEncoder.encode_texts, FakeEncoder.encode_images

    def encode_texts(self: FakeEncoder, batch: Sequence[str]) -> Vectors:
        given.extend(["text"] * len(batch))
        return texts(self, batch)

    def encode_images(self: FakeEncoder, batch: Sequence[ImageInput]) -> Vectors:
        given.extend(["picture"] * len(batch))
        return images(self, batch)

    monkeypatch.setattr(FakeEncoder, "encode_texts", encode_texts)
    monkeypatch.setattr(FakeEncoder, "encode_images", encode_images)
    return given


@pytest.mark.parametrize("cut", ["", "auto", "0.5"])
def test_what_is_asked_for_is_embedded_once(site: Site, embedded: list[str], cut: str) -> None:
    collection = site.collection()
    first = collection.to_arrow(columns=["id"])["id"][0].as_py()
    key = site.uploads.keep(Path(first).read_bytes())
    answer = ask(site, Form(q="red - blue", cut=cut).weighted("picture", key, 0.5))
    assert sorted(embedded) == ["picture", "text", "text"]
    assert answer.cards
    assert answer.total == 40
    ask(site, Form(q="red - 2*blue", good=(first,), cut=cut))
    assert embedded[3:] == ["text", "text"]
    said = ask(site, Form(q="red", cut=cut))
    assert embedded[5:] == ["text"]
    assert said.cutoffs == collection.cutoffs("red")
    assert said.cutoffs.keys() == {"image"}

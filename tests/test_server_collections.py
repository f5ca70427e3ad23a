"""Searches, descriptions, classes, and the items of collections, over HTTP."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from clipkit import Collection
from clipkit.hiding import hide
from clipkit.testing import FakeEncoder
from tests.server_site import Site, data_uri, png, service, serving

FAKE = FakeEncoder()
NEAR = pytest.approx(1 / np.hypot(1, 0.25), abs=1e-6)
"""What the fake encoder scores for a colour's name and a picture of it."""


@pytest.fixture
def site(db: Path) -> Iterator[Site]:
    collection = Collection.create(db=db, encoder="fake", columns={"album": str})
    collection.add_images(
        [png(colour) for colour in ("red", "green", "blue")],
        ids=["red.png", "green.png", "blue.png"],
        metadata=[{"album": "a"}, {"album": "a"}, {"album": "b"}],
    )
    collection.add_texts(["a red boat", "blue sky"], ids=["boat", "sky"])
    with serving(service(db=str(db))) as site:
        yield site


def ask(site: Site, path: str, body: Any, status: int = 200) -> Any:
    with site.http() as client:
        answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_search_by_a_line(site: Site) -> None:
    found = ask(site, "/v1/search", {"query": "red", "kind": "image", "k": 2})
    assert found["collection"] == "default"
    first, second = found["hits"]
    assert (first["id"], first["kind"], first["score"]) == ("red.png", "image", NEAR)
    assert first["metadata"]["album"] == "a"
    assert first["score"] > second["score"]


def test_a_search_by_parts_with_a_picture(site: Site) -> None:
    parts = [{"image": data_uri(png("blue"))}, {"text": "red", "weight": -0.5}]
    found = ask(site, "/v1/search", {"query": parts, "kind": "image", "k": 1})
    assert [hit["id"] for hit in found["hits"]] == ["blue.png"]
    like = ask(site, "/v1/search", {"query": [{"id": "red.png"}], "k": 1})
    assert [hit["id"] for hit in like["hits"]] == ["boat"]
    vector = FAKE.encode_texts(["green"])[0].tolist()
    assert ask(site, "/v1/search", {"query": [{"vector": vector}], "k": 1})["hits"][0]["id"] == "green.png"


def test_a_search_through_filters_and_hybrid(site: Site) -> None:
    found = ask(site, "/v1/search", {"query": "red", "where": "album = 'b'"})
    assert [hit["id"] for hit in found["hits"]] == ["blue.png"]
    found = ask(site, "/v1/search", {"query": "boat", "hybrid": True, "k": 1})
    assert [hit["id"] for hit in found["hits"]] == ["boat"]
    found = ask(site, "/v1/search", {"query": "red", "min_score": 0.9})
    assert [hit["id"] for hit in found["hits"]] == ["red.png"]


def test_what_is_hidden_is_not_found(site: Site, db: Path) -> None:
    hide(Collection.open(db=db), ["red.png"])
    found = ask(site, "/v1/search", {"query": "red", "kind": "image"})
    assert {hit["id"] for hit in found["hits"]} == {"green.png", "blue.png"}


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({"query": "red", "where": "nothing = 1"}, 400, "invalid_filter", "nothing"),
        ({"query": "red - "}, 400, "invalid_query", "-"),
        ({"query": "image:/etc/hostname"}, 400, "invalid_input", "a path, which the server does not open"),
        (
            {"query": "image:https://example.org/cat.jpg"},
            400,
            "invalid_input",
            "no pictures by their address",
        ),
        ({"query": "id:nobody"}, 400, "invalid_input", "nobody"),
        ({"query": "red", "collection": "defualt"}, 404, "collection_not_found", "Did you mean default?"),
        ({"query": "red", "k": 0}, 400, "invalid_request", "k: "),
        (
            {"query": [{"text": "red", "id": "boat"}]},
            400,
            "invalid_request",
            "query.0: a part of a query has",
        ),
        ({"query": [{"vector": [1.0, 2.0]}]}, 400, "invalid_input", "has 2 numbers"),
        ({}, 400, "invalid_request", "query"),
    ],
)
def test_a_search_that_cannot_be_done_says_why(
    site: Site, body: Any, status: int, code: str, says: str
) -> None:
    error = ask(site, "/v1/search", body, status)["error"]
    assert error["code"] == code
    assert says in error["message"]
    assert str(site.service.options.db) not in error["message"]


def test_a_description(site: Site) -> None:
    body = {"image": data_uri(png("red")), "labels": ["red", "blue"], "k": 1}
    said = ask(site, "/v1/describe", body)
    assert [(hit["id"], hit["text"]) for hit in said["texts"]] == [("boat", "a red boat")]
    assert [tag["label"] for tag in said["tags"]] == ["red"]
    assert said["tags"][0]["strength"] >= 3.5


def test_classes(site: Site) -> None:
    body = {
        "model": "fake",
        "input": [data_uri(png("blue")), "green"],
        "labels": ["red", "green", "blue"],
        "templates": ["{}"],
    }
    answer = ask(site, "/v1/classify", body)
    assert [one["label"] for one in answer["data"]] == ["blue", "green"]
    picture, text = (one["scores"] for one in answer["data"])
    assert picture[0]["score"] == NEAR
    assert text[0] == {"label": "green", "score": pytest.approx(1.0), "share": pytest.approx(1.0)}
    assert sum(one["share"] for one in picture) == pytest.approx(1.0)
    assert answer["usage"]["total_tokens"] == 1
    twice = {**body, "labels": ["red", "Red"]}
    assert "are the same label" in ask(site, "/v1/classify", twice, 400)["error"]["message"]


def test_items_are_added_found_and_deleted(site: Site) -> None:
    new = [{"id": "w", "image": data_uri(png("white")), "metadata": {"album": "c"}}]
    assert ask(site, "/v1/collections/default/items", {"items": new}) == {
        "ids": ["w"],
        "added": 1,
        "updated": 0,
        "cut": 0,
    }
    texts = [{"id": "t", "text": "white snow"}, {"id": "sky", "text": "a white sky"}]
    assert ask(site, "/v1/collections/default/items", {"items": texts})["updated"] == 1
    found = ask(site, "/v1/search", {"query": "white", "kind": "image", "k": 1})["hits"]
    assert [(hit["id"], hit["metadata"]["album"]) for hit in found] == [("w", "c")]
    with site.http() as client:
        deleted = client.delete("/v1/collections/default/items", params={"id": ["w", "t", "nobody"]})
        assert deleted.json() == {"deleted": 2}
        status = client.get("/v1/collections/default").json()
    assert (status["images"], status["texts"], status["encoder"], status["dim"]) == (3, 2, "fake", 32)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([{"text": "a"}, {"image": data_uri(png())}], "requests of their own"),
        ([{"id": "a", "text": "a"}, {"text": "b"}], "some items have an id and others none"),
        ([{"id": "a", "text": "a"}, {"id": "a", "text": "b"}], "a"),
        ([{"id": "n1", "image": data_uri(png())}, {"id": "n2", "image": "AAAA"}], "input 1: the picture"),
        ([{"text": "a", "metadata": {"nothing": 1}}], "nothing"),
        ([{"text": "a", "image": data_uri(png())}], "either a text or an image"),
        ([], "items"),
    ],
)
def test_what_one_request_adds_is_added_as_a_whole_or_not_at_all(site: Site, items: Any, says: str) -> None:
    error = ask(site, "/v1/collections/default/items", {"items": items}, 400)["error"]
    assert says in error["message"]
    with site.http() as client:
        status = client.get("/v1/collections/default").json()
    assert (status["images"], status["texts"]) == (3, 2)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(site: Site) -> None:
    data = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(data, "PNG")  # 10 kB of nothing, 81 million pixels
    said = base64.b64encode(data.getvalue()).decode()
    for path, body in (
        ("/v1/embeddings", {"model": "fake", "input": {"image": said}}),
        ("/v1/collections/default/items", {"items": [{"image": said}]}),
        ("/v1/search", {"query": [{"image": said}]}),
    ):
        error = ask(site, path, body, 400)["error"]
        assert "9000x9000 pixels, over the limit of 64000000: make it smaller" in error["message"]


def test_the_list_of_collections_and_thumbnails(site: Site) -> None:
    with site.http() as client:
        assert client.get("/v1/collections").json() == {"data": ["default"]}
        (hit,) = ask(site, "/v1/search", {"query": "blue", "kind": "image", "k": 1})["hits"]
        picture = client.get(hit["thumbnail"])
        assert picture.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(picture.content)).size == (16, 16)
        missing = client.get("/v1/collections/default/thumbnail", params={"id": "boat"})
        assert (missing.status_code, missing.json()["error"]["param"]) == (404, "id")
        assert client.get("/v1/collections/other").status_code == 404


def test_a_collection_follows_when_its_model_changes_and_when_it_is_made_anew(site: Site, db: Path) -> None:
    assert ask(site, "/v1/search", {"query": "red", "kind": "image", "k": 1})["hits"][0]["id"] == "red.png"
    Collection.open(db=db).reindex("fake:64")
    found = ask(site, "/v1/search", {"query": "green", "kind": "image", "k": 1})["hits"]
    assert found[0]["id"] == "green.png"
    with site.http() as client:
        assert client.get("/v1/collections/default").json()["dim"] == 64
    assert sorted(site.service.models.loaded()) == ["fake", "fake:64"]


def test_a_collection_that_leaves_pictures_as_they_lie(db: Path) -> None:
    collection = Collection.create(db=db, encoder=FakeEncoder(upright=False))
    collection.add_images([png("red")], ids=["red"])
    with serving(service(db=str(db))) as site:
        assert ask(site, "/v1/search", {"query": "red"})["hits"][0]["score"] == NEAR


def test_searches_and_embeddings_share_batches(site: Site) -> None:
    """What a search embeds goes through the queue of the model that embeddings use."""
    before = site.service.models.loaded()
    ask(site, "/v1/search", {"query": "red"})
    site.openai().embeddings.create(model="fake", input="red")
    assert before == {}
    (model,) = site.service.models.loaded().values()
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        told = client.get("/metrics").text
    assert 'clipkit_inputs_total{kind="text"} 2.0' in told
    assert model.worker.waiting() == {"text": 0, "image": 0}

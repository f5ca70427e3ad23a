"""What nobody may do to the page, tried on the whole application."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

from clipkit import Collection
from clipkit.cli import app as cli
from clipkit_web.auth import Auth
from clipkit_web.components import uploads_only
from clipkit_web.form import Form
from clipkit_web.page import build
from clipkit_web.search_tab import SearchTab
from clipkit_web.serving import application
from clipkit_web.site import Options, Site
from tests.web_site import draw_scenes, fill

HERE = "http://127.0.0.1:7860"
SECRET = "what only this machine may read"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pictures")
    draw_scenes(place / "shown", range(4))
    (place / "secret.txt").write_text(SECRET)
    return place


@pytest.fixture(scope="module")
def collection(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return fill(tmp_path_factory.mktemp("db"), folder / "shown")


@pytest.fixture(scope="module")
def site(collection: Collection) -> Site:
    return Site(Options(db=collection.db))


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[TestClient]:
    with TestClient(application(site), base_url=HERE) as opened:
        yield opened


def images(collection: Collection) -> list[str]:
    ids: list[str] = collection.to_arrow(columns=["id"], where="kind = 'image'")["id"].to_pylist()
    return sorted(ids)


def test_pictures_are_served_by_their_id(client: TestClient, collection: Collection) -> None:
    identity = images(collection)[0]
    thumbnail = client.get("/pictures/default/thumbnail", params={"id": identity})
    assert thumbnail.content == collection.thumbnails([identity])[identity]
    large = client.get("/pictures/default/large", params={"id": identity})
    assert Image.open(io.BytesIO(large.content)).size == (256, 256)
    file = client.get("/pictures/default/file", params={"id": identity})
    assert file.content == Path(identity).read_bytes()
    assert file.headers["content-disposition"] == f"attachment; filename*=UTF-8''{Path(identity).name}"


def test_an_original_that_has_gone_is_shown_as_its_thumbnail(site: Site, tmp_path: Path) -> None:
    draw_scenes(tmp_path, range(1))
    name = "gone"
    collection = Collection.create(name, db=site.options.db, encoder="bundled")
    collection.index(tmp_path)
    (tmp_path / "0000.jpg").unlink()
    identity = images(collection)[0]
    with TestClient(application(site), base_url=HERE) as client:
        large = client.get(f"/pictures/{name}/large", params={"id": identity})
        assert large.content == collection.thumbnails([identity])[identity]
        file = client.get(f"/pictures/{name}/file", params={"id": identity})
        assert (file.status_code, "does not exist" in file.text) == (404, True)


def test_an_id_that_is_a_path_opens_no_file(site: Site, folder: Path) -> None:
    named = Collection.create("named", db=site.options.db, encoder="bundled")
    identity = str(folder / "shown" / "0001.jpg")  # there, but not what was added
    named.add_images([Image.new("RGB", (40, 30), "red")], ids=[identity])
    with TestClient(application(site), base_url=HERE) as client:
        large = client.get("/pictures/named/large", params={"id": identity})
        assert large.content == named.thumbnails([identity])[identity]
        file = client.get("/pictures/named/file", params={"id": identity})
        assert (file.status_code, "added without a file" in file.text) == (404, True)


@pytest.mark.parametrize("what", ["thumbnail", "large", "file"])
@pytest.mark.parametrize(
    "away", ["../secret.txt", "..%2fsecret.txt", "/etc/passwd", "file:///etc/passwd", ""]
)
def test_what_is_no_id_is_not_served(client: TestClient, folder: Path, what: str, away: str) -> None:
    for identity in (away, f"{folder}/shown/{away}", str(folder / "secret.txt")):
        answer = client.get(f"/pictures/default/{what}", params={"id": identity})
        assert answer.status_code == 404
        assert SECRET not in answer.text
        assert "root:" not in answer.text


@pytest.mark.parametrize("name", ["..", "../default", "a/b", "default.thumbnails", "%2e%2e"])
def test_a_collections_name_leads_nowhere_else(client: TestClient, collection: Collection, name: str) -> None:
    answer = client.get(f"/pictures/{name}/thumbnail", params={"id": images(collection)[0]})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/static/../serving.py",
        "/static/..%2fserving.py",
        "/static/%2e%2e/serving.py",
        "/uploads/../site.py",
        "/uploads/..%2fsite.py",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/",
    ],
)
def test_no_path_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code in (400, 403, 404)
    assert "root:" not in answer.text
    assert "def " not in answer.text


def test_a_file_beside_the_pictures_is_not_served_by_gradio(client: TestClient, folder: Path) -> None:
    answer = client.get(f"/gradio_api/file={folder}/secret.txt")
    assert answer.status_code == 403
    assert SECRET not in answer.text


def told(site: Site, form: Form) -> str:
    """The error that somebody sees who asks this; "" if there is none."""
    with gr.Blocks():
        tab = SearchTab(site)
    return str(tab.answered(form)[-1].get("error", ""))


def test_addresses_are_not_fetched_unless_that_was_allowed(site: Site) -> None:
    error = told(site, Form(q='"image:http://example.org/a.png"'))
    assert error == ""  # in quotes it is words
    error = told(site, Form(q="image:http://example.org/a.png"))
    assert "fetches no pictures by their address" in error
    assert "--allow-urls" in error


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "0.0.0.0"])
def test_private_addresses_are_never_fetched(collection: Collection, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        asked: list[Any] = []

        def count() -> None:
            try:
                asked.append(listener.accept())
            except TimeoutError:
                return

        thread = threading.Thread(target=count)
        thread.start()
        site = Site(Options(db=collection.db, allow_urls=True))
        error = told(site, Form(q=f"image:http://{host}:{listener.getsockname()[1]}/a.png"))
        thread.join()
    assert error
    assert asked == []


def bomb(path: Path) -> Path:
    """A PNG of 100 megapixels in a few kilobytes."""
    Image.new("1", (10_000, 10_000)).save(path)
    assert path.stat().st_size < 100_000
    return path


def test_a_picture_of_100_megapixels_is_refused_before_it_is_decoded(site: Site, tmp_path: Path) -> None:
    with gr.Blocks():
        tab = SearchTab(site)
    path = bomb(tmp_path / "bomb.png")
    answers = tab._submitted({}, {"text": "", "files": [str(path)]}, *_as_set(tab))
    error = answers[4]["error"]
    limit = "over the limit of 64000000: make it smaller first"
    assert error == f"the picture is 10000x10000 pixels, {limit}"
    assert not path.exists()


def _as_set(tab: SearchTab) -> list[Any]:
    return [getattr(Form(), name) for name in tab.shown.filters]


def test_a_text_of_50_megabytes_is_refused_at_the_door(client: TestClient) -> None:
    body = b'{"data": ["' + b"x" * 50_000_000 + b'"]}'
    answer = client.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert "too large: at most 30,000,000 bytes are taken" in answer.text


def test_a_text_of_a_megabyte_is_refused_in_words(site: Site) -> None:
    with gr.Blocks():
        tab = SearchTab(site)
    answers = tab._submitted({}, {"text": "x" * 1_000_000, "files": []}, *_as_set(tab))
    assert answers[4]["error"] == "q has 1,000,000 characters, over the limit of 4,000: ask with fewer words"


def test_an_upload_over_the_limit_is_refused(client: TestClient) -> None:
    answer = client.post("/gradio_api/upload", files={"files": ("a.jpg", b"x" * 26_000_000, "image/jpeg")})
    assert answer.status_code == 413


def test_a_stranger_gets_nothing_where_a_secret_is_asked_for(site: Site, collection: Collection) -> None:
    auth = Auth.from_pair("ann:correct horse")
    with TestClient(application(site, auth=auth), base_url=HERE) as client:
        for path in (
            "/",
            "/config",
            "/gradio_api/info",
            "/static/style.css",
            "/pictures/default/thumbnail?id=x",
        ):
            assert client.get(path).status_code == 401
        assert client.get("/", auth=("ann", "correct horse")).status_code == 200


def test_other_sites_cannot_drive_the_page(client: TestClient) -> None:
    foreign = {"origin": "https://evil.example"}
    assert client.post("/gradio_api/queue/join", json={}, headers=foreign).status_code == 403
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421


def test_the_page_is_for_this_machine_unless_a_secret_is_asked_for() -> None:
    result = CliRunner().invoke(cli, ["ui", "--host", "0.0.0.0"])
    assert result.exit_code == 2
    assert "--auth USER:PASSWORD or --token-file FILE" in result.output


@pytest.mark.parametrize("widget", [gr.Image, gr.MultimodalTextbox])
def test_gradio_fetches_no_picture_by_its_address_either(widget: Any) -> None:
    with gr.Blocks():
        one = uploads_only(widget())
    for address in ("http://127.0.0.1:1/a.png", "HTTPS://example.org/a.png"):
        with pytest.raises(gr.Error, match="not named by an address"):
            asyncio.run(one.async_move_resource_to_block_cache(address))


def test_the_page_takes_pictures_by_upload_only(site: Site) -> None:
    page = build(site)
    takes_files = [
        block for block in page.blocks.values() if isinstance(block, gr.Image | gr.MultimodalTextbox)
    ]
    assert len(takes_files) == 2
    for block in takes_files:
        with pytest.raises(gr.Error, match="not named by an address"):
            asyncio.run(block.async_move_resource_to_block_cache("http://127.0.0.1:1/a.png"))

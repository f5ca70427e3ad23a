"""Everything that OpenAI's own clients do with the server."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from openai import AsyncOpenAI

from clipkit import load_encoder
from clipkit.encoder import Encoder
from clipkit.testing import FakeEncoder
from clipkit_server.limits import Limits
from clipkit_server.metrics import Metrics
from clipkit_server.models import Models
from tests.server_site import Site, data_uri, png, service, serving

FAKE = FakeEncoder()

# The example of an introduction to embeddings as it stands there, for Alibaba's service.
INTRODUCTION = """
import os
from openai import OpenAI

client = OpenAI(
    api_key=os.getenv("DASHSCOPE_API_KEY"),  # 如果您没有配置环境变量,请在此处用您的API Key进行替换
    base_url="https://dashscope.aliyuncs.com/compatible-mode/v1"  # 百炼服务的base_url
)

completion = client.embeddings.create(
    model="text-embedding-v3",
    input='测试embedding字符串',
    dimensions=1024, # 指定向量维度(仅 text-embedding-v3 支持该参数)
    encoding_format="float"
)

print(completion.model_dump_json())
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving(service()) as site:
        yield site


def rows(response: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([one.embedding for one in response.data], np.float32)


def test_a_text(site: Site) -> None:
    response = site.openai().embeddings.create(model="fake", input="a red boat")
    assert response.object == "list"
    assert response.model == "fake"
    assert [(one.object, one.index) for one in response.data] == [("embedding", 0)]
    assert (rows(response) == FAKE.encode_texts(["a red boat"])).all()
    assert (response.usage.prompt_tokens, response.usage.total_tokens) == (3, 3)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_list_of_texts_in_both_encodings(site: Site, encoding: Any) -> None:
    texts = [f"boat {number}" for number in range(100)]
    response = site.openai().embeddings.create(model="fake", input=texts, encoding_format=encoding)
    if encoding == "base64":  # asked for by name, it is given as it came
        assert isinstance(response.data[0].embedding, str)
        found = np.stack([np.frombuffer(base64.b64decode(one.embedding), "<f4") for one in response.data])
    else:
        found = rows(response)
    assert (found == FAKE.encode_texts(texts)).all()
    assert [one.index for one in response.data] == list(range(100))
    assert response.usage.total_tokens == 200


def test_the_async_client() -> None:
    async def ask(url: str) -> list[Any]:
        async with AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as client:
            asked = (client.embeddings.create(model="fake", input=f"boat {n}") for n in range(40))
            listed = [model.id async for model in client.models.list()]
            return [*await asyncio.gather(*asked), listed]

    with serving(service()) as site:
        *found, listed = asyncio.run(ask(site.url))
    assert (
        np.concatenate([rows(one) for one in found]) == FAKE.encode_texts([f"boat {n}" for n in range(40)])
    ).all()
    assert listed == ["fake", "wide", "text-embedding-v3"]


def test_pictures_as_uris_as_base64_and_among_texts(site: Site) -> None:
    picture = png("blue")
    inputs: Any = [
        data_uri(picture),
        "blue",
        {"image": base64.b64encode(picture).decode()},
        {"text": "data:image/png;base64,..."},
    ]
    found = rows(site.openai().embeddings.create(model="fake", input=inputs))
    assert (found[[0, 2]] == FAKE.encode_images([picture, picture])).all()
    assert (found[[1, 3]] == FAKE.encode_texts(["blue", "data:image/png;base64,..."])).all()
    assert found[0] @ found[1] == pytest.approx(1 / np.hypot(1, 0.25), abs=1e-6)


def test_dimensions_cut_and_are_of_unit_length_again(site: Site) -> None:
    found = rows(site.openai().embeddings.create(model="fake", input=["red and unknown", "x"], dimensions=20))
    whole = FAKE.encode_texts(["red and unknown", "x"])[:, :20].astype(np.float64)
    assert found.shape == (2, 20)
    assert found == pytest.approx(whole / np.linalg.norm(whole, axis=1, keepdims=True), abs=1e-6)


def test_dimensions_that_leave_nothing_are_refused(site: Site) -> None:
    with pytest.raises(openai.BadRequestError, match="first 12 numbers are all zero"):
        site.openai().embeddings.create(model="fake", input="unknown", dimensions=12)


def test_more_dimensions_than_there_are_need_an_alias(site: Site) -> None:
    client = site.openai()
    with pytest.raises(openai.BadRequestError, match="fake has 32 dimensions, not 64"):
        client.embeddings.create(model="fake", input="red", dimensions=64)
    found = rows(client.embeddings.create(model="text-embedding-v3", input="red", dimensions=64))
    assert (found[:, :32] == FAKE.encode_texts(["red"])).all()
    assert not found[:, 32:].any()


def test_the_models_are_those_that_were_named(site: Site) -> None:
    client = site.openai()
    client.embeddings.create(model="wide", input="red")
    listed = {model.id: model for model in client.models.list()}
    assert list(listed) == ["fake", "wide", "text-embedding-v3"]
    wide = client.models.retrieve("wide")
    assert (wide.object, wide.owned_by) == ("model", "clipkit")
    assert (wide.model_dump()["spec"], wide.model_dump()["dimensions"]) == ("fake:1024", 1024)
    with pytest.raises(openai.NotFoundError, match="no model 'wild' is served here"):
        client.models.retrieve("wild")


@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_with_and_without_the_prefix(site: Site, prefix: str) -> None:
    with openai.OpenAI(api_key="none", base_url=site.url + prefix, max_retries=0) as client:
        assert (rows(client.embeddings.create(model="fake", input="red")) == FAKE.encode_texts(["red"])).all()
        assert client.models.retrieve("fake").id == "fake"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([1, 2, 3], "token ids are not taken"),
        ([[1, 2], [3]], "token ids are not taken"),
        ([], "the list is empty"),
        ("", "input 0 is neither a text of at least one character"),
        (["a", ""], "input 1 is neither"),
        (["a", None], "input 1 is neither"),
        (["a", {"image": "x", "text": "y"}], "input 1 is neither"),
        (["a"] * 2049, "2049 inputs, over the limit of 2048"),
        ("a" * 32_769, "32769 characters, over the limit of 32768"),
        (["a", "data:image/png;base64,AAAA"], "input 1: the picture is not an image that Pillow can read"),
        ([{"image": "not base64!"}], "input 0: the picture is not base64"),
        ([{"image": "data:text/plain;base64,AAAA"}], "input 0: the data: URI is not one of an image"),
        ([{"image": "http://127.0.0.1/cat.jpg"}], "fetches no pictures by their address"),
        ([{"image": "/etc/hostname"}], "input 0: the picture is not"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(site: Site, given: Any, says: str) -> None:
    with pytest.raises(openai.BadRequestError, match=re.escape(says)) as error:
        site.openai().embeddings.create(model="fake", input=given)
    assert error.value.type == "invalid_request_error"
    assert error.value.param
    assert error.value.param.startswith("input")


def test_half_a_surrogate_pair_is_refused(site: Site) -> None:
    with site.http() as client:
        answer = client.post(
            "/v1/embeddings",
            content=b'{"model": "fake", "input": ["a", "\\ud800"]}',
            headers={"content-type": "application/json"},
        )
    assert answer.status_code == 400
    assert "surrogate" in answer.json()["error"]["message"]


def test_an_unknown_model_is_not_found(site: Site) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'bundled' is served here") as error:
        site.openai().embeddings.create(model="bundled", input="a")
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


def test_a_url_is_fetched_only_where_that_is_allowed_and_from_the_open_internet_only() -> None:
    with serving(service(allow_urls=True)) as site:
        inputs: Any = [{"image": "http://127.0.0.1/cat.jpg"}]
        with pytest.raises(openai.BadRequestError, match="not on the public internet"):
            site.openai().embeddings.create(model="fake", input=inputs)


class NotToday(FakeEncoder):
    """Fails at one text, as an encoder does that finds its own result is not finite."""

    def _text_batch(self, texts: list[str]) -> Any:
        found = super()._text_batch(texts)
        found[[place for place, text in enumerate(texts) if text == "broken"]] = np.nan
        return found


def test_an_input_that_fails_in_the_model_fails_alone() -> None:
    async def ask(url: str) -> list[Any]:
        async with AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as client:
            texts = [["good", "better"] if number % 3 else ["good", "broken"] for number in range(30)]
            asked = (client.embeddings.create(model="fake", input=two) for two in texts)
            return await asyncio.gather(*asked, return_exceptions=True)

    with serving(service(load=lambda spec, upright: NotToday())) as site:
        found = asyncio.run(ask(site.url))
    right = FAKE.encode_texts(["good", "better"])
    for number, one in enumerate(found):
        if number % 3:
            assert (rows(one) == right).all()
        else:
            assert isinstance(one, openai.BadRequestError)
            assert one.param == "input.1"
            assert "not finite" in str(one)


def test_models_are_loaded_when_asked_for_and_let_go_when_they_are_too_many() -> None:
    loads: list[str] = []

    def load(spec: str, upright: bool) -> Encoder:
        loads.append(spec)
        return FakeEncoder(int(spec.partition(":")[2]))

    models = {f"m{dim}": f"fake:{dim}" for dim in (16, 17, 18)}
    with serving(service(models=models, most_models=2, load=load)) as site:
        client = site.openai()
        for name in ("m16", "m17", "m16", "m18", "m16", "m17"):
            response = client.embeddings.create(model=name, input="red")
            assert rows(response).shape == (1, int(name[1:]))
        assert loads == ["fake:16", "fake:17", "fake:18", "fake:17"]
        assert sorted(site.service.models.loaded()) == ["fake:16", "fake:17"]


class Knotted(FakeEncoder):
    """An encoder that only the garbage collector can free."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.itself = self


def test_a_model_that_has_been_let_go_leaves_the_memory_when_the_next_comes() -> None:
    made: list[weakref.ref[Encoder]] = []

    def load(spec: str, upright: bool) -> Encoder:
        encoder = Knotted(int(spec.partition(":")[2]))
        made.append(weakref.ref(encoder))
        return encoder

    names = [f"fake:{dim}" for dim in (16, 17, 18)]
    models = Models({name: name for name in names}, load=load, limits=Limits(), most=1, watch=Metrics())
    for name in names:
        with models.lease(name) as model:
            model.worker.close()
        model.worker.join(20.0)  # whose thread has the encoder in hand
    assert made[0]() is None
    assert made[2]() is model.encoder
    models.close()


def test_the_model_that_ships_gives_the_rows_that_it_gives_in_process() -> None:
    encoder = load_encoder("bundled")
    texts, picture = ["a dog on the beach", "犬"], png("green", (120, 90))
    with serving(service(models={"bundled": "bundled"}, load=lambda spec, upright: encoder)) as site:
        inputs: Any = [*texts, {"image": base64.b64encode(picture).decode()}]
        response = site.openai().embeddings.create(model="bundled", input=inputs)
    expected = np.concatenate([encoder.encode_texts(texts), encoder.encode_images([picture])])
    assert rows(response) == pytest.approx(expected, abs=1e-6)
    assert response.usage.total_tokens == 7 + 5  # with the marks at start and end; 犬 is three bytes


def test_the_example_of_the_introduction_runs_with_only_its_base_url_and_key_changed() -> None:
    with serving(service()) as site:
        changed = INTRODUCTION.replace("https://dashscope.aliyuncs.com/compatible-mode/v1", f"{site.url}/v1")
        changed = changed.replace('os.getenv("DASHSCOPE_API_KEY")', '"any"')
        done = subprocess.run(
            [sys.executable, "-"], input=changed, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["model"] == "text-embedding-v3"
    (one,) = printed["data"]
    assert (one["object"], one["index"], len(one["embedding"])) == ("embedding", 0, 1024)
    assert np.linalg.norm(one["embedding"]) == pytest.approx(1.0, abs=1e-6)
    assert printed["usage"] == {"prompt_tokens": 1, "total_tokens": 1}

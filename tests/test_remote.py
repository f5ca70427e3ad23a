"""The real client of OpenAI against a service on the loopback, which keeps a provider's limits."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit import Collection
from clipkit.encoder import TextCutWarning
from clipkit.encoders import cached, canonical_name, load_encoder
from clipkit.encoders.remote import RemoteEncoder, service_of
from clipkit.errors import InvalidInput, ModelUnavailable, ServiceError
from tests.embedding_service import KEY, Reply, Service, error, vector

ENVIRONMENT = (
    *("CLIPKIT_API_BASE", "CLIPKIT_API_KEY", "DASHSCOPE_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    *("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
)
SOON = {"Retry-After": "0.01"}
INTRO = """
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


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with Service() as service:
        monkeypatch.setenv("CLIPKIT_API_BASE", service.url)
        monkeypatch.setenv("CLIPKIT_API_KEY", KEY)
        yield service


def remote(name: str) -> RemoteEncoder:
    encoder = load_encoder(name)
    assert isinstance(encoder, RemoteEncoder)
    return encoder


def texts(count: int) -> list[str]:
    return [f"text {i}" for i in range(count)]


def rows(of: list[str], dim: int) -> Any:
    raw = np.stack([vector(text, dim) for text in of]).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("name", "dim", "sizes"),
    [
        ("api:text-embedding-v3", 1024, [10, 10, 10, 10, 10, 3]),
        ("api:text-embedding-v3?dimensions=512", 512, [10, 10, 10, 10, 10, 3]),
        ("api:text-embedding-v2", 1536, [25, 25, 3]),
        ("api:text-embedding-async-v2", 1536, [53]),
    ],
)
def test_requests_are_cut_to_the_limits_and_rows_come_in_order(
    service: Service, name: str, dim: int, sizes: list[int]
) -> None:
    encoder = remote(name)

    found = encoder.encode_texts(texts(53))

    np.testing.assert_allclose(found, rows(texts(53), dim), atol=1e-6)
    assert sorted(map(len, service.texts), reverse=True) == sizes
    assert {asked.get("dimensions") for asked in service.asked} == {512 if "?" in name else None}
    assert encoder.tokens_used == 2 * 53
    assert (encoder.name, encoder.dim) == (name, dim)
    assert encoder.modalities == {"text"}


def test_a_few_requests_are_made_at_once_and_a_slow_one_keeps_its_place(service: Service) -> None:
    service.seconds = lambda given: 0.2 if "text 0" in given else 0.02

    found = remote("api:text-embedding-v3").encode_texts(texts(95))

    np.testing.assert_allclose(found, rows(texts(95), 1024), atol=1e-6)
    assert 2 <= service.most_at_once <= 4


def test_a_model_without_a_card_is_asked_for_its_dimensions(service: Service) -> None:
    encoder = remote("api:of-my-own")
    assert encoder.dim == 24
    assert encoder.encode_texts(texts(70)).shape == (70, 24)
    assert sorted(map(len, service.texts)) == [1, 6, 32, 32]


def test_equal_texts_are_asked_for_once(service: Service) -> None:
    found = remote("api:text-embedding-v3").encode_texts(["a", "b", "a"])
    np.testing.assert_array_equal(found[0], found[2])
    assert service.texts == [["a", "b"]]


def test_an_empty_text_is_sent_as_a_blank(service: Service) -> None:
    assert remote("api:text-embedding-v3").encode_texts(["", "a"]).shape == (2, 1024)
    assert service.texts == [[" ", "a"]]


def test_nothing_is_asked_for_nothing(service: Service) -> None:
    assert remote("api:text-embedding-v3").encode_texts([]).shape == (0, 1024)
    assert service.asked == []


def test_long_texts_are_cut_by_an_estimate_counted_and_named(service: Service) -> None:
    encoder = remote("api:text-embedding-v2")
    with pytest.warns(TextCutWarning, match=r"2 of 3 texts .* were cut: positions 1, 2"):
        encoder.encode_texts(["short", "x" * 8193, "字" * 2049])
    assert [len(text) for [*given] in service.texts for text in given] == [5, 8192, 2048]
    assert encoder.texts_cut == 2


def test_100_000_characters_are_one_text(service: Service) -> None:
    with pytest.warns(TextCutWarning, match="1 of 1"):
        assert remote("api:text-embedding-v3").encode_texts(["x" * 100_000]).shape == (1, 1024)


@pytest.mark.parametrize("wrong", [0, 7, 29])
def test_a_text_that_the_service_refuses_is_named(service: Service, wrong: int) -> None:
    given = texts(30)
    given[wrong] = "w " * 3000  # by the estimate it fits, in words it does not
    encoder = remote("api:text-embedding-v2")
    with pytest.raises(InvalidInput, match=r"refuses the text: Range of input length should be") as caught:
        encoder.encode_texts(given)
    assert caught.value.position == wrong


def test_a_request_that_is_refused_whatever_the_text_blames_none(service: Service) -> None:
    encoder = RemoteEncoder("api:of-my-own?dimensions=12", service_of("of-my-own"))
    with pytest.raises(ServiceError, match=r"refused \(HTTP 400\): this model does not support dimensions"):
        encoder.encode_texts(texts(4))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(service: Service, status: int) -> None:
    service.replies = [error(status, "later", **SOON), error(status, "later", **SOON)]
    assert remote("api:text-embedding-v3").encode_texts(["a"]).shape == (1, 1024)
    assert len(service.asked) == 3


def test_the_service_says_when_to_ask_again(service: Service) -> None:
    service.replies = [error(429, "later", **{"Retry-After": "0.7"})]  # the client's own would be up to 0.5
    remote("api:text-embedding-v3").encode_texts(["a"])
    first, second = service.times
    assert second - first >= 0.7


@pytest.mark.parametrize(
    ("reply", "tries", "complaint"),
    [
        (error(401, f"Incorrect API key provided: {KEY}."), 1, r"does not accept the key in CLIPKIT_API_KEY"),
        (
            error(403, "no access"),
            1,
            r"does not allow text-embedding-v3 with the key .* \(HTTP 403\): no access",
        ),
        (error(404, "no such"), 1, r"has no model 'text-embedding-v3', or no embeddings at the address"),
        (error(429, "slow down", **SOON), 7, r"limits how much it is asked.*slow down"),
        (Reply(502, "<html>bad gateway</html>", SOON), 7, r"failed \(HTTP 502\): .*bad gateway"),
    ],
)
def test_what_does_not_pass_is_an_error_that_says_why(
    service: Service, reply: Reply, tries: int, complaint: str
) -> None:
    encoder = remote("api:text-embedding-v3")
    service.replies = [reply] * 7
    with pytest.raises(ServiceError, match=complaint):
        encoder.encode_texts(["a"])
    assert len(service.asked) == tries


def test_a_service_that_is_silent_or_not_there_is_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipkit.encoders.remote.RETRIES", 1)
    monkeypatch.setattr("clipkit.encoders.remote.TIMEOUT", 0.2)
    encoder = remote("api:text-embedding-v3")
    service.replies = [Reply(seconds=1)] * 2
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1 did not answer within 0 s, asked 2 times"):
        encoder.encode_texts(["a"])
    monkeypatch.setenv("CLIPKIT_API_BASE", "http://127.0.0.1:9/v1")
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1 cannot be reached: .*refused"):
        remote("api:text-embedding-v3").encode_texts(["a"])


def short(document: dict[str, Any]) -> Any:
    return {**document, "data": document["data"][1:]}


def at_twice(document: dict[str, Any]) -> Any:
    return {**document, "data": [{**each, "index": 0} for each in document["data"]]}


def narrow(document: dict[str, Any]) -> Any:
    return {**document, "data": [{**each, "embedding": each["embedding"][:9]} for each in document["data"]]}


def filled(value: object) -> Any:
    def change(document: dict[str, Any]) -> Any:
        first, *others = document["data"]
        return {**document, "data": [{**first, "embedding": [value] * 1024}, *others]}

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (short, r"with 1 vectors, of the indices \[0\], for 2 texts"),
        (at_twice, r"with 2 vectors, of the indices \[0, 0\], for 2 texts"),
        (narrow, r"vectors of \[9\] dimensions, not 1024"),
        (filled(float("nan")), "a vector with numbers that are not finite"),
        (filled(10**400), "vectors that hold something else than numbers"),
        (filled("one"), "vectors that hold something else than numbers"),
        (filled(None), "a vector with numbers that are not finite"),
        (lambda _: {"data": None}, r"no embeddings: \{\"data\": null\}"),
        (lambda _: [1, 2], r"no embeddings: \[1, 2\]"),
    ],
)
def test_an_answer_is_checked(service: Service, change: Any, complaint: str) -> None:
    service.change = change
    with pytest.raises(ServiceError, match=complaint):
        remote("api:text-embedding-v3").encode_texts(["a", "b"])


@pytest.mark.parametrize(
    ("body", "complaint"),
    [("<html>Hello</html>", "no embeddings: <html>Hello</html>"), ("", "no embeddings: nothing")],
)
def test_an_answer_that_is_none_is_shown(service: Service, body: str, complaint: str) -> None:
    service.replies = [Reply(body=body, headers={"Content-Type": "text/html"})]
    with pytest.raises(ServiceError, match=complaint):
        remote("api:text-embedding-v3").encode_texts(["a"])


def test_a_vector_of_zeros_has_no_direction(service: Service) -> None:
    service.change = filled(0.0)
    with pytest.raises(InvalidInput, match=r"input 1: its embedding is zero"):
        remote("api:text-embedding-v3").encode_texts(["a", "b"])


# --- the key


def test_no_word_of_ours_holds_the_key(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    encoder = remote("api:text-embedding-v3")
    encoder.encode_texts(["a"])
    service.key = "another"
    with pytest.raises(ServiceError, match=r"Incorrect API key provided: \*\*\*") as caught:
        encoder.encode_texts(["b"])
    told = "".join(traceback.format_exception(caught.value))
    shown = [repr(encoder), encoder.name, encoder.fingerprint, repr(service_of("x")), told, caplog.text]
    assert caplog.text
    assert not [text for text in shown if KEY in text]


def test_a_collection_holds_the_model_and_not_the_key(service: Service, tmp_path: Path) -> None:
    collection = Collection.create("mine", db=tmp_path, encoder="api:text-embedding-v3?dimensions=512")
    collection.add_texts(texts(3))
    assert collection.encoder.fingerprint == "api 127.0.0.1 text-embedding-v3 512"
    assert Collection.open("mine", db=tmp_path).search("text 1", k=1)[0].text == "text 1"
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"api:text-embedding-v3?dimensions=512" in content for content in files)
    assert not [content for content in files if KEY.encode() in content]


def test_each_key_goes_to_its_own_address(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, f"of {name}")
    assert service_of("text-embedding-v3").key == KEY
    for name in ("CLIPKIT_API_BASE", "CLIPKIT_API_KEY"):
        monkeypatch.delenv(name)
    ours = service_of("text-embedding-v3")
    assert (ours.host, ours.key) == ("dashscope.aliyuncs.com", "of DASHSCOPE_API_KEY")
    other = service_of("text-embedding-3-small")
    assert (other.host, other.key) == ("api.openai.com", "of OPENAI_API_KEY")
    monkeypatch.setenv("CLIPKIT_API_BASE", service.url)
    assert service_of("text-embedding-v3").key == ""


def test_what_else_is_in_the_environment_is_not_sent(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    remote("api:text-embedding-v3").encode_texts(["a"])
    [headers] = service.headers
    assert not [value for value in headers.values() if "org-of-mine" in value]


@pytest.mark.parametrize(
    ("base", "key", "complaint"),
    [
        ("", "", "nothing in the environment says where api:m is: set CLIPKIT_API_BASE"),
        ("", "k", "CLIPKIT_API_KEY is set, but not CLIPKIT_API_BASE"),
        ("localhost:80", "", "the address of a service begins with https://"),
        ("http://me:secret@host/v1", "", "the address of host holds a name or password"),
    ],
)
def test_an_environment_that_will_not_do_says_what_would(
    service: Service, monkeypatch: pytest.MonkeyPatch, base: str, key: str, complaint: str
) -> None:
    monkeypatch.setenv("CLIPKIT_API_BASE", base)
    monkeypatch.setenv("CLIPKIT_API_KEY", key)
    with pytest.raises((InvalidInput, ModelUnavailable), match=complaint) as caught:
        load_encoder("api:m")
    assert "secret" not in str(caught.value)


def test_a_service_is_never_on_this_machine(service: Service) -> None:
    assert not cached("api:text-embedding-v3")
    with pytest.raises(ModelUnavailable, match="api:text-embedding-v3 is a service"):
        load_encoder("api:text-embedding-v3", local_only=True)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("api:text-embedding-v3?dimensions=1024", "api:text-embedding-v3"),
        ("api:text-embedding-v3?dimensions=0512", "api:text-embedding-v3?dimensions=512"),
        ("api:BAAI/bge-m3", "api:BAAI/bge-m3"),
        ("api:nomic-embed-text:latest?dimensions=64", "api:nomic-embed-text:latest?dimensions=64"),
    ],
)
def test_there_is_one_way_to_write_the_name_of_a_service(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical
    assert canonical_name(canonical) == canonical


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("api:", "a model is missing after api:"),
        ("api:text-embedding-v3?dimensions=700", "no vectors of 700 dimensions, but of 512, 768, 1024"),
        ("api:text-embedding-v2?dimensions=512", "no vectors of 512 dimensions, but of one length"),
        ("api:m?dimensions=many", "dimensions are a whole number from 1 on, not 'many'"),
        ("api:m?pooling=mean", r"should end in settings such as \?dimensions="),
        ("api:m?dimensions=1&dimensions=2", "says dimensions twice"),
    ],
)
def test_a_name_that_asks_for_what_is_not_there(name: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        canonical_name(name)


# --- progress


def test_what_was_embedded_before_an_error_is_not_paid_for_twice(service: Service) -> None:
    encoder = remote("api:text-embedding-v3")
    service.fail = lambda given: error(403, "quota") if "text 700" in given else None
    with pytest.raises(ServiceError, match="quota") as caught:
        encoder.encode_texts(texts(1000))
    assert caught.value.embedded == 700
    service.fail = lambda _: None

    np.testing.assert_allclose(encoder.encode_texts(texts(1000)), rows(texts(1000), 1024), atol=1e-6)

    asked = Counter(text for given in service.texts for text in given)
    assert asked == Counter(texts(1000) + texts(1000)[700:710])  # the request that failed, and no other


def test_answers_on_their_way_when_a_request_fails_are_waited_for(service: Service) -> None:
    encoder = remote("api:text-embedding-v3")
    service.fail = lambda given: error(403, "quota") if "text 0" in given else None
    service.seconds = lambda given: 0.0 if "text 0" in given else 0.3
    with pytest.raises(ServiceError, match="quota") as caught:
        encoder.encode_texts(texts(1000))
    assert caught.value.embedded == 0
    assert sorted(map(tuple, service.texts)) == sorted(
        tuple(texts(40)[at : at + 10]) for at in (0, 10, 20, 30)
    )
    service.fail = lambda _: None
    service.asked.clear()

    encoder.encode_texts(texts(40))

    assert service.texts == [texts(10)]


def test_texts_that_were_embedded_are_stored_and_a_second_call_goes_on(
    service: Service, tmp_path: Path
) -> None:
    collection = Collection.create("mine", db=tmp_path, encoder="api:text-embedding-v3?dimensions=512")
    ids = [f"t{i}" for i in range(2500)]
    service.fail = lambda given: error(403, "quota") if "text 2000" in given else None
    stored = 1024 + 970  # 1,024 are written at once, and of the others 97 requests went well
    with pytest.raises(ServiceError, match=f"the first {stored} of 2500 texts are stored") as caught:
        collection.add_texts(texts(2500), ids=ids)
    assert caught.value.embedded == collection.count() == stored
    service.fail = lambda _: None
    service.asked.clear()

    again = Collection.open("mine", db=tmp_path)  # as another process would
    report = again.add_texts(texts(2500), ids=ids)

    assert (report.added, report.updated) == (2500 - stored, stored)
    assert sorted(text for given in service.texts for text in given) == sorted(texts(2500)[stored:])
    assert again.search("text 2400", k=1)[0].id == "t2400"


def test_a_refused_text_is_named_by_its_place_among_all(service: Service, tmp_path: Path) -> None:
    collection = Collection.create("mine", db=tmp_path, encoder="api:text-embedding-v3")
    given = [*texts(1500), "w " * 9000]
    with pytest.raises(InvalidInput, match=r"input 1500: 127\.0\.0\.1 refuses the text"):
        collection.add_texts(given)
    assert collection.count() == 1024


def test_the_command_line_goes_on_where_a_service_stopped(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts(50)), encoding="utf-8")
    command = [sys.executable, "-m", "clipkit", "add-texts", str(file), "--db", str(tmp_path / "db")]
    service.fail = lambda given: error(403, "quota") if "text 30" in given else None
    first = subprocess.run(
        [*command, "--model", "api:text-embedding-v3"], capture_output=True, text=True, check=False
    )
    assert (first.returncode, first.stdout) == (1, "")
    assert "the first 30 of 50 texts are stored" in first.stderr
    assert KEY not in first.stderr
    service.fail = lambda _: None
    service.asked.clear()
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert second.stdout == "added 20, updated 30, removed 0\n"
    assert sum(map(len, service.texts)) == 20


# --- the intro's own example


def test_the_example_of_the_introduction_runs(service: Service) -> None:
    source = INTRO.replace("https://dashscope.aliyuncs.com/compatible-mode/v1", service.url)
    source = source.replace('os.getenv("DASHSCOPE_API_KEY")', repr(KEY))
    done = subprocess.run(
        [sys.executable, "-"], input=source, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    answer = json.loads(done.stdout)
    assert answer["model"] == "text-embedding-v3"
    assert len(answer["data"][0]["embedding"]) == 1024
    raw = np.asarray(answer["data"][0]["embedding"], np.float32)
    [ours] = remote("api:text-embedding-v3").encode_texts(["测试embedding字符串"])
    np.testing.assert_allclose(ours, raw / np.linalg.norm(raw), atol=1e-6)


def test_the_client_is_not_needed_before_a_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, clipkit.encoders as e; e.canonical_name('api:m'); print('openai' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
    monkeypatch.setattr("clipkit.encoders.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=re.escape("pip install 'clipkit[text]'")):
        load_encoder("api:m")

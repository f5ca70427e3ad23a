"""Real huggingface_hub code against a hub on the loopback."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipkit.encoders import cached, hub
from clipkit.encoders.sources import locate
from clipkit.errors import ModelUnavailable, UnknownModel
from tests import models
from tests.hub_server import COMMIT, Hub, Request, downloads, run, settings, started

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
CONTENT = bytes(range(256)) * 100_000  # 25.6 MB: huggingface_hub writes 10 MiB at a time
CHUNK = 10 * 2**20


@pytest.fixture
def server() -> Iterator[Hub]:
    with Hub({"owner/model": {WEIGHTS: CONTENT, CONFIG: b"{}"}}) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings(server, tmp_path).items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    return tmp_path


def fetch(name: str = WEIGHTS, *, repo: str = "owner/model", **options: Any) -> Path | None:
    return hub.fetch(repo, (name,), model="hf-hub:owner/model", **options)


FETCH = f"from clipkit.encoders.hub import fetch; fetch('owner/model', ['{WEIGHTS}'], model='the model')"


# What goes well


def test_a_file_is_downloaded_once_and_then_asked_for_no_more(home: Path, server: Hub) -> None:
    first = fetch()
    assert first is not None
    assert first.read_bytes() == CONTENT
    assert len(downloads(server)) == 1
    server.log.clear()
    assert fetch() == first
    assert server.log == []


def test_the_first_name_that_exists_is_taken(home: Path, server: Hub) -> None:
    path = hub.fetch("owner/model", ("no.bin", CONFIG, WEIGHTS), model="m")
    assert path is not None
    assert path.name == CONFIG
    assert not any(WEIGHTS in path for path in server.asked("GET"))


def test_what_is_in_the_cache_is_preferred_to_what_is_first(home: Path, server: Hub) -> None:
    fetch(CONFIG)
    server.log.clear()
    path = hub.fetch("owner/model", (WEIGHTS, CONFIG), model="m")
    assert path is not None
    assert path.name == CONFIG
    assert server.log == []


def test_a_file_that_does_not_exist_is_asked_for_once(home: Path, server: Hub) -> None:
    assert fetch("absent.json") is None
    server.log.clear()
    assert fetch("absent.json") is None
    assert server.log == []


def test_a_mirror_that_says_not_found_without_a_reason_is_understood(home: Path, server: Hub) -> None:
    server.refuse["owner/model"] = (404, "")
    assert fetch("absent.json") is None


def test_a_revision_is_fetched_as_asked(home: Path, server: Hub) -> None:
    path = fetch(revision=COMMIT)
    assert path is not None
    assert path.parent.name == COMMIT
    assert all(f"/resolve/{COMMIT}/" in path for path in server.asked("HEAD"))


def test_other_tools_find_the_file_in_the_cache(home: Path, server: Hub) -> None:
    from huggingface_hub import hf_hub_download

    ours = fetch()
    server.log.clear()
    assert Path(hf_hub_download("owner/model", WEIGHTS, local_files_only=True)) == ours
    assert server.log == []


def test_the_access_token_goes_to_the_hub_only(
    home: Path, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch()

    def told(request: Request) -> bool:
        return any("hf_secret" in value for value in request.headers.values())

    at_hub = [request for request in server.log if "/resolve/" in request.path]
    assert at_hub
    assert all(told(request) for request in at_hub)
    assert [told(request) for request in downloads(server)] == [False]


def test_a_first_download_shows_a_progress_bar_on_a_terminal(home: Path, server: Hub) -> None:
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    settings = started(home, server)
    del settings["capture_output"], settings["text"]
    process = subprocess.Popen([sys.executable, "-c", FETCH], stdout=terminal, stderr=terminal, **settings)
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(controller, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    assert process.wait(60) == 0, shown.decode()
    assert f"{WEIGHTS}: 100%".encode() in shown
    assert b"25.6M/25.6M" in shown


def test_a_download_prints_nothing_where_there_is_no_terminal(home: Path, server: Hub) -> None:
    done = run(FETCH, home, server)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Without a network


def test_a_cached_file_needs_no_network(home: Path, server: Hub) -> None:
    path = fetch()
    server.stop()
    assert fetch() == path


def test_no_network_and_no_cache_names_the_model_and_the_ways_out(home: Path, server: Hub) -> None:
    server.stop()
    began = time.monotonic()
    with pytest.raises(
        ModelUnavailable, match="hf-hub:owner/model is not in the local cache, and there is no network"
    ):
        fetch()
    assert time.monotonic() - began < 5
    with pytest.raises(ModelUnavailable, match=r"`bundled`, or files that you have \(local-dir:path"):
        fetch()


def test_offline_mode_is_said_to_be_the_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelUnavailable, match=r"is not in the local cache, and HF_HUB_OFFLINE says .*`bundled`"
    ):
        fetch()


def test_a_network_that_swallows_everything_is_given_up_soon(home: Path, server: Hub) -> None:
    server.silent = True
    began = time.monotonic()
    with pytest.raises(ModelUnavailable, match="there is no network, or none that reaches http://127"):
        fetch()
    assert time.monotonic() - began < 8


def test_local_only_asks_nobody(home: Path, server: Hub) -> None:
    with pytest.raises(
        ModelUnavailable, match=r"is not in the local cache .* and local_only forbids downloads"
    ):
        fetch(local_only=True)
    assert server.log == []
    path = fetch()
    assert fetch(local_only=True) == path


# Refusals are told apart


@pytest.mark.parametrize(
    ("status", "code", "error", "complaint"),
    [
        (404, "RepoNotFound", UnknownModel, r"the hub has no repository 'owner/model' .* or it is private"),
        (401, "RepoNotFound", UnknownModel, r"the hub has no repository 'owner/model' .* or it is private"),
        (403, "GatedRepo", ModelUnavailable, r"is gated: accept its conditions at http://.*/owner/model"),
        (401, "", ModelUnavailable, r"it asks for permission \(401\): log in with `hf auth login`"),
        (404, "RevisionNotFound", UnknownModel, "has no revision None"),
        (503, "", ModelUnavailable, "it answers 503: try again later"),
        (429, "", ModelUnavailable, "it answers 429: try again later"),
    ],
)
def test_a_refusal_says_why(
    home: Path, server: Hub, status: int, code: str, error: type[Exception], complaint: str
) -> None:
    server.refuse["owner/model"] = (status, code)
    with pytest.raises(error, match=complaint):
        fetch()


def test_a_wrong_token_is_told(home: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    server.refuse["owner/model"] = (401, "")
    with pytest.raises(ModelUnavailable, match=r"it does not accept the access token \(401\)"):
        fetch()


def test_a_repository_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(UnknownModel, match="the hub has no repository 'owner/other'"):
        fetch(repo="owner/other")


def test_what_is_no_repository_name_is_refused(home: Path) -> None:
    with pytest.raises(UnknownModel, match=r"'a/b/c' is not the name of a repository \(owner/name\)"):
        fetch(repo="a/b/c")


def test_a_repository_without_an_open_clip_model_says_what_it_lacks(home: Path, server: Hub) -> None:
    server.repos["owner/notes"] = {"README.md": b"# Notes"}
    with pytest.raises(
        ModelUnavailable, match=r"owner/notes is not an open_clip model: it has no open_clip_config"
    ):
        locate("hf-hub:owner/notes")


# Interruptions


def test_a_download_goes_on_where_the_last_process_was_killed(home: Path, server: Hub) -> None:
    server.trouble[WEIGHTS] = ("stall", 22_000_000)
    settings = started(home, server)
    del settings["capture_output"], settings["text"]
    process = subprocess.Popen([sys.executable, "-c", FETCH], **settings)
    blobs = home / "hub" / "models--owner--model" / "blobs"
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size >= 2 * CHUNK for part in blobs.glob("*incomplete")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.log.clear()

    path = fetch()

    assert path is not None
    assert path.read_bytes() == CONTENT
    assert [request.headers.get("Range") for request in downloads(server)] == [f"bytes={2 * CHUNK}-"]
    assert list(blobs.glob("*incomplete")) == []


def test_a_connection_cut_midway_is_taken_up_at_once(home: Path, server: Hub) -> None:
    server.trouble[WEIGHTS] = ("cut", 15_000_000)
    path = fetch()
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert [request.headers.get("Range") for request in downloads(server)] == [None, f"bytes={CHUNK}-"]


def test_a_broken_connection_says_how_far_it_came_and_the_next_try_goes_on(home: Path, server: Hub) -> None:
    server.trouble[WEIGHTS] = ("reset", 15_000_000)
    with pytest.raises(
        ModelUnavailable, match=r"was cut off after [\d,]+ of 25,600,000 bytes .*run again to go on"
    ):
        fetch()
    (part,) = (home / "hub").glob("**/*incomplete")
    kept = part.stat().st_size
    server.log.clear()
    path = fetch()
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert [request.headers.get("Range") for request in downloads(server)] == [f"bytes={kept}-"]


def part_of(home: Path, content: bytes) -> Path:
    import hashlib

    blob = home / "hub" / "models--owner--model" / "blobs" / hashlib.sha256(CONTENT).hexdigest()
    blob.parent.mkdir(parents=True)
    part = blob.with_name(f"{blob.name}.clipkit-incomplete")
    part.write_bytes(content)
    return part


def test_a_server_that_cannot_go_on_starts_over(home: Path, server: Hub) -> None:
    part_of(home, CONTENT[:1_000_000])
    server.trouble[WEIGHTS] = ("no range", 0)
    path = fetch()
    assert path is not None
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("rest", [CONTENT, CONTENT + b"more"], ids=["whole", "too long"])
def test_a_part_that_is_whole_or_too_long_is_no_obstacle(home: Path, server: Hub, rest: bytes) -> None:
    part_of(home, rest)
    path = fetch()
    assert path is not None
    assert path.read_bytes() == CONTENT


def test_damage_on_the_way_is_noticed_and_not_kept(home: Path, server: Hub) -> None:
    server.trouble[WEIGHTS] = ("damage", 0)
    with pytest.raises(ModelUnavailable, match="arrived damaged: run again to repeat it"):
        fetch()
    assert list((home / "hub").glob("**/*incomplete")) == []
    path = fetch()
    assert path is not None
    assert path.read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_replaced_once_it_is_deleted(home: Path, server: Hub) -> None:
    path = fetch()
    assert path is not None
    path.resolve().write_bytes(CONTENT[:-1])  # the disk was full, say
    path.unlink()
    again = fetch()
    assert again == path
    assert again.read_bytes() == CONTENT


def test_two_processes_download_a_file_once(home: Path, server: Hub) -> None:
    settings = started(home, server)
    del settings["capture_output"], settings["text"]
    both = [subprocess.Popen([sys.executable, "-c", FETCH], **settings) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(downloads(server)) == 1


LOAD = """
import json, sys
from clipkit.encoders import load_encoder
encoder = load_encoder(sys.argv[1], device="cpu", precision="fp32")
print(json.dumps([encoder.name, encoder.fingerprint, encoder.encode_texts(["a red car"]).tolist()]))
"""


def test_a_model_with_its_tokenizer_elsewhere_loads_with_and_without_a_network(
    home: Path, server: Hub
) -> None:
    from clipkit.encoders import load_encoder

    folder = models.model_folder(home / "made", models.TINY_SIGLIP, preprocess=models.SIGLIP_PREPROCESS)
    model = {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    tokenizer = {file.name: file.read_bytes() for file in folder.glob("*token*.json")}
    server.repos |= {"owner/tiny": model, "timm/ViT-B-16-SigLIP2": tokenizer}
    expected = load_encoder(f"local-dir:{folder}", device="cpu", precision="fp32")

    first = load_encoder("hf-hub:owner/tiny", device="cpu", precision="fp32")
    wanted = {path.partition("/resolve/main/")[::2] for path in server.asked("GET") if "/resolve/" in path}
    assert wanted == {("/owner/tiny", CONFIG), ("/owner/tiny", WEIGHTS)} | {
        ("/timm/ViT-B-16-SigLIP2", name) for name in tokenizer
    }
    server.log.clear()
    load_encoder("hf-hub:owner/tiny", device="cpu", precision="fp32")
    assert server.log == []
    assert cached("hf-hub:owner/tiny")
    server.stop()

    command = [sys.executable, "-c", LOAD, "hf-hub:owner/tiny"]
    offline = subprocess.run(command, **started(home, server, HF_HUB_OFFLINE="1"), timeout=120)

    assert offline.returncode == 0, offline.stderr
    name, fingerprint, rows = json.loads(offline.stdout)
    assert name == first.name == "hf-hub:owner/tiny"
    assert fingerprint == first.fingerprint == expected.fingerprint
    assert rows == expected.encode_texts(["a red car"]).tolist()


def test_a_model_is_cached_or_not(home: Path, server: Hub) -> None:
    assert not cached("hf-hub:owner/model")
    assert not cached("fast")
    assert not cached("local-dir:/no/such/folder")
    assert cached("fake")
    assert server.log == []

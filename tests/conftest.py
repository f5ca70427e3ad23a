from __future__ import annotations

import ipaddress
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from clipkit import Collection
    from tests.command_line import Run

DEAD_PROXY = "http://127.0.0.1:9"  # nothing listens there
HERE = "localhost,127.0.0.1,::1"

# What runs in the background of a script ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, not whether it is right.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

LONGEST = ("test_docs", "test_web_map", "test_page", "test_resident", "test_processes", "test_openclip")
"""Files that take a minute or more: begun first, so that all of `make test`'s processes end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)


reached_out: list[str] = []
"""What this process tried to reach beyond itself since the test began."""


def forbid_the_network(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = arguments[0]
    else:
        return
    host = address[0] if isinstance(address, tuple) else address
    if event != "socket.getaddrinfo" and not isinstance(address, tuple):  # a Unix socket
        return
    if not is_loopback(host):
        reached_out.append(f"{event} {address!r}")
        raise OSError(f"the tests run offline: {event} {address!r}")


def is_loopback(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return name == "localhost"


sys.addaudithook(forbid_the_network)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test reaches beyond this machine: neither its own process, nor those that it starts."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, DEAD_PROXY)
        monkeypatch.setenv(name.lower(), DEAD_PROXY)
    monkeypatch.setenv("NO_PROXY", HERE)
    monkeypatch.setenv("no_proxy", HERE)
    reached_out.clear()
    yield
    assert not reached_out


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Collections without a `db` live in the test's own folder."""
    home = tmp_path / "clipkit-home"
    monkeypatch.setenv("CLIPKIT_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What can be made again lies in the test's own folder, and no command leaves a resident behind."""
    cache = tmp_path / "clipkit-cache"
    monkeypatch.setenv("CLIPKIT_CACHE", str(cache))
    monkeypatch.setenv("CLIPKIT_RESIDENT", "off")
    return cache


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "db"


@pytest.fixture
def collection(db: Path) -> Collection:
    from clipkit import Collection
    from clipkit.testing import FakeEncoder

    return Collection.create(db=db, encoder=FakeEncoder())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process."""
    from clipkit.cli import main
    from tests.command_line import Result

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run

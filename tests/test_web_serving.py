"""`clipkit ui` as a process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from clipkit import Collection
from clipkit.errors import InvalidInput
from clipkit.testing import FakeEncoder
from clipkit_web.serving import PORT, _listener


def test_the_page_is_served_until_ctrl_c(db: Path) -> None:
    Collection.create("default", db=db, encoder="bundled")
    command = [sys.executable, "-m", "clipkit", "ui", "--db", str(db), "--port", "0", "--no-open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            url = json.loads(child.stdout.readline())["url"]
            assert url.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(url) as answer:
                assert b"gradio" in answer.read()
        finally:
            child.send_signal(signal.SIGINT)
            _, complaints = child.communicate()
    assert child.returncode in (0, -signal.SIGINT)
    assert "Traceback" not in complaints


def test_a_port_that_is_taken_is_told(db: Path) -> None:
    Collection.create("default", db=db, encoder=FakeEncoder())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=rf"port {number} cannot be listened on .*--port"):
            _listener("127.0.0.1", number)


def test_without_a_port_the_next_that_is_free_is_taken() -> None:
    with _listener("127.0.0.1", None) as first, _listener("127.0.0.1", None) as second:
        assert PORT <= first.getsockname()[1] < second.getsockname()[1]

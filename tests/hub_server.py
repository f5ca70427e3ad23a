"""A hub on the loopback: the routes that huggingface_hub asks, over files that a test makes."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

COMMIT = "c" * 40


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Hub:
    """Repositories of files by name. Large ones are served by a second server, as the real hub's are.

    `trouble` says what happens to the next download of a file: ("cut", n) ends the connection after n bytes,
    ("reset", n) breaks it, ("stall", n) goes silent, ("no range", 0) ignores what was asked for,
    ("damage", 0) changes a byte. `refuse` gives a status and an error code for all that a repository holds.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    trouble: dict[str, tuple[str, int]] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    silent: bool = False

    def __enter__(self) -> Hub:
        self.done = Event()
        self.servers = [_serve(self, handler) for handler in (_HubHandler, _StoreHandler)]
        self.url, self.store = (f"http://127.0.0.1:{server.server_address[1]}" for server in self.servers)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        self.done.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def asked(self, method: str) -> list[str]:
        """The paths of the requests of that method, in order."""
        return [request.path for request in self.log if request.method == method]


def settings(hub: Hub, folder: Path) -> dict[str, Any]:
    """What huggingface_hub's constants have to be for it to use that hub, and a cache in `folder`.

    It reads its settings once, when it is imported.
    """
    return {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_TOKEN_PATH": str(folder / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_ETAG_TIMEOUT": 2,
        "HF_HUB_DOWNLOAD_TIMEOUT": 2,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    hub: Hub


def _serve(hub: Hub, handler: type[BaseHTTPRequestHandler]) -> _Server:
    server = _Server(("127.0.0.1", 0), handler)
    server.hub = hub
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.server.hub.log.append(Request(self.command, self.path, dict(self.headers.items())))
        if self.server.hub.silent:
            self.server.hub.done.wait(60)
        else:
            self.serve()

    def serve(self) -> None:
        raise NotImplementedError

    def reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class _HubHandler(_Handler):
    def serve(self) -> None:
        hub = self.server.hub
        repo, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repo in hub.refuse:
            status, code = hub.refuse[repo]
            self.reply(status, {"X-Error-Code": code} if code else {})
        elif repo not in hub.repos:
            self.reply(404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", COMMIT):
            self.reply(404, {"X-Error-Code": "RevisionNotFound"})
        elif name not in hub.repos[repo]:
            self.reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            self.file(hub.repos[repo][name], large=name.endswith((".safetensors", ".bin")))

    def file(self, content: bytes, *, large: bool) -> None:
        headers = {"X-Repo-Commit": COMMIT}
        if not large:
            blob = b"blob %d\0" % len(content) + content
            self.reply(200, {**headers, "ETag": f'"{hashlib.sha1(blob).hexdigest()}"'}, content)
            return
        digest = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        self.reply(302, {**headers, "Location": f"{self.server.hub.store}/{digest}"})


class _StoreHandler(_Handler):
    def serve(self) -> None:
        hub = self.server.hub
        files = [(name, content) for repo in hub.repos.values() for name, content in repo.items()]
        name, content = next(f for f in files if hashlib.sha256(f[1]).hexdigest() == self.path.lstrip("/"))
        kind, limit = hub.trouble.pop(name, ("", 0))
        start = 0 if kind == "no range" else int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        body = content[start:]
        if kind == "damage":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command != "GET":
            return
        self.wfile.write(body[:limit] if limit else body)
        self.end_early(kind)

    def end_early(self, kind: str) -> None:
        self.wfile.flush()
        if kind == "stall":
            self.server.hub.done.wait(60)
        if kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if kind in ("cut", "reset", "stall"):
            self.close_connection = True
            if kind == "reset":
                self.connection.close()


def downloads(server: Hub) -> list[Request]:
    """The requests for the content of large files, in order."""
    return [request for request in server.log if request.method == "GET" and request.path.count("/") == 1]


def run(code: str, home: Path, server: Hub, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], **started(home, server, **env), timeout=120)


def started(home: Path, server: Hub, **env: str) -> dict[str, Any]:
    """How to start a process with this cache and this hub, and nothing of the user's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return {
        "env": {
            **clean,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_ENDPOINT": server.url,
            **env,
        },
        "cwd": Path(__file__).parent.parent,
        "capture_output": True,
        "text": True,
    }

"""Python that starts at once: a fork of a process that has imported torch and open_clip, which takes seconds.

It is a process of its own, with its own arguments, folder, environment, input and outputs, and ends as one.
But some modules are there already, so it is not for tests of what gets imported.

python -m tests.forked SOCKET                         forks for each that asks
python -S tests/forked.py SOCKET SCRIPT ARGUMENTS     does what `python SCRIPT ARGUMENTS` does
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def forking(environment: Mapping[str, str]) -> Iterator[list[str]]:
    """A command in place of `python`, for scripts.

    The environment is that of the imports; each script has that of whoever starts it.
    """
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may be too long a name for a socket
        path = Path(folder) / "socket"
        command = [sys.executable, "-m", "tests.forked", str(path)]
        with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
            try:
                while not path.exists():
                    assert server.poll() is None
                    time.sleep(0.05)
                yield [sys.executable, "-S", __file__, str(path)]
            finally:
                server.kill()


def serve(path: str) -> None:
    from clipkit.encoders import lazily

    lazily.put_off()
    import open_clip  # noqa: F401

    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path + ".new")
        listening.listen()
        listening.settimeout(5)
        os.rename(path + ".new", path)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
        while os.getppid() == parent:
            try:
                asked, _ = listening.accept()
            except TimeoutError:
                continue
            if not os.fork():
                answer(asked)
                os._exit(0)
            asked.close()


def answer(asked: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = multiprocessing.get_context("fork").Process(target=run, args=(asked,))
    child.start()
    child.join()
    asked.sendall(str(child.exitcode).encode())


def run(asked: socket.socket) -> None:
    """Does what is asked, in this process."""
    with asked, asked.makefile("rb") as wanted:
        _, files, *_ = socket.recv_fds(asked, 1, 3)
        sys.argv[:], folder, environment = json.load(wanted)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


def ask(path: str, arguments: list[str]) -> int:
    """The exit status of `python *arguments`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"\n"], [0, 1, 2])
        connection.sendall(json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode())
        connection.shutdown(socket.SHUT_WR)
        return int(connection.recv(16) or 255)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        raise SystemExit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])

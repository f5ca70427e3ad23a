from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from clipkit import Collection
from clipkit.resident import client, meeting, server, words
from clipkit.testing import FakeEncoder
from tests.models import model_folder
from tests.terminal import Terminal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are residents on POSIX systems only")

PATIENCE_S = 60.0  # for what takes a second on a machine that is not busy
TEXTS = ["a dog", "a cat", "a boat at sea", "Größe [naïve] 犬"]

MAIN = """
import sys
from clipkit.cli import main
code = main()
sys.stdout.flush()
print("alone" if "lancedb" in sys.modules else "answered", file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of this test's residents, which end with it. Its path is short, as a socket's must be."""
    monkeypatch.setenv("CLIPKIT_RESIDENT", "120")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    with tempfile.TemporaryDirectory(prefix="ck") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder, "clipkit")
        monkeypatch.undo()  # for one test is another user
        for pid in pids(Path(folder, "clipkit")):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def texts(db: Path) -> Path:
    Collection.create(db=db, encoder=FakeEncoder()).add_texts(TEXTS, ids=[str(n) for n in range(4)])
    return db


def pids(folder: Path) -> list[int]:
    return [int(lock.read_text()) for lock in folder.glob("*.lock") if lock.stat().st_size]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S, **options)  # type: ignore[call-overload,no-any-return]


def who(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode().splitlines()[-1]


def until(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def started(runtime: Path, texts: Path) -> Path:
    """The socket of a resident that is ready."""
    first = run("search", "a dog", "--db", texts)
    assert (first.returncode, who(first)) == (0, "alone")
    until(lambda: list(runtime.glob("*.sock")))
    return next(runtime.glob("*.sock"))


# --- what it answers


def test_the_next_question_is_answered_as_the_first_was(runtime: Path, texts: Path) -> None:
    started(runtime, texts)
    for arguments in (
        ("search", "a dog", "--db", texts),
        ("search", "Größe [naïve] 犬", "--db", texts, "--json"),
        ("search", "a dog + 0.5*id:2 - 'a cat'", "--db", texts, "-k", 2),
        ("search", "boat", "--hybrid", "--db", texts),
        ("search", "a dog", "--min-score", "0.999", "--db", texts),
        ("recommend", "--like", "1", "--db", texts, "--json"),
    ):
        answer = run(*arguments)
        assert who(answer) == "answered"
        alone = run(*arguments, env={**os.environ, "CLIPKIT_RESIDENT": "off"})
        assert who(alone) == "alone"
        assert answer.stdout == alone.stdout
        assert answer.stderr.replace(b"answered", b"") == alone.stderr.replace(b"alone", b"")
        assert alone.stdout


def test_on_a_terminal_it_looks_the_same(runtime: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started(runtime, texts)
    arguments = ("search", "Größe [naïve] 犬", "--db", texts)
    with Terminal(*arguments, environment={"COLUMNS": "30"}) as terminal:
        assert terminal.wait() == 0
    seen = terminal.seen
    with Terminal(*arguments, environment={"COLUMNS": "30", "CLIPKIT_RESIDENT": "off"}) as terminal:
        assert terminal.wait() == 0
    assert seen == terminal.seen
    assert "Größe" in seen
    assert "\u2500" in seen  # the line below the header of a table


def test_paths_mean_what_they_mean_where_the_command_was_typed(
    runtime: Path, texts: Path, tmp_path: Path
) -> None:
    started(runtime, texts)
    (tmp_path / "elsewhere").mkdir()
    arguments = ("search", "a dog", "--db", os.path.relpath(texts, tmp_path / "elsewhere"))
    answer = run(*arguments, cwd=tmp_path / "elsewhere")
    assert (who(answer), answer.returncode) == ("answered", 0)
    assert answer.stdout.decode().splitlines()[0] == "1.000\ta dog"
    wrong = run(*arguments, cwd=tmp_path)  # there the path leads nowhere
    assert (who(wrong), wrong.returncode) == ("alone", 2)


def test_what_is_added_meanwhile_is_found(runtime: Path, texts: Path) -> None:
    started(runtime, texts)
    Collection.open(db=texts).add_texts(["a heron"])
    answer = run("search", "a heron", "--db", texts, "-k", 1)
    assert (who(answer), answer.stdout) == ("answered", b"1.000\ta heron\n")


def test_an_error_is_told_as_ever(runtime: Path, texts: Path) -> None:
    started(runtime, texts)
    wrong = run("search", "a dog", "--db", texts, "--where", "nonsense > 1", "--json")
    alone = run(
        "search", "a dog", "--db", texts, "--where", "nonsense > 1", "--json",
        env={**os.environ, "CLIPKIT_RESIDENT": "off"},
    )  # fmt: skip
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (2, alone.stdout, alone.stderr)


def test_a_question_that_needs_torch_is_not_for_the_resident(
    runtime: Path, texts: Path, tmp_path: Path
) -> None:
    spec = f"local-dir:{model_folder(tmp_path / 'model')}"
    Collection.create("tiny", db=texts, encoder=spec).add_texts(TEXTS)
    started(runtime, texts)
    for note in Path(os.environ["CLIPKIT_CACHE"]).rglob("*.json"):
        note.unlink()
    answer = run("search", "a dog", "--db", texts, "--name", "tiny", "-k", 1)
    assert (who(answer), answer.returncode) == ("alone", 0)
    answer = run("search", "a dog", "--db", texts, "--name", "tiny", "-k", 1)  # it has left a note
    assert (who(answer), answer.returncode) == ("answered", 0)


# --- how it comes and goes


def test_only_one_is_started(runtime: Path, texts: Path) -> None:
    command = [sys.executable, "-c", MAIN, "search", "a dog", "--db", str(texts)]
    several = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    outputs = [each.communicate(timeout=PATIENCE_S)[0] for each in several]
    assert len(set(outputs)) == 1
    until(lambda: list(runtime.glob("*.sock")))
    assert len(pids(runtime)) == 1
    assert who(run("search", "a dog", "--db", texts)) == "answered"


def test_it_leaves_when_nobody_asks(runtime: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPKIT_RESIDENT", "1")
    run("search", "a dog", "--db", texts)
    until(lambda: pids(runtime))
    (pid,) = pids(runtime)
    until(lambda: not pids(runtime))
    assert not list(runtime.glob("*.sock"))
    until(lambda: not is_running(pid))
    again = run("search", "a dog", "--db", texts)  # and another one may come at once
    assert who(again) == "alone"
    until(lambda: pids(runtime))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_after_one_was_killed_questions_are_answered_all_the_same(runtime: Path, texts: Path) -> None:
    started(runtime, texts)
    (pid,) = pids(runtime)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_running(pid))
    done = run("search", "a dog", "--db", texts)
    assert (who(done), done.returncode) == ("alone", 0)
    assert pids(runtime) == [pid]  # what may have killed it gets no second one at once
    (lock,) = runtime.glob("*.lock")
    os.utime(lock, (0, 0))
    run("search", "a dog", "--db", texts)
    until(lambda: who(run("search", "a dog", "--db", texts)) == "answered")
    assert pids(runtime) != [pid]


@pytest.mark.parametrize(
    ("name", "value"), [("CLIPKIT_RESIDENT", "off"), ("CLIPKIT_DEBUG", "1"), ("XDG_RUNTIME_DIR", "/nowhere")]
)
def test_without_one_nothing_is_left_behind(
    runtime: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    done = run("search", "a dog", "--db", texts)
    assert (who(done), done.returncode) == ("alone", 0)
    assert not runtime.exists()


@pytest.mark.parametrize("arguments", [("status",), ("search", "--help"), ("album", "list")])
def test_other_commands_start_none(runtime: Path, texts: Path, arguments: tuple[str, ...]) -> None:
    more = () if "--help" in arguments else ("--db", texts)
    assert run(*arguments, *more).returncode == 0
    assert not runtime.exists()


def test_a_question_that_failed_starts_none(runtime: Path, texts: Path) -> None:
    assert run("search", "a dog", "--db", texts, "--name", "none").returncode == 2
    assert not pids(runtime)


# --- whom it answers


def test_it_is_another_one_for_another_environment_or_program(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = meeting.meeting()
    assert here == meeting.meeting()
    assert here is not None
    assert here.socket.parent == runtime
    monkeypatch.setenv("TERM", "another")
    monkeypatch.setenv("PWD", "/")
    assert here == meeting.meeting()
    for name in ("CLIPKIT_HOME", "HF_HOME", "OMP_NUM_THREADS", "AWS_PROFILE", "https_proxy", "LC_ALL"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "another")
            assert here != meeting.meeting()
    with monkeypatch.context() as patch:
        patch.setattr("clipkit.__version__", "0.0.1")
        assert here != meeting.meeting()


def test_the_folder_is_for_its_user_alone(runtime: Path) -> None:
    assert meeting.private_folder() == runtime
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert meeting.private_folder() == runtime


@pytest.mark.parametrize("mode", [0o701, 0o770, 0o777])
def test_a_folder_that_others_may_enter_is_not_used(runtime: Path, mode: int) -> None:
    runtime.mkdir()
    runtime.chmod(mode)
    assert meeting.meeting() is None


def test_neither_is_a_link(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(0o700)
    runtime.symlink_to(tmp_path / "other")
    assert meeting.meeting() is None


def test_neither_is_a_file(runtime: Path) -> None:
    runtime.write_text("")
    runtime.chmod(0o600)
    assert meeting.meeting() is None


def test_neither_is_a_folder_of_somebody_else(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.mkdir(0o700)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert meeting.meeting() is None


def test_neither_is_one_that_others_could_replace(runtime: Path) -> None:
    runtime.parent.chmod(0o777)
    assert meeting.meeting() is None
    runtime.parent.chmod(0o1777)  # as /tmp is
    assert meeting.meeting() is not None


def test_without_a_runtime_folder_it_is_one_among_the_temporary_files(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.tempdir", str(runtime.parent))
    assert meeting.private_folder() == runtime.parent / f"clipkit-{os.geteuid()}"


def test_a_path_too_long_for_a_socket_is_none(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert meeting.meeting() is None


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not say who asks")
def test_who_is_at_the_other_end_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert meeting.is_same_user(ours)
        uid = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
        assert not meeting.is_same_user(ours)


def test_the_socket_is_for_its_user_alone(runtime: Path) -> None:
    place = meeting.meeting()
    assert place is not None
    place.socket.write_text("left behind")
    with server.listen(str(place.socket)):
        assert stat.S_IMODE(place.socket.stat().st_mode) == 0o600
        assert meeting.is_private(place.socket, stat.S_ISSOCK)


# --- whatever is at the socket instead of it


def fake(answers: Callable[[socket.socket], None]) -> meeting.Meeting:
    """Where somebody listens who does that with each who comes."""
    place = meeting.meeting()
    assert place is not None
    listening = server.listen(str(place.socket))

    def serve() -> None:
        with listening, suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                answers(connection)

    threading.Thread(target=serve, daemon=True).start()
    return place


BEGUN = b'{"begun": true}\n'


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"garbage\n",
        b"[]\n",
        b'{"begun": false}\n',
        BEGUN,
        BEGUN + b"garbage\n",
        BEGUN + b'{"code": 0, "output": [[1, "half',
        BEGUN + b'{"code": 0}\n',
        BEGUN + b'{"code": 0, "output": [[1, "fine"], [3, "where to?"]]}\n',
        BEGUN + b'{"code": 0, "output": [[1, "\\u0100"]]}\n',
        BEGUN + b'{"code": 0, "output": 5}\n',
        BEGUN + b'{"code": 1, "output": [[1, "wrong"]]}\n',
        b"\xff\xfe\n",
        b"x" * (words.LONGEST_QUESTION + 2),
    ],
)
def test_garbage_is_no_answer(runtime: Path, said: bytes, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    def say(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(said)

    assert client.ask(fake(say), ["search", "x"]) is None
    assert capfdbinary.readouterr() == (b"", b"")


def test_an_answer_goes_where_it_belongs(runtime: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    def say(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(BEGUN + b'{"code": 0, "output": [[1, "\\u00ff"], [2, "a note"]]}\n')

    with suppress(AttributeError):  # pytest's own stdout is no file
        sys.stdout.reconfigure(errors="strict")  # type: ignore[union-attr]
    assert client.ask(fake(say), ["search", "x"]) == 0
    assert capfdbinary.readouterr() == (b"\xff", b"a note")


def test_who_keeps_silent_is_not_waited_for(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TURN_S", 0.05)
    over, waits = threading.Event(), list[bool]()
    assert client.ask(fake(lambda _: waits.append(over.wait(PATIENCE_S))), ["search", "x"]) is None
    over.set()


def test_a_full_queue_is_not_waited_for(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TURN_S", 0.05)
    place = meeting.meeting()
    assert place is not None
    with server.listen(str(place.socket)) as listening:
        listening.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            with suppress(BlockingIOError):
                each.connect(str(place.socket))
        assert client.ask(place, ["search", "x"]) is None
        for each in waiting:
            each.close()


@pytest.mark.parametrize("kind", ["nothing", "file", "stale", "open to others", "link"])
def test_what_is_no_socket_of_ours_is_not_asked(runtime: Path, tmp_path: Path, kind: str) -> None:
    place = meeting.meeting()
    assert place is not None
    if kind == "file":
        place.socket.write_text("")
        place.socket.chmod(0o600)
    if kind == "stale":
        server.listen(str(place.socket)).close()
    if kind in ("open to others", "link"):
        at = place.socket if kind == "open to others" else tmp_path / "s"
        with server.listen(str(at)):
            if kind == "link":
                place.socket.symlink_to(at)
            else:
                at.chmod(0o666)
            assert client.ask(place, ["search", "x"]) is None
    assert client.ask(place, ["search", "x"]) is None


def test_a_lock_that_is_a_link_starts_none(runtime: Path, tmp_path: Path) -> None:
    place = meeting.meeting()
    assert place is not None
    (tmp_path / "victim").write_text("kept")
    place.lock.symlink_to(tmp_path / "victim")
    client.start(place, ["search", "x"], 1.0)
    place.lock.unlink()
    assert (tmp_path / "victim").read_text() == "kept"
    assert not place.socket.exists()


# --- what it does with a question


def question(*arguments: str) -> words.Words:
    like = {"encoding": "utf-8", "errors": "strict", "terminal": False}
    return {
        "arguments": arguments,
        "folder": "/",
        "looks": {"COLUMNS": "33"},
        "streams": [{**like, "terminal": True}, like],
    }


def test_a_command_finds_itself_where_the_asker_is(tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def command(arguments: list[str]) -> int:
        seen.update(arguments=arguments, folder=os.getcwd(), columns=os.environ["COLUMNS"])
        print("to stdout", sys.stdout.isatty())
        print("to stderr", sys.stderr.isatty(), file=sys.stderr)
        sys.stdout.buffer.write(b"\x00\xff")
        os.environ["LEFT"] = "behind"
        return 0

    before = os.getcwd()
    try:
        said = server.answered({**question("search", "x"), "folder": str(tmp_path)}, command)
    finally:
        os.chdir(before)
    assert seen == {"arguments": ["search", "x"], "folder": str(tmp_path), "columns": "33"}
    assert said == {"code": 0, "output": [(1, "to stdout True\n"), (2, "to stderr False\n"), (1, "\x00ÿ")]}
    assert "LEFT" not in os.environ


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(0), KeyboardInterrupt()])
def test_a_command_that_fails_is_left_to_the_asker(error: BaseException) -> None:
    def command(_: list[str]) -> int:
        print("half")
        raise error

    before = os.getcwd()
    try:
        assert server.answered(question(), command) == {"code": 1, "output": []}
        assert server.answered(question(), lambda _: 2) == {"code": 2, "output": []}
    finally:
        os.chdir(before)


@pytest.mark.parametrize("said", [b"garbage\n", b"[]\n", b"{}\n", b"x" * (words.LONGEST_QUESTION + 2), b""])
def test_garbage_does_not_end_it(runtime: Path, said: bytes) -> None:
    place = meeting.meeting()
    assert place is not None
    ran: list[list[str]] = []

    def command(arguments: list[str]) -> int:
        ran.append(arguments)
        return 0

    before = os.getcwd()
    with server.listen(str(place.socket)) as listening:
        serving = threading.Thread(target=server.serve, args=(listening, command, 1.0))
        serving.start()
        with socket.socket(socket.AF_UNIX) as asker, suppress(OSError):
            asker.connect(str(place.socket))
            asker.sendall(said)
            asker.shutdown(socket.SHUT_WR)
            asker.recv(1)
        assert client.ask(place, ["search", "x"]) == 0
        serving.join(PATIENCE_S)
    os.chdir(before)
    assert not serving.is_alive()
    assert ran == [["search", "x"]]


def test_a_line_is_one_object() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        words.write_words(ours, {"lone": "\udc80", "line": "a\nb"})
        ours.close()
        with theirs.makefile("rb") as stream:
            assert words.read_words(stream) == {"lone": "\udc80", "line": "a\nb"}
            with pytest.raises(ValueError, match="no whole line"):
                words.read_words(stream)
    assert json.dumps({"a": "\n"}).count("\n") == 0

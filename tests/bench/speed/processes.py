"""One process, seen from outside: wall time, CPU time and memory with its children, and what others took."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SAMPLE_S = 0.25
RESULT = "RESULT "  # what the line with a child's own figures begins with
OWN = ("PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CLIPKIT_HOME")
"""Settings of whoever runs the benchmark, which must not be part of it."""


class Failed(RuntimeError):
    """A process ended with an error; the message has its last lines."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    return {**kept, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", **(more or {})}


def measured(command: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """What one process cost, and the JSON that it printed: its RESULT line, or else all of its output.

    `wall_s`, `cpu_s` (user and system, with its children), `peak_bytes`, and `others`: the cores that other
    processes kept busy meanwhile, None where that cannot be read. Raises Failed.
    """
    busy, began = busy_seconds(), time.perf_counter()
    with open(log, "wb") as out, open(log.with_suffix(".err"), "wb") as err:
        child = subprocess.Popen([str(word) for word in command], stdout=out, stderr=err, env=dict(env))
        watch = _Watch(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        peak = watch.end()
    cpu = usage.ru_utime + usage.ru_stime
    if child.returncode:
        raise Failed(f"{child.returncode}: {' '.join(map(str, command))}\n{_tail(log)}")
    after = busy_seconds()
    others = None if busy is None or after is None else max(0.0, (after - busy - cpu) / wall)
    taken = {"wall_s": wall, "cpu_s": cpu, "peak_bytes": max(usage.ru_maxrss * 1024, peak), "others": others}
    return {**_printed(log.read_text(errors="replace")), **taken}


def _printed(text: str) -> dict[str, Any]:
    lines = [line for line in text.splitlines() if line.startswith(RESULT)]
    try:
        said = json.loads(lines[-1].removeprefix(RESULT) if lines else text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _tail(log: Path) -> str:
    return "\n".join(log.with_suffix(".err").read_text(errors="replace").splitlines()[-12:])


class _Watch:
    """Samples the memory of a process that has children: their largest sum."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        if os.path.exists("/proc/self/smaps_rollup"):
            self._thread.start()

    def end(self) -> int:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_S):
            family = descendants(self._pid)
            if len(family) > 1:
                self._peak = max(self._peak, sum(map(_proportional_bytes, family)))


def descendants(pid: int) -> list[int]:
    """The process and all below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path("/proc", name, "stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def busy_seconds() -> float | None:
    """CPU seconds that the whole machine has used; None where that cannot be read."""
    try:
        with open("/proc/stat", encoding="ascii") as stat:
            user, nice, system, _, _, irq, soft, steal = map(int, stat.readline().split()[1:9])
    except OSError:
        return None
    return (user + nice + system + irq + soft + steal) / float(os.sysconf("SC_CLK_TCK"))


def wait_for_quiet(cores: float, seconds: float) -> None:
    """Return after a second in which others kept fewer `cores` busy, or after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before = busy_seconds()
        time.sleep(1)
        after = busy_seconds()
        if before is None or after is None or after - before <= cores:
            return

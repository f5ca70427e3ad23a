"""The Dockerfile and the compose file, as far as they can be checked without building an image."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from clipkit.cli import app as command_line

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_runs_as_a_user_without_rights_and_tells_its_health() -> None:
    told = instructions()
    names = [word for word, _ in told]
    assert told[0] == ("FROM", "python:3.11-slim")
    assert ("USER", "clipkit") in told
    assert names.index("USER") < names.index("ENTRYPOINT")
    health = dict(told)["HEALTHCHECK"]
    probe = json.loads(health[health.index("CMD ") + 4 :])
    compile(probe[2], "the health check", "exec")
    assert "/health/ready" in probe[2]


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for word, rest in instructions() if word == "COPY" for name in rest.split()[:-1]}
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


def test_the_entry_point_hands_on_the_command_and_the_device(tmp_path: Path) -> None:
    entry, command = (json.loads(dict(instructions())[word]) for word in ("ENTRYPOINT", "CMD"))
    shown = tmp_path / "clipkit"
    shown.write_text('#!/bin/sh\nfor one in "$@"; do echo "$one"; done\n')
    shown.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/bin:/usr/bin", "CLIPKIT_DEVICE": "cuda"}
    done = subprocess.run(
        [*entry, *command, "a b"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["serve", "--host", "0.0.0.0", "a b", "--device", "cuda"]


@pytest.mark.parametrize("name", ["server", "page"])
def test_each_service_asks_for_a_secret_and_is_reached_from_this_machine_only(name: str) -> None:
    one = COMPOSE["services"][name]
    assert one["build"]["context"] == "."
    assert set(one["build"]["args"]) <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    assert all(port.startswith("127.0.0.1:") for port in one["ports"])
    assert set(one["secrets"]) <= set(COMPOSE["secrets"])
    assert f"/run/secrets/{one['secrets'][0]}" in one["command"]
    assert one["read_only"]
    assert {volume.partition(":")[0] for volume in one["volumes"]} & set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", ["server", "page"])
def test_the_command_of_each_service_is_one_that_clipkit_has(name: str) -> None:
    command = COMPOSE["services"][name]["command"]
    shown = CliRunner().invoke(command_line, [command[0], "--help"], env={"COLUMNS": "200"}).output
    for option in (word for word in command if word.startswith("--")):
        assert option in shown

"""What the README, the examples and the changelog say is run and compared here.

The README's lines run as they stand, in a home with pictures in it and with the model that ships. Only the
models that would be downloaded are replaced: their aliases stand for the fake encoder. And each Python is a
fork of one that has imported torch, or these fifty processes would take a minute more.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import clipkit
from clipkit.encoders import catalog
from tests.forked import forking

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

WITHOUT_DOWNLOADS = """
from clipkit.encoders import catalog

real = catalog.aliases
catalog.aliases = lambda: dict.fromkeys(real(), "fake:512")
"""
COMMAND = f"""{WITHOUT_DOWNLOADS}
from clipkit.cli import main

raise SystemExit(main())
"""


def blocks(language: str) -> list[str]:
    """The code of that language in the README, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a few pictures, some of them where the README's lines look for them."""
    home = tmp_path_factory.mktemp("home")
    (home / "Pictures").mkdir()
    for name, colour in {"cat.jpg": "brown", "dog.jpg": "black", "Pictures/beach.jpg": "yellow"}.items():
        Image.new("RGB", (1200, 900), colour).save(home / name)
    return home


@pytest.fixture(scope="module")
def python(home: Path) -> Iterator[list[str]]:
    """What runs a script; `clipkit` is a command that it runs."""
    with forking(environment(home)) as python:
        script, command = home / "command.py", home / "clipkit"
        script.write_text(COMMAND, encoding="utf-8")
        command.write_text(f'#!/bin/sh\nexec {shlex.join([*python, str(script)])} "$@"\n', encoding="utf-8")
        command.chmod(stat.S_IRWXU)
        yield python


def environment(home: Path) -> dict[str, str]:
    found = dict(os.environ, HOME=str(home), PATH=f"{home}:{os.environ['PATH']}")
    return {name: value for name, value in found.items() if name not in ("CLIPKIT_HOME", "XDG_DATA_HOME")}


def run(command: list[str], home: Path, source: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=home, env=environment(home), input=source, capture_output=True, text=True, check=False
    )


def test_the_python_of_the_readme_runs(home: Path, python: list[str]) -> None:
    script = home / "readme.py"
    snippets = "\n".join(blocks("python"))
    script.write_text(WITHOUT_DOWNLOADS + snippets + "print(images.shape, texts.dtype)", encoding="utf-8")
    done = run([*python, str(script)], home)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1 added, 0 skipped"
    assert lines[1].endswith(f"{home}/Pictures/beach.jpg None")
    assert lines[2] in ("a cat asleep", "a street at night")
    assert lines[3] == "(2, 512) float32", "what the README's comment says of `images`"


@pytest.mark.timeout(600)  # forty processes, one after the other
@pytest.mark.usefixtures("python")
def test_the_command_lines_of_the_readme_run(home: Path) -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(lines) > 5
    done = run(["bash", "-euxo", "pipefail"], home, "\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert "added 1," in done.stdout
    assert f"{home}/Pictures/beach.jpg" in done.stdout.splitlines(), "xargs -0 ls, of what --print0 gave"
    assert "added 2, updated 0, removed 0" in done.stdout


def test_the_first_steps_are_few() -> None:
    assert len(blocks("bash")[0].splitlines()) <= 5
    assert len(blocks("python")[0].splitlines()) <= 15


def test_the_models_of_the_readme_are_those_of_the_catalog() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \| `(\S+/\S+)` \|(.*)\|$", README, re.MULTILINE)
    assert {name: spec for name, spec, _ in rows} == catalog.aliases()
    for name, _, rest in rows:
        card = catalog.card(name)
        licence, languages, download, imagenet, coco = (cell.strip() for cell in rest.split("|"))
        assert (licence, download) == (card.licence, f"{card.download_mb} MB")
        assert card.languages.startswith(languages)
        assert card.imagenet is not None
        assert card.coco_text_to_image is not None
        assert (float(imagenet), float(coco)) == (card.imagenet.percent, card.coco_text_to_image.percent)
    assert f"{catalog.card('fast').download_mb} MB for `fast`" in README


def test_every_command_is_in_the_readme() -> None:
    listed = run([sys.executable, "-m", "clipkit", "--help"], ROOT).stdout
    commands = re.findall(r"^│ ([a-z-]+) {2,}[A-Z]", listed, re.MULTILINE)
    assert len(commands) > 5
    assert not [name for name in commands if f"clipkit {name}" not in README and f"`{name}`" not in README]


@pytest.mark.parametrize("link", re.findall(r"\]\((?!\w+:)([^)#]+)\)", README))
def test_a_link_of_the_readme_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_runs(example: Path, home: Path, python: list[str]) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < 40
    done = run([*python, str(example)], home)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert len(done.stdout.splitlines()) > 1


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


def test_the_changelog_speaks_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    release = clipkit.__version__.partition(".dev")[0]
    assert re.search(
        rf"^## \[{re.escape(release)}\] - (unreleased|\d{{4}}-\d\d-\d\d)$", changelog, re.MULTILINE
    )

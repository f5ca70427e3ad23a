"""The table of what an introduction to embedding models names: what it points to is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer

from clipkit.cli import app

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
ROWS = [line for line in TABLE.splitlines() if line.startswith("| ")][1:]
NAMED = re.findall(r"(tests/\w+\.py)(?:::(\w+))?", TABLE)


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_row_names_a_test() -> None:
    assert len(ROWS) > 20
    assert [row for row in ROWS if not re.search(r"\| tests/\w+\.py(::\w+)? \|$", row)] == []


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    assert not name or name in functions_of(ROOT / file)
    assert functions_of(ROOT / file)


def test_each_command_that_is_named_is_there() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"`clipkit ([a-z][a-z-]*)( [a-z-]+)?", TABLE))
    assert len(named) > 10
    assert [verb for verb, _ in named if verb not in commands] == []
    words = {second.strip() for verb, second in named if verb == "words"}
    assert words <= set(commands["words"].commands)

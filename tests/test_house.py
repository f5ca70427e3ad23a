"""The rules of CONTRIBUTING.md that a program can check."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import pytest

import clipkit
from clipkit import errors

ROOT = Path(__file__).parents[1]

PUBLIC = (
    "AddReport",
    "ClipkitError",
    "Collection",
    "Encoder",
    "Hit",
    "Hits",
    "IndexReport",
    "Item",
    "Query",
    "Selection",
    "Status",
    "load_encoder",
)

# The floors of the house, the lowest first. A module imports only from floors below its own. A package that
# stands here as a whole (cli, sketch) is one room. CONTRIBUTING.md says what is in each.
FLOORS = (
    ("__init__",),
    ("errors", "importing", "reports"),
    (
        *(
            "ahead",
            "cells",
            "colours",
            "exif",
            "fetching",
            "files",
            "fusion",
            "queryline",
            "resident",
            "sketch",
        ),
        *("encoders.bpe", "encoders.int8", "encoders.lazily", "encoders.pooled", "encoders.settings"),
        *("encoders.texts", "encoders.transformer", "encoders.wordfiles"),
    ),
    (
        *(
            "gallery",
            "places",
            "resizing",
            "encoders.catalog",
            "encoders.devices",
            "encoders.hub",
            "encoders.packed",
        ),
        *("encoders.patches", "encoders.weights"),
    ),
    ("images", "parquet", "encoders.fusing", "encoders.lengths", "encoders.sources"),
    ("encoder", "folders", "jpegs", "sidecars", "encoders.checkpoints"),
    ("encoders.pixels", "encoders.texttower", "encoders.tokens", "encoders.towers", "filters"),
    ("encoders.jpegs", "labelled", "lance", "measures", "query", "stamps", "testing"),
    ("encoders.openclip", "encoders.reduced", "encoders.remote", "encoders.sentence", "encoders.words"),
    ("schema",),
    ("descriptions", "store", "encoders", "prompts"),
    ("archives", "words"),
    ("columns", "hits", "hybrid", "model", "reading", "snapshots", "vocabulary"),
    ("bulk", "stages"),
    ("calibration", "comparison", "describing", "writing"),
    ("pipeline",),
    ("captioning",),
    ("adding", "embedded", "indexing", "searching", "tuning"),
    ("reindexing",),
    ("collection", "evaluate", "probe"),
    ("hiding", "refining"),
    ("albums", "benchmark", "demo", "documents", "explain", "labels", "neighbours", "retrievers"),
    ("maps", "pairs", "quality"),
    ("reduction",),
    ("cli",),
    ("__main__",),
)
ROOMS = {room: height for height, floor in enumerate(FLOORS) for room in floor}

# Each package from outside, and the rooms that may import it.
DOORS = {
    "clipkit_server": {"cli"},  # only where `clipkit serve` runs
    "clipkit_web": {"cli"},  # only where `clipkit ui` runs
    "ftfy": {"encoders.bpe"},
    "gensim": {"encoders.wordfiles", "words"},
    "huggingface_hub": {"encoders.hub"},
    "lancedb": {"lance"},
    "numpy": {
        *("benchmark", "bulk", "encoders.jpegs", "reading"),
        *("adding", "encoders.reduced", "encoders.remote", "reduction"),
        *("calibration", "collection", "colours", "comparison", "embedded", "encoder", "encoders.openclip"),
        *("encoders.pixels", "encoders.sentence", "encoders.texttower", "encoders.towers"),
        *("encoders.transformer", "encoders.wordfiles", "encoders.words"),
        *("evaluate", "explain", "hits", "images", "indexing", "labels", "lance", "maps", "measures"),
        *(
            "neighbours",
            "pairs",
            "probe",
            "prompts",
            "query",
            "refining",
            "reindexing",
            "resizing",
            "searching",
            "snapshots",
        ),
        *("quality", "stages", "store", "testing"),
        *("tuning", "writing"),
    },
    "langchain_core": {"retrievers"},
    "langchain_text_splitters": {"documents"},
    "llama_index": {"retrievers"},
    "lxml": {"sidecars"},
    "openai": {"encoders.remote"},
    "open_clip": {
        *("encoders.fusing", "encoders.openclip", "encoders.patches", "encoders.sources", "encoders.texts"),
        *("encoders.tokens", "encoders.weights"),
    },
    "pandas": {"hits"},
    "PIL": {
        *("benchmark", "colours", "encoders.jpegs", "exif", "explain", "images"),
        *("jpegs", "neighbours", "reading", "resizing", "sketch", "testing"),
    },
    "pillow_heif": {"images"},
    "platformdirs": {"places"},
    "plotly": {"cli"},
    "pyarrow": {
        "reading",
        *(
            "adding",
            "albums",
            "archives",
            "captioning",
            "cells",
            "cli",
            "collection",
            "columns",
            "comparison",
        ),
        *("describing", "descriptions", "hits", "hybrid", "indexing", "labelled", "lance"),
        *("neighbours", "parquet", "reindexing", "schema", "searching", "snapshots", "stages"),
        *("stamps", "store", "tuning"),
    },
    "rawpy": {"images"},
    "regex": {"encoders.bpe"},
    "rich": {"cli"},
    "safetensors": {"encoders.reduced", "encoders.weights", "probe"},
    "sentence_transformers": {"encoders.sentence"},
    "sklearn": {"probe"},
    "textual_image": {"cli"},
    "threadpoolctl": {"encoders.transformer"},
    "timm": {"encoders.fusing"},
    "torch": {
        *("cli", "encoders.devices", "encoders.fusing", "encoders.int8", "encoders.jpegs"),
        "encoders.openclip",
        *("encoders.packed", "encoders.pixels", "encoders.pooled", "encoders.sentence", "encoders.texts"),
        *("encoders.tokens", "encoders.towers", "encoders.weights"),
        "resizing",  # if it is loaded
    },
    "torchvision": {"encoders.jpegs"},
    "transformers": {"encoders.sentence"},
    "typer": {"cli"},
    "umap": {"maps"},
}

HEAVY = ("torch", "open_clip", "lancedb", "gradio", "numpy", "pyarrow", "PIL", "huggingface_hub", "pandas")
EDGE = ("cli", "__main__")  # with the apps, where printing and exiting is the business

MODULE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 6
PARAMETERS_OF = {
    "cli": 9,  # a command's are its options, as --help shows them
    "clipkit_web": 7,  # a tool's are what its callers give by name
    "sketch": 8,  # where, how large and in which colour
}
POSITIONAL = 4
PUBLIC_POSITIONAL = 2

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A Python file of the project."""

    path: Path

    @property
    def name(self) -> str:
        """As FLOORS has it: clipkit/encoders/hub.py is encoders.hub."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts[1:]
        return ".".join(parts).removesuffix(".__init__")

    @property
    def room(self) -> str:
        return room_of(self.name)

    @cached_property
    def source(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def functions(self) -> list[Function]:
        return [node for node in self.nodes if isinstance(node, Function)]

    def at(self, node: ast.stmt | ast.expr) -> str:
        """The place of `node`, for a message."""
        name = f" {node.name}" if isinstance(node, Function) else ""
        return f"{self.path.relative_to(ROOT)}:{node.lineno}{name}"


def modules(folder: str) -> list[Module]:
    return [Module(path) for path in sorted((ROOT / folder).rglob("*.py"))]


def room_of(name: str) -> str:
    """The room of a module: its own, or the package around it that is one room."""
    while name not in ROOMS and "." in name:
        name = name.rpartition(".")[0]
    return name


LIBRARY = modules("clipkit")
APPS = modules("apps")
TESTS = modules("tests")
EXAMPLES = modules("examples")


# --- the public names


def test_the_public_names_are_exactly_these() -> None:
    assert tuple(clipkit.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_had_and_says_what_it_is(name: str) -> None:
    thing = getattr(clipkit, name)
    assert thing.__name__ == name
    assert name in dir(clipkit)
    doc = thing.__doc__ or ""
    assert doc[:1].isupper(), "the docstring is missing"
    assert not doc.startswith(f"{name}("), "the docstring is the one that dataclass makes"


@pytest.mark.parametrize("name", ["Collection", "Query"])
def test_each_method_that_users_call_says_what_comes_back(name: str) -> None:
    methods = {
        key: getattr(clipkit, name).__dict__[key]
        for key in dir(getattr(clipkit, name))
        if not key.startswith("_") and callable(getattr(getattr(clipkit, name), key))
    }
    assert methods
    assert not [key for key, method in methods.items() if not method.__doc__]


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'colection'"):
        clipkit.colection  # noqa: B018 - the attribute is asked for, not used


@pytest.mark.parametrize("name", ["clipkit", "clipkit.encoders", "clipkit.cli"])
def test_an_import_loads_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print([package for package in {HEAVY} if package in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    real = {
        name: {base.__name__ for base in value.__bases__}
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, clipkit.ClipkitError)
    }
    assert _drawn(errors.__doc__ or "") == real


def _drawn(tree: str) -> dict[str, set[str]]:
    """The bases of each class: the nearest line above that is less indented, and the builtin beside it."""
    drawn = {}
    above = [(0, "Exception")]
    for line in tree.splitlines():
        if not re.match(r"    [\s│├└─]*\w+", line):
            continue
        name, beside = [*line.strip(" │├└─").split(), ""][:2]
        while above[-1][0] >= line.index(name):
            above.pop()
        drawn[name] = {above[-1][1]} | ({beside} if hasattr(builtins, beside) else set())
        above.append((line.index(name), name))
    return drawn


# --- the rooms


def test_every_module_has_its_place() -> None:
    assert not [module.name for module in LIBRARY if module.room not in ROOMS]


def test_the_map_in_contributing_shows_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^ {6}([\w/]+?)(?:\.py|/) ", text, re.MULTILINE)
    assert sorted(drawn) == sorted(room.replace(".", "/") for room in ROOMS)


def test_imports_point_down() -> None:
    upward = [
        f"{place} reaches {target}"
        for module in LIBRARY
        for name, place in _imports(module)
        if (name + ".").startswith("clipkit.")
        for target in [room_of(name.partition(".")[2] or "__init__")]
        if target != module.room and ROOMS[target] >= ROOMS[module.room]
    ]
    assert not upward


def test_only_its_room_imports_a_package_from_outside() -> None:
    strange = [
        f"{place} imports {package}"
        for module in LIBRARY
        for name, place in _imports(module)
        for package in [name.partition(".")[0]]
        if package not in sys.stdlib_module_names and package != "clipkit"
        if module.room not in DOORS.get(package, ())
    ]
    assert not strange


def _imports(module: Module) -> Iterator[tuple[str, str]]:
    """(what, where) for all that is imported when the module is loaded or one of its functions runs."""
    for node in _running(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, module.at(node)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.at(node)} is relative: write it out"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((name if _is_module(name) else str(node.module), module.at(node)) for name in full)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below `node`, but for those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _running(child)


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def test_only_the_edge_prints_and_exits() -> None:
    loud = [
        module.at(node)
        for module in LIBRARY
        if module.room not in EDGE
        for node in module.nodes
        if (isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "input", "exit", "sys.exit"})
        or (isinstance(node, ast.Raise) and "SystemExit" in ast.unparse(node))
    ]
    assert not loud


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"base", "common", "core", "helpers", "misc", "tools", "util", "utils"}
    assert not [module.name for module in LIBRARY + APPS + TESTS if drawers & set(module.name.split("."))]


def test_every_module_says_what_it_is_for() -> None:
    assert not [m.path.name for m in LIBRARY + APPS + EXAMPLES if not ast.get_docstring(m.tree)]


# --- sizes and signatures


def test_modules_are_short() -> None:
    assert not [m.name for m in LIBRARY + APPS if m.source.count("\n") > MODULE_LINES]


def test_functions_are_short() -> None:
    long = [
        module.at(function)
        for module in LIBRARY + APPS + TESTS + EXAMPLES
        for function in module.functions
        if (function.end_lineno or 0) - function.lineno >= FUNCTION_LINES
    ]
    assert not long


def test_parameters_are_few() -> None:
    many = [
        module.at(function)
        for module in LIBRARY + APPS
        for function in module.functions
        if len(_positional(function)) + len(function.args.kwonlyargs)
        > PARAMETERS_OF.get(module.room, PARAMETERS)
    ]
    assert not many


def test_options_go_by_name() -> None:
    unnamed = [
        module.at(function)
        for module in LIBRARY
        if module.room not in PARAMETERS_OF
        for function in module.functions
        if not function.name.startswith("_") and len(_positional(function)) > POSITIONAL
    ]
    assert not unnamed


def test_options_of_public_functions_go_by_name() -> None:
    homes = {module.name: module for module in LIBRARY}
    unnamed = []
    for name in PUBLIC:
        module = homes[clipkit._HOME[name]]
        (thing,) = [node for node in module.tree.body if getattr(node, "name", None) == name]
        for function in ast.walk(thing):
            if isinstance(function, Function) and not function.name.startswith("_"):
                unnamed += [module.at(function)] if len(_positional(function)) > PUBLIC_POSITIONAL else []
    assert not unnamed


def test_no_public_function_takes_whatever_comes() -> None:
    vague = [
        module.at(function)
        for module in LIBRARY + APPS
        for function in _in_reach(module)
        if not function.name.startswith("_") and function.args.kwarg
    ]
    assert not vague


def _in_reach(module: Module) -> Iterator[Function]:
    """Functions and methods; those inside functions no caller sees."""
    for node in module.tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        yield from (function for function in inside if isinstance(function, Function))


def _positional(function: Function) -> list[ast.arg]:
    return [a for a in function.args.posonlyargs + function.args.args if a.arg not in ("self", "cls")]


# --- tests


def test_every_test_asserts() -> None:
    silent = [place for module in TESTS for place in _silent(module)]
    assert not silent


def _silent(module: Module) -> Iterator[str]:
    """The tests that assert nothing: neither themselves nor in a function of theirs that they call."""
    assert_something = {function.name for function in module.functions if _asserts(function)}
    assert_something |= {
        alias.name
        for node in module.nodes
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tests.")
        for alias in node.names
        if alias.name.startswith("check_")
    }
    called: dict[str, set[str]] = {}
    for function in module.functions:
        called.setdefault(function.name, set()).update(_called(function))
    found = 0
    while found < len(assert_something):  # one that calls one that asserts, and so on
        found = len(assert_something)
        assert_something |= {name for name, names in called.items() if names & assert_something}
    for function in module.functions:
        if function.name.startswith("test_") and function.name not in assert_something:
            yield module.at(function)


def _asserts(function: Function) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(function)) or any(
        name in ("raises", "warns") or name.startswith("assert_") for name in _called(function)
    )


def _called(function: Function) -> set[str]:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


def test_every_expected_error_is_told_by_its_message() -> None:
    untold = [
        module.at(node)
        for module in TESTS
        for node in module.nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"pytest.raises", "pytest.warns"}
        if "match" not in {word.arg for word in node.keywords}
    ]
    assert not untold


# --- what has no place in a file

# In pieces, so that this file does not hold what it looks for.
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE = re.compile(r"/(?:root|work)/\w|/(?:home|Users)/(?!me\b)\w")
REGISTRY = re.compile(
    r"py" r"pi\.org|python" r"hosted\.org|npm" r"js\.(?:org|com)|deb" r"ian\.org|index-" r"url"
)


def test_no_tracked_file_holds_loose_ends_or_private_places() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so what is tracked is not known")
    found = []
    for name in listed.stdout.rstrip("\0").split("\0"):
        try:
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # a picture, weights, or a file that was removed just now
        for number, line in enumerate(lines, 1):
            hit = UNFINISHED.search(line) or MACHINE.search(line) or REGISTRY.search(line)
            found += [f"{name}:{number}: {hit[0]}"] if hit else []
    assert not found


def test_constraints_are_names_and_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert not [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line)]
    names = [line.partition("==")[0] for line in pins]
    assert names == sorted(set(names))

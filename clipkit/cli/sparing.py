"""Imports that commands can do without. A question, in a process of its own, would wait longest for them.

lancedb imports a client of remote catalogues, some hundred classes that build their validators as they are
imported: more than half a second, for what a table in a folder or an object store never checks. pyarrow
imports pandas where it is installed, to know its objects when it sees them: a fifth of one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

HOLLOW = "lance_namespace_urllib3_client"


class _Sparing(MetaPathFinder, Loader):
    """Finds the package `HOLLOW` as modules of which anything can be imported, and is a class that holds what
    it is given; and pandas as a package that cannot be imported."""

    def __init__(self) -> None:
        self.hollow: list[str] = []

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - every finder is given it
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        mine = fullname in (HOLLOW, "pandas") or fullname.startswith(f"{HOLLOW}.")
        return ModuleSpec(fullname, self, is_package=True) if mine else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        if spec.name == "pandas":
            raise ImportError("pandas is not imported by commands that make no data frames", name="pandas")
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.hollow.append(module.__name__)
        module.__getattr__ = _plain_class  # type: ignore[method-assign]


@cache
def _plain_class(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (SimpleNamespace,), {})


@contextmanager
def spared() -> Iterator[None]:
    """Within it, lancedb and pyarrow are imported without what is not needed.

    pyarrow knows no pandas afterwards: this is for commands that make no data frames. Modules that are there
    already stay as they are.
    """
    finder = _Sparing()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in finder.hollow:
            sys.modules.pop(name, None)

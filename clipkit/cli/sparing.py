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

from clipkit.importing import have_run

_SPARED = {"lancedb": "lance_namespace_urllib3_client", "pyarrow._dataset": "pandas"}
"""What each of these imports, and is spared."""


def spare() -> None:
    """From now on, lancedb and pyarrow are imported without what commands do not need.

    pyarrow knows no pandas afterwards: this is for processes that make no data frames of tables. Modules that
    are there already stay as they are, and whoever else wants what was spared can import it.
    """
    have_run(tuple(_SPARED), _run)


def _run(module: ModuleType, loader: Loader) -> None:
    """Runs one of these without what it can be spared."""
    spared = _SPARED[module.__name__]
    with _standing_in(spared, absent=spared == "pandas"):
        loader.exec_module(module)


class _StandIn(MetaPathFinder, Loader):
    """Finds the package `name` as modules of which whatever is imported is a class that holds what it is
    given; or, if it is `absent`, as one that cannot be imported."""

    def __init__(self, name: str, *, absent: bool) -> None:
        self._name = name
        self._absent = absent
        self.made: list[str] = []

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - every finder is given it
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        mine = fullname == self._name or fullname.startswith(f"{self._name}.")
        return ModuleSpec(fullname, self, is_package=True) if mine else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        if self._absent:
            raise ImportError(f"{spec.name} is spared here", name=spec.name)
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = _plain_class  # type: ignore[method-assign]
        self.made.append(module.__name__)


@contextmanager
def _standing_in(name: str, *, absent: bool) -> Iterator[None]:
    finder = _StandIn(name, absent=absent)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for made in finder.made:
            sys.modules.pop(made, None)


@cache
def _plain_class(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (SimpleNamespace,), {})

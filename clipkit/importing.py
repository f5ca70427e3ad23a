"""Modules of other packages that are run in a way of ours when somebody imports them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TypeAlias

Run: TypeAlias = Callable[[ModuleType, Loader], None]
"""run(module, loader) has to call `loader.exec_module(module)`, amid whatever else it does."""


def have_run(names: Sequence[str], run: Run) -> None:
    """From now on, the modules of these names are run by `run`. Those that are there already stay."""
    finder = _Finder(tuple(names), run)
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)


@dataclass(frozen=True)
class _Finder(MetaPathFinder):
    names: tuple[str, ...]
    run: Run

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.names:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.run)
        return spec


class _Loader(Loader):
    """Makes modules as `loader` does, and leaves it in its place for whoever asks later."""

    def __init__(self, loader: Loader, run: Run) -> None:
        self._loader = loader
        self._run = run

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._run(module, self._loader)

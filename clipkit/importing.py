"""Modules of other packages that are run in a way of ours when somebody imports them.

Most of all, so that what they import for few of their users waits until it is made use of. Such a module is
given substitutes by its import statements. Whoever imports the same elsewhere is given it as it is.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeAlias

Run: TypeAlias = Callable[[ModuleType, Loader], None]
"""run(module, loader) has to call `loader.exec_module(module)`, amid whatever else it does."""

Substitute: TypeAlias = Callable[[str, str], Any]
"""What stands for a name of a module: substitute(module, name)."""


@dataclass(frozen=True)
class Waiting:
    """What a module imports, what it is given of that instead, and what is not imported then."""

    package: str
    substitute: Substitute
    saved: str


def put_off(modules: Mapping[str, Sequence[Waiting]]) -> None:
    """From now on, the modules of these names are run without what can wait, unless that is there already."""
    have_run(tuple(modules), _Without(modules))


class Later(type):
    """A class or function that is imported when it is first made use of."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return real(cls.__module__, cls.__name__)(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(real(cls.__module__, cls.__name__), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        made = cls.__module__ in sys.modules  # before, there can be none
        return made and isinstance(instance, real(cls.__module__, cls.__name__))


def later(module: str, name: str) -> type:
    """The class or function of that name, as a class that is imported when it is first made use of."""
    return Later(name, (), {"__module__": module})


def real(module: str, name: str) -> Any:
    """The class or function itself."""
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class _Without:
    """Runs one of the modules with an import statement that puts off what it can."""

    modules: Mapping[str, Sequence[Waiting]]

    def __call__(self, module: ModuleType, loader: Loader) -> None:
        absent = [
            w for w in self.modules[module.__name__] if w.saved not in sys.modules and find_spec(w.saved)
        ]

        def given(name: str, *where: Any) -> Any:  # globals, locals, names, level: as statements give them
            level = where[3] if len(where) > 3 else 0
            for waiting in absent:
                if not level and f"{name}.".startswith(f"{waiting.package}."):
                    return _StandIn(name, waiting.substitute)
            return builtins.__import__(name, *where)

        own = vars(module)
        own["__builtins__"] = {**vars(builtins), "__import__": given}  # its import statements look there
        loader.exec_module(module)


class _StandIn(ModuleType):
    """A module whose names are substitutes."""

    def __init__(self, name: str, substitute: Substitute) -> None:
        super().__init__(name)
        self._substitute = substitute

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._substitute(self.__name__, name)


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

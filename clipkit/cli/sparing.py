"""Imports that commands can do without, or until they are made use of. A process would wait longest for them.

lancedb imports a client of remote catalogues, some hundred classes that build their validators as they are
imported: more than half a second, for what a table in a folder or an object store never checks. pyarrow
imports pandas where it is installed, to know its objects when it sees them: a fifth of one. torchvision and
timm import torch's compiler, for a function that asks what it can do and a mark that it passes over: a second
and a half. open_clip imports transformers, for towers and texts that few models have: one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias

Substitute: TypeAlias = Callable[[str, str], Any]
"""What stands for the name in the module, of a package that is spared: substitute(module, name)."""


def spare() -> None:
    """From now on, modules are imported without what commands do not need.

    pyarrow knows no pandas afterwards, and torch's compiler looks into what timm has it pass over: this is
    for processes that make no data frames of tables, and compile no NaFlexViT. Modules that are there already
    stay as they are, and whoever else wants what was spared can import it.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@cache
def _record(module: str, name: str) -> type:
    """A class that holds what it is given."""
    return type(name, (SimpleNamespace,), {"__module__": module})


class _Later(type):
    """A class or function that is imported when it is first made use of."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _real(cls)(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(cls), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _real(cls))


def _real(of: type) -> Any:
    return getattr(import_module(of.__module__), of.__name__)


@cache
def _later(module: str, name: str) -> type:
    return _Later(name, (), {"__module__": module})


def _unmarked(module: str, name: str) -> Callable[..., Any]:  # noqa: ARG001 - every substitute is given them
    """A decorator that does nothing."""
    return lambda function, *_, **__: function


def _absent(module: str, name: str) -> Any:
    """Stands for a package that cannot be imported, so nobody gets so far as to ask for a name."""
    raise AttributeError(f"{module}.{name}")


_SPARED: dict[str, tuple[str, Substitute]] = {
    "lancedb": ("lance_namespace_urllib3_client", _record),
    "pyarrow._dataset": ("pandas", _absent),
    "torchvision.ops.roi_align": ("torch._dynamo", _later),
    "timm.models.naflexvit": ("torch._dynamo", _unmarked),
    "open_clip.coca_model": ("transformers", _later),
    "open_clip.hf_model": ("transformers", _later),
}
"""What each of these imports, and what stands for its names meanwhile."""


class _Finder(MetaPathFinder):
    """Finds those that import too much, and has them run without it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _SPARED or find_spec(_SPARED[fullname][0]) is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Without(spec.loader)
        return spec


class _Without(Loader):
    """Runs a module as `loader` does, but without what it can be spared."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader  # for whoever asks later
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with _standing_in(*_SPARED[module.__name__]):
            self._loader.exec_module(module)


class _StandIn(MetaPathFinder, Loader):
    """Finds a package as modules of which whatever is imported is a substitute."""

    def __init__(self, package: str, substitute: Substitute) -> None:
        self._package = package
        self._substitute = substitute
        self.made: list[ModuleType] = []

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - every finder is given it
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        mine = fullname == self._package or fullname.startswith(f"{self._package}.")
        return ModuleSpec(fullname, self, is_package=True) if mine else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        if self._substitute is _absent:
            raise ImportError(f"{spec.name} is spared here", name=spec.name)
        return None

    def exec_module(self, module: ModuleType) -> None:
        def substituted(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return self._substitute(module.__name__, name)

        module.__getattr__ = substituted  # type: ignore[method-assign]
        self.made.append(module)


@contextmanager
def _standing_in(package: str, substitute: Substitute) -> Iterator[None]:
    finder = _StandIn(package, substitute)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for made in finder.made:
            sys.modules.pop(made.__name__, None)
            parent, _, name = made.__name__.rpartition(".")
            if vars(sys.modules.get(parent, made)).get(name) is made:
                delattr(sys.modules[parent], name)

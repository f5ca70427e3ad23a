"""open_clip imported in a quarter of the time: what it imports for few models waits until it is made use of.

torchvision and timm import torch's compiler, for a function that asks what it can do and for a mark that it
passes over: a second and a half. open_clip imports transformers, for towers of theirs and for captions: one.
Four modules have such imports, and no other module, nor another thread, sees what they are given instead.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from importlib.abc import Loader
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeAlias

from clipkit.importing import have_run

Substitute: TypeAlias = Callable[[str, str], Any]
"""What stands for a name of a module: substitute(module, name)."""


def put_off() -> None:
    """From now on, open_clip, torchvision and timm are imported so; what is there already stays as it is."""
    have_run(tuple(_PUT_OFF), _run)


class _Later(type):
    """A class or function that is imported when it is first made use of."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _real(cls.__module__, cls.__name__)(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(cls.__module__, cls.__name__), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _real(cls.__module__, cls.__name__))


def _real(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def _later(module: str, name: str) -> type:
    return _Later(name, (), {"__module__": module})


def _mark_later(module: str, name: str) -> Any:
    """timm's own, but for the mark that has the compiler pass over a function: the first call sets it."""
    if name != "disable_compiler":
        return _real(module, name)

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            return _real(module, name)(function)(*args, **kwargs)

        return called

    return mark


_PUT_OFF: dict[str, tuple[str, Substitute, str]] = {
    "torchvision.ops.roi_align": ("torch._dynamo.utils", _later, "torch._dynamo"),
    "timm.models.naflexvit": ("timm.layers", _mark_later, "torch._dynamo"),
    "open_clip.coca_model": ("transformers", _later, "transformers"),
    "open_clip.hf_model": ("transformers", _later, "transformers"),
}
"""What each of these imports, what it is given of that instead, and what is not imported then."""


def _run(module: ModuleType, loader: Loader) -> None:
    """Runs one of these with an import statement that puts off what it can."""
    package, substitute, saved = _PUT_OFF[module.__name__]
    there = saved in sys.modules or find_spec(saved) is None

    def given(name: str, *where: Any) -> Any:  # globals, locals, names, level: as statements give them
        level = where[3] if len(where) > 3 else 0
        if there or level or not f"{name}.".startswith(f"{package}."):
            return builtins.__import__(name, *where)
        return _StandIn(name, substitute)

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

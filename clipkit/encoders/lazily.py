"""open_clip imported in a quarter of the time: what it imports for few models waits until it is made use of.

torchvision and timm import torch's compiler, for a function that asks what it can do and for a mark that it
passes over: a second and a half. open_clip imports transformers, for towers of theirs and for captions: one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from clipkit import importing
from clipkit.importing import Waiting, later, real


def put_off() -> None:
    """From now on, open_clip, torchvision and timm are imported so; what is there already stays as it is."""
    importing.put_off(_MODULES)


def _mark_later(module: str, name: str) -> Any:
    """timm's own, but for the mark that has the compiler pass over a function: the first call sets it."""
    if name != "disable_compiler":
        return real(module, name)

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            return real(module, name)(function)(*args, **kwargs)

        return called

    return mark


_MODULES = {
    "torchvision.ops.roi_align": [Waiting("torch._dynamo.utils", later, "torch._dynamo")],
    "timm.models.naflexvit": [Waiting("timm.layers", _mark_later, "torch._dynamo")],
    "open_clip.coca_model": [Waiting("transformers", later, "transformers")],
    "open_clip.hf_model": [Waiting("transformers", later, "transformers")],
}

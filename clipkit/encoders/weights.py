"""Weights files: what is in them, whether they fit, and a digest that knows them again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipkit.errors import ModelUnavailable, WeightsError

if TYPE_CHECKING:
    import torch

_SAMPLES = 16  # values taken of each tensor: a few hundred pages of a mapped file, some 10 ms for a ViT-B


def digest(path: Path) -> str:
    """A hash over the floating-point tensors in a weights file: their names, shapes, and some values of each.

    The values are read as float32, as they are stored, so neither the file's format or place nor the device
    and precision of the model change it. Raises WeightsError if the file is damaged or holds no tensors.
    """
    content = hashlib.sha256()
    for name, tensor in _tensors(path):
        if tensor.is_floating_point() and tensor.numel():
            flat = tensor.reshape(-1)
            sample = flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES].float().contiguous()
            content.update(f"{name} {tuple(tensor.shape)}\n".encode())
            content.update(sample.numpy().tobytes())
    return content.hexdigest()


def load_into(model: Any, path: Path) -> None:
    """Puts the weights of the file into an open_clip model; converts other formats as open_clip does.

    Raises WeightsError, naming the file and the first tensors that do not fit, if they do not.
    """
    import open_clip

    try:
        open_clip.load_checkpoint(model, str(path), strict=True, weights_only=True)
    except Exception as error:  # foreign layouts fail in open_clip's converters in many ways
        raise WeightsError(
            f"the weights in {path} do not fit the architecture they are loaded into: {_misfits(error)}. "
            "Name the architecture that they were trained with"
        ) from error


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a weights file by name, in order of their names; mapped, not read."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise ModelUnavailable(f"the weights file {path} cannot be read: {error.strerror}") from error
    if path.suffix == ".safetensors":
        yield from _safetensors(path)
        return
    state = _unpickled(path)
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    tensors = {
        str(name).removeprefix("module."): value for name, value in state.items() if hasattr(value, "numel")
    }
    if not tensors:
        raise WeightsError(
            f"{path} holds no weights: it should hold tensors by name, or a dict of them as state_dict"
        )
    for name in sorted(tensors):
        yield name, tensors[name]


def _safetensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            for name in sorted(file.keys()):
                yield name.removeprefix("module."), file.get_tensor(name)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _unpickled(path: Path) -> Any:
    """What `torch.save` put into the file, as far as it is nothing but tensors and plain values."""
    import pickle
    import zipfile

    import torch

    mapped = zipfile.is_zipfile(path)  # torch.save's format since 1.6; only that can be mapped
    if mapped and any(entry.endswith("constants.pkl") for entry in zipfile.ZipFile(path).namelist()):
        raise WeightsError(
            f"{path} is a TorchScript program, not a file of weights: save its state_dict() as safetensors, "
            "or, for OpenAI's models, load the tag, as in ViT-B-32/openai"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if "weights only" not in str(error).lower():
            raise _damaged(path, error) from error
        raise WeightsError(
            f"{path} holds more than weights and could run code when loaded, so it is not: "
            "load it where you trust it and save its state_dict() as safetensors"
        ) from error
    except Exception as error:  # a damaged pickle raises anything from KeyError to EOFError
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = str(error).partition("\n")[0].partition(" This is an internal")[0]
    return WeightsError(
        f"the weights file {path} is damaged or cut short ({path.stat().st_size:,} bytes; {reason}): "
        "delete it and get it again"
    )


def _misfits(error: Exception) -> str:
    """The first of torch's complaints about keys and shapes, on one line."""
    lines = [line.strip().rstrip(". ") for line in str(error).splitlines()[1:] if line.strip()]
    if not lines:
        return f"{type(error).__name__}: {error}"
    more = f" (and {len(lines) - 2} more)" if len(lines) > 2 else ""
    return "; ".join(line if len(line) <= 200 else line[:200] + " ..." for line in lines[:2]) + more

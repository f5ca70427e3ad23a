"""Where an open_clip model's files are: from a spec to an architecture, a weights file and a tokenizer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipkit.encoders import hub
from clipkit.errors import ModelUnavailable, UnknownModel, WeightsError, did_you_mean

BUNDLED = Path(__file__).parent.parent / "bundled"

CONFIG = "open_clip_config.json"

# What open_clip looks for, in its order; safetensors first, for they hold no code.
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
FOLDER_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True, slots=True)
class Source:
    """A model on disk. `arch` is what open_clip builds from: a built-in architecture or `local-dir:path`.

    `config` is its architecture in open_clip's words, `preprocess` what its weights want otherwise than the
    architecture says, and `tokenizer` the folder of a Hugging Face tokenizer, None for CLIP's own.
    """

    arch: str
    config: dict[str, Any]
    weights: Path
    preprocess: dict[str, Any] = field(default_factory=dict)
    quick_gelu: bool = False
    tokenizer: Path | None = None


def locate(name: str, *, local_only: bool = False) -> Source:
    """The files of the open_clip model of that canonical name, fetched if need be.

    Raises UnknownModel, ModelUnavailable or WeightsError, as `load_encoder` says.
    """
    kind, colon, rest = name.partition(":")
    if name == "bundled":
        return _bundled()
    if colon and kind == "hf-hub":
        return _hub(name, rest, local_only)
    if colon and kind == "local-dir":
        return _folder(name, Path(rest), local_only)
    arch, at, file = name.partition("@")
    if at:
        return _own_weights(name, arch, Path(file), local_only)
    return _tagged(name, local_only)


def _bundled() -> Source:
    if not (BUNDLED / CONFIG).is_file():
        raise ModelUnavailable(
            f"the bundled model is missing from this installation ({BUNDLED} has no {CONFIG}): "
            "reinstall clipkit, or choose another model"
        )
    return _folder("bundled", BUNDLED, True)


def _tagged(name: str, local_only: bool) -> Source:
    from open_clip.pretrained import get_pretrained_cfg

    arch, _, tag = name.partition("/")
    config = _architecture(name, arch)
    weights = get_pretrained_cfg(arch, tag)
    if not weights:
        raise UnknownModel(_no_such_tag(arch, tag))
    repo, _, file = weights["hf_hub"].rpartition("/")
    names = (f"{file.rpartition('.')[0]}.safetensors", file) if file else HUB_WEIGHTS
    path = hub.fetch(repo, names, model=name, local_only=local_only)
    if path is None:
        raise ModelUnavailable(
            f"the repository {repo} holds no weights for {name}: looked for {', '.join(names)}"
        )
    return Source(
        arch=arch,
        config=config,
        weights=path,
        preprocess={key: weights[key] for key in PREPROCESS_KEYS if key in weights},
        quick_gelu=bool(weights.get("quick_gelu")),
        tokenizer=_tokenizer(name, config, None, local_only),
    )


def _own_weights(name: str, arch: str, weights: Path, local_only: bool) -> Source:
    config = _architecture(name, arch)
    if not weights.is_file():
        raise ModelUnavailable(f"there is no weights file {weights}")
    return Source(arch, config, weights, tokenizer=_tokenizer(name, config, weights.parent, local_only))


def _hub(name: str, rest: str, local_only: bool) -> Source:
    repo, _, revision = rest.partition("@")
    found = []
    for names in ((CONFIG,), HUB_WEIGHTS):
        path = hub.fetch(repo, names, model=name, revision=revision or None, local_only=local_only)
        if path is None:
            raise ModelUnavailable(f"{repo} is not an open_clip model: it has no {' or '.join(names)}")
        found.append(path)
    config = _config(found[0])
    return Source(
        f"local-dir:{found[0].parent}", config, found[1], tokenizer=_tokenizer(name, config, None, local_only)
    )


def _folder(name: str, folder: Path, local_only: bool) -> Source:
    if not folder.is_dir():
        raise ModelUnavailable(f"there is no folder {folder}")
    config = _config(folder / CONFIG)
    found = [folder / file for file in FOLDER_WEIGHTS if (folder / file).is_file()]
    found += sorted(folder.glob("*.safetensors"))
    if not found:
        raise ModelUnavailable(f"{folder} holds no weights: put an {FOLDER_WEIGHTS[0]} beside its {CONFIG}")
    return Source(
        f"local-dir:{folder}", config, found[0], tokenizer=_tokenizer(name, config, folder, local_only)
    )


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
    except FileNotFoundError as error:
        raise ModelUnavailable(f"{path.parent} is not an open_clip model: it has no {path.name}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not an open_clip configuration: {error!r}") from error
    assert isinstance(config, dict)
    return config


def _architecture(name: str, arch: str) -> dict[str, Any]:
    import open_clip

    config = open_clip.get_model_config(arch) if arch in open_clip.list_models() else None
    if config is None:
        raise UnknownModel(f"no model is called {name!r}. {did_you_mean(arch, open_clip.list_models())}")
    assert isinstance(config, dict)
    return config


def _no_such_tag(arch: str, tag: str) -> str:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(arch)
    if not tag:
        known = (
            f"Its weights: {', '.join(f'{arch}/{t}' for t in tags)}."
            if tags
            else "open_clip has none for it."
        )
        return f"{arch!r} is an architecture without weights, and random weights find nothing. {known}"
    return f"{arch} has no weights called {tag!r}. {did_you_mean(tag, tags)}"


def _tokenizer(name: str, config: dict[str, Any], beside: Path | None, local_only: bool) -> Path | None:
    """The folder of the Hugging Face tokenizer that `config` asks for; None if it asks for CLIP's own."""
    repo = config["text_cfg"].get("hf_tokenizer_name")
    if not repo:
        return None
    if beside is not None and (beside / "tokenizer_config.json").is_file():
        return beside
    path = hub.fetch(repo, ("tokenizer_config.json",), model=name, local_only=local_only)
    return path.parent if path else None

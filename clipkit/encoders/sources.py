"""Where an open_clip model's files are: from a spec to an architecture, a weights file and a tokenizer."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clipkit.encoders import catalog, hub
from clipkit.errors import MissingExtra, ModelUnavailable, UnknownModel, WeightsError, did_you_mean

BUNDLED = Path(__file__).parent.parent / "bundled"

CONFIG = "open_clip_config.json"
CARD = "card.md"

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


# A tokenizer is read from the first of these that there is, and behaves as the settings say.
VOCABULARIES = (
    "tokenizer.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
)
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")


@dataclass(frozen=True, slots=True)
class Texts:
    """Folders of a text side in Hugging Face's formats: its tokenizer (None: CLIP's own), and its tower's
    configuration (None: a tower of open_clip's own)."""

    tokenizer: Path | None = None
    tower: Path | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A model on disk. `arch` is what open_clip builds from: a built-in architecture or `local-dir:path`.

    `config` is its architecture in open_clip's words, and `preprocess` what its weights want otherwise than
    the architecture says.
    """

    arch: str
    config: dict[str, Any]
    weights: Path
    preprocess: dict[str, Any] = field(default_factory=dict)
    quick_gelu: bool = False
    texts: Texts = Texts()


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


def bundled_card() -> str:
    """What the card of the bundled model says, in Markdown. Raises ModelUnavailable if it is missing."""
    try:
        return (BUNDLED / CARD).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ModelUnavailable(
            f"the card of the bundled model is missing from this installation ({BUNDLED / CARD}): "
            "reinstall clipkit"
        ) from error


def _tagged(name: str, local_only: bool) -> Source:
    from open_clip.pretrained import get_pretrained_cfg

    arch, _, tag = name.partition("/")
    config = _architecture(name, arch, tag)
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
        texts=_texts(name, config, None, local_only),
    )


def _own_weights(name: str, arch: str, weights: Path, local_only: bool) -> Source:
    config = _architecture(name, arch)
    if not weights.is_file():
        raise ModelUnavailable(f"there is no weights file {weights}")
    return Source(arch, config, weights, texts=_texts(name, config, weights.parent, local_only))


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
        f"local-dir:{found[0].parent}", config, found[1], texts=_texts(name, config, None, local_only)
    )


def _folder(name: str, folder: Path, local_only: bool) -> Source:
    if not folder.is_dir():
        raise ModelUnavailable(f"there is no folder {folder}")
    config = _config(folder / CONFIG)
    found = [folder / file for file in FOLDER_WEIGHTS if (folder / file).is_file()]
    found += sorted(folder.glob("*.safetensors"))
    if not found:
        raise ModelUnavailable(f"{folder} holds no weights: put an {FOLDER_WEIGHTS[0]} beside its {CONFIG}")
    return Source(f"local-dir:{folder}", config, found[0], texts=_texts(name, config, folder, local_only))


def _config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelUnavailable(f"{path.parent} is not an open_clip model: it has no {path.name}") from error
    try:
        config = json.loads(text)["model_cfg"]
        missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(config)
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not an open_clip configuration: {error!r}") from error
    if missing:
        raise WeightsError(f"{path} is not an open_clip configuration: it lacks {', '.join(sorted(missing))}")
    return dict(config)


def _architecture(name: str, arch: str, tag: str = "") -> dict[str, Any]:
    import open_clip

    known = open_clip.list_models()
    if arch in known:
        return dict(open_clip.get_model_config(arch))
    if f"{arch}-{tag}" in known:  # ViT-B/32, as papers write it
        raise UnknownModel(_no_such_tag(f"{arch}-{tag}", ""))
    raise UnknownModel(f"no model is called {name!r}. {_close(arch, known)}")


def _close(arch: str, known: list[str]) -> str:
    """What may have been meant: an alias or an architecture. There are too many to list them all."""
    lowered = {model.lower(): model for model in [*catalog.aliases(), *known]}
    close = difflib.get_close_matches(arch.lower(), lowered, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(lowered[model] for model in close)}?"
    return f"Write an alias ({', '.join(catalog.aliases())}) or one of open_clip's architecture/tag."


def _no_such_tag(arch: str, tag: str) -> str:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(arch)
    if tag:
        return f"{arch} has no weights called {tag!r}. {did_you_mean(tag, tags)}"
    known = ", ".join(f"{arch}/{tag}" for tag in tags)
    known = f"Weights for it: {known}." if tags else "There are no public weights for it."
    return (
        f"{arch} is an architecture without weights, and random weights find nothing. {known} "
        f"Your own: {arch}@path/to/weights.safetensors"
    )


def _texts(name: str, config: dict[str, Any], beside: Path | None, local_only: bool) -> Texts:
    """What the text side needs of Hugging Face's formats, from the folder `beside` or from the hub."""
    text = config["text_cfg"]
    if not (text.get("hf_tokenizer_name") or text.get("hf_model_name")):
        return Texts()
    if find_spec("transformers") is None:
        raise MissingExtra(f"the text side of {name}", "text")
    tokenizer, tower = None, None
    if repo := text.get("hf_tokenizer_name"):
        at_hand = beside is not None and any((beside / file).is_file() for file in VOCABULARIES)
        tokenizer = beside if at_hand else _hub_tokenizer(name, repo, local_only)
    if repo := text.get("hf_model_name"):
        own = beside / repo if beside is not None else None
        tower = (
            own if own is not None and own.is_dir() else _hub_folder(name, repo, ("config.json",), local_only)
        )
    return Texts(tokenizer, tower)


def _hub_tokenizer(name: str, repo: str, local_only: bool) -> Path:
    at_hand = hub.fetch_cached(repo, VOCABULARIES) is not None
    folder = _hub_folder(name, repo, VOCABULARIES, local_only)
    merges = ("merges.txt",) if (folder / "vocab.json").is_file() else ()
    for file in (*TOKENIZER_SETTINGS, *merges):
        try:
            hub.fetch(repo, (file,), model=name, local_only=local_only)
        except ModelUnavailable:
            if at_hand:
                break  # a cache that another tool filled does not note what the repository lacks
            raise
    return folder


def _hub_folder(name: str, repo: str, files: Sequence[str], local_only: bool) -> Path:
    path = hub.fetch(repo, files, model=name, local_only=local_only)
    if path is None:
        raise ModelUnavailable(f"{repo}, which {name} needs for its texts, has no {' or '.join(files)}")
    return path.parent

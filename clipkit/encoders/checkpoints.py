"""Where the files of a text model are that sentence-transformers or transformers can load: in one folder.

Weights are taken from safetensors only: older formats are pickles, which can run code. What a model brings in
code of its own is never run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipkit.encoders import hub, settings
from clipkit.encoders.sources import TOKENIZER_SETTINGS, VOCABULARIES
from clipkit.errors import InvalidInput, ModelUnavailable, WeightsError, did_you_mean

SETTINGS = ("pooling", "document", "query")
POOLINGS = {"mean": "mean", "cls": "cls", "last": "lasttoken", "max": "max"}
"""How the vectors of tokens become one of their text, and sentence-transformers' words for it."""

MODULES = "modules.json"
ORGANISATION = "sentence-transformers"

# Models that were on the hub before organisations were, and are known by these names still.
ORIGINALS = {
    **{f"bert-{rest}": f"google-bert/bert-{rest}" for rest in ("base-uncased", "base-cased", "base-chinese")},
    **{f"bert-{rest}": f"google-bert/bert-{rest}" for rest in ("large-uncased", "base-multilingual-cased")},
    **{name: f"openai-community/{name}" for name in ("openai-gpt", "gpt2", "gpt2-medium", "gpt2-large")},
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
    "roberta-base": "FacebookAI/roberta-base",
    "xlm-roberta-base": "FacebookAI/xlm-roberta-base",
}

_WEIGHTS, _SHARDS = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_LENGTHS = tuple(  # where sentence-transformers looks for the length at which texts are cut
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_WEIGHTLESS = ("Pooling", "Normalize", "Dropout", "BoW", "WordWeights")


@dataclass(frozen=True, slots=True)
class Named:
    """What st:NAME says: a path or a name[@revision] on the hub, and settings."""

    place: str
    settings: Mapping[str, str]

    @property
    def is_path(self) -> bool:
        return self.place.startswith(("/", ".", "~")) or Path(self.place).is_absolute()


def named(spec: str) -> Named:
    """What a name of this family says. Raises InvalidInput if it says nothing."""
    place, given = settings.split(spec.partition(":")[2], SETTINGS)
    if not place:
        raise InvalidInput("a model is missing after st:, as in st:all-MiniLM-L6-v2 or st:./folder")
    pooling = given.get("pooling")
    if pooling is not None and pooling not in POOLINGS:
        raise InvalidInput(f"no pooling is called {pooling!r}. {did_you_mean(pooling, POOLINGS)}")
    return Named(place, given)


def canonical(spec: str, absolute: Callable[[str], str]) -> str:
    """The one way to write the name of a model; `absolute` makes a path so."""
    said = named(spec)
    if said.is_path:
        return f"st:{settings.joined(absolute(said.place), said.settings)}"
    name, at, revision = said.place.partition("@")
    short = repository(name).removeprefix(f"{ORGANISATION}/")
    return f"st:{settings.joined(f'{short}{at}{revision}', said.settings)}"


def repository(name: str) -> str:
    """The repository on the hub of a model by that name; without an owner, of sentence-transformers' own."""
    return name if "/" in name else ORIGINALS.get(name, f"{ORGANISATION}/{name}")


def locate(spec: str, *, local_only: bool = False) -> Path:
    """The folder with the files of the model of that canonical name, fetched if need be.

    Raises ModelUnavailable, UnknownModel, and WeightsError for files that are damaged, pickled, or need code
    of their own.
    """
    said = named(spec)
    if said.is_path:
        folder = Path(said.place).expanduser()
        if not folder.is_dir():
            raise ModelUnavailable(f"there is no folder {folder} with a model for texts")
    else:
        name, _, revision = said.place.partition("@")
        folder = _Repository(spec, repository(name), revision or None, local_only).fetched()
    for part, kind in _parts(folder):
        _check(folder / part, kind)
    return folder


def cached(spec: str) -> bool:
    """Whether the files of the model are on this machine."""
    try:
        locate(spec, local_only=True)
    except ModelUnavailable:
        return False
    return True


def weights_files(folder: Path) -> list[Path]:
    """The weights of all parts of the model, in a fixed order."""
    return sorted(path for part, _ in _parts(folder) for path in (folder / part).glob("*.safetensors"))


def configuration(folder: Path) -> dict[str, Any]:
    """What the configurations of the model's parts say, by their path, but for what no vector depends on."""
    said: dict[str, Any] = {"modules": [kind for _, kind in _parts(folder)]}
    for part, _ in _parts(folder):
        for name in ("config.json", *_LENGTHS):
            if (folder / part / name).is_file():
                content = _json(folder / part / name)
                said[f"{part}/{name}"] = {k: v for k, v in content.items() if k not in _NO_MATTER}
    return said


_NO_MATTER = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}


def _parts(folder: Path) -> list[tuple[str, str]]:
    """The modules of a model: the folder of each within its own, and the name of its class."""
    if not (folder / MODULES).is_file():
        return [("", "Transformer")]
    found: list[tuple[str, str]] = []
    try:
        for module in _json(folder / MODULES):
            package, _, kind = module["type"].rpartition(".")
            if not package.startswith("sentence_transformers"):
                raise WeightsError(
                    f"the model in {folder} needs code of its own ({module['type']}), which could do "
                    "anything and so is not run: choose a model of sentence-transformers' own modules"
                )
            found.append((_inside(module["path"]), kind))
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder / MODULES} does not list modules: {error!r}") from error
    return found


def _inside(path: str) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise WeightsError(f"{MODULES} names {path!r}, which is outside of the model's folder")
    return path


def _check(folder: Path, kind: str) -> None:
    if kind == "Transformer" and not (folder / "config.json").is_file():
        raise ModelUnavailable(f"{folder} is no model for texts: it has no config.json")
    if kind in _WEIGHTLESS or any(folder.glob("*.safetensors")):
        return
    pickled = next((name for name in _PICKLES if (folder / name).is_file()), None)
    if pickled:
        raise WeightsError(
            f"{folder} has its weights in {pickled} only, a pickle, which could run code when loaded, so it "
            "is not: load it where you trust it and save it as safetensors"
        )
    raise ModelUnavailable(f"{folder} holds no weights: it should have a {_WEIGHTS}")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {error}") from error


class _Repository:
    """A model on the hub, and how its files get into the cache."""

    def __init__(self, model: str, repo: str, revision: str | None, local_only: bool) -> None:
        self._model, self._repo, self._revision, self._local_only = model, repo, revision, local_only
        names = (_WEIGHTS, _SHARDS, f"0_Transformer/{_WEIGHTS}")
        self._at_hand = hub.fetch_cached(repo, names, revision=revision) is not None

    def fetched(self) -> Path:
        """The folder of the cache with all that the model needs."""
        modules = self._wanted(MODULES)
        parts = [("", "Transformer")] if modules is None else _parts(modules.parent)
        self._wanted("config_sentence_transformers.json")
        first = None
        for part, kind in parts:
            files = list(self._of_part(f"{part}/" if part else "", kind))
            first = first or next((path for path in files if path), None)
        if first is None:
            raise ModelUnavailable(f"{self._repo} is no model for texts: it has no config.json")
        return modules.parent if modules is not None else first.parent

    def _of_part(self, folder: str, kind: str) -> Iterator[Path | None]:
        yield self._wanted(f"{folder}config.json", needed=kind == "Transformer")
        if kind == "Transformer":
            yield self._wanted(*(f"{folder}{name}" for name in _LENGTHS[:1]))
            yield self._wanted(*(f"{folder}{name}" for name in VOCABULARIES))
            for name in (*TOKENIZER_SETTINGS[:-1], "merges.txt"):
                yield self._wanted(f"{folder}{name}")
        elif kind in _WEIGHTLESS:
            return
        else:
            yield self._wanted(f"{folder}tokenizer.json")
        weights = self._wanted(f"{folder}{_WEIGHTS}", f"{folder}{_SHARDS}", needed=True)
        yield weights
        if weights is None:
            self._refuse_pickle(folder)
        elif weights.name == _SHARDS:
            for shard in sorted(set(_json(weights)["weight_map"].values())):
                yield self._wanted(f"{folder}{_inside(shard)}", needed=True)

    def _refuse_pickle(self, folder: str) -> None:
        raise WeightsError(
            f"{self._repo} has no {folder}{_WEIGHTS}: other formats are pickles, which could run code when "
            "loaded, so they are not; ask its owner for safetensors, or convert it where you trust it"
        )

    def _wanted(self, *names: str, needed: bool = False) -> Path | None:
        """The first of the files that there is. A cache that another tool filled notes not what is not."""
        try:
            return hub.fetch(
                self._repo, names, model=self._model, revision=self._revision, local_only=self._local_only
            )
        except ModelUnavailable:
            if needed or not self._at_hand:
                raise
            return None

"""Encoders by name: `load_encoder("fast")`, and the grammar of the names.

    fast, best, multilingual            aliases of real models, see `catalog`
    bundled                             the small model that ships with clipkit
    ViT-B-32-256/datacomp_s34b_b86k     an open_clip architecture and tag
    hf-hub:owner/name[@revision]        an open_clip model on the hub
    local-dir:path                      an open_clip model in a folder
    ViT-B-32@weights.safetensors        an architecture with your own weights
    st:all-MiniLM-L6-v2, st:path        sentence-transformers or transformers, texts only; at its end may be
                                        ?pooling=mean|cls|last|max, and prompts: &document=...&query=...
    words:path                          word vectors in a file of Word2Vec's or GloVe's formats
    fake[:dim]                          the test double of `clipkit.testing`
    api:model                           a service with OpenAI's interface, texts only; see `remote`
    reduced:axes.safetensors            another model's vectors, made shorter by `clipkit reduce`

At the end of an api: or st: name, ?dimensions=256 asks for shorter vectors, where a model was trained for it.

A family of encoders is a line in `_FAMILIES`; its module is imported when one of its specs is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.encoders import catalog, lengths, settings
from clipkit.errors import InvalidInput, MissingExtra, ModelUnavailable, UnknownModel, did_you_mean

if TYPE_CHECKING:
    from clipkit.encoder import Encoder

DEFAULT_MODEL = "bundled"
"""What `load_encoder()` loads when it is not told."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller of `load_encoder` asked for, beside the model. None leaves the choice to the backend."""

    device: str | None = None
    precision: str | None = None
    upright: bool = True
    batch_size: int | None = None
    local_only: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """`load_encoder` with a device and a precision that stay the same from one model to the next."""

    device: str | None = None
    precision: str | None = None

    def __call__(self, spec: str, *, upright: bool = True) -> Encoder:
        return load_encoder(spec, device=self.device, precision=self.precision, upright=upright)

    def texts(self, spec: str, *, upright: bool = True) -> Encoder | None:
        """As `load_texts`; None where a device or a precision is asked for."""
        if self.device is not None or self.precision is not None:
            return None
        return load_texts(spec, upright=upright)


def load_encoder(
    spec: str | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
    upright: bool = True,
    batch_size: int | None = None,
    local_only: bool = False,
) -> Encoder:
    """The encoder that `spec` names (`DEFAULT_MODEL` if None), ready to use, in eval mode.

    `device` is "cuda", "cuda:1", "mps" or "cpu"; by default the first of them that is there. `precision` is
    "fp32", "bf16", "fp16" or "int8"; see `devices` for the defaults. `upright=False` ignores the EXIF
    orientation, as most other tools do. `batch_size` is the number of inputs that go through the model at
    once. With `local_only` nothing is downloaded.

    Files come from the local cache if they are there; then the network is not touched at all, so a model
    does not change under a collection. An architecture with a weights file is preprocessed as open_clip
    does for such a file (CLIP's mean, std and crop); a folder with an open_clip_config.json can say more.

    Raises UnknownModel for a name that nothing goes by, ModelUnavailable if its files cannot be had,
    WeightsError if they are damaged, MissingExtra if it needs packages that are not installed, and
    InvalidInput for a device that is not there, or a precision that it or the model does not have.
    """
    name = canonical_name(DEFAULT_MODEL if spec is None else spec)
    if batch_size is not None and batch_size < 1:
        raise InvalidInput(f"batch_size must be at least 1, not {batch_size}")
    return _loaded(name, Options(device, precision, upright, batch_size, local_only))


def _loaded(name: str, options: Options) -> Encoder:
    plain, dimensions = lengths.split(name)
    if dimensions is None or name.startswith("api:"):
        return _family(name).load(name, options)
    from clipkit.encoders.reduced import cut

    return cut(_family(plain).load(plain, options), name, dimensions)


def load_texts(spec: str, *, upright: bool = True) -> Encoder | None:
    """The text side alone of the model that `spec` names, without torch; None where that cannot be had.

    It can of CLIP's own kind of towers in safetensors files, once all of the model has been loaded on this
    machine (`texttower` has the details). Its rows are those of the model in float32.
    """
    from clipkit.encoders.texttower import recall

    return recall(canonical_name(spec), upright=upright)


def canonical_name(spec: str) -> str:
    """The one way to write `spec`: aliases become what they stand for, local paths absolute.

    Two specs of equal canonical names mean the same model. Nothing is loaded, and no file is looked at.
    """
    spec = spec.strip()
    if not spec:
        raise InvalidInput(f"an empty model name. {_FORMS}")
    plain, dimensions = lengths.split(spec)
    plain = catalog.aliases().get(plain, plain)
    name = _family(plain).canonical(plain)
    return name if dimensions is None else lengths.joined(name, dimensions)


def cached(spec: str) -> bool:
    """Whether the files of the model that `spec` names are on this machine. Asks no network.

    Raises UnknownModel for a name that nothing goes by.
    """
    name, _ = lengths.split(canonical_name(spec))
    return _family(name).cached(name)


def _load_openclip(name: str, options: Options) -> Encoder:
    from clipkit.encoders.openclip import load

    return load(name, options)


def _openclip_cached(name: str) -> bool:
    from clipkit.encoders.hub import fetch_cached
    from clipkit.encoders.sources import HUB_WEIGHTS, locate

    for card in catalog.cards():
        if card.spec == name and card.repo:  # known without open_clip, whose import takes seconds
            return fetch_cached(card.repo, HUB_WEIGHTS) is not None
    try:
        locate(name, local_only=True)
    except ModelUnavailable:
        return False
    return True


def _load_sentence(name: str, options: Options) -> Encoder:
    _require(name, "sentence_transformers")
    from clipkit.encoders.sentence import load

    return load(name, options)


def _sentence_name(spec: str) -> str:
    from clipkit.encoders.checkpoints import canonical

    return canonical(spec, _absolute)


def _sentence_cached(name: str) -> bool:
    from clipkit.encoders.checkpoints import cached

    return cached(name)


def _words_name(spec: str) -> str:
    path, given = settings.split(spec.partition(":")[2], ("unknown",))
    if given.get("unknown", "skip") not in ("skip", "error"):
        raise InvalidInput(f"unknown words are to be a skip or an error, not {given['unknown']!r}")
    return f"words:{settings.joined(_absolute(path), given)}"


def _load_words(name: str, options: Options) -> Encoder:
    _require(name, "gensim")
    from clipkit.encoders.words import load

    return load(name, options)


def _words_cached(name: str) -> bool:
    return Path(settings.split(name.partition(":")[2], ("unknown",))[0]).is_file()


def _require(name: str, package: str) -> None:
    if find_spec(package) is None:
        raise MissingExtra(name, "text")


def _load_fake(name: str, options: Options) -> Encoder:
    from clipkit.testing import FakeEncoder

    return FakeEncoder(int(name.partition(":")[2] or 32), upright=options.upright)


def _fake_name(spec: str) -> str:
    _, colon, dim = spec.partition(":")
    if colon and not dim.isdecimal():
        raise InvalidInput(f"{spec!r} should be fake:<number of dimensions>, as in fake:64")
    return f"fake:{int(dim)}" if colon and int(dim) != 32 else "fake"


def _load_remote(name: str, options: Options) -> Encoder:
    if find_spec("openai") is None:
        raise MissingExtra(name, "text")
    from clipkit.encoders.remote import load

    return load(name, options)


def _remote_name(spec: str) -> str:
    model = spec.partition(":")[2]
    if not model:
        raise InvalidInput(f"a model is missing after api:, as in api:text-embedding-v3. {_FORMS}")
    settings.split(model, ("dimensions",))
    return f"api:{model}"


def _load_reduced(name: str, options: Options) -> Encoder:
    from clipkit.encoders.reduced import load

    return load(name, lambda spec: _loaded(canonical_name(spec), options))


def _reduced_name(spec: str) -> str:
    return f"reduced:{_absolute(spec.partition(':')[2])}"


def _reduced_cached(name: str) -> bool:
    from clipkit.encoders.reduced import Axes

    path = Path(name.partition(":")[2])
    return path.is_file() and cached(Axes.load(path).encoder)


def _plain_name(spec: str) -> str:
    """`arch/tag` and `arch@file`, spelled as open_clip's own tables spell them."""
    arch, at, file = spec.partition("@")
    if at:
        return f"{arch.replace('/', '-')}@{_absolute(file)}"
    if spec.startswith(("/", ".", "~")) or spec.endswith((".safetensors", ".pt", ".pth", ".bin")):
        raise UnknownModel(
            f"{spec!r} looks like a path: write local-dir:{spec} for a folder, "
            f"or the architecture before it for a weights file, as in ViT-B-32@{spec}"
        )
    arch, slash, tag = spec.rpartition("/")
    return f"{arch.replace('/', '-')}/{tag.lower().replace('-', '_')}" if slash else spec


def _folder_name(spec: str) -> str:
    return f"local-dir:{_absolute(spec.partition(':')[2])}"


def _absolute(path: str) -> str:
    if not path:
        raise InvalidInput(f"a path is missing in the model name. {_FORMS}")
    return os.path.abspath(Path(path).expanduser())  # not resolve(), which would follow symlinks


@dataclass(frozen=True, slots=True)
class _Family:
    load: Callable[[str, Options], Encoder]
    canonical: Callable[[str], str] = str
    cached: Callable[[str], bool] = _openclip_cached


_FAMILIES = {
    "": _Family(_load_openclip, _plain_name),
    "bundled": _Family(_load_openclip),
    "hf-hub": _Family(_load_openclip),
    "local-dir": _Family(_load_openclip, _folder_name),
    "st": _Family(_load_sentence, _sentence_name, _sentence_cached),
    "words": _Family(_load_words, _words_name, _words_cached),
    "fake": _Family(_load_fake, _fake_name, lambda _: True),
    "api": _Family(_load_remote, _remote_name, lambda _: False),
    "reduced": _Family(_load_reduced, _reduced_name, _reduced_cached),
}

_FORMS = (
    "A model is named by an alias (fast, best, multilingual, bundled), architecture/tag, "
    "hf-hub:owner/name, local-dir:path, architecture@weights.safetensors, and for texts only st:name, "
    "st:path, words:path or api:model."
)


def _family(spec: str) -> _Family:
    prefix, colon, _ = spec.partition(":")
    if prefix in _FAMILIES:
        return _FAMILIES[prefix]
    if colon and "/" not in prefix and "@" not in prefix:
        raise UnknownModel(
            f"no kind of model is called {prefix!r}. {did_you_mean(prefix, filter(None, _FAMILIES))} {_FORMS}"
        )
    return _FAMILIES[""]

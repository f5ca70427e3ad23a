"""The text tower of a CLIP model without torch, for queries: importing torch takes seconds, one text 10 ms.

What open_clip calls a text transformer is a dozen matrix products, and NumPy does those as well: on the
weights as they lie in their file, which is mapped and not read, and on no more tokens than a text has, since
with a causal mask what follows a token does not change it.

Whether a model is one of those, and what its fingerprint is, only the whole model tells. So `remember` looks
when it is loaded, lets both towers embed the same texts, and notes those that agree in a file of the cache;
`recall` finds the note, as long as none of the model's files has changed.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

import clipkit
from clipkit.encoder import BaseEncoder, Pixels, unit_rows
from clipkit.encoders.bpe import BytePairs, default_vocabulary
from clipkit.encoders.sources import CONFIG, Source
from clipkit.errors import ClipkitError, InvalidInput
from clipkit.files import replaced
from clipkit.places import cache_folder

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = NDArray[np.float32]

FORMAT = 1  # of the notes
AGREES = 0.9995  # cosine of the two towers' rows: 1 - 1e-6 where both are in float32, 0.9999 beside bf16
PROBES = ["A photo of 2 dogs, on the beach!", "Größe naïve", "犬と猫 🐕", "word " * 300]
_UNDERSTOOD = {"context_length", "heads", "layers", "tokenizer_kwargs", "vocab_size", "width"}  # of text_cfg
_TYPES = {"F32": np.float32, "F16": np.float16}  # of a safetensors file
_LAYERS = ("ln_1", "attn.in_proj", "attn.out_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
_EPSILON = 1e-5  # of torch's LayerNorm


@dataclass(frozen=True, slots=True)
class Note:
    """What `recall` has to know of a model. `files` are those that it depends on: size and time of change."""

    name: str
    fingerprint: str
    dim: int
    upright: bool
    weights: str
    vocabulary: str
    heads: int
    layers: int
    context_length: int
    quick_gelu: bool
    files: dict[str, tuple[int, int]]
    format: int = FORMAT
    version: str = clipkit.__version__


class TextTower(BaseEncoder):
    """The text side of a CLIP model as an Encoder: it takes no pictures."""

    modalities = frozenset({"text"})

    def __init__(self, note: Note) -> None:
        self.name = note.name
        self.dim = note.dim
        self.fingerprint = note.fingerprint
        self.upright = note.upright
        self.note = note
        self._encoding = Lock()  # the limit of threads is the whole process's
        self._weights = _mapped(Path(note.weights))
        self._heads = note.heads
        self._activate = _quick_gelu if note.quick_gelu else _gelu
        self._blocks = [
            [self._layer(f"transformer.resblocks.{at}.{layer}") for layer in _LAYERS]
            for at in range(note.layers)
        ]
        self._last = self._layer("ln_final")
        self._projection = self._weights["text_projection"]  # (width, dim)

    @cached_property
    def _pairs(self) -> BytePairs:
        return BytePairs(Path(self.note.vocabulary))

    def tokens(self, text: str) -> list[int]:
        """The tokens that the tower sees of a text: cut to the context, and nothing behind the end."""
        found = self._pairs.cut(text, self.note.context_length)
        return found[: found.index(self._pairs.end) + 1]

    def preprocess(self, image: Image) -> Pixels:  # noqa: ARG002 - every encoder has it
        raise InvalidInput(f"{self.name} is here for texts only: load_encoder loads all of it")

    def _pixel_batch(self, pixels: list[Pixels]) -> NDArray[Any]:  # noqa: ARG002
        raise InvalidInput(f"{self.name} is here for texts only: load_encoder loads all of it")

    def _overlong(self, texts: list[str]) -> list[int]:
        limit = self.note.context_length
        return [
            at
            for at, text in enumerate(texts)
            if (not text.isascii() or len(text) + 2 > limit) and len(self._pairs.tokens(text)) > limit
        ]

    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        with self._encoding, _threads().limit(limits=1):
            return self._read([self.tokens(text) for text in texts])

    def _read(self, texts: list[list[int]]) -> Floats:
        """The last token's place of each text after all layers, projected: (texts, dim).

        The tokens of all go through each layer as one, but attend to those of their own text only.
        """
        lengths = [len(tokens) for tokens in texts]
        ends = np.cumsum(lengths)
        tokens, places = np.concatenate(texts), np.concatenate([np.arange(n) for n in lengths])
        x = self._weights["token_embedding.weight"][tokens] + self._weights["positional_embedding"][places]
        x = x.astype(np.float32)  # (tokens, width)
        for first, attend, out, second, widen, narrow in self._blocks:
            projected = np.split(_linear(_normed(x, first), attend), ends[:-1])
            x = x + _linear(np.concatenate([self._attended(own) for own in projected]), out)
            x = x + _linear(self._activate(_linear(_normed(x, second), widen)), narrow)
        rows: Floats = _normed(x[ends - 1], self._last) @ self._projection
        return rows

    def _attended(self, projected: Floats) -> Floats:
        """Scaled dot-product attention of all heads, of a text to itself; (n, 3 * width) to (n, width)."""
        n, width = len(projected), projected.shape[1] // 3
        hidden = np.triu(np.full((n, n), -np.inf, np.float32), 1)  # the tokens behind each
        heads = projected.reshape(n, 3, self._heads, -1)
        query, key, value = heads.transpose(1, 2, 0, 3)  # each (heads, n, depth)
        scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(width // self._heads)) + hidden
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        attended: Floats = (shares @ value).transpose(1, 0, 2).reshape(n, width)
        return attended

    def _layer(self, name: str) -> tuple[Floats, Floats]:
        """Weight, (to, from), and bias."""
        joint = "_" if name.endswith("in_proj") else "."  # as torch names the three that are one
        return self._weights[f"{name}{joint}weight"], self._weights[f"{name}{joint}bias"]


def remember(encoder: BaseEncoder, source: Source) -> None:
    """Note a model that was loaded from `source`, if its text tower can do without torch."""
    known = recall(encoder.name, upright=encoder.upright)
    if known is not None and known.fingerprint == encoder.fingerprint:
        return
    with suppress(OSError, ClipkitError, LookupError, ValueError, TypeError):  # no cache, or another tower
        note = _note(encoder, source)
        if note is not None and _agree(TextTower(note), encoder):
            path = _path(note.name, note.upright)
            path.parent.mkdir(parents=True, exist_ok=True)
            with replaced(path) as part:
                part.write_text(json.dumps(asdict(note)), encoding="utf-8")


def _agree(one: BaseEncoder, other: BaseEncoder) -> bool:
    """Whether two encoders give texts the same rows, but for rounding."""
    rows = [unit_rows(each._text_batch(PROBES), len(PROBES), each.dim) for each in (one, other)]
    return float((rows[0] * rows[1]).sum(axis=1).min()) >= AGREES


def recall(name: str, *, upright: bool) -> TextTower | None:
    """The text tower of the model of that canonical name; None where there is no note of it that holds."""
    with suppress(OSError, LookupError, ValueError, TypeError, AttributeError):
        tower = _tower(_path(name, upright).read_text(encoding="utf-8"))
        note = tower.note
        if (note.format, note.version, note.name) == (FORMAT, clipkit.__version__, name) and _is_as_it_was(
            note
        ):
            return tower
    return None


@lru_cache(maxsize=2)  # for who opens a collection again and again
def _tower(note: str) -> TextTower:
    return TextTower(Note(**json.loads(note)))


def _note(encoder: BaseEncoder, source: Source) -> Note | None:
    """What there is to know, if the tower is of the kind that open_clip builds by default."""
    text = source.config["text_cfg"]
    settings = dict(text.get("tokenizer_kwargs") or {})
    given = settings.pop("bpe_path", None)
    vocabulary = source.weights.parent / given if given else default_vocabulary()
    plain = not settings and set(text) <= _UNDERSTOOD and source.weights.suffix == ".safetensors"
    if not plain:
        return None
    return Note(
        name=encoder.name,
        fingerprint=encoder.fingerprint,
        dim=encoder.dim,
        upright=encoder.upright,
        weights=os.path.abspath(source.weights),
        vocabulary=os.path.abspath(vocabulary),
        heads=text.get("heads", 8),
        layers=text.get("layers", 12),
        context_length=text.get("context_length", 77),
        quick_gelu=bool(source.quick_gelu or source.config.get("quick_gelu")),
        files={str(path): _state(path) for path in _depends_on(source, vocabulary)},
    )


def _depends_on(source: Source, vocabulary: Path) -> list[Path]:
    """The model's files, the folder that they are in, and open_clip, which says what their numbers mean."""
    found = find_spec("open_clip")
    code = [Path(found.origin).parent / "version.py"] if found and found.origin else []
    weights = Path(os.path.abspath(source.weights))
    config = [weights.parent / CONFIG] if (weights.parent / CONFIG).exists() else []
    return [weights, weights.parent, vocabulary, *config, *code]


def _state(path: Path | str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _is_as_it_was(note: Note) -> bool:
    return all(_state(path) == tuple(state) for path, state in note.files.items())


def _path(name: str, upright: bool) -> Path:
    key = hashlib.sha256(f"{name} {upright}".encode()).hexdigest()[:32]
    return cache_folder() / "texts" / f"{key}.json"


def _mapped(path: Path) -> dict[str, Floats]:
    """The tensors of a safetensors file but for the pictures' tower, in float32.

    The format: eight bytes with the length of a header in JSON, the header, the data
    (https://github.com/huggingface/safetensors#format). Its library would copy what it reads.
    """
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = {}
    for name, entry in header.items():
        if name.startswith(("visual.", "__")):
            continue
        first, last = entry["data_offsets"]
        kind = np.dtype(_TYPES[entry["dtype"]])
        flat = np.frombuffer(data, kind, (last - first) // kind.itemsize, start + first)
        found[name.removeprefix("text.")] = flat.reshape(entry["shape"]).astype(np.float32, copy=False)
    return found


@cache
def _threads() -> ThreadpoolController:
    """What bounds the threads of NumPy's matrix products.

    Those of a few tokens gain a third by a second thread at best; and where another process has its core,
    each waits for it: one text took 450 ms in place of 20.
    """
    return ThreadpoolController().select(user_api="blas")


def _linear(x: Floats, layer: tuple[Floats, Floats]) -> Floats:
    """The rows of `x` through a layer. A few rows take three quarters of the time of `x @ weight.T` so."""
    weight, bias = layer
    product: Floats = (weight @ x.T).T
    product += bias
    return product


def _normed(x: Floats, layer: tuple[Floats, Floats]) -> Floats:
    """Layer normalisation over the last axis (Ba et al., Layer normalization, 2016)."""
    x = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
    normed: Floats = x / scale * layer[0] + layer[1]
    return normed


def _quick_gelu(x: Floats) -> Floats:
    activated: Floats = x / (1 + np.exp(np.float32(-1.702) * x))
    return activated


def _gelu(x: Floats) -> Floats:
    """x times the normal distribution function of x.

    The error function by Abramowitz and Stegun, Handbook of mathematical functions, 7.1.26: NumPy has none,
    and the error of at most 1.5e-7 is that of float32.
    """
    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.float32(1.061405429) * t
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(factor)) * t
    tail = series * np.exp(-z * z)  # 1 - erf(z)
    activated: Floats = x * np.where(x < 0, tail, 2 - tail) / 2
    return activated

"""The text tower of a CLIP model without torch, for queries: importing torch takes seconds, one text 10 ms.

What open_clip calls a text transformer is a dozen matrix products, and NumPy does those as well
(`transformer`): on the weights as they lie in their file, which is mapped and not read, and on no more tokens
than a text has, since with a causal mask what follows a token does not change it.

Whether a model is one of those, and what its fingerprint is, only the whole model tells. So `remember` looks
when it is loaded, lets both towers embed the same texts, and notes those that agree in a file of the cache;
`recall` finds the note, as long as none of the model's files has changed.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import clipkit
from clipkit.encoder import BaseEncoder, Pixels, unit_rows
from clipkit.encoders.bpe import BytePairs, default_vocabulary
from clipkit.encoders.sources import CONFIG, Source
from clipkit.encoders.transformer import Floats, Transformer
from clipkit.errors import ClipkitError, InvalidInput
from clipkit.files import replaced
from clipkit.places import cache_folder

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT = 1  # of the notes
AGREES = 0.9995  # cosine of the two towers' rows: 1 - 1e-6 where both are in float32, 0.9999 beside bf16
PROBES = ["A photo of 2 dogs, on the beach!", "Größe naïve", "犬と猫 🐕", "word " * 300]
_UNDERSTOOD = {"context_length", "heads", "layers", "tokenizer_kwargs", "vocab_size", "width"}  # of text_cfg
_TYPES = {"F32": np.float32, "F16": np.float16}  # of a safetensors file


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
        self._transformer = Transformer(
            _mapped(Path(note.weights)), layers=note.layers, heads=note.heads, quick_gelu=note.quick_gelu
        )

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
        return self._transformer([self.tokens(text) for text in texts])


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

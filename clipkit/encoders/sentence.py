"""Sentences, and words in their sentences: Sentence-BERT, E5, Instructor, BERT, GPT and their kin.

The model and its tokens are sentence-transformers' and transformers' own. What is done here is how texts go
through it: each is turned into tokens once, texts of about the same length go together, and a batch is
measured in tokens. On a processor that multiplies bfloat16 natively, a model runs in that by default.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import TextEncoder, Vectors, checked_texts, unit_rows
from clipkit.encoders import checkpoints, weights
from clipkit.encoders.devices import Placement, place
from clipkit.errors import InvalidInput, WeightsError

if TYPE_CHECKING:
    from clipkit.encoders import Options

WINDOW = 8192
"""Texts that are sorted by length together: enough for full batches, few enough to hold their tokens."""

TOKENS = {"cpu": 4096, "mps": 16_384, "cuda": 65_536}
"""Tokens that go through the model at once."""

PADDING = {"cpu": 32, "mps": 1024, "cuda": 8192}
"""Tokens of padding that a batch may have: what starting one more batch costs, about."""

_DOCUMENTS = ("document", "passage", "corpus")  # sentence-transformers' names of such prompts, in its order
# These leave the instruction out of the mean, and their files do not say so.
_INSTRUCTORS = ("instructor-base", "instructor-large", "instructor-xl")
_PROBES = ["A photo of 2 dogs, on the beach!", "Größe naïve", "犬と猫 🐕"]


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """The tokens of one text, each in the light of the others.

    `spans` has where each stands in `text`: its first character, and the one after its last. `vectors` has
    their rows, (n, dim) float32 of unit length. Marks that the model adds have no place here.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    vectors: Vectors

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(self.text[start:end] for start, end in self.spans)

    def of(self, word: str) -> NDArray[np.float32]:
        """The unit vector, (dim,), of the first place where the text says `word`: the mean of its tokens.

        Raises InvalidInput if it does not say so, or only beyond where it was cut.
        """
        start = self.text.find(word) if word else -1
        end = start + len(word)
        inside = [i for i, (first, last) in enumerate(self.spans) if first < end and last > start >= 0]
        if not inside:
            raise InvalidInput(f"the text has no tokens of {word!r}: {self.text[:80]!r}")
        mean = self.vectors[inside].mean(axis=0, keepdims=True)  # (1, dim)
        return unit_rows(mean, 1, mean.shape[1]).reshape(-1)


@dataclass(frozen=True, slots=True)
class _Prompts:
    """What stands before a text that is stored, and before one that is searched by."""

    document: str = ""
    query: str = ""


class SentenceEncoder(TextEncoder):
    """A model of sentence-transformers, or one of transformers with pooling, as an Encoder of texts."""

    def __init__(self, name: str, folder: Path, placement: Placement, options: Options) -> None:
        named = checkpoints.named(name)
        # First, for it finds a damaged file in no time.
        identity = [weights.digest(path) for path in checkpoints.weights_files(folder)]
        self._model = _build(folder, placement)
        if Path(named.place.partition("@")[0]).name in _INSTRUCTORS:
            self._model.set_pooling_include_prompt(False)
        pooling = _pooled(self._model, named.settings.get("pooling"), name)
        self._tokenizer = _tokenizer_of(self._model)
        self._kind = placement.device.partition(":")[0]
        self._rows_at_once = options.batch_size or TOKENS[self._kind]
        self._placement = placement
        self._lock = Lock()  # Hugging Face's tokenizers allow no second caller, and cores no second batch
        self._prompts = _prompts(self._model, named.settings)
        self.name = name
        self.batch_size = WINDOW
        self.dim = self._dimension()
        self.fingerprint = _digest(
            weights=identity,
            configuration=checkpoints.configuration(folder),
            pooling=pooling,
            prompts=[self._prompts.document, self._prompts.query],
            length=self._limit,
            tokens=self._tokens(_PROBES, "")["input_ids"] if self._tokenizer else [],
        )

    @property
    def _limit(self) -> int | None:
        """The most tokens that a text may have. None: any number."""
        limit = self._model.max_seq_length
        return int(limit) if limit is not None and 0 < limit < 10**9 else None

    def encode_texts(self, texts: Sequence[str], *, prompt: str | None = None) -> Vectors:
        """Embeddings of `texts`, to be stored: (n, dim) float32 unit rows in input order.

        They are embedded after `prompt`, an instruction such as "Represent the title: "; by default after the
        model's own for documents, if it has one. All else is as `Encoder` promises.
        """
        return self._prompted(texts, self._prompts.document if prompt is None else prompt, "document")

    def encode_queries(self, texts: Sequence[str], *, prompt: str | None = None) -> Vectors:
        """The same for searches, by default after the model's own prompt for queries."""
        return self._prompted(texts, self._prompts.query if prompt is None else prompt, "query")

    def encode_tokens(self, text: str) -> Tokens:
        """The tokens of one text and their vectors, each of which depends on the others around it.

        Raises InvalidInput for what is no text, and for a model that has no such vectors.
        """
        import torch

        checked = checked_texts([text])
        if self._tokenizer is None:
            raise InvalidInput(f"{self.name} has no vectors of tokens in their context")
        with self._lock, torch.inference_mode():
            told = self._tokenizer(
                checked, truncation=True, return_offsets_mapping=True, return_special_tokens_mask=True
            )
            features = self._there(self._padded(self._tokens(checked, "")))
            vectors = self._model[0](features)["token_embeddings"][0].float().cpu().numpy()
        spans = [
            (start, end) if end > start and not mark else None
            for (start, end), mark in zip(
                told["offset_mapping"][0], told["special_tokens_mask"][0], strict=True
            )
        ]
        own = [i for i, span in enumerate(spans) if span is not None]
        rows = unit_rows(vectors[own], len(own), vectors.shape[1])
        return Tokens(text, tuple(span for span in spans if span is not None), rows)

    def _prompted(self, texts: Sequence[str], prompt: str, task: str) -> Vectors:
        return self._embed(
            texts, partial(self._batch, prompt=prompt, task=task), partial(self._too_long, prompt=prompt)
        )

    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        return self._batch(texts, prompt=self._prompts.document, task="document")

    def _overlong(self, texts: list[str]) -> list[int]:
        return self._too_long(texts, prompt=self._prompts.document)

    def _too_long(self, texts: list[str], *, prompt: str) -> list[int]:
        limit = self._limit
        if limit is None or self._tokenizer is None:
            return []
        # ASCII gives no more tokens than characters, plus marks at start and end; the rest is counted.
        whole = [prompt + text for text in texts]
        unsure = [i for i, text in enumerate(whole) if not text.isascii() or len(text) + 4 > limit]
        with self._lock, _silent():
            lengths = [len(self._tokenizer([whole[i]], truncation=False)["input_ids"][0]) for i in unsure]
        return [i for i, length in zip(unsure, lengths, strict=True) if length > limit]

    def _batch(self, texts: list[str], *, prompt: str, task: str) -> NDArray[Any]:
        import torch

        rows = np.empty((len(texts), self.dim), np.float32)
        with self._lock, torch.inference_mode():
            for places, features in self._features(texts, prompt, task):
                embedded = self._model(self._there(features), task=task)["sentence_embedding"]
                rows[places] = embedded.float().cpu().numpy()
        return rows

    def _features(
        self, texts: list[str], prompt: str, task: str
    ) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """Which texts go through the model together, and what it wants of them."""
        if self._tokenizer is None:  # a model that has tokens of its own kind
            size = min(self._rows_at_once, 256)
            order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
            for places in (order[at : at + size] for at in range(0, len(order), size)):
                chosen = [texts[i] for i in places]
                yield places, self._model.preprocess(chosen, prompt=prompt or None, task=task)
            return
        tokens = self._tokens(texts, prompt)
        told = self._prompt_length(prompt)
        for places in self._together([len(own) for own in tokens["input_ids"]]):
            together = {key: [values[i] for i in places] for key, values in tokens.items()}
            yield places, {**self._padded(together), **told}

    def _tokens(self, texts: list[str], prompt: str) -> dict[str, list[list[int]]]:
        """What the tokenizer makes of each text, cut at the model's limit, in lists of their lengths.

        Where GPT's makes nothing at all of an empty text, it is the mark that begins one.
        """
        told = self._tokenizer([prompt + text for text in texts], truncation=True)
        tokens: dict[str, list[list[int]]] = {k: own for k, own in told.items() if k != "attention_mask"}
        marks = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, self._tokenizer.unk_token_id, 0)
        start = next(mark for mark in marks if mark is not None)
        for key, lists in tokens.items():
            tokens[key] = [own or [start if key == "input_ids" else 0] for own in lists]
        return tokens

    def _prompt_length(self, prompt: str) -> dict[str, int]:
        """How many tokens poolings may have to leave out, as sentence-transformers counts them."""
        if not prompt:
            return {}
        own = self._tokenizer([prompt])["input_ids"][0]
        return {"prompt_length": len(own) - (own[-1] in self._tokenizer.all_special_ids)}

    def _together(self, lengths: list[int]) -> Iterator[list[int]]:
        """Batches of texts, the longest first, of so many tokens and so little padding."""
        batch: list[int] = []
        padding = 0
        for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
            width = lengths[batch[0]] if batch else lengths[i]
            full = len(batch) == self._rows_at_once or (len(batch) + 1) * width > TOKENS[self._kind]
            if batch and (full or padding + width - lengths[i] > PADDING[self._kind]):
                yield batch
                batch, padding, width = [], 0, lengths[i]
            batch.append(i)
            padding += width - lengths[i]
        if batch:
            yield batch

    def _padded(self, tokens: dict[str, list[list[int]]]) -> dict[str, Any]:
        """A batch of texts as tensors, with the mask of what is no padding."""
        return {**self._tokenizer.pad(tokens, return_tensors="pt"), "modality": "text"}

    def _there(self, features: dict[str, Any]) -> dict[str, Any]:
        """The same on the device of the model."""
        device = self._placement.device
        return {k: value.to(device) if hasattr(value, "to") else value for k, value in features.items()}

    def _dimension(self) -> int:
        """As the model says, or else as it does."""
        said = self._model.get_embedding_dimension()
        if said:
            return int(said)
        import torch

        with torch.inference_mode():
            embedded = self._model(self._there(self._model.preprocess(["a"])))["sentence_embedding"]
        return int(embedded.shape[1])


def load(name: str, options: Options) -> SentenceEncoder:
    """The model of that canonical name; `load_encoder` says what is raised."""
    folder = checkpoints.locate(name, local_only=options.local_only)
    return SentenceEncoder(name, folder, _placement(options), options)


def _placement(options: Options) -> Placement:
    """As `devices.place` has it, but for bfloat16 on a processor that has instructions for it."""
    import torch

    if options.precision == "int8":
        raise InvalidInput("int8 is for pictures: leave the precision of a text model out, or take fp32")
    placement = place(options.device, options.precision)
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if placement.device == "cpu" and options.precision is None and native:
        return replace(placement, precision="bf16")
    return placement


def _build(folder: Path, placement: Placement) -> Any:
    """The model in eval mode. Raises WeightsError for files that do not make one."""
    from sentence_transformers import SentenceTransformer

    try:
        with _silent():
            model = SentenceTransformer(
                str(folder),
                device=placement.device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": placement.dtype, "use_safetensors": True},
            )
    except Exception as error:  # transformers raises anything from KeyError to OSError over bad files
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"the model in {folder} cannot be loaded: {reason}") from error
    return model.to(placement.dtype).eval()


def _tokenizer_of(model: Any) -> Any:
    """The tokenizer of a model that takes plain tokens of text; None for others."""
    first = model[0]
    plain = type(first).__name__ == "Transformer" and set(first.modality_config) == {"text"}
    lengths = getattr(first, "query_length", None), getattr(first, "document_length", None)
    if (
        not plain
        or lengths != (None, None)
        or first.query_expansion is not None
        or not first.tokenizer.is_fast
    ):
        return None
    if first.tokenizer.pad_token_id is None:  # GPT has none, and never looks at it: the mask hides it
        first.tokenizer.pad_token = first.tokenizer.eos_token or first.tokenizer.unk_token
    return first.tokenizer


def _pooled(model: Any, wanted: str | None, name: str) -> Any:
    """What the model's pooling is, `wanted` or its own."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    found = [module for module in model if isinstance(module, Pooling)]
    if wanted is not None:
        if not found:
            raise InvalidInput(f"{name}: this model has no pooling to choose; leave ?pooling= away")
        if not isinstance(found[0].pooling_mode, str):
            joined = " and ".join(found[0].pooling_mode)
            raise InvalidInput(f"{name}: this model joins {joined}; leave ?pooling= away")
        found[0].pooling_mode = checkpoints.POOLINGS[wanted]
    return [[module.pooling_mode, module.include_prompt] for module in found]


def _prompts(model: Any, given: Mapping[str, str]) -> _Prompts:
    """What the name of the model says, or else its files.

    As sentence-transformers reads them, but for a "passage" or "corpus": there an empty "document", which
    each model has, hides it. The default of a model is for one that does not tell queries from documents.
    """
    document = next((model.prompts[key] for key in _DOCUMENTS if model.prompts.get(key)), "")
    query = model.prompts.get("query") or ""
    if not (document or query):
        document = query = model.prompts.get(model.default_prompt_name) or ""
    return _Prompts(given.get("document", document), given.get("query", query))


def _digest(**facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps transformers from logging, and from drawing bars, where we have said all that there is to say."""
    from transformers.utils import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    own = logging.getLogger("sentence_transformers")
    before = own.level
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    own.setLevel(logging.ERROR)
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        own.setLevel(before)
        if bars:
            theirs.enable_progress_bar()

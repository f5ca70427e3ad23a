"""CLIP towers through open_clip: CLIP, SigLIP, CoCa, ConvNeXt, MobileCLIP and all their kin."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from clipkit.ahead import read_ahead
from clipkit.encoder import BaseEncoder, Pixels, Places, T, unit_places
from clipkit.encoders import lazily, texttower, weights
from clipkit.encoders.devices import Placement, place
from clipkit.encoders.fusing import fuse
from clipkit.encoders.jpegs import JpegDecoder
from clipkit.encoders.patches import box_of, reader_of
from clipkit.encoders.pixels import Preprocessing
from clipkit.encoders.sources import Source, locate
from clipkit.encoders.texts import Encode, encode_texts, traced
from clipkit.encoders.tokens import Tokenizer
from clipkit.encoders.towers import Replicas, be_one_thread, halving
from clipkit.errors import WeightsError

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipkit.encoders import Options

R = TypeVar("R")

# What the fingerprint leaves out of an architecture: what only training uses, and what the weights, the
# preprocessing or the probes of the tokenizer show anyway. So a model is the same from a tag and a folder.
_NO_MATTER = {
    "custom_text",
    "hf_model_pretrained",
    "hf_tokenizer_name",
    "image_size",
    "init_logit_bias",
    "init_logit_scale",
    "output_tokens",
    "patch_dropout",
    "timm_drop",
    "timm_drop_path",
    "timm_model_pretrained",
    "tokenizer_kwargs",
    "tokenizer_mode",
    "vocab_size",
}
_PROBES = ["A photo of 2 dogs, on the beach!", "Größe naïve", "犬と猫 🐕", "word " * 300]
"""Texts whose tokens tell tokenizers apart: case, marks, scripts, padding, the cut at the context's end."""


class OpenClipEncoder(BaseEncoder):
    """An open_clip model as an Encoder of texts and images."""

    modalities = frozenset({"text", "image"})

    def __init__(self, name: str, source: Source, placement: Placement, options: Options) -> None:
        identity = weights.digest(source.weights)  # first, for it finds a damaged file in no time
        model, self._transform = _build(name, source, placement)
        self._model = model
        self._replicas = Replicas(model, placement.devices)
        self._tokenizer = Tokenizer(source)
        self._placement = placement
        self._encode_texts: Encode = encode_texts
        self._tokenizing = Lock()  # Hugging Face's tokenizers allow no second caller
        self._running = 0  # batches that came by themselves
        self._counting = Lock()
        cfg = model.visual.preprocess_cfg
        self._preprocessing = Preprocessing(cfg, self._transform)
        self.name = name
        self.dim = source.config["embed_dim"]
        self.image_size = max(self._preprocessing.size)
        self.batch_size = options.batch_size or placement.batch_size
        self.upright = options.upright
        self.fingerprint = _fingerprint(source, cfg, self._tokenizer(_PROBES), identity, options.upright)

    @property
    def lanes(self) -> int:
        """How many batches run side by side."""
        return self._replicas.lanes

    @property
    def precision(self) -> str:
        """In which the model computes: "fp32", "bf16", "fp16", or, for pictures, "int8"."""
        return self._placement.precision

    def trace(self) -> None:
        """As for every encoder: texts on a CPU, if the tower is causal. Takes half a second."""
        if self._placement.devices == ("cpu",):
            self._encode_texts = traced(self._model, self._tokenizer(_PROBES)) or encode_texts

    def preprocess(self, image: Image) -> Pixels:
        """The picture resized and cropped as open_clip's own preprocessing does it: (height, width, 3) uint8.

        What follows there, the scaling by mean and deviation, is done batch by batch.
        """
        return self._preprocessing.resized(image)

    def jpeg_decoder(self) -> JpegDecoder | None:
        """What decodes JPEGs where the model runs; None where that is a CPU, or torchvision cannot."""
        if not self._placement.device.startswith("cuda"):
            return None
        decoder = JpegDecoder(self._placement.device, self._preprocessing, upright=self.upright)
        return decoder if decoder.works() else None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, uncut, with those that mark start and end."""
        with self._tokenizing:
            return self._tokenizer.lengths(list(texts))

    def _overlong(self, texts: list[str]) -> list[int]:
        limit = self._tokenizer.context_length
        # ASCII gives no more tokens than characters, plus marks at start and end; the rest is counted.
        unsure = [i for i, text in enumerate(texts) if not text.isascii() or len(text) + 4 > limit]
        with self._tokenizing:
            lengths = self._tokenizer.lengths([texts[i] for i in unsure])
        return [i for i, length in zip(unsure, lengths, strict=True) if length > limit]

    def _encoded(
        self, batches: Iterable[list[T]], encode: Callable[[list[T]], NDArray[Any]]
    ) -> Iterator[tuple[list[T], NDArray[Any]]]:
        """Several batches go side by side, on a CPU each on one core; one alone has the device to itself."""

        def run(batch: list[T]) -> tuple[list[T], NDArray[Any]]:
            rows, size = halving(encode, batch)
            if size < len(batch):
                self.batch_size = min(self.batch_size, size)
            return batch, rows

        batches = iter(batches)
        first = list(islice(batches, 2))
        if len(first) < 2 or self.lanes == 1:
            for batch in (*first, *batches):
                yield self._among_others(run, batch)
            return
        rest = (batch for some in (first, batches) for batch in some)
        yield from read_ahead(rest, run, self.lanes, pool=self._threads)

    def _among_others(self, run: Callable[[list[T]], R], batch: list[T]) -> R:
        """`run` of one batch: here, or if other threads have come with theirs, in a thread for one core."""
        with self._counting:
            self._running += 1
            alone = self._running == 1
        try:
            return run(batch) if alone else self._threads.submit(run, batch).result()
        finally:
            with self._counting:
                self._running -= 1

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        begin = be_one_thread if self._placement.device == "cpu" else None
        return ThreadPoolExecutor(self.lanes, thread_name_prefix="clipkit-lane", initializer=begin)

    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        with self._tokenizing:
            tokens = self._tokenizer(texts)
        with self._replicas.borrow() as replica:
            return replica.rows(self._encode_texts, tokens)

    def _pixel_batch(self, pixels: list[Pixels]) -> NDArray[Any]:
        def encode(model: Any, batch: Any) -> Any:
            return model.encode_image(
                self._preprocessing.normalised(batch, self._placement.dtype), normalize=False
            )

        with self._replicas.borrow() as replica:
            return replica.rows(encode, replica.batch(pixels))

    def _places(self, image: Image) -> Places:
        import torch

        reader = reader_of(self._model.visual, self.name)
        transform = self._transform if reader.scale == 1 else self._enlarging(reader.scale)
        pixels = transform(image)[None].to(self._placement.device, self._placement.dtype)  # (1, 3, h, w)
        with self._replicas.borrow(), torch.inference_mode():
            raw = reader.read(pixels).float().cpu().numpy()  # (rows, cols, dim)
        cfg = self._model.visual.preprocess_cfg
        box = box_of(image.width, image.height, size=cfg["size"], mode=cfg["resize_mode"])
        return Places(unit_places(raw), box, reader.method, reader.source)

    def _enlarging(self, scale: int) -> Callable[[Image], Any]:
        """The preprocessing, but to pictures so many times as large."""
        from open_clip.transform import PreprocessCfg, image_transform_v2

        cfg = PreprocessCfg(**self._model.visual.preprocess_cfg)
        height, width = (cfg.size, cfg.size) if isinstance(cfg.size, int) else cfg.size
        enlarged = replace(cfg, size=(scale * height, scale * width))
        larger: Callable[[Image], Any] = image_transform_v2(enlarged, is_train=False)
        return larger


def load(name: str, options: Options) -> OpenClipEncoder:
    """The open_clip model of that canonical name; `load_encoder` says what is raised."""
    lazily.put_off()
    placement = place(options.device, options.precision)
    if name == "bundled" and placement.device == "cpu" and options.precision is None:
        placement = replace(placement, precision="fp32")  # its tower takes less time than to decode a picture
    source = locate(name, local_only=options.local_only)
    encoder = OpenClipEncoder(name, source, placement, options)
    texttower.remember(encoder, source)
    return encoder


def _build(name: str, source: Source, placement: Placement) -> tuple[Any, Any]:
    """The model in eval mode, and its preprocessing, as open_clip's create_model_from_pretrained has them."""
    import open_clip

    # open_clip's mixed modes leave CoCa's attention pooling in float32, and it fails; pure ones are as exact.
    precision = f"pure_{placement.precision}"
    if placement.precision in ("fp32", "int8") or _folds(source):  # sums of weights, to be rounded once only
        precision = "fp32"
    own_text = {}
    if source.texts.tower is not None:  # from files at hand: open_clip would ask the hub, and for weights too
        tower = {"hf_model_name": str(source.texts.tower), "hf_model_pretrained": False}
        own_text["text_cfg"] = {**source.config["text_cfg"], **tower}
    try:
        with _silent_open_clip(), _without_random_weights():
            model, _, transform = open_clip.create_model_and_transforms(
                source.arch,
                load_weights=False,
                pretrained_text=False,
                precision=precision,
                device=placement.device,
                force_quick_gelu=source.quick_gelu,
                image_mean=source.preprocess.get("mean"),
                image_std=source.preprocess.get("std"),
                image_interpolation=source.preprocess.get("interpolation"),
                image_resize_mode=source.preprocess.get("resize_mode"),
                **own_text,
            )
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        raise WeightsError(f"open_clip cannot build the architecture of {name}: {error}") from error
    with _silent_open_clip():
        weights.load_into(model, source.weights)
    fuse(model.eval().visual, placement.dtype, int8=placement.precision == "int8")
    return model.to(placement.dtype) if precision == "fp32" else model, transform


def _folds(source: Source) -> bool:
    """Whether the image tower may have batch norms, or branches, to be folded into its convolutions."""
    trunk = source.config["vision_cfg"].get("timm_model_name")
    return trunk is not None and not trunk.startswith("vit_")


def _fingerprint(
    source: Source, preprocess: dict[str, Any], probes: Any, identity: str, upright: bool
) -> str:
    """A hash of all that the rows depend on: architecture, preprocessing, tokens, weights. 32 hex digits.

    The precision is left out: rows of bf16 lie within rounding of those of fp32 (cosine 0.999), so that a
    collection may be filled on one machine and searched on another.
    """
    facts = {
        "architecture": _essence(source.config, source.quick_gelu),
        "preprocess": {key: _plain(value) for key, value in sorted(preprocess.items())},
        "tokens": hashlib.sha256(probes.numpy().astype("<i8").tobytes()).hexdigest(),
        "weights": identity,
        "upright": upright,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _essence(config: dict[str, Any], quick_gelu: bool) -> dict[str, Any]:
    """An architecture without what does not matter or is open_clip's default anyway."""
    from open_clip import CLIPTextCfg, CLIPVisionCfg

    essence: dict[str, Any] = {"quick_gelu": bool(quick_gelu or config.get("quick_gelu"))}
    for part, defaults in (("vision_cfg", CLIPVisionCfg()), ("text_cfg", CLIPTextCfg())):
        essence[part] = {
            key: _plain(value)
            for key, value in sorted(config[part].items())
            if key not in _NO_MATTER and value != getattr(defaults, key, None)
        }
    return essence


def _plain(value: Any) -> Any:
    """`value` so that equal settings read equal: tuples as lists, whole numbers as floats."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@contextmanager
def _silent_open_clip() -> Iterator[None]:
    """Drops what open_clip logs on the root logger while it loads, and keeps it from configuring logging.

    It warns that a model has random weights, which holds only until they are loaded.
    """

    import open_clip

    package = str(Path(open_clip.__file__).parent)

    def is_not_theirs(record: logging.LogRecord) -> bool:
        return not record.pathname.startswith(package)

    root, placeholder = logging.getLogger(), logging.NullHandler()
    root.addFilter(is_not_theirs)
    root.addHandler(placeholder)  # without a handler logging.info() would call basicConfig()
    try:
        yield
    finally:
        root.removeHandler(placeholder)
        root.removeFilter(is_not_theirs)


@contextmanager
def _without_random_weights() -> Iterator[None]:
    """Leaves out random initialisation: it takes seconds, for weights that the file replaces at once."""
    import torch
    from torch.overrides import TorchFunctionMode

    random = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_}
    random |= {getattr(torch.nn.init, f"{name}_") for name in ("normal", "uniform", "trunc_normal")}
    random |= {
        getattr(torch.nn.init, f"{a}_{b}_") for a in ("kaiming", "xavier") for b in ("normal", "uniform")
    }

    class NoRandom(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in random:
                return args[0] if args else kwargs["tensor"]
            return func(*args, **(kwargs or {}))

    with NoRandom():
        yield

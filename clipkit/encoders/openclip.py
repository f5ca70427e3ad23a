"""CLIP towers through open_clip: CLIP, SigLIP, CoCa, ConvNeXt, MobileCLIP and all their kin."""

from __future__ import annotations

import hashlib
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import BaseEncoder, Pixels
from clipkit.encoders.devices import Placement, place
from clipkit.encoders.sources import Source, locate

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipkit.encoders import Options


class OpenClipEncoder(BaseEncoder):
    """An open_clip model as an Encoder of texts and images."""

    modalities = frozenset({"text", "image"})

    def __init__(self, name: str, source: Source, placement: Placement, options: Options) -> None:
        model, transform = _build(source, placement)
        self._model, self._transform, self._placement = model, transform, placement
        self._tokenize = _tokenizer(source)
        self._lock = Lock()
        size = model.visual.preprocess_cfg["size"]
        self.name = name
        self.image_size = size if isinstance(size, int) else max(size)
        self.batch_size = options.batch_size or placement.batch_size
        self.upright = options.upright
        self.dim = self._text_batch(["a"]).shape[1]
        self.fingerprint = hashlib.sha256(name.encode()).hexdigest()[:16]

    def preprocess(self, image: Image) -> Pixels:
        """open_clip's own preprocessing: (3, height, width) float32."""
        pixels: Pixels = self._transform(image).numpy()
        return pixels

    def _overlong(self, texts: list[str]) -> list[int]:
        limit = self._tokenize.context_length
        # No tokenizer makes more tokens of ASCII than characters, plus what marks start and end.
        unsure = [i for i, text in enumerate(texts) if not text.isascii() or len(text) + 4 > limit]
        lengths = _token_counts(self._tokenize, [texts[i] for i in unsure])
        return [i for i, length in zip(unsure, lengths, strict=True) if length > limit]

    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        import torch

        with self._lock, torch.inference_mode():
            tokens = self._tokenize(texts).to(self._placement.device)
            rows: NDArray[Any] = self._model.encode_text(tokens, normalize=False).float().cpu().numpy()
        return rows

    def _pixel_batch(self, pixels: list[Pixels]) -> NDArray[Any]:
        import torch

        batch = torch.from_numpy(np.stack(pixels))
        with self._lock, torch.inference_mode():
            batch = batch.to(self._placement.device, self._placement.dtype)
            rows: NDArray[Any] = self._model.encode_image(batch, normalize=False).float().cpu().numpy()
        return rows


def load(name: str, options: Options) -> OpenClipEncoder:
    """The open_clip model of that canonical name."""
    placement = place(options.device, options.precision)
    return OpenClipEncoder(name, locate(name, local_only=options.local_only), placement, options)


def _build(source: Source, placement: Placement) -> tuple[Any, Any]:
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(
        source.arch,
        load_weights=False,
        pretrained_text=False,
        precision=placement.precision,
        device=placement.device,
        force_quick_gelu=source.quick_gelu,
        image_mean=source.preprocess.get("mean"),
        image_std=source.preprocess.get("std"),
        image_interpolation=source.preprocess.get("interpolation"),
        image_resize_mode=source.preprocess.get("resize_mode"),
    )
    open_clip.load_checkpoint(model, str(source.weights), strict=True, weights_only=True)
    return model.eval(), transform


def _tokenizer(source: Source) -> Any:
    import open_clip
    from open_clip.tokenizer import HFTokenizer

    text = source.config["text_cfg"]
    if source.tokenizer is None:
        return open_clip.get_tokenizer(source.arch)
    return HFTokenizer(
        str(source.tokenizer),
        context_length=text.get("context_length", 77),
        tokenizer_mode=text.get("tokenizer_mode"),
        **text.get("tokenizer_kwargs", {}),
    )


def _token_counts(tokenize: Any, texts: list[str]) -> list[int]:
    """How many tokens each text has uncut, with those that mark start and end."""
    from open_clip.tokenizer import HFTokenizer

    if not isinstance(tokenize, HFTokenizer):
        return [len(tokenize.encode(text)) + 2 for text in texts]
    if not texts:
        return []
    cleaned = [tokenize.clean_fn(text) for text in texts]
    if tokenize.tokenizer_mode == "clips":
        ids = tokenize.tokenizer(cleaned, add_special_tokens=False, verbose=False)["input_ids"]
        return [len(row) + 3 for row in ids]
    return [len(row) for row in tokenize.tokenizer(cleaned, verbose=False)["input_ids"]]

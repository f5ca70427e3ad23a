"""The tokenizer of an open_clip model: its own, Hugging Face's, or ours where that gives the same tokens."""

from __future__ import annotations

import zlib
from typing import Any

from clipkit.encoders.bpe import BytePairs, default_vocabulary
from clipkit.encoders.sources import Source
from clipkit.errors import ModelUnavailable, WeightsError


class Tokenizer:
    """The tokenizer of a model: texts to rows of `context_length` token ids, cut or padded."""

    def __init__(self, source: Source) -> None:
        from open_clip.tokenizer import HFTokenizer

        text = source.config["text_cfg"]
        settings = {"context_length": text.get("context_length", 77), **text.get("tokenizer_kwargs", {})}
        self.context_length: int = settings["context_length"]
        self._mode = text.get("tokenizer_mode")
        self._hf = source.texts.tokenizer is not None
        if self._hf:
            try:
                folder = str(source.texts.tokenizer)
                self._tokenize = HFTokenizer(folder, tokenizer_mode=self._mode, **settings)
            except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
                raise WeightsError(f"the tokenizer in {folder} cannot be read: {error}") from error
        else:
            self._tokenize = _simple_tokenizer(source, settings)

    def __call__(self, texts: list[str]) -> Any:
        if not isinstance(self._tokenize, BytePairs):
            return self._tokenize(texts)
        import torch

        rows = [self._tokenize.cut(text, self.context_length) for text in texts]
        return torch.tensor([[*row, *[0] * (self.context_length - len(row))] for row in rows])

    def lengths(self, texts: list[str]) -> list[int]:
        """How many tokens each text has uncut, with those that mark start and end."""
        if not texts:
            return []
        if isinstance(self._tokenize, BytePairs):
            return [len(self._tokenize.tokens(text)) for text in texts]
        if not self._hf:
            return [len(self._tokenize.encode(text)) + 2 for text in texts]
        cleaned = [self._tokenize.clean_fn(text) for text in texts]
        marked = self._mode != "clips"  # that mode adds three marks of its own
        rows = self._tokenize.tokenizer(cleaned, add_special_tokens=marked, verbose=False)["input_ids"]
        return [len(row) + (0 if marked else 3) for row in rows]


def _simple_tokenizer(source: Source, settings: dict[str, Any]) -> Any:
    """CLIP's own tokenizer; with a `bpe_path`, which is a file beside the weights, for its vocabulary.

    With other settings it is open_clip's; without any, it is ours, which gives the same tokens.
    """
    from open_clip.tokenizer import SimpleTokenizer

    given = settings.get("bpe_path")
    # open_clip would look in the current folder
    path = default_vocabulary() if given is None else source.weights.parent / given
    plain = set(settings) <= {"context_length", "bpe_path"}
    try:
        tokenizer = BytePairs(path) if plain else SimpleTokenizer(**{**settings, "bpe_path": str(path)})
    except FileNotFoundError as error:
        raise ModelUnavailable(
            f"the vocabulary {path} of the model is missing: get its files again"
        ) from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise WeightsError(
            f"the vocabulary {path} is damaged ({error}): get the model's files again"
        ) from error
    size = len(tokenizer) if isinstance(tokenizer, BytePairs) else tokenizer.vocab_size
    if given is not None and size != source.config["text_cfg"]["vocab_size"]:
        raise WeightsError(
            f"the vocabulary {path} has {size} words, and the model was made for "
            f"{source.config['text_cfg']['vocab_size']}: get its files again"
        )
    return tokenizer

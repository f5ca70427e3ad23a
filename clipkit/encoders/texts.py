"""Text towers without padding, where that changes no row; and without Python, where that is wanted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

Encode: TypeAlias = Callable[[Any, Any], Any]
"""The rows that a model gives of tokens: `encode_texts`, or the same done otherwise."""


def encode_texts(model: Any, tokens: Any) -> Any:
    """What `model.encode_text(tokens)` gives, cut behind the longest text where that changes nothing.

    In a causal tower that reads a text off its end mark, what comes behind has no say: most texts fill a
    tenth of the context. Towers that see all places at once, or read the last, take the whole context.
    """
    tower = _Causal.of(model)
    return model.encode_text(tokens, normalize=False) if tower is None else tower.rows(*tower.cut(tokens))


def traced(model: Any, tokens: Any) -> Encode | None:
    """`encode_texts` for that one model on a CPU, recorded, so that torch runs it from end to end by itself.

    A tower that Python leads from one operation to the next needs the interpreter's lock a hundred times, and
    where another thread is busy it waits each time: beside an event loop, the bundled model's takes twice as
    long. `tokens` are those of an example. None for a tower that sees all places, or a torch that records
    nothing.
    """
    import torch

    tower = _Causal.of(model)
    if tower is None:
        return None
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.compile does as much, but needs a compiler at hand
            run: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
                _module(model, tower.rows), tower.cut(tokens), check_trace=False
            )
    except (AttributeError, RuntimeError):
        return None
    return lambda _, given: run(*tower.cut(given))


def _module(model: Any, rows: Callable[..., Any]) -> Any:
    """What has the weights of `model` and does `rows`: torch takes those of a mere function for constants."""
    import torch

    class Rows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            return rows(*given)

    return Rows()


class _Causal:
    """A text tower in which no place sees what is behind it, and which reads a text off its end mark."""

    def __init__(self, tower: Any, pool: str, end: int | None) -> None:
        self._tower = tower
        self._pool = pool
        self._end = end

    @classmethod
    def of(cls, model: Any) -> _Causal | None:
        """That of an open_clip model; None if it has another."""
        from open_clip import CLIP, CustomTextCLIP
        from open_clip.transformer import TextTransformer

        if type(model) is CLIP:
            found = cls(model, model.text_pool_type, model.text_eos_id)
        elif isinstance(model, CustomTextCLIP) and type(model.text) is TextTransformer:
            found = cls(model.text, model.text.pool_type, model.text.eos_id)
        else:
            return None
        seen = found._tower.attn_mask is not None and getattr(found._tower, "cls_emb", None) is None
        return found if seen and found._pool in ("argmax", "eos") else None

    def cut(self, tokens: Any) -> tuple[Any, Any]:
        """Tokens, (n, the longest text's length), and the place of each text's end mark, (n,)."""
        marks = tokens if self._pool == "argmax" else (tokens == self._end).int()
        ends = marks.argmax(dim=-1)
        return tokens[:, : int(ends.max()) + 1], ends

    def rows(self, tokens: Any, ends: Any) -> Any:
        """The rows of what `cut` gives: (n, dim)."""
        import torch

        tower, length = self._tower, tokens.shape[1]
        dtype = tower.transformer.get_cast_dtype()
        x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)
        x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])  # (n, length, width)
        x = tower.ln_final(x[torch.arange(x.shape[0], device=x.device), ends])
        if tower.text_projection is None:
            return x
        linear = callable(tower.text_projection)
        return tower.text_projection(x) if linear else x @ tower.text_projection

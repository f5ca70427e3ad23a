"""Text towers without padding, where that changes no row."""

from __future__ import annotations

from typing import Any


def encode_texts(model: Any, tokens: Any) -> Any:
    """What `model.encode_text(tokens)` gives, cut behind the longest text where that changes nothing.

    In a causal tower that reads a text off its end mark, what comes behind has no say: most texts fill a
    tenth of the context. Towers that see all places at once, or read the last, take the whole context.
    """
    from open_clip import CLIP, CustomTextCLIP
    from open_clip.transformer import TextTransformer, text_global_pool

    if type(model) is CLIP:
        tower, pool, end = model, model.text_pool_type, model.text_eos_id
    elif isinstance(model, CustomTextCLIP) and type(model.text) is TextTransformer:
        tower, pool, end = model.text, model.text.pool_type, model.text.eos_id
    else:
        return model.encode_text(tokens, normalize=False)
    marks = {"argmax": tokens, "eos": (tokens == end).int()}.get(pool)
    if marks is None or tower.attn_mask is None or getattr(tower, "cls_emb", None) is not None:
        return model.encode_text(tokens, normalize=False)
    length = int(marks.argmax(dim=-1).max()) + 1
    tokens = tokens[:, :length]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])  # (n, length, width)
    x = tower.ln_final(text_global_pool(x, tokens, pool, eos_token_id=end))
    if tower.text_projection is None:
        return x
    linear = callable(tower.text_projection)
    return tower.text_projection(x) if linear else x @ tower.text_projection

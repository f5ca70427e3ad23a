"""Models that are asked over the network, through `encoders.remote`."""

from __future__ import annotations

from clipkit.encoders.catalog.card import ModelCard

DASHSCOPE = "https://dashscope.aliyuncs.com/compatible-mode/v1"
"""The public address of Alibaba Cloud's Model Studio for OpenAI's client."""

MODEL_STUDIO = "Alibaba Cloud Model Studio, documentation of text embedding"
OPENAI = "OpenAI, documentation of embeddings, and its API reference"

_SIX = "Chinese, English, French, Indonesian, Portuguese, Spanish"
_TEN = "Chinese, English, French, German, Indonesian, Japanese, Korean, Portuguese, Russian, Spanish"
_FIFTY = "multilingual: more than 50 languages"
_TERMS = "paid: under the terms of the service"
_BATCH = "Model Studio takes files for it, by an interface that OpenAI's client does not speak."

# name, dimensions, those that can be asked for, rows, tokens of one, languages, note
_TABLE = (
    ("text-embedding-v3", 1024, (512, 768, 1024), 10, 8192, _FIFTY, "The best of these."),
    ("text-embedding-v2", 1536, (), 25, 2048, _TEN, "The one before."),
    ("text-embedding-v1", 1536, (), 25, 2048, _SIX, "The first."),
    ("text-embedding-async-v2", 1536, (), 100_000, 2048, _TEN, _BATCH),
    ("text-embedding-async-v1", 1536, (), 100_000, 2048, _SIX, _BATCH),
)

STUDIO_CARDS = tuple(
    ModelCard(
        name=f"api:{name}",
        spec=f"api:{name}",
        family="service",
        licence=_TERMS,
        languages=languages,
        dim=dim,
        dimensions=dimensions,
        context_length=tokens,
        rows=rows,
        local=False,
        note=note,
        needs="text",
        source=MODEL_STUDIO,
    )
    for name, dim, dimensions, rows, tokens, languages, note in _TABLE
)

_OPENAI_CARDS = tuple(
    ModelCard(
        name=f"api:text-embedding-3-{size}",
        spec=f"api:text-embedding-3-{size}",
        family="service",
        licence=_TERMS,
        languages="multilingual",
        dim=dim,
        dimensions=range(1, dim + 1),
        context_length=8192,
        rows=2048,
        local=False,
        note="OpenAI's. Matryoshka: any shorter length can be asked for.",
        needs="text",
        source=OPENAI,
    )
    for size, dim in (("small", 1536), ("large", 3072))
)

CARDS = (*STUDIO_CARDS, *_OPENAI_CARDS)

"""Models of sentences: the table that sentence-transformers publishes, and others with a place in history."""

from __future__ import annotations

from clipkit.encoders.catalog.card import ENGLISH, ModelCard, Score

SBERT = "sbert.net, table of pretrained models, 0027ac0"
APACHE = "Apache-2.0"

_FIFTY = (
    "multilingual: Albanian, Arabic, Armenian, Bulgarian, Burmese, Catalan, Chinese, Croatian, Czech, "
    "Danish, Dutch, English, Estonian, Finnish, French, Galician, Georgian, German, Greek, Gujarati, Hebrew, "
    "Hindi, Hungarian, Indonesian, Italian, Japanese, Korean, Kurdish, Latvian, Lithuanian, Macedonian, "
    "Malay, Marathi, Mongolian, Norwegian, Persian, Polish, Portuguese, Romanian, Russian, Serbian, Slovak, "
    "Slovenian, Spanish, Swedish, Thai, Turkish, Ukrainian, Urdu, Vietnamese"
)
_FIFTEEN = (
    "multilingual: Arabic, Chinese, Dutch, English, French, German, Italian, Korean, Polish, "
    "Portuguese, Russian, Spanish, Turkish"
)
_ALL = "For all purposes: trained on more than a billion pairs of texts."
_QA = "For questions and the passages that answer them: trained on 215 million such pairs."
_ALIKE = "Trained on paraphrases."
_USE = "Taught by the multilingual Universal Sentence Encoder."

# name, sentences, semantic search, average, speed, MB, dimensions, tokens, licence, languages, note
_TABLE = (
    ("all-mpnet-base-v2", 69.57, 57.02, 63.30, 2800, 420, 768, 384, APACHE, ENGLISH, _ALL),
    ("multi-qa-mpnet-base-dot-v1", 66.76, 57.60, 62.18, 2800, 420, 768, 512, None, ENGLISH, _QA),
    ("all-distilroberta-v1", 68.73, 50.94, 59.84, 4000, 290, 768, 512, APACHE, ENGLISH, _ALL),
    ("all-MiniLM-L12-v2", 68.70, 50.82, 59.76, 7500, 120, 384, 256, APACHE, ENGLISH, _ALL),
    ("multi-qa-distilbert-cos-v1", 65.98, 52.83, 59.41, 4000, 250, 768, 512, None, ENGLISH, _QA),
    ("all-MiniLM-L6-v2", 68.06, 49.54, 58.80, 14200, 80, 384, 256, APACHE, ENGLISH, _ALL),
    ("multi-qa-MiniLM-L6-cos-v1", 64.33, 51.83, 58.08, 14200, 80, 384, 512, None, ENGLISH, _QA),
    (
        "paraphrase-multilingual-mpnet-base-v2",
        65.83,
        41.68,
        53.75,
        2500,
        970,
        768,
        128,
        APACHE,
        _FIFTY,
        _ALIKE,
    ),
    ("paraphrase-albert-small-v2", 64.46, 40.04, 52.25, 5000, 43, 768, 256, APACHE, ENGLISH, _ALIKE),
    (
        "paraphrase-multilingual-MiniLM-L12-v2",
        64.25,
        39.19,
        51.72,
        7500,
        420,
        384,
        128,
        APACHE,
        _FIFTY,
        _ALIKE,
    ),
    ("paraphrase-MiniLM-L3-v2", 62.29, 39.19, 50.74, 19000, 61, 384, 128, APACHE, ENGLISH, _ALIKE),
    (
        "distiluse-base-multilingual-cased-v1",
        61.30,
        29.87,
        45.59,
        4000,
        480,
        512,
        128,
        APACHE,
        _FIFTEEN,
        _USE,
    ),
    ("distiluse-base-multilingual-cased-v2", 60.18, 27.35, 43.77, 4000, 480, 512, 128, APACHE, _FIFTY, _USE),
)

_MEASURED = tuple(
    ModelCard(
        name=f"st:{name}",
        spec=f"st:{name}",
        family="sentences",
        repo=f"sentence-transformers/{name}",
        licence=licence,
        languages=languages,
        dim=dim,
        context_length=tokens,
        size_mb=size,
        note=note,
        needs="text",
        source=f"{SBERT}; the licence by its model card" + ("" if licence else ", which states none"),
        sentences=Score(sentences, SBERT),
        semantic_search=Score(search, SBERT),
        average=Score(average, SBERT),
        speed=speed,
    )
    for name, sentences, search, average, speed, size, dim, tokens, licence, languages, note in _TABLE
)

_OTHERS = (
    ModelCard(
        name="st:bert-base-nli-mean-tokens",
        spec="st:bert-base-nli-mean-tokens",
        family="sentences",
        repo="sentence-transformers/bert-base-nli-mean-tokens",
        licence=APACHE,
        languages=ENGLISH,
        dim=768,
        context_length=128,
        parameters=110_000_000,
        note="The first Sentence-BERT. Its authors advise against it now: take one of the all-* models.",
        needs="text",
        source="Reimers and Gurevych, Sentence-BERT, EMNLP 2019; its model card",
    ),
    ModelCard(
        name="st:hkunlp/instructor-large",
        spec="st:hkunlp/instructor-large",
        family="sentences",
        repo="hkunlp/instructor-large",
        licence=APACHE,
        languages=ENGLISH,
        dim=768,
        context_length=512,
        parameters=335_000_000,
        note="Instructor: each text comes with an instruction that says what its vector is for.",
        needs="text",
        source="Su et al., One embedder, any task, ACL Findings 2023; its model card",
    ),
    ModelCard(
        name="st:mixedbread-ai/mxbai-embed-large-v1",
        spec="st:mixedbread-ai/mxbai-embed-large-v1",
        family="sentences",
        repo="mixedbread-ai/mxbai-embed-large-v1",
        licence=APACHE,
        languages=ENGLISH,
        dim=1024,
        dimensions=(512, 1024),
        context_length=512,
        parameters=335_000_000,
        note="Matryoshka: the first half of a vector is a vector, too.",
        needs="text",
        source="its model card",
    ),
    ModelCard(
        name="st:Snowflake/snowflake-arctic-embed-m-v1.5",
        spec="st:Snowflake/snowflake-arctic-embed-m-v1.5",
        family="sentences",
        repo="Snowflake/snowflake-arctic-embed-m-v1.5",
        licence=APACHE,
        languages=ENGLISH,
        dim=768,
        dimensions=(256, 768),
        context_length=512,
        parameters=109_000_000,
        note="Matryoshka: the first third of a vector is a vector, too.",
        needs="text",
        source="its model card",
    ),
)

CARDS = (*_MEASURED, *_OTHERS)

"""What is said of a class so that its pictures are near: prompts from its names, and their mean vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipkit.encoder import Encoder, Vectors
from clipkit.errors import InvalidInput
from clipkit.measures import ensemble

TEMPLATES = (
    "a photo of {a}",
    "{a}",
    "{}",
    "a picture of {a}",
    "a close-up photo of {a}",
    "a photo of the {}",
)
"""What is said of a class by default; {} is its name, {a} its name with "a" or "an"."""


def prompts_of(names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Each of `templates` filled in with each of `names`.

    Raises InvalidInput for templates that are none, or have no place for the name.
    """
    if not templates or isinstance(templates, str):
        raise InvalidInput("templates are a list of at least one text such as 'a photo of {a}'")
    for template in templates:
        if "{}" not in template and "{a}" not in template:
            raise InvalidInput(
                f"the template {template!r} has no place for the name: {{}}, or {{a}} for 'a name'"
            )
    return [
        template.replace("{a}", _with_article(name)).replace("{}", name)
        for name in names
        for template in templates
    ]


def class_vectors(encoder: Encoder, prompts: Sequence[Sequence[str]]) -> Vectors:
    """For each class the unit vector of the mean of its prompts' unit vectors, (classes, dim).

    Prompt ensembles in the space of embeddings: Radford et al., Learning transferable visual models from
    natural language supervision, 2021, section 3.1.4.
    """
    texts = encoder.encode_texts([prompt for own in prompts for prompt in own])
    ends = np.cumsum([len(own) for own in prompts])[:-1]
    return np.concatenate([ensemble(rows) for rows in np.split(texts, ends)])


def _with_article(name: str) -> str:
    """By its spelling: right for most names, and CLIP does not mind the others."""
    an = name[0].lower() in "aeiou" and not name.lower().startswith(("one", "uni", "eu"))
    return f"an {name}" if an else f"a {name}"

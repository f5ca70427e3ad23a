"""What stands after the ? in a model's name: settings that its vectors depend on.

st:intfloat/e5-small-v2?document=passage: &query=query:        as in a URL; %20 and a blank are the same
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import quote, unquote

from clipkit.errors import InvalidInput, did_you_mean


def split(name: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """The name without its settings, and these. Raises InvalidInput for one that is not `known`."""
    head, mark, tail = name.partition("?")
    found: dict[str, str] = {}
    for part in tail.split("&") if mark else ():
        key, equals, value = part.partition("=")
        if key not in known or not equals:
            raise InvalidInput(
                f"{name!r} should end in settings such as ?{next(iter(known))}=..., joined by &, "
                f"not {part!r}. {did_you_mean(key, known)}"
            )
        if key in found:
            raise InvalidInput(f"{name!r} says {key} twice")
        found[key] = unquote(value)
    return head, found


def joined(head: str, settings: Mapping[str, str]) -> str:
    """The one way to write a name with these settings."""
    told = "&".join(f"{key}={quote(value, safe=':,')}" for key, value in sorted(settings.items()))
    return f"{head}?{told}" if told else head

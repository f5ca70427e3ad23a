"""clipkit: embed images and texts into one space, keep them, and search either by either.

    collection = clipkit.Collection.create(encoder="fast")
    collection.index("~/Pictures")
    for hit in collection.search("a dog on the beach - people"):
        print(hit.score, hit.uri)

The public names are loaded when they are first used, so that `import clipkit` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_HOME = {
    "AddReport": "reports",
    "ClipkitError": "errors",
    "Collection": "collection",
    "Encoder": "encoder",
    "Hit": "hits",
    "Hits": "hits",
    "IndexReport": "reports",
    "Item": "hits",
    "Query": "query",
    "Selection": "folders",
    "Status": "reports",
    "load_encoder": "encoders",
}

__all__ = [
    "AddReport",
    "ClipkitError",
    "Collection",
    "Encoder",
    "Hit",
    "Hits",
    "IndexReport",
    "Item",
    "Query",
    "Selection",
    "Status",
    "load_encoder",
]

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.encoder import Encoder
    from clipkit.encoders import load_encoder
    from clipkit.errors import ClipkitError
    from clipkit.folders import Selection
    from clipkit.hits import Hit, Hits, Item
    from clipkit.query import Query
    from clipkit.reports import AddReport, IndexReport, Status


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'clipkit' has no attribute {name!r}")
    return getattr(import_module(f"clipkit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

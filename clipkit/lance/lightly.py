"""lancedb imported in a third of the time: the client of remote catalogues waits until it is made use of.

lancedb names some hundred classes of that client, which build their validators as they are imported: for a
second and more. A table in a folder or an object store needs one of them, to list the tables in.

`lance_namespace` hands these classes on. Whoever imports them from there is given what imports them on use:
it can be called and asked for what it has, but not inherited from. To have them whole, import lance_namespace
before clipkit.

Before Python 3.12, lancedb also compares each of its methods with the one that it overrides: for a tenth of a
second, in which it finds nothing.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from clipkit.importing import Later, Waiting, later, put_off, real

_CLIENT = "lance_namespace_urllib3_client"


class _Listing(SimpleNamespace):
    """A list of tables, with all that the client's own can do once that is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(real(f"{_CLIENT}.models", "ListTablesResponse")(**vars(self)), name)


class _LaterListing(Later):
    def __call__(self, **fields: Any) -> _Listing:
        return _Listing(**fields)


def _model_later(module: str, name: str) -> type:
    if name == "ListTablesResponse":
        return _LaterListing(name, (), {"__module__": module})
    return later(module, name)


def _unchecked(module: str, name: str) -> Any:
    """What lancedb has for a name of `overrides` from Python 3.12 on."""
    return type(name, (), {"__module__": module}) if name == "EnforceOverrides" else lambda method: method


_CATALOGUES = Waiting(_CLIENT, _model_later, _CLIENT)
_CHECKS = Waiting("overrides", _unchecked, "overrides")

put_off(
    {
        "lance_namespace": [_CATALOGUES],
        "lancedb.namespace": [_CATALOGUES, _CHECKS],
        "lancedb.db": [_CHECKS],
        "lancedb.remote.db": [_CHECKS],
    }
)

import lancedb  # noqa: E402 - only now

__all__ = ["lancedb"]

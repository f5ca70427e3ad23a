"""Which model made which vectors: a stamp on each vector column, and one word that says which is current.

The stamp is in the metadata of its column. So two models can have their vectors side by side, and a query of
one is never compared with vectors of another, whatever happens in between: it names its column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from clipkit.encoder import Encoder
from clipkit.errors import CollectionMismatch

FORMAT_VERSION = 1
FORMAT = {"clipkit.format_version": str(FORMAT_VERSION)}  # in the metadata of the schema
FIRST = "vector"  # the column of the model that a collection is made with
_CURRENT, _BEFORE = "clipkit.vectors", "clipkit.vectors_before"  # at the id, once the model has changed


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the vectors of a column are: written into its field, read back when the table is opened."""

    encoder: str
    dim: int
    fingerprint: str
    upright: bool

    @classmethod
    def of(cls, encoder: Encoder) -> Stamp:
        return cls(encoder.name, encoder.dim, encoder.fingerprint, encoder.upright)

    def field(self, column: str = FIRST) -> pa.Field:
        """The column for such vectors. It can be null: for items that another model's writers have added."""
        metadata = {
            "clipkit.encoder": self.encoder,
            "clipkit.dim": str(self.dim),
            "clipkit.fingerprint": self.fingerprint,
            "clipkit.upright": str(self.upright).lower(),
            "clipkit.normalised": "true",
        }
        return pa.field(column, pa.list_(pa.float32(), self.dim), metadata=metadata)

    @classmethod
    def from_field(cls, field: pa.Field) -> Stamp | None:
        """What `field` gave to a column; None for one that is no column of vectors."""
        found = _decoded(field.metadata)
        try:
            return cls(
                encoder=found["clipkit.encoder"],
                dim=int(found["clipkit.dim"]),
                fingerprint=found["clipkit.fingerprint"],
                upright=found["clipkit.upright"] == "true",
            )
        except (KeyError, ValueError):
            return None

    @property
    def column(self) -> str:
        """The name of a column beside the first, for this model and no other: so it cannot change hands."""
        return f"{FIRST}_{hashlib.sha256(f'{self.fingerprint} {self.dim}'.encode()).hexdigest()[:8]}"

    def fits(self, encoder: Encoder) -> bool:
        """Whether `encoder` gives these very vectors, under whatever name."""
        return (encoder.fingerprint, encoder.dim) == (self.fingerprint, self.dim)

    def checked(self, encoder: Encoder, name: str) -> Encoder:
        """`encoder`, if the vectors of collection `name` are its own. Raises CollectionMismatch."""
        if self.fits(encoder):
            return encoder
        if encoder.name == self.encoder:
            raise CollectionMismatch(
                f"the model {self.encoder} is not what it was when collection {name!r} was made: its weights "
                f"or preprocessing have changed (fingerprint {encoder.fingerprint}, not {self.fingerprint}). "
                "Bring the old files back, or index again into a new collection."
            )
        raise CollectionMismatch(
            f"collection {name!r} holds vectors of {self.encoder} ({self.dim} dimensions), which those of "
            f"{encoder.name} ({encoder.dim}) cannot be compared with. Open it without naming a model, change "
            f"its model with reindex, or use another collection for {encoder.name}."
        )


@dataclass(frozen=True, slots=True)
class Stamps:
    """The vector columns of a table, and which of them is current."""

    by_column: Mapping[str, Stamp]
    current: str
    before: str | None = None  # what was current before, if that column is still there
    changed: bool = False  # whether another was current ever: if not, every item has a vector

    @classmethod
    def of(cls, schema: pa.Schema, where: str) -> Stamps:
        """Those in `schema`. Raises CollectionMismatch for a table that is none of ours."""
        version = _decoded(schema.metadata).get("clipkit.format_version", "")
        if version not in ("", str(FORMAT_VERSION)):
            raise CollectionMismatch(
                f"{where} has format version {version}; this clipkit reads and writes {FORMAT_VERSION}. "
                "Open it with the clipkit that made it, or index again into a new collection."
            )
        found = {field.name: stamp for field in schema if (stamp := Stamp.from_field(field))}
        said = _decoded(schema.field("id").metadata) if "id" in schema.names else {}
        current = said.get(_CURRENT, FIRST)
        if not version or current not in found:
            raise CollectionMismatch(
                f"{where} is a LanceDB table, but not a clipkit collection: its schema does not say which "
                "model made it. Choose another name, or index into a new collection."
            )
        before = said.get(_BEFORE)
        return cls(found, current, before if before in found else None, changed=_CURRENT in said)

    @property
    def stamp(self) -> Stamp:
        """That of the current column."""
        return self.by_column[self.current]

    @property
    def others(self) -> list[str]:
        """The columns that are not current."""
        return [column for column in self.by_column if column != self.current]

    def column_of(self, encoder: Encoder) -> str | None:
        """The column with the vectors of `encoder`."""
        return next((column for column, stamp in self.by_column.items() if stamp.fits(encoder)), None)

    def switched_to(self, column: str) -> dict[str, str]:
        """What the metadata of the id has to say for `column` to be current."""
        return {_CURRENT: column, _BEFORE: self.current}


def is_vector_column(field: pa.Field) -> bool:
    return Stamp.from_field(field) is not None


def _decoded(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (metadata or {}).items()}

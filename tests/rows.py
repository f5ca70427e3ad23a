"""A small table of rows with vectors, and what the tests of Lance tables fill it with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipkit.lance import Database, Table, VectorColumn

DIM = 16
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False, {"lance-schema:unenforced-primary-key": "true"}),
        pa.field("n", pa.int64()),
        pa.field("Tag", pa.string()),
        pa.field("at", pa.timestamp("us")),
        pa.field("day", pa.date32()),
        pa.field("conflict", pa.bool_()),
        pa.field("vector", pa.list_(pa.float32(), DIM), nullable=False),
    ]
)
Rows = NDArray[np.float32]  # unit rows, (n, DIM)


def create(uri: str) -> Table:
    """The table, new and empty."""
    made = Database(uri).create("t", SCHEMA)
    assert made is not None
    VectorColumn(made)
    return made


def handle(uri: str) -> Table:
    """The table as another process has it."""
    opened = Database(uri).open("t")
    assert opened is not None
    VectorColumn(opened)
    return opened


def unit(n: int, seed: int = 0, *, clusters: int = 0) -> Rows:
    noise = np.random.default_rng(seed)
    rows = noise.normal(size=(n, DIM))
    if clusters:
        rows = 0.3 * rows + noise.normal(size=(clusters, DIM))[noise.integers(0, clusters, n)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def batch(ids: list[str], vectors: Rows | None = None, **columns: list[Any]) -> pa.Table:
    """Rows to upsert: the ids, the vectors, and those columns that are given."""
    vectors = unit(len(ids)) if vectors is None else vectors
    fields = [field for field in SCHEMA if field.name in ("id", "vector", *columns)]
    given = {
        **{name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()},
        "id": pa.array(ids, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
    }
    return pa.Table.from_arrays([given[field.name] for field in fields], schema=pa.schema(fields))


def names(n: int) -> list[str]:
    return [f"{i:05}" for i in range(n)]


def nearest(table: Table, vector: Rows, k: int, where: str | None = None) -> list[tuple[str, float]]:
    """(id, score) of the k best rows."""
    found = VectorColumn(table).nearest(vector, k, where=where, columns=["id", "n"])
    assert found.schema.names == ["id", "n", "score"]
    assert found.schema.field("score").type == pa.float32()
    return list(zip(found["id"].to_pylist(), found["score"].to_pylist(), strict=True))

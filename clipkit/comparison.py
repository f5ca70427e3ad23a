"""Two models compared on a collection that has the vectors of both."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from clipkit.filters import all_of, id_in
from clipkit.reports import Comparison
from clipkit.store import Store

DEPTH = 10  # what people look at first
COMPARED = 50  # stored items, and as many texts: the mean is then good to about 0.05
UNLIKE_SHOWN = 3


def compare_models(store: Store, one: str, other: str, *, sample: int = COMPARED) -> Comparison:
    """How alike the vectors in two columns find images: overlap@10 of sampled images, and of sampled texts.

    For a query q with nearest images A by one model and B by the other, q itself left out, overlap@10 is
    |A & B| / max(|A|, |B|), with |A| and |B| up to 10. The sample is the same in each run.
    """
    both = all_of(store.has_vector(one), store.has_vector(other))
    images = _sampled(store, (one, other), all_of(both, "kind = 'image'"), sample)
    texts = _sampled(store, (one, other), all_of(both, "kind = 'text'"), sample)
    among = all_of(both, "kind = 'image'")
    alike, across = (_overlaps(store, (one, other), queries, among) for queries in (images, texts))
    unlike = sorted({**alike, **across}.items(), key=lambda pair: (pair[1], pair[0]))[:UNLIKE_SHOWN]
    return Comparison(
        queries=len(alike),
        overlap=_mean(alike),
        texts=len(across),
        texts_overlap=_mean(across),
        unlike=tuple(unlike),
    )


def _sampled(store: Store, columns: tuple[str, str], where: str | None, size: int) -> pa.Table:
    """The ids of up to `size` items with their vectors in both columns, read at once: others may write."""
    ids = sorted(store.items.read(["id"], where)["id"].to_pylist())
    chosen = np.random.default_rng(0).permutation(len(ids))[:size]
    drawn = all_of(where, id_in(ids[at] for at in chosen))
    return store.items.read(["id", *dict.fromkeys(columns)], drawn).sort_by("id")


def _overlaps(
    store: Store, columns: tuple[str, str], queries: pa.Table, where: str | None
) -> dict[str, float]:
    """overlap@10 by query, for those that have neighbours."""
    found = {}
    for row in queries.to_pylist():
        others = all_of(where, f"NOT ({id_in([row['id']])})")
        one, other = (_nearest(store, column, row[column], others) for column in columns)
        if one:
            found[row["id"]] = len(one & other) / max(len(one), len(other))
    return found


def _nearest(store: Store, column: str, vector: list[float], where: str | None) -> set[str]:
    query = np.asarray(vector, np.float32)
    found = store.vectors_in(column).nearest(query, DEPTH, where=where, columns=["id"])
    return set(found["id"].to_pylist())


def _mean(values: dict[str, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None

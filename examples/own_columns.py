"""Columns of your own: typed, filled item by item, used in filters, exported. Runs offline."""

import tempfile
from datetime import date

from PIL import Image

import clipkit

STOCK = [
    ("mug-1", "red", {"price": 7.50, "tags": ["kitchen", "gift"], "since": date(2024, 3, 1)}),
    ("mug-2", "green", {"price": 6.90, "tags": ["kitchen"], "since": date(2025, 1, 15)}),
    ("scarf-1", "red", {"price": 24.00, "tags": ["gift"], "since": date(2025, 9, 1)}),
    ("scarf-2", "blue", {"price": 24.00, "tags": [], "since": date(2023, 9, 1)}),
]

with tempfile.TemporaryDirectory() as work:
    collection = clipkit.Collection.create(
        "stock",
        db=f"{work}/db",
        encoder="fake",  # knows colours and nothing else; "fast" is a real model
        columns={"price": float, "tags": list[str], "since": date},
    )
    collection.add_images(
        [Image.new("RGB", (64, 64), colour) for _, colour, _ in STOCK],
        ids=[id for id, _, _ in STOCK],
        metadata=[columns for _, _, columns in STOCK],
    )
    for where in ("price < 10", "array_has(tags, 'gift')", "since >= date '2025-01-01'"):
        hits = collection.search("red", k=2, where=where)
        print(where, "->", [(hit.id, hit.metadata["price"]) for hit in hits])

    written = collection.to_parquet(f"{work}/stock.parquet")
    print(written, "rows in Parquet;", collection.count(where="price > 20"), "cost more than 20")

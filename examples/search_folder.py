"""Index a folder of pictures and search it in words.

python examples/search_folder.py                  plain pictures and a stand-in for a model, offline
python examples/search_folder.py ~/Pictures "a dog on the beach - people" fast
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

import clipkit


def main(folder: str, query: str, model: str, db: str | None = None) -> None:
    name = model.replace("/", "-")  # a collection for each model
    if name in clipkit.Collection.names(db):
        collection = clipkit.Collection.open(name, db=db)
    else:
        collection = clipkit.Collection.create(name, db=db, encoder=model)
    report = collection.index(folder)
    print(f"{report.added} added, {report.moved} moved, {report.unchanged} unchanged")
    for failure in report.failures:
        print("skipped:", failure.id, failure.reason)
    print(collection.search(query, k=3))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:4])
    else:
        with tempfile.TemporaryDirectory() as work:
            for colour in ("red", "orange", "green", "blue"):
                Image.new("RGB", (320, 240), colour).save(Path(work) / f"{colour}.jpg")
            main(work, "red - green", "fake", db=f"{work}/db")

"""Find pictures that are almost the same, by comparing all vectors with all.

python examples/near_duplicates.py                plain pictures and a stand-in for a model, offline
python examples/near_duplicates.py holidays       a collection that you have indexed before
"""

import sys
import tempfile

import numpy as np
from PIL import Image

import clipkit

ALIKE = 0.98  # cosine; which pairs are duplicates to you depends on the model, so look at some


def main(collection: clipkit.Collection) -> None:
    stored = collection.to_arrow(columns=["id", "vector"], where="kind = 'image'")
    ids = stored["id"].to_pylist()
    vectors = np.stack(stored["vector"].to_numpy())  # (n, dim), rows of unit length
    for i, vector in enumerate(vectors):
        scores = vectors[:i] @ vector
        for j in np.flatnonzero(scores >= ALIKE):
            print(f"{scores[j]:.3f}  {ids[j]}  {ids[i]}")
    print(len(ids), "pictures compared")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(clipkit.Collection.open(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as db:
            collection = clipkit.Collection.create(db=db, encoder="fake")
            red, blue = (Image.new("RGB", (512, 512), colour) for colour in ("red", "blue"))
            collection.add_images([red, red.resize((96, 96)), blue], ids=["red", "small red", "blue"])
            main(collection)

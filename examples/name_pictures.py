"""Name what pictures show, by the nearest of some words: image to text, without training.

python examples/name_pictures.py                       plain pictures and a stand-in for a model, offline
python examples/name_pictures.py fast *.jpg
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

import clipkit

WORDS = ["a red thing", "a green thing", "a blue thing", "something else"]


def main(model: str, pictures: list[Path], db: str) -> None:
    collection = clipkit.Collection.create("words", db=db, encoder=model)
    collection.add_texts(WORDS)
    for picture in pictures:
        best, second = collection.search(clipkit.Query.image(picture), kind="text", k=2)
        lead = best.score - second.score
        print(f"{picture.name}: {best.text} ({best.score:.2f}, {lead:.2f} ahead of {second.text!r})")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        if sys.argv[1:]:
            main(sys.argv[1], [Path(name) for name in sys.argv[2:]], f"{work}/db")
        else:
            plain = [Path(work) / f"{colour}.png" for colour in ("blue", "green")]
            for path in plain:
                Image.new("RGB", (64, 64), path.stem).save(path)
            main("fake", plain, f"{work}/db")

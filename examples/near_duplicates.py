"""Find pictures that are there twice, or nearly.

python examples/near_duplicates.py                drawn pictures and a stand-in for a model, offline
python examples/near_duplicates.py holidays       a collection that you have indexed before
"""

import sys
import tempfile

import clipkit
from clipkit import sketch
from clipkit.neighbours import STRENGTHS, duplicates


def main(collection: clipkit.Collection) -> None:
    for strength in STRENGTHS:
        found = duplicates(collection, strength)
        print(f"{strength}: {len(found.groups)} groups among {found.items} pictures")
        for group in found.groups:
            print("   keep", group.keep.id, "of", ", ".join(hit.id for hit in group.others))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(clipkit.Collection.open(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as db:
            collection = clipkit.Collection.create(db=db, encoder="fake")
            whole = sketch.draw(sketch.scene(7), size=320)
            pictures = {
                "whole": whole,
                "small": whole.resize((160, 160)),
                "cropped": whole.crop((30, 20, 310, 290)),
                "another": sketch.draw(sketch.scene(8), size=320),
            }
            collection.add_images(list(pictures.values()), ids=list(pictures))
            main(collection)

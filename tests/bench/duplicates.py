"""Planted copies found and missed at each strength of `duplicates`.

    python -m tests.bench.duplicates --photos ~/Pictures

Into a folder go the photos, 50 exact copies, and 50 that were changed: a third saved again as JPEG of
quality 30 to 90, a third resized to 25 to 80%, a third with 5 to 30% of each edge cut off. What each was
changed by is printed with --list. A copy is found if it is in a group with its original. A false group is one
that holds photos which are no copies of each other. --among adds another folder, or a Parquet
file of photos: among more of them copies are harder to find, and some of them are copies already.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clipkit import Collection, load_encoder
from clipkit.folders import walk
from clipkit.images import open_image
from clipkit.neighbours import STRENGTHS, duplicates

PLANTED = 50
SHOWN = 10  # false groups
CHANGES = ("resaved", "resized", "cropped")


@dataclass(frozen=True)
class Planted:
    """A copy: its file, its original's, what was done, and by how much."""

    file: Path
    original: Path
    change: str
    how: str


def changed(image: Image.Image, change: str, chance: random.Random) -> tuple[Image.Image, int, str]:
    """The picture after `change`, the JPEG quality to save it at, and what was done in words."""
    if change == "resaved":
        quality = chance.randint(30, 90)
        return image, quality, f"quality {quality}"
    if change == "resized":
        share = chance.uniform(0.25, 0.8)
        size = max(1, round(share * image.width)), max(1, round(share * image.height))
        return image.resize(size, Image.Resampling.LANCZOS), 85, f"to {share:.0%}"
    off = [chance.uniform(0.05, 0.3) for _ in range(2)]
    width, height = (round((1 - cut) * edge) for cut, edge in zip(off, image.size, strict=True))
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    how = f"{off[0]:.0%} of the width and {off[1]:.0%} of the height off"
    return image.crop((left, top, left + width, top + height)), 85, how


def plant(photos: Path, folder: Path, seed: int) -> list[Planted]:
    """Copies the photos into `folder`, and plants copies of different ones among them."""
    chance = random.Random(seed)
    originals = []
    for number, photo in enumerate(walk([photos]).files):
        originals.append(folder / f"{number:05}{Path(photo.path).suffix.lower()}")
        shutil.copy(photo.path, originals[-1])
    if len(originals) < 2 * PLANTED:
        raise SystemExit(f"{photos} has {len(originals)} photos; it takes {2 * PLANTED} to plant copies of")
    chosen = chance.sample(originals, 2 * PLANTED)
    planted = []
    for number, original in enumerate(chosen):
        file = folder / f"copy-{number:03}.jpg"
        if number < PLANTED:
            shutil.copy(original, file)
            planted.append(Planted(file, original, "exact", "the same bytes"))
            continue
        change = CHANGES[number % len(CHANGES)]
        image, quality, how = changed(open_image(original), change, chance)
        image.save(file, quality=quality)
        planted.append(Planted(file, original, change, how))
    return planted


def measure(collection: Collection, strength: str, planted: list[Planted]) -> list[str]:
    """A row of the table: strength, found of each change, false groups, seconds."""
    began = time.monotonic()
    found = duplicates(collection, strength)  # type: ignore[arg-type]
    seconds = time.monotonic() - began
    groups = [[Path(hit.id).name for hit in (group.keep, *group.others)] for group in found.groups]
    group_of = {name: number for number, names in enumerate(groups) for name in names}
    row = [strength]
    for change in ("exact", *CHANGES):
        places = [
            (group_of.get(copy.file.name, -1), group_of.get(copy.original.name, -2))
            for copy in planted
            if copy.change == change
        ]
        together = sum(one == other for one, other in places)
        row.append(f"{together} / {len(places) - together}")
    original_of = {copy.file.name: copy.original.name for copy in planted}
    false = [names for names in groups if len({original_of.get(name, name) for name in names}) > 1]
    for names in false[:SHOWN]:
        print("false:", *names)
    return [*row, str(len(false)), f"{seconds:.1f} s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--among", type=Path, help="more photos: a folder, or Parquet")
    parser.add_argument("--list", action="store_true", help="what each copy was changed by")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "photos")
        folder.mkdir()
        planted = plant(options.photos.expanduser(), folder, options.seed)
        if options.list:
            for copy in planted:
                print(copy.file.name, copy.original.name, copy.change, copy.how)
        collection = Collection.create(db=Path(place, "db"), encoder=load_encoder(options.model))
        collection.index([folder, *([options.among] if options.among else [])])
        print(f"{collection.count()} pictures, {options.model}, seed {options.seed}; found / missed")
        print("\t".join(["strength", "exact", *CHANGES, "false groups", "time"]))
        for strength in STRENGTHS:
            print("\t".join(measure(collection, strength, planted)), flush=True)


if __name__ == "__main__":
    main()

"""Find the sentences of two lists that mean the same.

python examples/find_translations.py                              captions of drawn scenes, offline
python examples/find_translations.py en.txt fr.txt st:MODEL       files with a sentence on each line
"""

import sys
from pathlib import Path

from clipkit import load_encoder
from clipkit.pairs import pair_texts

LEFT = ["a red boat at sea", "two green frogs in a meadow", "a yellow hat in a room", "a tent in the snow"]
RIGHT = ["a small yellow hat in a room", "a red sailboat at sea", "a pair of green frogs in a meadow"]


def main(left: list[str], right: list[str], model: str) -> None:
    for pair in pair_texts(load_encoder(model), left, right, neighbours=2):
        print(f"{pair.score:.2f}  {left[pair.left]}  =  {right[pair.right]}")


if __name__ == "__main__":
    if sys.argv[1:]:
        files = [Path(path).read_text(encoding="utf-8").splitlines() for path in sys.argv[1:3]]
        main(files[0], files[1], sys.argv[3])
    else:
        main(LEFT, RIGHT, "bundled")

"""The baseline: the loop of open_clip's README, vectors into one .npy, an exact search of that.

python -m tests.bench.speed.plain index|query WEIGHTS STORE [IMAGES] [--precision pure_bf16] [--batch 64]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.speed.inputs import MODEL
from tests.bench.speed.processes import RESULT

QUERY = "a photo of a dog"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("index", "query"))
    parser.add_argument("weights", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--warm", type=int, default=0)
    arguments = parser.parse_args()
    import open_clip
    import torch
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(
        MODEL, pretrained=str(arguments.weights), precision=arguments.precision
    )
    model.eval()
    dtype = next(model.parameters()).dtype
    vectors = arguments.store / "vectors.npy"
    said: dict[str, Any]

    if arguments.command == "index":
        paths = sorted(arguments.images.glob("*.jpg"))
        began, rows = time.perf_counter(), []
        for first in range(0, len(paths), arguments.batch):
            files = paths[first : first + arguments.batch]
            batch = torch.stack([preprocess(Image.open(path)) for path in files])
            with torch.no_grad():
                rows.append(model.encode_image(batch.to(dtype)).float())
        whole = torch.nn.functional.normalize(torch.cat(rows)).numpy()
        arguments.store.mkdir(parents=True, exist_ok=True)
        np.save(vectors, whole)
        said = {"rows": len(paths), "loaded_s": time.perf_counter() - began}
    else:
        tokenizer, stored = open_clip.get_tokenizer(MODEL), np.load(vectors)

        def ask(text: str) -> None:
            with torch.no_grad():
                query = model.encode_text(tokenizer([text])).float().numpy()[0]
            np.argsort(-(stored @ query))[:10]

        ask(QUERY)
        said = {"warm_ms": [timed(ask, f"{QUERY} number {number}") for number in range(arguments.warm)]}
    print(RESULT + json.dumps(said))


def timed(ask: Callable[[str], object], text: str) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    ask(text)
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()

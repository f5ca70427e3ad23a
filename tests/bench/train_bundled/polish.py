"""After the training: statistics and the text side are fitted to the finished image side.

    python -m tests.bench.train_bundled.polish --photos ... --val ... --work ~/clipkit-train --scenes ...

Training saw cut and recoloured pictures. Here batch norm takes its statistics anew from pictures as they
are, as in "FixRes" (Touvron et al. 2019); that alone is worth one to two points of zero-shot accuracy.
Then the text side: prompts close in on the prototypes, captions on the vectors of their scenes. Fitting the
prototypes anew, too, made them worse: it overfits. Writes `polished.pt`, which `export` prefers.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from .data import plain
from .model import Average, encode_texts
from .ranks import Ranks, start
from .train import Options, Trainer

PAIRS, PROMPTS, NOUNS = 64, 64, 48  # in a batch of each process
PEAK = 5e-4
CHUNKS = 5  # of scenes for each process
SETTLING = 30  # batches for the statistics, in each process


@dataclass(frozen=True)
class Fixed:
    """What the texts are fitted to: `prototypes` (concepts, dim), `nouns` (n, dim), `scenes` by chunk."""

    prototypes: Tensor
    nouns: Tensor
    scenes: list[Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--processes", type=int, default=1)
    given = vars(parser.parse_args())
    processes = given.pop("processes")
    start(polish, processes, given["work"], Options(**given))


def polish(ranks: Ranks, options: Options) -> None:
    trainer = Trainer(options, ranks)
    trainer.resume()
    assert trainer.scenes is not None
    trainer.both.load_state_dict(trainer.average.values)
    trainer.both.eval()
    for parameter in trainer.both.parameters():
        parameter.requires_grad_(False)
    text = [p for name, p in trainer.clip.named_parameters() if not name.startswith(("visual", "logit"))]
    for parameter in text:
        parameter.requires_grad_(True)
    for _ in range(CHUNKS * ranks.world):
        trainer.scenes.look()
    report(trainer, "trained")
    settle(trainer)
    report(trainer, "settled")
    fixed = look(trainer)
    ranks.wait()
    fit(trainer, fixed, text)
    if ranks.rank == 0:
        trainer.average = Average.of(trainer.both)
        trainer.watch({})
        torch.save({"average": trainer.average.values}, options.work / "polished.pt")
    ranks.wait()


@torch.no_grad()
def report(trainer: Trainer, what: str) -> None:
    """Prints how often a sample of unseen photos is nearest to its own prototype."""
    if trainer.ranks.rank == 0:
        with torch.autocast(trainer.device.type, torch.bfloat16):
            images = trainer.encode(trainer.val.pixels[::10])
        truth = torch.from_numpy(trainer.val.targets[::10])
        best = trainer.scaffold.class_logits(images, len(trainer.val.labels)).argmax(1).cpu()
        print(f"{what}: top-1 by prototype {(best == truth).float().mean():.4f}", flush=True)
    trainer.ranks.wait()


@torch.no_grad()
def settle(trainer: Trainer) -> None:
    """Batch norm's statistics from photos and scenes as they are, in the shares that training mixed."""
    assert trainer.scenes is not None
    norms = [m for m in trainer.clip.visual.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    size = trainer.clip.visual.image_size[0]
    o, photos = trainer.options, trainer.photos.pixels
    for _ in range(SETTLING):
        rows = np.sort(trainer.rng.integers(0, len(photos), o.photo_batch))
        drawn = trainer.scenes.take(o.scene_batch, trainer.rng).pixels
        batch = torch.cat([plain(photos[rows], size), plain(drawn, size)])
        with torch.autocast(trainer.device.type, torch.bfloat16):
            trainer.clip.encode_image(batch.to(trainer.device, memory_format=torch.channels_last))
    for norm in norms:
        norm.eval()
    trainer.ranks.mean([s for norm in norms for s in (norm.running_mean, norm.running_var) if s is not None])


@torch.no_grad()
def look(trainer: Trainer) -> Fixed:
    """Encodes some drawn scenes, a share for each process, and fits the teacher's map for the last time."""
    assert trainer.scenes is not None
    scenes: list[Tensor] = []
    for pixels in trainer.scenes.pixels[trainer.ranks.rank :: trainer.ranks.world]:
        with torch.autocast(trainer.device.type, torch.bfloat16):
            scenes.append(trainer.encode(pixels))
    unit = trainer.scaffold.unit()
    trainer.teacher.fit(trainer.texts.concept_vectors, unit.cpu())
    return Fixed(unit, trainer.teacher(trainer.texts.noun_vectors).to(trainer.device), scenes)


def fit(trainer: Trainer, fixed: Fixed, text: list[nn.Parameter]) -> None:
    optimiser = torch.optim.AdamW(text, lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    budget, began, progress = trainer.options.minutes * 60, time.monotonic(), 0.0
    while progress < 1:
        optimiser.param_groups[0]["lr"] = PEAK * min(1, progress / 0.05 + 0.05, 1.02 - progress)
        loss = losses(trainer, fixed)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        (progress,) = trainer.ranks.share(text, [(time.monotonic() - began) / budget])
        nn.utils.clip_grad_norm_(text, 1.0)
        optimiser.step()


def losses(trainer: Trainer, fixed: Fixed) -> Tensor:
    rng, texts, device, scenes = trainer.rng, trainer.texts, trainer.device, trainer.scenes
    assert scenes is not None
    chunk = int(rng.integers(len(fixed.scenes)))
    rows = (rng.permutation(len(fixed.scenes[chunk]) // 2)[:PAIRS, None] * 2 + [0, 1]).ravel()
    full = rng.random(PAIRS) < 0.5
    tokens = scenes.tokens[trainer.ranks.rank + chunk * trainer.ranks.world]
    ways = np.where(full.repeat(2), 0, rng.integers(1, tokens.shape[1], 2 * PAIRS))
    captions = torch.from_numpy(tokens[rows, ways]).long()
    concepts = rng.integers(0, len(texts.prompts), PROMPTS)
    prompts = texts.prompts[concepts, rng.integers(0, texts.prompts.shape[1], PROMPTS)]
    nouns = rng.integers(0, len(texts.nouns), NOUNS)
    short = torch.from_numpy(
        np.concatenate([prompts, texts.nouns[nouns, rng.integers(0, texts.nouns.shape[1], NOUNS)]])
    )
    with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        said = encode_texts(trainer.clip, captions.to(device))
        found = encode_texts(trainer.clip, short.to(device))
    goal = torch.from_numpy(concepts).to(device)
    logits = trainer.scaffold.text_scale.exp().clamp(max=60) * found[:PROMPTS] @ fixed.prototypes.T
    near = (1 - (found[:PROMPTS] * fixed.prototypes[goal]).sum(1)).mean()
    far = (1 - (found[PROMPTS:] * fixed.nouns[nouns]).sum(1)).mean()
    images = fixed.scenes[chunk][torch.from_numpy(rows)]
    exact = torch.from_numpy(full.repeat(2))
    return (
        functional.cross_entropy(logits, goal)
        + 4 * near
        + far
        + trainer.contrast(images, said, captions, exact)
    )


if __name__ == "__main__":
    main()

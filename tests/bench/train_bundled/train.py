"""The loop: photos against prototypes, scenes against captions, texts against both, for so many minutes."""

from __future__ import annotations

import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from .data import PHOTO, SCENE, Photos, Shuffle, augmented, load_photos, plain
from .model import Average, Scaffold, create_clip, encode_images, encode_texts, write_config
from .optim import Schedule, optimisers
from .ranks import Ranks
from .scenes import N_ATTRIBUTES, SceneChunks
from .teacher import TeacherMap
from .texts import Texts, build_texts, build_tokenizer
from .wordnet import WordNet

LOG_FIELDS = ("minutes", "step", "progress", "photos", "scenes", "size", "rate", "photo_loss", "group_loss",
              "scene_loss", "attribute_loss", "text_loss", "top1", "top5", "scene_r1")  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Where things are, how long to train, and how much each part counts."""

    photos: Path
    val: Path
    wordnet: Path
    work: Path
    scenes: Path | None
    minutes: float
    seed: int = 0
    photo_batch: int = 192  # batches are for each process
    scene_batch: int = 32
    prompt_batch: int = 32
    noun_batch: int = 24
    peak: float = 0.02
    group_weight: float = 4.0
    scene_weight: float = 1.0
    attribute_weight: float = 4.0
    text_weight: float = 1.0
    watch_minutes: float = 5.0
    save_minutes: float = 1.5


@dataclass
class Batch:
    """One step's pictures and texts. Scenes come after the photos in `images`; there may be none."""

    images: Tensor
    targets: Tensor
    captions: Tensor | None
    exact: Tensor | None
    attributes: Tensor | None
    prompts: Tensor
    concepts: Tensor
    nouns: Tensor
    noun_rows: Tensor


class Trainer:
    def __init__(self, options: Options, ranks: Ranks) -> None:
        self.options, self.ranks = options, ranks
        torch.manual_seed(options.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.photos: Photos = load_photos(options.photos, options.work)
        self.val: Photos = load_photos(options.val, options.work)
        wordnet = WordNet(options.wordnet)
        self.folder = options.work / "model"
        self.tokenizer = build_tokenizer(wordnet, self.photos.labels, self.folder)
        write_config(self.folder, self.tokenizer.vocab_size)
        self.texts: Texts = build_texts(wordnet, self.photos.labels, self.tokenizer, options.work)
        self.scenes = SceneChunks(options.scenes, self.tokenizer) if options.scenes else None
        self.teacher = TeacherMap(self.texts.noun_vectors, 256)
        self.clip: Any = create_clip(self.folder).to(self.device)
        start = self.teacher(self.texts.concept_vectors)
        self.scaffold = Scaffold(start, N_ATTRIBUTES).to(self.device)
        self.both = nn.ModuleDict({"clip": self.clip, "scaffold": self.scaffold})
        self.optimisers = optimisers(self.clip, self.scaffold, options.peak)
        self.average = Average.of(self.both)
        self.schedule = Schedule()
        self.shuffle = Shuffle(len(self.photos.targets), options.seed)
        self.step = self.photos_seen = self.scenes_seen = 0
        self.spent = self.clock = 0.0  # seconds of training, over all starts
        self.reseed()

    def reseed(self) -> None:
        """Chance that differs between processes and between starts, yet is the same for the same start."""
        self.rng = np.random.default_rng((self.options.seed, self.step, self.ranks.rank))
        torch.manual_seed(int(self.rng.integers(2**31)))

    @property
    def progress(self) -> float:
        return self.spent / (self.options.minutes * 60)

    def run(self) -> None:
        """Trains until the budget is used. Ctrl-C at any time loses at most a few minutes."""
        self.both.train()
        self.clock = watched = saved = self.spent
        since = time.monotonic()
        sums: dict[str, list[float]] = {}
        while self.progress < 1:
            losses = self.learn(self.batch())
            for name, value in losses.items():
                sums.setdefault(name, []).append(value)
            now = time.monotonic()
            self.clock, since = self.clock + now - since, now
            if self.spent - watched > self.options.watch_minutes * 60 or self.progress >= 1:
                if self.ranks.rank == 0:
                    self.watch({name: float(np.mean(values)) for name, values in sums.items()})
                self.ranks.wait()
                sums, watched = {}, self.spent
                since = time.monotonic()  # looking does not count as training
            if self.spent - saved > self.options.save_minutes * 60 or self.progress >= 1:
                if self.ranks.rank == 0:
                    self.save()
                saved = self.spent

    def batch(self) -> Batch:
        o, size = self.options, self.schedule.size(self.progress)
        rows = self.shuffle.take(o.photo_batch * self.ranks.world)[self.ranks.rank :: self.ranks.world]
        images = [augmented(self.photos.pixels[rows], size, PHOTO)]
        captions = exact = attributes = None
        if self.scenes and self.step % 50 == 0:
            self.scenes.look()
        if self.scenes and self.scenes.ready():
            drawn = self.scenes.take(o.scene_batch, self.rng)
            images.append(augmented(drawn.pixels, size, SCENE))
            captions, exact = torch.from_numpy(drawn.tokens).long(), torch.from_numpy(drawn.exact)
            attributes = torch.from_numpy(drawn.attributes)
        n_concepts, each, _ = self.texts.prompts.shape
        concepts = self.rng.permutation(n_concepts)[: o.prompt_batch]
        prompts = self.texts.prompts[concepts, self.rng.integers(0, each, len(concepts))]
        nouns = self.rng.integers(0, len(self.texts.nouns), o.noun_batch)
        noun_tokens = self.texts.nouns[nouns, self.rng.integers(0, 3, len(nouns))]
        pixels = torch.cat(images).to(self.device, memory_format=torch.channels_last)
        return Batch(
            images=pixels,
            targets=torch.from_numpy(self.photos.targets[rows]).to(self.device),
            captions=captions,
            exact=exact,
            attributes=attributes,
            prompts=torch.from_numpy(prompts),
            concepts=torch.from_numpy(concepts),
            nouns=torch.from_numpy(noun_tokens),
            noun_rows=torch.from_numpy(nouns),
        )

    def learn(self, batch: Batch) -> dict[str, float]:
        """One step; returns its losses, for the log."""
        rate = self.schedule.rate(self.progress)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * rate
        if self.step % 200 == 0:
            with torch.no_grad():
                self.teacher.fit(self.texts.concept_vectors, self.scaffold.unit().cpu())
        with torch.autocast(self.device.type, torch.bfloat16):
            images = encode_images(self.clip, batch.images)
            # Captions are three times as long as prompts: together, all would be padded to the longest.
            parts = [torch.cat([batch.prompts, batch.nouns])]
            if batch.captions is not None:
                parts.append(batch.captions)
            with sdpa_kernel(SDPBackend.MATH):  # the fused kernel's backward is slow on short rows
                texts = torch.cat([encode_texts(self.clip, part.to(self.device)) for part in parts])
        losses = self.losses(batch, images, texts)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        (self.spent,) = self.ranks.share(list(self.both.parameters()), [self.clock])
        nn.utils.clip_grad_norm_(
            [p for n, p in self.clip.named_parameters() if not n.startswith("visual")], 1.0
        )
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        self.photos_seen += len(batch.targets) * self.ranks.world
        self.scenes_seen += (len(images) - len(batch.targets)) * self.ranks.world
        if self.step % 2 == 0 and self.ranks.rank == 0:
            self.average.update(self.both, min(0.99, self.step / (self.step + 200)))
        return {name: value.item() for name, value in losses.items()}

    def losses(self, batch: Batch, images: Tensor, texts: Tensor) -> dict[str, Tensor]:
        o, n_classes, n_photos = self.options, len(self.photos.wnids), len(batch.targets)
        photos, drawn = images[:n_photos], images[n_photos:]
        n_prompts, n_nouns = len(batch.prompts), len(batch.nouns)
        prompts, nouns = texts[:n_prompts], texts[n_prompts : n_prompts + n_nouns]
        captions = texts[n_prompts + n_nouns :]
        unit = self.scaffold.unit()
        found = {
            "photo_loss": functional.cross_entropy(
                self.scaffold.class_logits(photos, n_classes), batch.targets, label_smoothing=0.1
            ),
            "group_loss": o.group_weight
            * functional.binary_cross_entropy_with_logits(
                self.scaffold.group_logits(photos, n_classes),
                self.texts.groups.T.to(self.device)[batch.targets],
            ),
        }
        goal = unit.detach()
        logits = self.scaffold.text_scale.exp().clamp(max=60) * prompts @ goal.T
        concepts = batch.concepts.to(self.device)
        teacher = self.teacher(self.texts.noun_vectors[batch.noun_rows]).to(self.device)
        found["text_loss"] = o.text_weight * (
            functional.cross_entropy(logits, concepts)
            + 2 * (1 - (prompts * goal[concepts]).sum(1)).mean()
            + (1 - (nouns * teacher).sum(1)).mean()
        )
        if batch.captions is not None and batch.exact is not None and batch.attributes is not None:
            found["scene_loss"] = o.scene_weight * self.contrast(drawn, captions, batch.captions, batch.exact)
            facts = batch.attributes.float().to(self.device)
            answers = self.scaffold.attributes(drawn * 16)[:, : facts.shape[1]]
            found["attribute_loss"] = o.attribute_weight * functional.binary_cross_entropy_with_logits(
                answers, facts
            )
        return found

    def contrast(self, images: Tensor, captions: Tensor, tokens: Tensor, exact: Tensor) -> Tensor:
        """CLIP's loss both ways, without punishing true matches: scenes that share a caption word for word
        match each other, and siblings (rows 2i and 2i + 1) are compared only by captions that say it all."""
        same = (tokens[:, None] == tokens[None]).all(2)
        row = torch.arange(len(tokens))
        siblings = (row[:, None] // 2 == row[None] // 2) & (row[:, None] != row[None])
        unsure = (siblings & ~(exact[:, None] & exact[None]) & ~same).to(self.device)
        goal = (same / same.sum(1, keepdim=True)).to(self.device)
        logits = self.clip.logit_scale.exp().clamp(max=100) * images @ captions.T
        logits = logits.masked_fill(unsure, -1e4)
        return (functional.cross_entropy(logits, goal) + functional.cross_entropy(logits.T, goal)) / 2

    @torch.no_grad()
    def watch(self, losses: dict[str, float]) -> None:
        """Scores of the averaged weights on a sample of unseen photos and scenes, one line of the log."""
        now = {name: value.clone() for name, value in self.both.state_dict().items()}
        self.both.load_state_dict(self.average.values)
        self.both.eval()
        with torch.autocast(self.device.type, torch.bfloat16):
            prompts = torch.from_numpy(self.texts.prompts[: len(self.photos.wnids), 0]).to(self.device)
            classes = encode_texts(self.clip, prompts)
            every = slice(0, None, 5)
            images = self.encode(self.val.pixels[every])
            scene_r1 = float("nan")
            if self.scenes and self.scenes.ready():
                test = self.scenes.unseen()
                captions = encode_texts(self.clip, torch.from_numpy(test.tokens).long().to(self.device))
                best = (self.encode(test.pixels) @ captions.T).argmax(1).cpu()
                scene_r1 = (best == torch.arange(len(best))).float().mean().item()
        truth = torch.from_numpy(self.val.targets[every])
        ranked = (images @ classes.T).topk(5).indices.cpu() == truth[:, None]
        self.both.load_state_dict(now)
        self.both.train()
        line = {
            "minutes": self.spent / 60,
            "step": self.step,
            "progress": min(self.progress, 1.0),
            "photos": self.photos_seen,
            "scenes": self.scenes_seen,
            "size": self.schedule.size(self.progress),
            "rate": self.schedule.rate(self.progress),
            **losses,
            "top1": ranked[:, 0].float().mean().item(),
            "top5": ranked.any(1).float().mean().item(),
            "scene_r1": scene_r1,
        }
        append_log(self.options.work / "log.csv", line)

    def encode(self, pixels: Any) -> Tensor:
        """Unit rows of many pictures at the size that the shipped model sees."""
        size = self.clip.visual.image_size[0]
        parts = [encode_images(self.clip, plain(pixels[i : i + 250], size).to(self.device))
                 for i in range(0, len(pixels), 250)]  # fmt: skip
        return torch.cat(parts)

    def save(self) -> None:
        """Everything that a later start needs, written beside and then moved into place."""
        state = {
            "both": self.both.state_dict(),
            "average": self.average.values,
            "optimisers": [o.state_dict() for o in self.optimisers],
            "shuffle": self.shuffle.state(),
            "counts": (self.step, self.photos_seen, self.scenes_seen, self.spent),
        }
        path = self.options.work / "checkpoint.pt"
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def resume(self) -> None:
        """Continues from the checkpoint where there is one."""
        path = self.options.work / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=False)  # our own file
        self.both.load_state_dict(state["both"])
        self.average.values = state["average"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            peaks = [group["peak"] for group in optimiser.param_groups]
            optimiser.load_state_dict(saved)
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["peak"] = peak
        self.shuffle.restore(state["shuffle"])
        self.step, self.photos_seen, self.scenes_seen, self.spent = state["counts"]
        self.reseed()


def append_log(path: Path, line: dict[str, float]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, LOG_FIELDS, restval="")
        if fresh:
            writer.writeheader()
        writer.writerow(
            {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in line.items()}
        )
    print(" ".join(f"{name} {value:.4g}" for name, value in line.items()), flush=True)


def work(ranks: Ranks, options: Options) -> None:
    """What each process does. They start one after the other, so that the first fills the caches."""
    for turn in range(ranks.world):
        if turn == ranks.rank:
            trainer = Trainer(options, ranks)
            trainer.resume()
        ranks.wait()
    trainer.run()

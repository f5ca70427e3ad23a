"""Writes the files that ship: the averaged weights as fp16 safetensors, the config, the merges, the curve.

python -m tests.bench.train_bundled.export --work ~/clipkit-train --to clipkit/bundled
"""

from __future__ import annotations

import argparse
import csv
import shutil
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import save_file

from .model import MERGES_FILE

WEIGHTS_FILE = "open_clip_model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    for name in ("open_clip_config.json", MERGES_FILE):
        shutil.copyfile(options.work / "model" / name, options.to / name)
    polished = options.work / "polished.pt"
    checkpoint = polished if polished.exists() else options.work / "checkpoint.pt"
    size = write_weights(checkpoint, options.to / WEIGHTS_FILE)
    draw_curve(options.work / "log.csv", options.to / "training_curve.png")
    print(f"{options.to / WEIGHTS_FILE}: {size / 1e6:.2f} MB")


def write_weights(checkpoint: Path, path: Path) -> int:
    """The CLIP's part of the averaged weights, as fp16; returns the file's size in bytes."""
    average = torch.load(checkpoint, map_location="cpu", weights_only=False)["average"]  # our own file
    clip = {name.removeprefix("clip."): v for name, v in average.items() if name.startswith("clip.")}
    halved = {name: v.half() if v.is_floating_point() else v for name, v in clip.items()}
    save_file({name: v.contiguous() for name, v in halved.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes files that only their owner may read
    return path.stat().st_size


def draw_curve(log: Path, path: Path) -> None:
    """Losses and scores over the minutes of training. Needs matplotlib, which clipkit itself does not."""
    import_module("matplotlib").use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    rows = list(csv.DictReader(log.open()))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for axes, names, title in (
        (left, ("photo_loss", "scene_loss", "text_loss"), "loss, mean since the last line"),
        (right, ("top1", "top5", "scene_r1"), "unseen photos and scenes, averaged weights"),
    ):
        for name in names:
            points = [(float(r["minutes"]), float(r[name])) for r in rows if r[name] not in ("", "nan")]
            axes.plot([p[0] for p in points], [p[1] for p in points], label=name)
        axes.set_xlabel("minutes of training")
        axes.set_title(title)
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()

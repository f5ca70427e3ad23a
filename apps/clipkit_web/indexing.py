"""Indexing from the page: which folders may be indexed, the one run that goes on, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipkit import Collection
from clipkit.encoders import DEFAULT_MODEL, catalog, load_encoder
from clipkit.errors import CollectionExists, InvalidInput, did_you_mean
from clipkit.folders import id_to_path
from clipkit.reports import IndexInterrupted, IndexReport, Progress
from clipkit_web.jobs import Job
from clipkit_web.site import Site

FAILURES = 200  # that are listed; the count says how many there are
MODELS = (DEFAULT_MODEL, *(name for name in catalog.aliases() if name != DEFAULT_MODEL))
"""What a new collection can be made with: no paths, no names of strangers' models."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """What became of a run."""

    collection: str
    report: IndexReport
    stopped: bool


def inside(roots: Sequence[Path], root: str, below: str) -> Path:
    """The folder `below` one of `roots`, both of them resolved. Raises InvalidInput for any other."""
    if root not in map(str, roots):
        raise InvalidInput(f"{root} is none of the folders that may be indexed from this page: choose one")
    try:
        folder = Path(root, below.strip()).resolve()
        there = folder.is_dir()
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL, links in a circle
        raise InvalidInput(f"{below!r:.200} is no name of a folder") from None
    if not folder.is_relative_to(root):
        raise InvalidInput(
            f"{below!r:.200} lies outside {root}: give a folder inside it, or nothing for all of it"
        )
    if not there:
        raise InvalidInput(f"there is no folder {below!r:.200} in {root}")
    return folder


class Indexer:
    """The runs of one page: one at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.job: Job[Indexed] = Job()

    def start(self, root: str, below: str, *, name: str, model: str) -> None:
        """Begins to index a folder into the collection `name`, which is made by `model` if it is not there.

        Raises InvalidInput for a folder that may not be indexed, a model that is not offered, and while
        another run goes on.
        """
        folder = inside(self._site.options.roots, root or "", below or "")
        name = (name or "").strip() or self._site.options.name
        chosen = model or DEFAULT_MODEL
        if chosen not in MODELS:
            raise InvalidInput(f"{chosen!r:.100} is not offered here. {did_you_mean(chosen, MODELS)}")

        def work(progress: Callable[[Progress], None]) -> Indexed:
            collection = self._opened(name, chosen)
            try:
                return Indexed(name, collection.index(folder, progress=progress), stopped=False)
            except IndexInterrupted as stopped:
                return Indexed(name, stopped.report, stopped=True)

        self.job.start(f"indexing {folder} into {name}", work)

    def view(self) -> dict[str, Any]:
        """The run as the widget shows it."""
        state = self.job.state
        shown: dict[str, Any] = {
            "what": state.what,
            "running": state.running,
            "stopping": state.stopping,
            "error": state.error,
            "progress": asdict(state.progress) if state.progress else None,
            "rate": state.rate,
            "left": state.left,
        }
        return {**shown, **(_reported(state.result) if state.result else {})}

    def _opened(self, name: str, model: str) -> Collection:
        options = self._site.options
        if name not in self._site.names():
            encoder = load_encoder(model, device=options.device, precision=options.precision)
            with suppress(CollectionExists):  # another process was faster
                Collection.create(name, db=options.db, encoder=encoder)
        return self._site.collection(name)


def _reported(done: Indexed) -> dict[str, Any]:
    report = done.report
    names = ("added", "updated", "moved", "unchanged", "removed", "skipped", "captions", "kept_missing")
    failures = [{"file": id_to_path(one.id), "reason": one.reason} for one in report.failures[:FAILURES]]
    return {
        "collection": done.collection,
        "stopped": done.stopped,
        "seconds": report.seconds,
        "counts": [{"what": name.replace("_", " "), "count": getattr(report, name)} for name in names],
        "failures": failures,
        "failed": len(report.failures),
    }

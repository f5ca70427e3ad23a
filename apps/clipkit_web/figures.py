"""How good searches of a collection are, as the page shows it: its index, its captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from clipkit.measures import Measure
from clipkit.quality import IndexQuality, caption_quality, index_quality
from clipkit.reports import IndexStatus, Progress
from clipkit_web.jobs import Job
from clipkit_web.site import Site

NO_CAPTIONS = (
    "No text of this collection describes a picture, so it cannot be told how well texts find pictures. "
    "Captions come from x.txt beside x.jpg, or from metadata.csv in a folder, when it is indexed."
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a collection: its index, None where searches are exact, and what was measured."""

    collection: str
    rows: int
    index: IndexStatus | None
    searches: IndexQuality
    captions: tuple[Measure, ...]


class Figures:
    """The figures of the collection that was measured last."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.job: Job[Measured] = Job()
        self._name = ""

    def start(self, name: str) -> None:
        """Begins to measure. Raises InvalidInput while another measurement goes on."""
        collection = self._site.collection(name)

        def work(progress: Callable[[Progress], None]) -> Measured:
            status = collection.status()
            searches = index_quality(collection, progress=progress)
            captions = caption_quality(collection)
            return Measured(collection.name, status.images + status.texts, status.index, searches, captions)

        self.job.start(f"measuring {collection.name}", work)
        self._name = collection.name

    def view(self, name: str) -> dict[str, Any]:
        """The figures of that collection as the widget shows them; of another one, nothing."""
        state = self.job.state
        if self._name != (name or self._site.options.name):
            return {"busy": state.what if state.running else None}
        shown: dict[str, Any] = {
            "collection": self._name,
            "running": state.running,
            "stopping": state.stopping,
            "error": state.error,
            "progress": asdict(state.progress) if state.progress else None,
        }
        return {**shown, **(_figures(state.result) if state.result else {})}


def _figures(found: Measured) -> dict[str, Any]:
    searches = found.searches
    recalls = [
        (f"recall@10, asked by {kind}s", f"{recall:.3f}", f"{searches.queries[kind]} queries")
        for kind, recall in searches.recalls.items()
    ]
    times = [
        ("latency, median", f"{searches.p50_ms:.1f} ms", ""),
        ("latency, 95 in 100", f"{searches.p95_ms:.1f} ms", ""),
    ]
    captions = [
        (one.name, f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f} · {one.n:,} · {one.definition}")
        for one in found.captions
    ]
    return {
        "index": [*_index(found), *recalls, *times],
        "captions": captions,
        "missing": None if captions else NO_CAPTIONS,
    }


def _index(found: Measured) -> list[tuple[str, str, str]]:
    """(what, value, more)"""
    index = found.index
    rows = ("items", f"{found.rows:,}", "")
    if index is None:
        return [rows, ("index", "none", "searches look at every item: exact, and fast enough for so few")]
    read = f"reads {index.probes} of {index.partitions} parts, scores {index.refine} candidates per hit again"
    waiting = f"{index.unindexed:,} more are scanned" if index.unindexed else ""
    return [
        rows,
        ("index", index.kind, read),
        ("indexed", f"{index.indexed:,}", waiting),
        ("size of the index", f"{index.size_bytes / 1e6:.1f} MB", ""),
    ]

"""What jobs over many items tell: how far they are, what they did, what they could not do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that is not in the collection, or not in its present form, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in files: done of those that are new or changed, and skipped among the done."""

    done: int
    total: int
    skipped: int


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a run of `Collection.index` did, in files.

    `added`, `updated`, `moved`, `removed`, `unchanged` and `skipped` tell them apart. `embedded` counts
    those that went through the model: a moved, copied or merely touched file reuses its vector.
    `kept_missing` counts files that are gone but stay in the collection, because they are more than a fifth
    of those known under the indexed folders; `prune=True` drops them. `captions` counts the texts that were
    added or changed beside pictures. `failures` lists what was skipped: files, pictures in archives, and
    lines of metadata.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    embedded: int = 0
    kept_missing: int = 0
    captions: int = 0
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0


class IndexInterrupted(KeyboardInterrupt):
    """Ctrl-C during a run. What was embedded until then is stored; `report` counts it."""

    def __init__(self, report: IndexReport) -> None:
        super().__init__("indexing was interrupted; run it again to go on where it stopped")
        self.report = report


@dataclass(frozen=True, slots=True)
class AddReport:
    """What `add_images` or `add_texts` did: the ids in input order, and how many of them were new.

    `cut` counts the texts that were longer than the model's context.
    """

    ids: tuple[str, ...]
    added: int
    updated: int
    cut: int = 0


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The index that preselects what a search scores: `kind` is LanceDB's name, such as IVF_SQ.

    `indexed` and `unindexed` are rows; a search scans the latter, until enough have come together to be
    folded in. It reads `probes` of the `partitions` for ten hits, and more for more hits or through a filter,
    and scores `refine` candidates per hit again. `recall` is the recall@10 that `Collection.tune` measured.
    """

    kind: str
    indexed: int
    unindexed: int
    size_bytes: int
    partitions: int
    probes: int
    refine: int
    recall: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How alike two models search, on a sample of what a collection holds.

    `overlap` is the mean of overlap@10 over `queries` stored images: the share of the ten nearest other
    images by one model that are among the ten nearest by the other. `texts_overlap` is the same for the
    images nearest to `texts` stored texts. None where there is nothing to compare. `unlike` are the least
    alike queries: (id, overlap). A low overlap says that the models differ, not which one is right.
    """

    queries: int
    overlap: float | None
    texts: int
    texts_overlap: float | None
    unlike: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What a run of `Collection.reindex` did.

    `model` is the one whose vectors were made, `before` the one that searches used when it began, and
    `switched` whether they use `model` now. `embedded` counts the items that went through the model, of them
    `from_thumbnails` the pictures that are no longer where they were, or have changed there since: their
    thumbnail of 256 pixels stood in, which is less exact. `failures` lists items that the model cannot take:
    they stay, but searches with it do not find them.
    """

    model: str
    before: str
    embedded: int
    from_thumbnails: int
    switched: bool
    comparison: Comparison | None
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A named version of a collection: when it was taken, and how many items it has."""

    name: str
    taken_at: datetime
    items: int


@dataclass(frozen=True, slots=True)
class SnapshotChanges:
    """What changed from one version of a collection to another: ids, sorted.

    Changed are items with other content or other metadata; new vectors of the same content do not count.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """What a collection holds. `size_bytes` is the data of all its tables, `columns` the user's own.

    `index` is None where all searches are exact.
    """

    name: str
    db: str
    encoder: str
    dim: int
    images: int
    texts: int
    failures: int
    size_bytes: int
    columns: Mapping[str, str]
    index: IndexStatus | None = None

"""The pipeline behind `Collection.index`: walk → compare → read → encode → write.

Files are read in threads, encoded in the calling thread, and written in a thread of its own, one commit
behind. What waits between the stages is bounded, so memory does not grow with the folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from types import TracebackType

import numpy as np
import pyarrow as pa

from clipkit.encoder import Encoder, Vectors
from clipkit.errors import InvalidInput, StorageError
from clipkit.filters import all_of, any_of, id_in, is_in, starts_with
from clipkit.folders import FoundFile, Walk, has_vanished, id_prefixes, id_to_path, path_to_id
from clipkit.images import MAX_PIXELS
from clipkit.reports import Failure, IndexInterrupted, IndexReport, Progress
from clipkit.stages import (
    Changes,
    Copy,
    Decoded,
    KnownHashes,
    Unreadable,
    compare,
    read_ahead,
    read_file,
    reuse,
)
from clipkit.store import ItemRow, Store

ENCODE_BATCH = 64  # pictures handed to the encoder at once; it splits them further as it likes
READ_AHEAD = 2 * ENCODE_BATCH  # files read, or being read, beyond those that are encoded
COMMIT_SECONDS = 2.0  # the most work that a crash costs
COMMIT_ROWS = 4096
LOST_SHARE = 0.2  # if more of the known files are gone, it may be a disk: they are kept unless `prune`


def index_walk(
    store: Store,
    encoder: Callable[[], Encoder],
    walk: Walk,
    *,
    prune: bool = False,
    max_pixels: int | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> IndexReport:
    """What it did to bring the collection in line with the files of `walk`.

    `encoder` is called only if something has to be embedded, perhaps from several threads at once. To give
    `max_pixels` also gives earlier failures another try. Raises IndexInterrupted on Ctrl-C, after saving.
    """
    began = time.monotonic()
    below = any_of(
        id_in(path_to_id(root) for root in walk.roots),  # roots that are files
        *(starts_with("id", prefix) for root in walk.roots for prefix in id_prefixes(root)),
    )
    failures = store.failures.read(["id", "size_bytes", "mtime_ns", "reason"], below)
    files = all_of("kind = 'image'", "mtime_ns IS NOT NULL", below)
    items = store.items.read(["id", "size_bytes", "mtime_ns"], files)
    changes = compare(walk, items, failures, retry=max_pixels is not None)
    writer = Writer(store, walk, changes)
    try:
        with writer:
            for identity, reason in walk.unreadable:
                writer.skip(Unreadable(FoundFile(identity, 0, 0), reason, lasting=False))
            _process(writer, changes, store, encoder, max_pixels or MAX_PIXELS, progress)
    except KeyboardInterrupt:
        raise IndexInterrupted(_report(writer, changes, failures, began)) from None
    removed, kept = _remove_vanished(store, walk, changes, writer.moved_ids, prune)
    store.failures.delete_ids(set(changes.settled) - {failure.id for failure in writer.failures})
    store.tidy()
    return _report(writer, changes, failures, began, removed, kept)


def _process(
    writer: Writer,
    changes: Changes,
    store: Store,
    encoder: Callable[[], Encoder],
    max_pixels: int,
    progress: Callable[[Progress], None],
) -> None:
    """Bring everything new or changed into the writer."""
    todo = changes.new + changes.changed
    if not todo:
        return
    known = KnownHashes(store.items.read(["content_hash"], "kind = 'image'")["content_hash"])
    read = partial(read_file, encoder=encoder, max_pixels=max_pixels)
    _feed(writer, todo, partial(read, known=known), encoder, progress)
    again = writer.take_unfound()  # copies whose source another process has deleted meanwhile
    _feed(writer, again, partial(read, known=None), encoder, progress)


def _feed(
    writer: Writer,
    files: list[FoundFile],
    read: Callable[[FoundFile], Decoded | Copy | Unreadable],
    encoder: Callable[[], Encoder],
    progress: Callable[[Progress], None],
) -> None:
    """Send `files` through reading and encoding into the writer."""
    waiting: list[Decoded] = []
    skipped = 0
    with closing(read_ahead(files, read, READ_AHEAD)) as results:
        for done, result in enumerate(results, start=1):
            match result:
                case Decoded():
                    waiting.append(result)
                case Copy():
                    writer.copy(result)
                case Unreadable():
                    writer.skip(result)
                    skipped += 1
            if waiting and (len(waiting) == ENCODE_BATCH or done == len(files)):
                skipped += _encode(writer, waiting, encoder())
                waiting = []
            progress(Progress(done, len(files), skipped))


def _encode(writer: Writer, decoded: list[Decoded], encoder: Encoder) -> int:
    """How many of the pictures the encoder could not take; they are skipped, and the others written."""
    left = list(decoded)
    while left:
        try:
            vectors = encoder.encode_pixels([item.pixels for item in left])
        except InvalidInput as error:
            if error.position is None:
                raise
            row = left.pop(error.position).row
            file = FoundFile(row.id, row.size_bytes or 0, row.mtime_ns or 0)
            writer.skip(Unreadable(file, error.reason, lasting=True))
        else:
            writer.add([item.row for item in left], vectors)
            break
    return len(decoded) - len(left)


class Writer:
    """Commits what the pipeline made every few seconds, in a thread of its own; counts what it did."""

    def __init__(self, store: Store, walk: Walk, changes: Changes) -> None:
        self._store = store
        self._walk = walk
        self._new = {file.id for file in changes.new}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="clipkit-write")
        self._commit_under_way: Future[None] | None = None
        self._last_commit = time.monotonic()
        self._rows: list[ItemRow] = []
        self._vectors: list[Vectors] = []
        self._copies: list[Copy] = []
        self._unreadable: list[Unreadable] = []
        self._unfound: list[Copy] = []
        self.added = self.updated = self.embedded = 0
        self.moved_ids: set[str] = set()
        self.failures: list[Failure] = []

    def add(self, rows: list[ItemRow], vectors: Vectors) -> None:
        self._rows += rows
        self._vectors.append(vectors)
        self._commit_if_due()

    def copy(self, copy: Copy) -> None:
        self._copies.append(copy)
        self._commit_if_due()

    def skip(self, unreadable: Unreadable) -> None:
        self._unreadable.append(unreadable)
        self._commit_if_due()

    def take_unfound(self) -> list[FoundFile]:
        """The files whose content was gone when a copy of it was to be written, once all else is stored."""
        self.flush()
        found, self._unfound = [copy.file for copy in self._unfound], []
        return found

    def flush(self) -> None:
        """Return when everything given so far is stored."""
        self._start_commit()
        self._wait()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, StorageError):  # whatever else went wrong, what is embedded gets stored
                self.flush()
        finally:
            self._pool.shutdown()

    def _commit_if_due(self) -> None:
        waiting = len(self._rows) + len(self._copies) + len(self._unreadable)
        if waiting >= COMMIT_ROWS or time.monotonic() - self._last_commit >= COMMIT_SECONDS:
            self._start_commit()

    def _start_commit(self) -> None:
        self._wait()
        work = (self._rows, self._vectors, self._copies, self._unreadable)
        self._rows, self._vectors, self._copies, self._unreadable = [], [], [], []
        self._last_commit = time.monotonic()
        self._commit_under_way = self._pool.submit(self._commit, *work)

    def _wait(self) -> None:
        if self._commit_under_way is not None:
            self._commit_under_way.result()
            self._commit_under_way = None

    def _commit(
        self, rows: list[ItemRow], vectors: list[Vectors], copies: list[Copy], unreadable: list[Unreadable]
    ) -> None:
        if rows:
            self._store.write(rows, np.concatenate(vectors))
            self.embedded += len(rows)
            self._count([row.id for row in rows])
        if copies:
            self._commit_copies(copies)
        if unreadable:
            self._store.write_failures([_failure_row(item) for item in unreadable])
            self.failures += [Failure(item.file.id, item.reason) for item in unreadable]

    def _commit_copies(self, copies: list[Copy]) -> None:
        same = all_of("kind = 'image'", is_in("content_hash", {copy.content_hash for copy in copies}))
        sources = self._store.items.read(self._store.items.schema.names, same)
        gone = {
            identity
            for identity, mtime in zip(
                sources["id"].to_pylist(), sources["mtime_ns"].to_pylist(), strict=True
            )
            if mtime is not None and self._has_vanished(identity)
        }
        reused = reuse(copies, sources, gone)
        self._store.copy_thumbnails(
            reused.moved_from + reused.copied_from,
            reused.moved["id"].to_pylist() + reused.copied["id"].to_pylist(),
        )
        self._store.items.upsert(reused.moved)
        self._store.items.upsert(reused.copied)
        self._store.delete(id_in(reused.moved_from))
        self.moved_ids.update(reused.moved_from)
        self._count(reused.copied["id"].to_pylist())
        self._unfound += reused.unfound

    def _has_vanished(self, identity: str) -> bool:
        path = id_to_path(identity)
        return has_vanished(path, [*self._walk.roots, os.path.dirname(path)])

    def _count(self, ids: list[str]) -> None:
        new = sum(identity in self._new for identity in ids)
        self.added += new
        self.updated += len(ids) - new


def _failure_row(item: Unreadable) -> tuple[str, int | None, int | None, str]:
    """Without size and time it matches no file, so the next run tries again."""
    size, mtime = (item.file.size_bytes, item.file.mtime_ns) if item.lasting else (None, None)
    return item.file.id, size, mtime, item.reason


def _remove_vanished(
    store: Store, walk: Walk, changes: Changes, moved: set[str], prune: bool
) -> tuple[int, int]:
    """(removed, kept): the items whose files are gone are deleted, unless they are suspiciously many."""
    candidates = (identity for identity in changes.missing if identity not in moved)
    gone = [identity for identity in candidates if has_vanished(id_to_path(identity), walk.roots)]
    if len(gone) > LOST_SHARE * changes.known and not prune:
        return 0, len(gone)
    return store.delete(id_in(gone)) if gone else 0, 0


def _report(
    writer: Writer, changes: Changes, failures: pa.Table, began: float, removed: int = 0, kept: int = 0
) -> IndexReport:
    reasons = dict(zip(failures["id"].to_pylist(), failures["reason"].to_pylist(), strict=True))
    listed = [Failure(identity, reasons[identity]) for identity in changes.failing] + writer.failures
    return IndexReport(
        added=writer.added,
        updated=writer.updated,
        moved=len(writer.moved_ids),
        removed=removed,
        unchanged=changes.unchanged,
        skipped=len(listed),
        embedded=writer.embedded,
        kept_missing=kept,
        failures=tuple(listed),
        seconds=time.monotonic() - began,
    )

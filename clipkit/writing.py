"""The last stage of indexing: what was read and embedded is committed every few seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from clipkit.encoder import Encoder, Vectors
from clipkit.errors import StorageError
from clipkit.filters import all_of, id_in, is_in
from clipkit.folders import file_of, has_vanished
from clipkit.reading import Copy, Unreadable
from clipkit.reports import Failure
from clipkit.schema import ItemRow
from clipkit.stages import readdressed_captions, reuse
from clipkit.store import Store

COMMIT_SECONDS = 2.0  # the most work that a crash costs
COMMIT_ROWS = 4096


class Writer:
    """Commits what the pipeline made every few seconds, in a thread of its own; counts what it did."""

    def __init__(self, store: Store, encoder: Callable[[], Encoder], roots: tuple[str, ...]) -> None:
        self._store = store
        self._encoder = encoder  # the same at each call: that of the vectors which are added
        self._roots = roots
        self._new: set[str] = set()
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
        self.passing: set[str] = set()  # ids of what may be readable the next time as it is

    def expect(self, ids: Iterable[str]) -> None:
        """Count these as added when they come."""
        self._new.update(ids)

    def add(self, rows: list[ItemRow], vectors: Vectors) -> None:
        self._rows += rows
        self._vectors.append(vectors)
        self._commit_if_due()

    def copy(self, copy: Copy) -> None:
        self._copies.append(copy)
        self._commit_if_due()

    def skip(self, unreadable: Unreadable) -> None:
        self._unreadable.append(unreadable)
        if not unreadable.lasting:
            self.passing.add(unreadable.file.id)
        self._commit_if_due()

    def take_unfound(self) -> set[str]:
        """The ids of files whose content was gone when a copy of it was to be written, once all else is
        stored."""
        self.flush()
        found, self._unfound = {copy.file.id for copy in self._unfound}, []
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
            self._store.write(rows, np.concatenate(vectors), made_by=self._encoder())
            self.embedded += len(rows)
            self._count([row.id for row in rows])
        if copies:
            self._commit_copies(copies)
        if unreadable:
            self._store.write_failures([_failure_row(item) for item in unreadable])
            self.failures += [Failure(item.file.id, item.reason) for item in unreadable]

    def _commit_copies(self, copies: list[Copy]) -> None:
        hashes = is_in("content_hash", {copy.content_hash for copy in copies})
        same = all_of("kind = 'image'", hashes, self._store.has_vector())
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
        self._store.upsert(reused.moved)
        self._store.upsert(reused.copied)
        self._move_captions(dict(zip(reused.moved_from, reused.moved["id"].to_pylist(), strict=True)))
        self._store.delete(id_in(reused.moved_from))
        self.moved_ids.update(reused.moved_from)
        self._count(reused.copied["id"].to_pylist())
        self._unfound += reused.unfound

    def _move_captions(self, moves: dict[str, str]) -> None:
        captions = self._store.captions_of(moves, self._store.items.schema.names)
        self._store.upsert(readdressed_captions(captions, moves))
        self._store.items.delete_ids(captions["id"].to_pylist())

    def _has_vanished(self, identity: str) -> bool:
        path = file_of(identity)
        return has_vanished(path, [*self._roots, os.path.dirname(path)])

    def _count(self, ids: list[str]) -> None:
        new = sum(identity in self._new for identity in ids)
        self.added += new
        self.updated += len(ids) - new


def _failure_row(item: Unreadable) -> tuple[str, int | None, int | None, str]:
    """Without size and time it matches no file, so the next run tries again."""
    size, mtime = (item.file.size_bytes, item.file.mtime_ns) if item.lasting else (None, None)
    return item.file.id, size, mtime, item.reason

"""What is behind `Collection.index`: walk → compare → read → encode → write → describe.

Archives come after the files of folders, one by one, and captions after the pictures that they describe.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from clipkit import captioning
from clipkit.archives import Archive, open_archive
from clipkit.describing import describe
from clipkit.encoder import Encoder
from clipkit.errors import ImageError
from clipkit.filters import all_of, any_of, id_in, starts_with
from clipkit.folders import (
    ARCHIVE_SUFFIXES,
    FoundFile,
    Walk,
    file_of,
    has_vanished,
    id_prefixes,
    id_to_path,
    path_to_id,
)
from clipkit.images import MAX_PIXELS
from clipkit.pipeline import Meter, Run
from clipkit.reading import Unreadable
from clipkit.reports import Failure, IndexInterrupted, IndexReport, Progress
from clipkit.stages import Changes, compare, differing
from clipkit.store import Store
from clipkit.writing import Writer

ARCHIVES = tuple(ARCHIVE_SUFFIXES)
LOST_SHARE = 0.2  # if more of the known files are gone, it may be a disk: they are kept unless `prune`


@dataclass(frozen=True, slots=True)
class _Known:
    """What the collection knows below the roots of a walk: tables with id, size_bytes and mtime_ns.

    `loose` are pictures that are files. `held` are those in the archives that the walk found: by archive, the
    time that it had when each was read.
    """

    failures: pa.Table
    sources: pa.Table
    loose: pa.Table
    held: dict[str, dict[str, int | None]]

    @property
    def pictures(self) -> int:
        loose: int = self.loose.num_rows
        return loose + sum(map(len, self.held.values()))

    def failing_in(self, sources: Iterable[str]) -> list[str]:
        """The ids of what could not be read of these sources: of themselves, or of parts of them."""
        known = set(sources)
        return [id for id in self.failures["id"].to_pylist() if _source_of(id, known)]


@dataclass(slots=True)
class _Archives:
    """The archives that have to be read, and what is known of them once they were."""

    to_read: list[FoundFile]
    unchanged: set[str]
    finished: list[FoundFile] = field(default_factory=list)  # read to their end, but for what they dropped
    dropped: list[str] = field(default_factory=list)  # ids of pictures that they no longer hold


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
    known = _known(store, walk)
    changes = compare(walk, known.loose, known.failures, retry=max_pixels is not None)
    archives = _archives_to_read(walk, known, retry=max_pixels is not None)
    plan = captioning.plan(walk, changes, known.sources)
    as_before = {*changes.failing, *known.failing_in(archives.unchanged | plan.unchanged)}
    settled = set(changes.settled) - as_before
    writer = Writer(store, encoder, walk.roots)
    run = Run(store, encoder, writer, Meter(progress), max_pixels or MAX_PIXELS)
    run.unchanged = changes.unchanged + sum(len(known.held[id]) for id in archives.unchanged)
    try:
        with writer:
            for identity, reason in walk.unreadable:
                writer.skip(Unreadable(FoundFile(identity, 0, 0), reason, lasting=False))
            for lost in captioning.orphans(walk):
                if lost.file.id not in as_before:
                    writer.skip(lost)
            _index_all(run, walk, changes, archives, plan=plan, known=known)
    except KeyboardInterrupt:
        raise IndexInterrupted(_report(run, as_before, known, began)) from None
    removed, kept = _remove_vanished(run, walk, changes, archives, known=known, prune=prune)
    store.failures.delete_ids(settled - {failure.id for failure in writer.failures})
    store.tidy()
    return replace(_report(run, as_before, known, began), removed=removed, kept_missing=kept)


def _known(store: Store, walk: Walk) -> _Known:
    below = any_of(
        id_in(path_to_id(root) for root in walk.roots),  # roots that are files
        *(starts_with("id", prefix) for root in walk.roots for prefix in _prefixes(root)),
    )
    failures = store.failures.read(["id", "size_bytes", "mtime_ns", "reason"], below)
    sources = store.sources.read(store.sources.schema.names, below)
    files = all_of("kind = 'image'", "mtime_ns IS NOT NULL", below)
    items = _with_vectors(store, files)
    archives = {file.id for file in walk.archives}
    held: dict[str, dict[str, int | None]] = {id: {} for id in archives}
    if archives:
        inside = pc.match_substring_regex(items["id"], r"\.(tar|parquet)#", ignore_case=True)
        for row in items.filter(inside).to_pylist():
            held.get(_source_of(row["id"], archives) or "", {})[row["id"]] = row["mtime_ns"]
    loose = pc.is_in(
        items["id"], value_set=pa.array([id for ids in held.values() for id in ids], pa.string())
    )
    return _Known(failures, sources, items.filter(pc.invert(loose)), held)


def _with_vectors(store: Store, where: str | None) -> pa.Table:
    """id, size_bytes and mtime_ns of the files known; those without a vector have no time, as if changed."""
    items = store.items.read(["id", "size_bytes", "mtime_ns"], where)
    lacking = pa.array(store.lacking(where), pa.string())
    unknown = pa.scalar(None, pa.int64())
    times = pc.if_else(pc.is_in(items["id"], value_set=lacking), unknown, items["mtime_ns"])
    return items.set_column(2, "mtime_ns", times)


def _prefixes(root: str) -> Iterable[str]:
    yield from id_prefixes(root)
    if root.lower().endswith(ARCHIVES):
        yield path_to_id(root) + "#"


def _source_of(identity: str, sources: set[str]) -> str | None:
    """The source that this is the id of, or of a part of; file names may hold a # as well."""
    if identity in sources:
        return identity
    at = identity.find("#")
    while at >= 0 and identity[:at] not in sources:
        at = identity.find("#", at + 1)
    return identity[:at] if at >= 0 else None


def _index_all(
    run: Run, walk: Walk, changes: Changes, archives: _Archives, *, plan: captioning.Plan, known: _Known
) -> None:
    files = changes.new + changes.changed
    run.meter.expect(len(files) + plan.size)
    run.writer.expect(file.id for file in changes.new)
    captioning.forget(plan, run.store, known.sources)
    run.index_files(files)
    captioning.carry_out(plan, run, walk)
    for file in archives.to_read:
        _index_archive(run, walk, file, archives, known)


# --- archives


def _archives_to_read(walk: Walk, known: _Known, *, retry: bool) -> _Archives:
    """Those that are new or changed, those whose captions are wanted now, and those that lack pictures."""
    stale = {file.id for file in differing(walk.archives, known.sources)}
    rows = {row["id"]: row for row in known.sources.to_pylist()} if walk.archives else {}
    for file in walk.archives:
        row = rows.get(file.id, {})
        if (
            len(known.held[file.id]) != row.get("pictures")
            or None in known.held[file.id].values()  # one lacks a vector
            or row.get("described", False) < walk.takes_captions
        ):
            stale.add(file.id)
    unchanged = {file.id for file in walk.archives} - stale
    if retry:
        unchanged -= {_source_of(id, unchanged) for id in known.failing_in(unchanged)}
    return _Archives([file for file in walk.archives if file.id not in unchanged], unchanged)


def _index_archive(run: Run, walk: Walk, file: FoundFile, archives: _Archives, known: _Known) -> None:
    """Bring in what is new or changed in an archive; what an earlier run read of it as it is now, stays."""
    stored = known.held[file.id]
    try:
        archive = open_archive(file)
    except ImageError as error:
        run.writer.skip(Unreadable(file, error.reason, lasting=True))
        _record(run.store, file, walk)
        return
    except OSError as error:
        run.writer.skip(Unreadable(file, f"cannot be read: {error.strerror or error}", lasting=False))
        return
    done = {id for id in archive.ids if stored.get(id) == archive.file.mtime_ns}
    run.unchanged += len(done)
    run.writer.expect(id for id in archive.ids if id not in stored)
    run.meter.expect(len(archive.ids) - len(done))
    run.index_members(archive, done)
    if walk.takes_captions:
        _describe_archive(run, archive)
    if archive.flaw:
        run.writer.skip(Unreadable(archive.file, archive.flaw, lasting=True))
    elif not archive.ids and file.path in walk.roots:
        run.writer.skip(Unreadable(archive.file, "holds no pictures", lasting=True))
    dropped = [] if archive.flaw else sorted(set(stored) - set(archive.ids))
    archives.dropped += dropped
    if not _is_still(archive.file):
        run.writer.skip(Unreadable(archive.file, "changed while it was being read", lasting=False))
    elif not run.writer.passing.intersection(archive.ids):
        if dropped:  # only once they are gone
            archives.finished.append(archive.file)
        else:
            _record(run.store, archive.file, walk)


def _describe_archive(run: Run, archive: Archive) -> None:
    """Bring in what an archive says of its pictures."""
    done = describe(
        run.store,
        run.encoder,
        archive.said,
        origin="caption",
        spoken=set(),
        is_expected=lambda _: True,  # a picture that cannot be read is reported as such
    )
    run.captions += done.captions
    for broken in captioning.broken_parts(archive.file, done):
        run.writer.skip(broken)


def _record(store: Store, file: FoundFile, walk: Walk) -> None:
    """Remember an archive that was read to its end, so that it need not be opened again."""
    pictures = store.items.count(all_of("kind = 'image'", starts_with("id", f"{file.id}#")))
    store.write_sources([file], pictures=pictures, described=walk.takes_captions)


def _is_still(file: FoundFile) -> bool:
    try:
        status = os.stat(file.path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (file.size_bytes, file.mtime_ns)


# --- the end


def _remove_vanished(
    run: Run, walk: Walk, changes: Changes, archives: _Archives, *, known: _Known, prune: bool
) -> tuple[int, int]:
    """(removed, kept): the items whose files are gone are deleted, unless they are suspiciously many."""
    absent = (id for id in changes.missing if has_vanished(file_of(id), walk.roots))
    gone = [id for id in (*absent, *archives.dropped) if id not in run.writer.moved_ids]
    lost = _absent_archives(walk, known)
    run.store.sources.delete_ids(lost)  # one that comes back is compared picture by picture
    if len(gone) > LOST_SHARE * known.pictures and not prune:
        return 0, len(gone)
    removed = run.store.delete(id_in(gone)) if gone else 0
    for file in archives.finished:
        _record(run.store, file, walk)
    return removed, 0


def _absent_archives(walk: Walk, known: _Known) -> list[str]:
    there = {file.id for file in walk.archives}
    held = (id for id in known.sources["id"].to_pylist() if id.lower().endswith(ARCHIVES))
    return [id for id in held if id not in there and has_vanished(id_to_path(id), walk.roots)]


def _report(run: Run, as_before: set[str], known: _Known, began: float) -> IndexReport:
    stored = zip(known.failures["id"].to_pylist(), known.failures["reason"].to_pylist(), strict=True)
    listed = [Failure(id, reason) for id, reason in stored if id in as_before]
    listed += run.writer.failures
    return IndexReport(
        added=run.writer.added,
        updated=run.writer.updated,
        moved=len(run.writer.moved_ids),
        unchanged=run.unchanged,
        skipped=len(listed),
        embedded=run.writer.embedded,
        captions=run.captions,
        failures=tuple(listed),
        seconds=time.monotonic() - began,
    )

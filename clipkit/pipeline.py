"""One run of indexing: files read in threads, encoded, handed to the writer.

An encoder of several lanes has two batches at once; one of a single lane is called by the calling thread.
What waits between the stages is bounded, so memory does not grow with the folder.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from clipkit import bulk
from clipkit.ahead import read_ahead
from clipkit.archives import Archive
from clipkit.bulk import Read
from clipkit.encoder import Encoder, Vectors
from clipkit.errors import InvalidInput
from clipkit.filters import all_of
from clipkit.folders import FoundFile
from clipkit.reading import Copy, Decoded, KnownHashes, Unreadable, read_file, read_member
from clipkit.reports import Progress
from clipkit.store import Store
from clipkit.writing import Writer

ENCODE_BATCH = 32  # pictures handed to the encoder at once, or more; it splits them further as it likes
READ_AHEAD = max(4 * ENCODE_BATCH, 32 * (os.cpu_count() or 1))  # files read beyond those that are encoded


class Meter:
    """Tells how far a run is. More work may come to light on the way."""

    def __init__(self, show: Callable[[Progress], None]) -> None:
        self._show = show
        self._done = self._total = self._skipped = 0

    def expect(self, files: int) -> None:
        self._total += files

    def step(self, files: int = 1, skipped: int = 0) -> None:
        self._done += files
        self._skipped += skipped
        self._show(Progress(self._done, self._total, self._skipped))


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Pictures and their vectors, None for none; and those that the encoder could not take."""

    decoded: list[Decoded]
    vectors: Vectors | None
    refused: list[Unreadable]


@dataclass(slots=True)
class Run:
    """What a run works with, and what it has done beside the writer's counts."""

    store: Store
    encoder: Callable[[], Encoder]
    writer: Writer
    meter: Meter
    max_pixels: int
    unchanged: int = 0
    captions: int = 0
    hashes: KnownHashes | None = field(default=None, repr=False)

    def index_files(self, files: list[FoundFile]) -> None:
        """Bring these files into the writer. Stored when this returns."""
        if files:
            self._feed(self._read(files, self._known_hashes()))
            again = self.writer.take_unfound()  # copies whose source another process has deleted meanwhile
            self._feed(self._read([file for file in files if file.id in again], None))
            self.writer.flush()

    def _read(self, files: list[FoundFile], known: KnownHashes | None) -> Generator[Read, None, None]:
        if len(files) >= bulk.MANY:
            encoder = self.encoder()
            decoder = getattr(encoder, "jpeg_decoder", lambda: None)()
            if decoder is not None:
                task = bulk.Task(encoder, decoder.preprocessing, known, self.max_pixels)
                return bulk.read_many(files, task, decoder)
        read = partial(read_file, encoder=self.encoder, known=known, max_pixels=self.max_pixels)
        return read_ahead(files, read, READ_AHEAD)

    def index_members(self, archive: Archive, done: set[str]) -> None:
        """Bring the pictures of an archive, but for those that are done, into the writer. Stored when this
        returns."""
        if len(done) == len(archive.ids):
            return
        read = partial(read_member, encoder=self.encoder, max_pixels=self.max_pixels)
        members = archive.members(done)
        self._feed(read_ahead(members, partial(read, known=self._known_hashes()), READ_AHEAD))
        again = self.writer.take_unfound()
        if again:
            members = archive.members(set(archive.ids) - again)
            self._feed(read_ahead(members, partial(read, known=None), READ_AHEAD))
            self.writer.flush()

    def _known_hashes(self) -> KnownHashes:
        if self.hashes is None:
            reusable = all_of("kind = 'image'", self.store.has_vector())
            stored = self.store.items.read(["content_hash"], reusable)
            self.hashes = KnownHashes(stored["content_hash"])
        return self.hashes

    def _feed(self, read: Generator[Read, None, None]) -> None:
        """Send what was read through the encoder into the writer."""
        waiting: list[Decoded] = []
        encoding: deque[Future[_Encoded]] = deque()
        with closing(read), ThreadPoolExecutor(2, thread_name_prefix="clipkit-encode") as pool:
            try:
                for result in read:
                    skipped = 0
                    match result:
                        case Decoded():
                            waiting.append(result)
                        case Copy():
                            self.writer.copy(result)
                        case Unreadable():
                            self.writer.skip(result)
                            skipped = 1
                    if len(waiting) >= ENCODE_BATCH and len(waiting) >= self._appetite():
                        encoding.append(self._begun(waiting, pool))
                        waiting = []
                    self.meter.step(1, skipped + self._written(encoding, but=1))
                if waiting:
                    encoding.append(self._begun(waiting, pool))
                if skipped := self._written(encoding):
                    self.meter.step(0, skipped)
            except KeyboardInterrupt:
                self._written(encoding)  # it is waited for anyway
                raise

    def _appetite(self) -> int:
        """How many pictures keep all lanes of the encoder busy."""
        encoder = self.encoder()
        return getattr(encoder, "lanes", 1) * getattr(encoder, "batch_size", 1)

    def _begun(self, decoded: list[Decoded], pool: ThreadPoolExecutor) -> Future[_Encoded]:
        """The pictures on their way through the encoder: in a thread, so that none of its lanes waits until
        all are done and their rows written; or through already, if it has but one."""
        if getattr(self.encoder(), "lanes", 1) > 1:
            return pool.submit(self._encode, decoded)
        done: Future[_Encoded] = Future()
        done.set_result(self._encode(decoded))
        return done

    def _encode(self, decoded: list[Decoded]) -> _Encoded:
        encoder = self.encoder()
        left = list(decoded)
        refused: list[Unreadable] = []
        while left:
            try:
                return _Encoded(left, encoder.encode_pixels([item.pixels for item in left]), refused)
            except InvalidInput as error:
                if error.position is None:
                    raise
                row = left.pop(error.position).row
                file = FoundFile(row.id, row.size_bytes or 0, row.mtime_ns or 0)
                refused.append(Unreadable(file, error.reason, lasting=True))
        return _Encoded([], None, refused)

    def _written(self, encoding: deque[Future[_Encoded]], *, but: int = 0) -> int:
        """How many pictures the encoder has refused, of the batches that are through; all `but` the last so
        many are waited for."""
        skipped = 0
        while encoding and (len(encoding) > but or encoding[0].done()):
            batch = encoding[0].result()
            encoding.popleft()  # only now: a Ctrl-C while it was waited for must not lose it
            for refused in batch.refused:
                self.writer.skip(refused)
            if batch.vectors is not None:
                self.writer.add([item.row for item in batch.decoded], batch.vectors)
            skipped += len(batch.refused)
        return skipped

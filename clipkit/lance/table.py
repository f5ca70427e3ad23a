"""One Lance table: written by several processes at once, compacted by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from clipkit.encoder import batched
from clipkit.errors import ClipkitError, StorageError
from clipkit.filters import id_in, self_contained
from clipkit.lance.failures import is_conflict, is_panic, is_passing, translated

SMALL_FILES = 32  # data files, or old versions, that a small table may have before they are merged
ROWS_PER_FILE = 5_000  # a large table may have one file per so many rows: bounds what a merge rewrites
COMMITS_BETWEEN_CHECKS = 16
CLEAN_AFTER = timedelta(milliseconds=1)  # old versions serve no one here: readers retry on a newer one
NEVER_SO_OLD = timedelta(days=36_500)
HELD_UNTIL = "clipkit.held_until"  # in the metadata of the id; seconds since 1970
PATIENCE_S = 10.0  # how long a read is retried while other processes change the table beneath it
CONTENTION_S = 300.0  # how long a write is, while others are faster; Lance itself gives up after 30 s

T = TypeVar("T")


class Index(Protocol):
    """An index that its table keeps up to date: built when it is due, brought up to date by `optimize`."""

    def is_due(self) -> bool: ...
    def build(self) -> None: ...


class Table:
    """A Lance table keyed by `id`: safe for several writers, compacted by itself."""

    def __init__(self, handle: Any, location: str) -> None:
        self.handle = handle  # lancedb's own; for this package only
        self.location = location
        self.indexes: dict[str, Index] = {}  # by what they index
        self._commits = 0
        self._writing = threading.Lock()  # threads take turns; only processes get in each other's way

    @property
    def schema(self) -> pa.Schema:
        return self.patiently(lambda: self.handle.schema)

    @property
    def version(self) -> int:
        """The number of the newest version: another one after each write, by whichever process."""
        number: int = self.patiently(lambda: self.handle.version)
        return number

    def indexed(self) -> set[str]:
        """The columns that have an index."""
        return {column for index in self.patiently(self.handle.list_indices) for column in index.columns}

    def upsert(self, rows: pa.Table) -> tuple[int, int]:
        """(inserted, updated): rows of a known id are replaced, others appended. Ids in `rows` are unique.

        Columns that `rows` lack are kept as they are, and null in new rows. The key is declared primary and
        the merge uses no index: so Lance notices when two processes insert one new id, and retries one.
        """
        if rows.num_rows == 0:
            return 0, 0

        def merge() -> Any:
            builder = self.handle.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            return builder.use_index(False).execute(rows, on_bad_vectors="null")  # which null ones are to it

        done = self.write(merge)
        self._committed(done.version)
        return done.num_inserted_rows, done.num_updated_rows

    def insert(self, rows: pa.Table) -> int:
        """The number of rows whose id was new, and which were appended; known ids are passed over.

        That is decided in the commit itself: of two processes that insert one id, one counts 0.
        """

        def merge() -> Any:
            builder = self.handle.merge_insert("id").when_not_matched_insert_all()
            return builder.use_index(False).execute(rows)

        done = self.write(merge)
        self._committed(done.version)
        inserted: int = done.num_inserted_rows
        return inserted

    def update(self, rows: pa.Table, *, unless_changed: Sequence[str] = ()) -> int:
        """The number of known rows that were given these values; unknown ids are passed over.

        Columns that `rows` lack are kept as they are. Ids in `rows` are unique. A row of which one of the
        columns `unless_changed` is no longer as in `rows` is passed over, too: that is decided in the commit
        itself, so nothing that another process wrote meanwhile is lost.
        """
        if rows.num_rows == 0:
            return 0
        same = "(target.{0} = source.{0} OR (target.{0} IS NULL AND source.{0} IS NULL))"
        condition = " AND ".join(same.format(column) for column in unless_changed) or None

        def merge() -> Any:
            builder = self.handle.merge_insert("id").when_matched_update_all(where=condition)
            return builder.use_index(False).execute(rows, on_bad_vectors="null")

        done = self.write(merge)
        self._committed(done.version)
        updated: int = done.num_updated_rows
        return updated

    def delete(self, where: str) -> int:
        """The number of rows deleted."""
        if not self.count(where):  # Lance would commit a version all the same
            return 0
        done = self.write(lambda: self.handle.delete(f"({where})"), where)
        self._committed(done.version)
        deleted: int = done.num_deleted_rows
        return deleted

    def delete_ids(self, ids: Iterable[str]) -> int:
        return sum(self.delete(id_in(page)) for page in batched(ids, 10_000))

    def checked(self, where: str) -> str:
        """A user's filter, fit to stand beside other conditions. Raises FilterError if it does not parse, or
        names what is not there. No row is read."""
        condition = self_contained(where)
        self.patiently(lambda: self.handle.search().where(f"({condition})").explain_plan(), where)
        return condition

    def count(self, where: str | None = None) -> int:
        counted: int = self.patiently(lambda: self.handle.count_rows(where and f"({where})"), where)
        return counted

    def read(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """The given columns of all rows that pass `where`, as of one moment."""

        def scan() -> pa.Table:
            query = self.handle.search().select(list(columns))
            return (query if where is None else query.where(f"({where})")).to_arrow()

        return self.patiently(scan, where)

    def sample(self, columns: Sequence[str], rows: int, *, seed: int = 0) -> pa.Table:
        """The given columns of up to `rows` rows, drawn by `seed`; all, where there are no more."""

        def take() -> pa.Table:
            count = self.handle.count_rows()
            drawn = np.random.default_rng(seed).choice(count, min(rows, count), replace=False)
            return self.handle.take_offsets(drawn.tolist()).select(list(columns)).to_arrow()

        return self.patiently(take)

    def batches(self, columns: Sequence[str], where: str | None, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Batches of up to `batch_size` of the rows that were there at the start and have not been deleted.

        Pages go by id, not by a pinned version, so that compaction in another process cannot pull the files
        away from a reader that takes its time.
        """
        ids = self.read(["id"], where)["id"].to_pylist()
        for page in batched(ids, batch_size):
            yield from self.read(columns, id_in(page)).combine_chunks().to_batches()

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        self.write(lambda: self.handle.add_columns(pa.schema(fields)))

    def drop_columns(self, names: Sequence[str]) -> None:
        """Drop columns, and free their space: so all rows are written again."""
        self.write(lambda: self.handle.drop_columns(list(names)))
        self.write(lambda: self.handle.update(values_sql={"id": "id"}))
        self.optimize()

    def annotate(self, column: str, metadata: Mapping[str, str]) -> None:
        """Set keys of the metadata of a column: one commit, which readers see wholly or not at all."""
        change = {"path": column, "metadata": dict(metadata)}
        self.write(lambda: self.handle.update_field_metadata(change))

    def size_bytes(self) -> int:
        """The data of the newest version, in bytes."""
        total: int = self.patiently(self.handle.stats)["total_bytes"]
        return total

    def tidy(self, version: int = 0) -> None:
        """Optimize if there are too many data files or old versions for the rows, or an index would pay.

        Rows that are replaced or deleted leave files to old versions only, which the statistics do not show.
        Versions are numbered without gaps and each is one writer's own, `version` the caller's: so for every
        so many of them, one writer cleans up.
        """
        stats = self.patiently(self.handle.stats)
        many = max(SMALL_FILES, stats["num_rows"] // ROWS_PER_FILE // SMALL_FILES * SMALL_FILES)
        crowded = version > 0 and version % many == 0
        scattered = stats["fragment_stats"]["num_fragments"] > many
        if crowded or scattered or any(index.is_due() for index in self.indexes.values()):
            self.optimize()

    def optimize(self) -> None:
        """Merge small files, drop old versions, build the indexes that are due and bring all up to date."""
        for index in self.indexes.values():
            if index.is_due():
                index.build()
        try:
            with self._writing:
                self.patiently(lambda: self.handle.optimize(cleanup_older_than=NEVER_SO_OLD))
                self.patiently(self._clean)
        except StorageError as error:
            if not is_conflict(error.__cause__):  # if so, another process is doing this very work
                raise

    def hold(self, seconds: float) -> None:
        """Let no process that looks from now on drop old versions, for so many seconds; 0 ends it."""
        self.annotate("id", {HELD_UNTIL: str(time.time() + seconds if seconds else 0.0)})

    def _clean(self) -> None:
        """Drop old versions, unless they are held. All is merged already: that can take long, this not."""
        until = (self.handle.schema.field("id").metadata or {}).get(HELD_UNTIL.encode(), b"0")
        if float(until) <= time.time():
            self.handle.optimize(cleanup_older_than=CLEAN_AFTER)

    def _committed(self, version: int) -> None:
        """Look after every so many writes whether the table needs compaction.

        After the first write of a process too: ten thousand processes may write one row each.
        """
        self._commits += 1
        if version % SMALL_FILES == 0 or self._commits % COMMITS_BETWEEN_CHECKS == 1:
            self.tidy(version)

    def write(self, operation: Callable[[], T], where: str | None = None) -> T:
        with self._writing:
            return self.patiently(operation, where, contention_s=CONTENTION_S)

    def patiently(
        self, operation: Callable[[], T], where: str | None = None, *, contention_s: float = 0.0
    ) -> T:
        """The result of `operation`, tried again while other processes change the table beneath it."""
        began = time.monotonic()
        pause = 0.0
        while True:
            try:
                if pause:
                    self.handle.checkout_latest()
                return operation()
            except ClipkitError:
                raise
            except Exception as error:  # Lance raises every kind, even one of its own for a panic
                patience = max(contention_s, PATIENCE_S) if is_conflict(error) else PATIENCE_S
                passing = is_passing(error) or (is_panic(error) and where is None)
                if not passing or time.monotonic() > began + patience:
                    raise self._translated(error, where) from error
            pause = min(2 * pause or 0.01, 1.0)
            time.sleep(pause)

    def _translated(self, error: Exception, where: str | None) -> ClipkitError:
        return translated(error, self.location, where, lambda: self.handle.schema.names)

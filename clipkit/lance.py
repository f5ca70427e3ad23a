"""One Lance table: searched, written by several processes at once, compacted by itself.

The only file that imports lancedb, and the only one that knows its errors.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfSq
from numpy.typing import NDArray

from clipkit.encoder import batched
from clipkit.errors import ClipkitError, CollectionError, FilterError, StorageError, did_you_mean

INDEX_FROM_ROWS = 100_000  # below, an exact scan of 512 float32 dimensions answers in about 0.3 s or less
APPROXIMATE_UP_TO_K = 1_000  # asked for more, an index would have to visit most of the table anyway
PROBED_PARTITIONS = 50  # with REFINE_FACTOR: recall@10 of 1.000 on 200,000 clustered vectors
REFINE_FACTOR = 10  # candidates per hit that are scored again from the stored vectors, so scores are true
SMALL_FILES = 32  # data files that a small table may have before they are merged
ROWS_PER_FILE = 5_000  # a large table may have one file per so many rows: bounds what a merge rewrites
COMMITS_BETWEEN_CHECKS = 16
CLEAN_AFTER = timedelta(milliseconds=1)  # old versions serve no one here: readers retry on a newer one
PATIENCE_S = 10.0  # how long an operation is retried while other processes change the table beneath it

T = TypeVar("T")


class Database:
    """The tables at a local path or an object-store URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        # an interval of zero: every read sees what other processes have committed
        self._connection = self._checked(
            lambda: lancedb.connect(uri, read_consistency_interval=timedelta(0)), missing=None
        )

    def names(self) -> list[str]:
        """All tables, sorted."""
        found: list[str] = []
        token = None
        while True:
            page = self._checked(partial(self._connection.list_tables, page_token=token), missing=None)
            found += page.tables
            token = page.page_token
            if not token:
                return sorted(found)

    def create(self, name: str, schema: pa.Schema) -> Table | None:
        """A new, empty table; None if one of that name is there, even if another process made it just now."""
        create = partial(self._connection.create_table, name, schema=schema)
        table = self._checked(create, missing="already exists")
        return None if table is None else Table(table, f"{self.uri}/{name}")

    def open(self, name: str) -> Table | None:
        """The table of that name, or None if there is none."""
        table = self._checked(partial(self._connection.open_table, name), missing="was not found")
        return None if table is None else Table(table, f"{self.uri}/{name}")

    def _checked(self, operation: Callable[[], Any], *, missing: str | None) -> Any:
        """The result of `operation`; None where its error says `missing`; our own error for any other."""
        try:
            return operation()
        except (ValueError, RuntimeError, OSError) as error:
            if missing is not None and missing in str(error):
                return None
            raise _storage_error(error, self.uri) from error


class Table:
    """A Lance table keyed by `id`: safe for several writers, compacted by itself."""

    def __init__(self, table: Any, location: str) -> None:
        self._table = table
        self._location = location
        self._commits = 0

    @property
    def schema(self) -> pa.Schema:
        return self._table.schema

    def upsert(self, rows: pa.Table) -> tuple[int, int]:
        """(inserted, updated): rows of a known id are replaced, others appended. Ids in `rows` are unique.

        Columns that `rows` lack are kept as they are, and null in new rows. The key is declared primary and
        the merge uses no index: so Lance notices when two processes insert one new id, and retries one.
        """
        if rows.num_rows == 0:
            return 0, 0

        def merge() -> Any:
            builder = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            return builder.use_index(False).execute(rows)

        done = self._patiently(merge)
        self._committed()
        return done.num_inserted_rows, done.num_updated_rows

    def delete(self, where: str) -> int:
        """The number of rows deleted."""
        deleted: int = self._patiently(lambda: self._table.delete(f"({where})"), where).num_deleted_rows
        if deleted:
            self._committed()
        return deleted

    def delete_ids(self, ids: Iterable[str]) -> int:
        return sum(self.delete(id_in(page)) for page in batched(ids, 10_000))

    def count(self, where: str | None = None) -> int:
        counted: int = self._patiently(lambda: self._table.count_rows(where and f"({where})"), where)
        return counted

    def read(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """The given columns of all rows that pass `where`, as of one moment."""

        def scan() -> pa.Table:
            query = self._table.search().select(list(columns))
            return (query if where is None else query.where(f"({where})")).to_arrow()

        return self._patiently(scan, where)

    def batches(self, columns: Sequence[str], where: str | None, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Batches of up to `batch_size` of the rows that were there at the start and have not been deleted.

        Pages go by id, not by a pinned version, so that compaction in another process cannot pull the files
        away from a reader that takes its time.
        """
        ids = self.read(["id"], where)["id"].to_pylist()
        for page in batched(ids, batch_size):
            yield from self.read(columns, id_in(page)).combine_chunks().to_batches()

    def nearest(
        self, vector: NDArray[np.float32], k: int, *, where: str | None, columns: Sequence[str]
    ) -> pa.Table:
        """The `k` rows of highest cosine similarity, best first, ties by id, with a float32 column `score`.

        Exact while the table has no vector index; with one, the candidates are scored again exactly.
        """

        def search() -> pa.Table:
            query = self._table.search(vector, vector_column_name="vector").distance_type("dot")
            if k > APPROXIMATE_UP_TO_K:
                query = query.bypass_vector_index()
            else:
                query = query.nprobes(PROBED_PARTITIONS).refine_factor(REFINE_FACTOR)
            query = query.select([*columns, "_distance"]).limit(k)
            return (query if where is None else query.where(f"({where})")).to_arrow()

        found = self._patiently(search, where)
        scores = np.clip(1.0 - found["_distance"].to_numpy(), -1.0, 1.0).astype(np.float32)  # unit vectors
        found = found.drop_columns(["_distance"]).append_column("score", pa.array(scores))
        return found.sort_by([("score", "descending"), ("id", "ascending")])

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        self._patiently(lambda: self._table.add_columns(pa.schema(fields)))

    def size_bytes(self) -> int:
        """The data of the newest version, in bytes."""
        total: int = self._patiently(self._table.stats)["total_bytes"]
        return total

    def tidy(self) -> None:
        """Optimize if the data files have become too many for the rows they hold, or an index would pay."""
        stats = self._patiently(self._table.stats)
        many = max(SMALL_FILES, stats["num_rows"] // ROWS_PER_FILE)
        if stats["fragment_stats"]["num_fragments"] > many or self._wants_index():
            self.optimize()

    def optimize(self) -> None:
        """Merge small files, drop old versions, and keep the vector index, if one pays, up to date."""
        if self._wants_index():
            self._patiently(lambda: self._table.create_index("vector", config=IvfSq(distance_type="dot")))
        try:
            self._patiently(lambda: self._table.optimize(cleanup_older_than=CLEAN_AFTER))
        except StorageError as error:
            if "conflict" not in str(error).lower():  # then another process is doing this very work
                raise

    def _wants_index(self) -> bool:
        if "vector" not in self.schema.names or self.count() < INDEX_FROM_ROWS:
            return False
        return not self._table.list_indices()

    def _committed(self) -> None:
        """Look after every so many writes whether the table needs compaction.

        After the first write of a process too: ten thousand processes may write one row each.
        """
        self._commits += 1
        if self._commits % COMMITS_BETWEEN_CHECKS == 1:
            self.tidy()

    def _patiently(self, operation: Callable[[], T], where: str | None = None) -> T:
        """The result of `operation`, tried again while other processes change the table beneath it."""
        deadline = time.monotonic() + PATIENCE_S
        pause = 0.01
        while True:
            try:
                return operation()
            except ClipkitError:
                raise
            except (ValueError, RuntimeError, OSError) as error:
                if not _is_passing(error) or time.monotonic() > deadline:
                    raise self._ours(error, where) from error
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
            self._table.checkout_latest()

    def _ours(self, error: Exception, where: str | None) -> ClipkitError:
        message = _first_line(error)
        unknown = re.search(r"No field named [`\"]?([^`\".\s]+)", message)
        if unknown:
            name = unknown.group(1)
            return FilterError(f"there is no column {name!r}. {did_you_mean(name, self.schema.names)}")
        if where is not None and isinstance(error, ValueError):
            detail = re.sub(r".*(?:sql parser error|Invalid user input|Invalid input[,:]): ?", "", message)
            return FilterError(f"the filter {where} cannot be evaluated: {detail}")
        return _storage_error(error, self._location)


def quoted(value: str) -> str:
    """`value` as a string literal of the filter language."""
    return "'" + value.replace("'", "''") + "'"


def is_in(column: str, values: Iterable[str]) -> str:
    """The filter that passes the rows whose `column` is one of `values`."""
    listed = ", ".join(map(quoted, values))
    return f"{column} IN ({listed})" if listed else "false"


def id_in(ids: Iterable[str]) -> str:
    """The filter that passes exactly these ids."""
    return is_in("id", ids)


def starts_with(column: str, prefix: str) -> str:
    """The filter that passes the rows whose `column` starts with `prefix`."""
    return f"starts_with({column}, {quoted(prefix)})"


def any_of(*conditions: str) -> str:
    """The filter that passes what at least one of the given ones passes."""
    return " OR ".join(f"({condition})" for condition in conditions) or "false"


def all_of(*conditions: str | None) -> str | None:
    """The filter that passes what all of the given ones pass; None passes everything."""
    given = [f"({condition})" for condition in conditions if condition is not None]
    return " AND ".join(given) if given else None


def _is_passing(error: Exception) -> bool:
    """Whether trying again may help: another process compacted the table, or committed first."""
    text = str(error)
    gone = "Not found" in text and ".lance" in text
    return gone or "conflict" in text.lower() or "Too many concurrent writers" in text


def _storage_error(error: Exception, location: str) -> CollectionError:
    message = _first_line(error)
    if "No space left" in message or "os error 28" in message:
        return StorageError(
            f"the disk that holds {location} is full. What was stored so far is safe: free some space "
            "and run the same again"
        )
    if "Permission denied" in message or "Read-only file system" in message:
        return StorageError(f"no permission to write to {location}: {message}")
    return StorageError(f"{location}: {message}")


def _first_line(error: Exception) -> str:
    """The message without the source locations that Lance appends."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r",? ?/\S+\.rs:\d+(:\d+)?", "", line).removeprefix("lance error: ")

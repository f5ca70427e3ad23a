"""One Lance table: searched, written by several processes at once, compacted by itself.

The only file that imports lancedb, and the only one that knows its errors.
"""

from __future__ import annotations

import re
import threading
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
from clipkit.errors import (
    ClipkitError,
    CollectionError,
    CollectionNotFound,
    FilterError,
    StorageError,
    did_you_mean,
)

INDEX_FROM_ROWS = 100_000  # below, an exact scan of 512 float32 dimensions answers in about 0.3 s or less
APPROXIMATE_UP_TO_K = 1_000  # asked for more, an index would have to visit most of the table anyway
PROBED_PARTITIONS = 50  # with REFINE_FACTOR: recall@10 of 1.000 on 200,000 clustered vectors
REFINE_FACTOR = 10  # candidates per hit that are scored again from the stored vectors, so scores are true
ROUNDING = 1e-6  # float32 takes less from a cosine: 2e-7 with 512 dimensions, 3e-7 with 4,096
MOST_ROWS = 2**31 - 1  # of one answer; Lance takes a limit of 32 bits
TIES_AHEAD = 8  # rows asked for beyond k, to see whether the k-th hit shares its score with others
SMALL_FILES = 32  # data files, or old versions, that a small table may have before they are merged
ROWS_PER_FILE = 5_000  # a large table may have one file per so many rows: bounds what a merge rewrites
COMMITS_BETWEEN_CHECKS = 16
CLEAN_AFTER = timedelta(milliseconds=1)  # old versions serve no one here: readers retry on a newer one
METADATA_CACHE_BYTES = 64 << 20  # the 1 GB that Lance takes fills with dead versions, 0.1 MB a commit
PATIENCE_S = 10.0  # how long a read is retried while other processes change the table beneath it
CONTENTION_S = 300.0  # how long a write is, while others are faster; Lance itself gives up after 30 s

_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_PREAMBLE = re.compile(
    r".*(?:sql parser error|Invalid user input|Arrow error|Execution error|planning|Invalid input,)[: ]+"
)

T = TypeVar("T")


class Database:
    """The tables at a local path or an object-store URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        session = lancedb.Session(metadata_cache_size_bytes=METADATA_CACHE_BYTES)
        # an interval of zero: every read sees what other processes have committed
        connect = partial(lancedb.connect, uri, read_consistency_interval=timedelta(0), session=session)
        self._connection = self._checked(connect, missing=None)

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
        table = self._checked(create, missing="already exists", table=name)
        return None if table is None else Table(table, f"{self.uri}/{name}")

    def open(self, name: str) -> Table | None:
        """The table of that name, or None if there is none."""
        table = self._checked(partial(self._connection.open_table, name), missing="was not found", table=name)
        return None if table is None else Table(table, f"{self.uri}/{name}")

    def _checked(self, operation: Callable[[], Any], *, missing: str | None, table: str = "") -> Any:
        """The result of `operation`; None where its error says `missing`; our own error for any other."""
        try:
            return operation()
        except Exception as error:  # Lance raises every kind, even one of its own for a panic
            if missing is not None and missing in str(error):
                return None
            raise _storage_error(error, f"{self.uri}/{table}".removesuffix("/")) from error


class Table:
    """A Lance table keyed by `id`: safe for several writers, compacted by itself."""

    def __init__(self, table: Any, location: str) -> None:
        self._table = table
        self._location = location
        self._commits = 0
        self._writing = threading.Lock()  # threads take turns; only processes get in each other's way

    @property
    def schema(self) -> pa.Schema:
        return self._patiently(lambda: self._table.schema)

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

        done = self._write(merge)
        self._committed(done.version)
        return done.num_inserted_rows, done.num_updated_rows

    def delete(self, where: str) -> int:
        """The number of rows deleted."""
        if not self.count(where):  # Lance would commit a version all the same
            return 0
        done = self._write(lambda: self._table.delete(f"({where})"), where)
        self._committed(done.version)
        deleted: int = done.num_deleted_rows
        return deleted

    def delete_ids(self, ids: Iterable[str]) -> int:
        return sum(self.delete(id_in(page)) for page in batched(ids, 10_000))

    def checked(self, where: str) -> str:
        """A user's filter, fit to stand beside other conditions. Raises FilterError if it does not parse, or
        names what is not there. No row is read."""
        condition = _self_contained(where)
        self._patiently(lambda: self._table.search().where(f"({condition})").explain_plan(), where)
        return condition

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
        k = min(k, MOST_ROWS - TIES_AHEAD)
        found = self._search(vector, k + TIES_AHEAD, where, columns)
        if found.num_rows == k + TIES_AHEAD and found["score"][k - 1] == found["score"][-1]:
            only = id_in(self._best_ids(vector, k, where, found["score"][-1].as_py()))
            found = self._search(vector, k, all_of(where, only), columns, farthest=2.0 + ROUNDING)
        return found.sort_by([("score", "descending"), ("id", "ascending")]).slice(0, k)

    def _best_ids(self, vector: NDArray[np.float32], k: int, where: str | None, least: float) -> list[str]:
        """The ids of the k best rows, where more than were asked for score `least` at the k-th place."""
        found = self._search(vector, MOST_ROWS, where, ["id"], farthest=1.0 - least + ROUNDING)
        ids: list[str] = found.sort_by([("score", "descending"), ("id", "ascending")])["id"].to_pylist()
        return ids[:k]

    def _search(
        self,
        vector: NDArray[np.float32],
        limit: int,
        where: str | None,
        columns: Sequence[str],
        farthest: float | None = None,
    ) -> pa.Table:
        """Up to `limit` rows, best first, with a column `score`; none beyond the distance `farthest`."""

        def search() -> pa.Table:
            query = self._table.search(vector, vector_column_name="vector").distance_type("dot")
            if farthest is not None:
                query = query.bypass_vector_index().distance_range(upper_bound=farthest)
            elif limit > APPROXIMATE_UP_TO_K + TIES_AHEAD:
                query = query.bypass_vector_index()
            else:
                query = query.nprobes(PROBED_PARTITIONS).refine_factor(REFINE_FACTOR)
            query = query.select([*columns, "_distance"]).limit(limit)
            return (query if where is None else query.where(f"({where})")).to_arrow()

        found = self._patiently(search, where)
        scores = np.clip(1.0 - found["_distance"].to_numpy(), -1.0, 1.0).astype(np.float32)  # unit vectors
        return found.drop_columns(["_distance"]).append_column("score", pa.array(scores))

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        self._write(lambda: self._table.add_columns(pa.schema(fields)))

    def size_bytes(self) -> int:
        """The data of the newest version, in bytes."""
        total: int = self._patiently(self._table.stats)["total_bytes"]
        return total

    def tidy(self, version: int = 0) -> None:
        """Optimize if there are too many data files or old versions for the rows, or an index would pay.

        Rows that are replaced or deleted leave files to old versions only, which the statistics do not show.
        Versions are numbered without gaps and each is one writer's own, `version` the caller's: so for every
        so many of them, one writer cleans up.
        """
        stats = self._patiently(self._table.stats)
        many = max(SMALL_FILES, stats["num_rows"] // ROWS_PER_FILE // SMALL_FILES * SMALL_FILES)
        crowded = version > 0 and version % many == 0
        if crowded or stats["fragment_stats"]["num_fragments"] > many or self._wants_index():
            self.optimize()

    def optimize(self) -> None:
        """Merge small files, drop old versions, and keep the vector index, if one pays, up to date."""
        if self._wants_index():
            self._write(lambda: self._table.create_index("vector", config=IvfSq(distance_type="dot")))
        try:
            with self._writing:
                self._patiently(lambda: self._table.optimize(cleanup_older_than=CLEAN_AFTER))
        except StorageError as error:
            if not _is_conflict(error.__cause__):  # if so, another process is doing this very work
                raise

    def _wants_index(self) -> bool:
        if "vector" not in self.schema.names or self.count() < INDEX_FROM_ROWS:
            return False
        return not self._patiently(self._table.list_indices)

    def _committed(self, version: int) -> None:
        """Look after every so many writes whether the table needs compaction.

        After the first write of a process too: ten thousand processes may write one row each.
        """
        self._commits += 1
        if version % SMALL_FILES == 0 or self._commits % COMMITS_BETWEEN_CHECKS == 1:
            self.tidy(version)

    def _write(self, operation: Callable[[], T], where: str | None = None) -> T:
        with self._writing:
            return self._patiently(operation, where, contention_s=CONTENTION_S)

    def _patiently(
        self, operation: Callable[[], T], where: str | None = None, *, contention_s: float = 0.0
    ) -> T:
        """The result of `operation`, tried again while other processes change the table beneath it."""
        began = time.monotonic()
        pause = 0.0
        while True:
            try:
                if pause:
                    self._table.checkout_latest()
                return operation()
            except ClipkitError:
                raise
            except Exception as error:  # Lance raises every kind, even one of its own for a panic
                patience = max(contention_s, PATIENCE_S) if _is_conflict(error) else PATIENCE_S
                if not _is_passing(error) or time.monotonic() > began + patience:
                    raise self._ours(error, where) from error
            pause = min(2 * pause or 0.01, 1.0)
            time.sleep(pause)

    def _ours(self, error: Exception, where: str | None) -> ClipkitError:
        message = _first_line(error)
        if re.search(r"Not found: .*\.lance/_versions(?!/)", message):
            return CollectionNotFound(
                f"{self._location} is no longer there: it was deleted, or its disk is not mounted"
            )
        if where is None or "LanceError(IO)" in str(error) or "os error" in message:
            return _storage_error(error, self._location)
        unknown = re.search(r"No field named ([\"`]?)(.+?)\1(?:\.|$)", message)
        if unknown:
            name = unknown.group(2)
            hint = did_you_mean(name, self.schema.names)
            if f'"{name}"' in where:
                hint += " A text goes into single quotes."
            return FilterError(f"there is no column {name!r}. {hint}")
        detail = re.sub(_PREAMBLE, "", message)
        if "(sql parser error: " in message:
            detail = detail.removesuffix(")")
        if type(error).__name__ == "RustPanic":
            detail = "it uses SQL that LanceDB does not know"
        return FilterError(f"the filter {where} cannot be evaluated: {detail}{_literal_hint(message)}")


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


def _self_contained(where: str) -> str:
    """`where`, if it stays between the parentheses it is put into: no quote or comment is open at its end."""
    if not isinstance(where, str) or not where.strip():
        raise FilterError(f'a filter is an SQL condition such as "width > 1000", not {where!r}')
    bare = _QUOTED.sub("", where)
    if re.search(r"['\"`]|/\*", bare):
        raise FilterError(f"the filter {where} has a quote or comment that is not closed")
    depth = 0
    for bracket in re.findall("[()]", bare):
        depth += 1 if bracket == "(" else -1
        if depth < 0:
            raise FilterError(f"the filter {where} closes a parenthesis that it did not open")
    return f"{where}\n" if "--" in where else where  # a comment ends with its line


def any_of(*conditions: str) -> str:
    """The filter that passes what at least one of the given ones passes."""
    return " OR ".join(f"({condition})" for condition in conditions) or "false"


def all_of(*conditions: str | None) -> str | None:
    """The filter that passes what all of the given ones pass; None passes everything."""
    given = [f"({condition})" for condition in conditions if condition is not None]
    return " AND ".join(given) if given else None


def _literal_hint(message: str) -> str:
    """How to write the value that a column of times or dates was compared with."""
    if "literal of type 'Timestamp" in message:
        return ". A time is written timestamp '2024-12-31 18:00:00', or date '2024-12-31'"
    return ". A date is written date '2024-12-31'" if "literal of type 'Date" in message else ""


def _is_passing(error: Exception) -> bool:
    """Whether trying again may help: another process compacted the table, or committed first."""
    gone = re.search(r"Not found: .*\.lance/\w+/", str(error)) is not None
    return gone or _is_conflict(error)


def _is_conflict(error: BaseException | None) -> bool:
    # Lance's words in full: a column or a folder may be called conflict
    return (
        re.search("ommit conflict for version|Too many concurrent writ|still conflicting", str(error))
        is not None
    )


def _storage_error(error: Exception, location: str) -> CollectionError:
    message = _first_line(error)
    if "No space left" in message or "os error 28" in message:
        return StorageError(
            f"the disk that holds {location} is full. What was stored so far is safe: free some space "
            "and run the same again"
        )
    if re.search("Permission ?[Dd]enied|Read-only file system", message):
        return StorageError(f"no permission to use {location}: {message}")
    damaged = re.search("file size is too small|Invalid range|Not found", message)
    hint = ". Files of it are missing or damaged: bring them back, or index again into a new collection"
    return StorageError(f"{location}: {message}{hint if damaged else ''}")


def _first_line(error: Exception) -> str:
    """The message without the source locations that Lance appends."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    line = re.sub(r",? ?/\S+\.rs:\d+(:\d+)?", "", line)
    return re.sub(r"^lance error: |LanceError\(IO\): |External error: ", "", line)

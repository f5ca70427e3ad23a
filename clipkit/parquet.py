"""A Parquet file that appears only when it is complete."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from contextlib import suppress

import pyarrow as pa

from clipkit.errors import ClipkitError, StorageError


def write_parquet(path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """The number of rows written to `path`, which appears or is replaced only when complete.

    Raises StorageError if it cannot be written.
    """
    from pyarrow.parquet import ParquetWriter

    unfinished = os.path.join(os.path.dirname(path), f".clipkit-{uuid.uuid4().hex}.part")
    written = 0
    try:
        with ParquetWriter(unfinished, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                written += batch.num_rows
        os.replace(unfinished, path)
    except ClipkitError:
        raise
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"{path} cannot be written: {why}") from error
    finally:
        with suppress(OSError):
            os.unlink(unfinished)
    return written

"""A change of model: its vectors are made beside the old ones, compared with them, and switched to.

Searches go on with the old vectors until the switch, which is one commit. What is left to do stands in the
table (the items whose vector is null), so an interrupted run is continued by running it again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from clipkit.ahead import read_ahead
from clipkit.comparison import COMPARED, compare_models
from clipkit.encoder import Encoder, Pixels, Vectors, batched
from clipkit.encoders.reduced import Reduced
from clipkit.errors import CollectionMismatch, ImageError, InvalidInput
from clipkit.filters import all_of, id_in
from clipkit.folders import file_of
from clipkit.images import MAX_PIXELS, open_image
from clipkit.reading import original, size_needed
from clipkit.reports import Failure, Progress, ReindexReport
from clipkit.stamps import Stamp
from clipkit.store import Store

PAGE = 1024  # items whose rows are read at once
ENCODE_BATCH = 64
COMMIT_SECONDS = 2.0  # the most work that a kill costs, but for
COMMIT_SHARE = 0.2  # the most of the time that goes into commits: in a large table each takes longer
ROUNDS = 10  # over what others add meanwhile; what is left then, the next run or the next index makes up for


@dataclass(frozen=True, slots=True)
class Prepared:
    """An item ready to be embedded: its pixels, or its text where there are none. `row` is its only row."""

    row: pa.Table
    id: str
    pixels: Pixels | None = None
    text: str = ""
    from_thumbnail: bool = False


def reindex(
    store: Store,
    encoder: Encoder,
    *,
    switch: bool = True,
    sample: int = COMPARED,
    max_pixels: int | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> ReindexReport:
    """What it did to give every item a vector of `encoder`, and, with `switch`, to have searches use them.

    The models are compared on `sample` items and texts; 0 leaves that out. Raises InvalidInput for an encoder
    that embeds no texts, or no images, where the collection has some.
    """
    began = time.monotonic()
    before = store.stamps
    _check_modalities(store, encoder)
    column = _column_for(store, encoder)
    filling = Filling(store, encoder, column, max_pixels or MAX_PIXELS, progress)
    if isinstance(encoder, Reduced):
        filling.shorten(encoder)
    filling.run()
    compared = None
    if column != before.current:
        if sample:
            compared = compare_models(store, before.current, column, sample=sample)
        vectors = store.vectors_in(column)
        if switch and vectors.index.is_due():
            vectors.index.build()
        if switch:
            switch_to(store, column)
            filling.run()  # what writers of the old model have added since
    store.tidy()
    return ReindexReport(
        model=encoder.name,
        before=before.stamp.encoder,
        embedded=filling.embedded,
        from_thumbnails=filling.from_thumbnails,
        switched=store.stamps.current == column,
        comparison=compared,
        failures=tuple(filling.failures),
        seconds=time.monotonic() - began,
    )


def switch_to(store: Store, column: str) -> None:
    """Have searches and writers use the vectors in `column`, from the next one on. One commit."""
    stamps = store.stamps
    if column != stamps.current:
        store.items.annotate("id", stamps.switched_to(column))
        store.vectors_in(column)


def switch_back(store: Store) -> Stamp:
    """The model that searches use again: the one before the last switch. One commit.

    Raises CollectionMismatch if there was none, or its vectors have been dropped.
    """
    stamps = store.stamps
    if stamps.before is None:
        raise CollectionMismatch(
            f"collection {store.name!r} has no vectors but those of {stamps.stamp.encoder} to go back to: "
            "its model was never changed, or the old vectors were dropped"
        )
    switch_to(store, stamps.before)
    return stamps.by_column[stamps.before]


def drop_others(store: Store) -> list[str]:
    """The names of the models whose vectors were dropped: all but the current one.

    Raises InvalidInput while items lack a vector of the current one: they would be left with none.
    """
    stamps = store.stamps
    lacking = store.lacking()
    if lacking:
        raise InvalidInput(
            f"{len(lacking)} items, such as {lacking[0]!r}, have no vector of {stamps.stamp.encoder} yet: "
            "finish with reindex first, or delete them"
        )
    if stamps.others:
        store.items.drop_columns(stamps.others)
    return [stamps.by_column[column].encoder for column in stamps.others]


def _check_modalities(store: Store, encoder: Encoder) -> None:
    for kind in ("text", "image"):
        count = 0 if kind in encoder.modalities else store.items.count(f"kind = '{kind}'")
        if count:
            raise InvalidInput(
                f"{encoder.name} embeds no {kind}s, and the collection holds {count}: choose another model, "
                "or delete them first"
            )


def _column_for(store: Store, encoder: Encoder) -> str:
    """The column for the vectors of `encoder`, added where there is none."""
    column = store.stamps.column_of(encoder)
    if column is None:
        stamp = Stamp.of(encoder)
        store.items.add_columns([stamp.field(stamp.column)])
        column = stamp.column
    return column


class Filling:
    """Embeds the items whose vector in `column` is null, commits every few seconds, counts what it did."""

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        column: str,
        max_pixels: int,
        progress: Callable[[Progress], None],
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._column = column
        self._max_pixels = max_pixels
        self._progress = progress
        self._waiting: list[tuple[list[Prepared], Vectors]] = []
        self._last_commit = time.monotonic()
        self._took = 0.0  # the last commit
        self.embedded = self.from_thumbnails = 0
        self.failures: list[Failure] = []

    def run(self) -> None:
        """Return when nothing is left but what the model cannot take."""
        for _ in range(ROUNDS):
            refused = {failure.id for failure in self.failures}
            left = [i for i in self._store.lacking(column=self._column) if i not in refused]
            if not left:
                return
            try:
                self._embed(left)
            finally:
                self._commit()

    def shorten(self, encoder: Reduced) -> None:
        """Make what vectors can be made of stored ones, which need no picture and no model."""
        whole = self._store.stamps.column_of(encoder.whole)
        if whole is None:
            return
        left = self._store.lacking(f"{whole} IS NOT NULL", column=self._column)
        for done, page in enumerate(batched(left, PAGE), 1):
            rows = self._store.items.read(["id", whole], all_of(id_in(page), f"{whole} IS NOT NULL"))
            vectors = rows[whole].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            short = encoder.shortened(vectors.reshape(rows.num_rows, encoder.whole.dim))
            made = pa.FixedSizeListArray.from_arrays(pa.array(short.reshape(-1)), encoder.dim)
            self.embedded += self._store.items.update(
                rows.append_column(self._column, made), unless_changed=[whole]
            )
            self._progress(Progress(min(done * PAGE, len(left)), len(left), 0))

    def _embed(self, ids: list[str]) -> None:
        prepare = partial(_prepared, self._store, self._encoder, self._max_pixels)
        with closing(read_ahead(self._rows(ids), prepare, 2 * ENCODE_BATCH)) as prepared:
            done = 0
            for batch in batched(prepared, ENCODE_BATCH):
                self.failures += [item for item in batch if isinstance(item, Failure)]
                ready = [item for item in batch if isinstance(item, Prepared)]
                self._encode([item for item in ready if item.pixels is not None], self._pictures)
                self._encode([item for item in ready if item.pixels is None], self._texts)
                if time.monotonic() - self._last_commit >= max(COMMIT_SECONDS, self._took / COMMIT_SHARE):
                    self._commit()
                done += len(batch)
                self._progress(Progress(done, len(ids), len(self.failures)))

    def _rows(self, ids: list[str]) -> Iterator[tuple[pa.Table, bytes | None]]:
        """Of each item that is still there and lacks the vector, its row and, without a file, its thumbnail.

        The row has what is needed, and guards. These are the columns that differ once an item is another: a
        vector of what it was before is then not stored.
        """
        vectors = [column for column in self._store.stamps.by_column if column != self._column]
        columns = ["id", "text", "content_hash", *vectors, "kind", "uri"]
        for page in batched(ids, PAGE):
            rows = self._store.items.read(columns, all_of(id_in(page), f"{self._column} IS NULL"))
            sources = rows.select(["id", "kind", "uri"]).to_pylist()
            pictures = self._store.read_thumbnails(row["id"] for row in sources if _has_no_file(row))
            for at, row in enumerate(sources):
                yield rows.slice(at, 1), pictures.get(row["id"])

    def _pictures(self, items: list[Prepared]) -> Vectors:
        return self._encoder.encode_pixels([item.pixels for item in items if item.pixels is not None])

    def _texts(self, items: list[Prepared]) -> Vectors:
        return self._encoder.encode_texts([item.text for item in items])

    def _encode(self, items: list[Prepared], encode: Callable[[list[Prepared]], Vectors]) -> None:
        """Those of `items` that the encoder takes wait for the next commit; the others have failed."""
        left = list(items)
        while left:
            try:
                vectors = encode(left)
            except InvalidInput as error:
                if error.position is None:
                    raise
                self.failures.append(Failure(left.pop(error.position).id, error.reason))
            else:
                self._waiting.append((left, vectors))
                break

    def _commit(self) -> None:
        items = [item for some, _ in self._waiting for item in some]
        if items:
            began = time.monotonic()
            rows = pa.concat_tables([item.row for item in items]).drop_columns(["kind", "uri"])
            guards = [name for name in rows.column_names if name != "id"]
            vectors = np.concatenate([made for _, made in self._waiting])
            made = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
            stored = self._store.items.update(rows.append_column(self._column, made), unless_changed=guards)
            self.embedded += stored
            self.from_thumbnails += sum(item.from_thumbnail for item in items)
            self._took = time.monotonic() - began
        self._waiting = []
        self._last_commit = time.monotonic()


def _has_no_file(row: dict[str, Any]) -> bool:
    """Whether a picture was handed over as bytes or pixels, or its file is gone."""
    return row["kind"] == "image" and (row["uri"] is None or not os.path.exists(file_of(row["uri"])))


def _prepared(
    store: Store, encoder: Encoder, max_pixels: int, source: tuple[pa.Table, bytes | None]
) -> Prepared | Failure:
    """An item ready to be embedded: a picture from its file, or else from its thumbnail."""
    row, jpeg = source
    (item,) = row.select(["id", "kind", "text", "uri", "content_hash"]).to_pylist()
    if item["kind"] == "text":
        return Prepared(row, item["id"], text=item["text"])
    picture = None if jpeg else original(item, encoder, size_needed(encoder), max_pixels=max_pixels)
    if picture is not None:
        return Prepared(row, item["id"], pixels=encoder.preprocess(picture))
    jpeg = jpeg or store.read_thumbnails([item["id"]]).get(item["id"])
    if jpeg is None:
        return Failure(item["id"], "its file is gone or has changed, and it has no thumbnail")
    try:
        thumbnail = open_image(jpeg)
    except ImageError as error:
        return Failure(item["id"], f"its thumbnail {error.reason}")
    return Prepared(row, item["id"], pixels=encoder.preprocess(thumbnail), from_thumbnail=True)

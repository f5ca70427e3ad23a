"""Collection: an encoder and its table, what users hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from clipkit import snapshots
from clipkit.adding import add_images, add_texts, update
from clipkit.calibration import Backgrounds
from clipkit.columns import ColumnType, at_least_1, checked_columns, fields_of, strings
from clipkit.comparison import COMPARED
from clipkit.encoder import Encoder, ImageInput
from clipkit.encoders import Load, canonical_name, load_encoder
from clipkit.filters import all_of, id_in
from clipkit.folders import Selection, walk
from clipkit.hits import Hits, Item, Kind, item_from, to_pandas
from clipkit.indexing import index_walk
from clipkit.model import Model
from clipkit.places import database_uri
from clipkit.query import Query
from clipkit.reindexing import drop_others, reindex, switch_back
from clipkit.reports import (
    AddReport,
    Failure,
    IndexReport,
    Progress,
    ReindexReport,
    Snapshot,
    SnapshotChanges,
    Status,
)
from clipkit.searching import Request, cutoffs, embedded, kind_is, search
from clipkit.stamps import Stamp
from clipkit.store import Store, collection_names
from clipkit.tuning import SAMPLE, Tuning, tune

if TYPE_CHECKING:
    import pandas as pd

EXPORT_BATCH = 8192


class Collection:
    """Images and texts of one embedding space in one LanceDB table.

    Make one with `create`, or `open` one that exists. `db` is a folder or an object-store URI that holds
    collections by name; None stands for $CLIPKIT_HOME, or else the platform's data folder. The model is
    loaded when it is first needed. Several threads and processes may use one collection at once.
    """

    def __init__(self, store: Store, model: Model) -> None:
        self._store = store
        self._model = model
        self._backgrounds = Backgrounds(store)

    @classmethod
    def create(
        cls,
        name: str = "default",
        *,
        db: str | os.PathLike[str] | None = None,
        encoder: str | Encoder | None = None,
        columns: Mapping[str, ColumnType] | None = None,
    ) -> Collection:
        """A new, empty collection for the vectors of `encoder`: a spec of `load_encoder`, or an Encoder.

        `columns` are columns of your own, by name and type, that items can have values in and filters can
        use. Raises CollectionExists if the name is taken.
        """
        fields = fields_of(columns or {})
        model = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
        store = Store.create(database_uri(db), name, Stamp.of(model), fields)
        return cls(store, Model(store, Load(), model, follows=not isinstance(encoder, Encoder)))

    @classmethod
    def open(
        cls,
        name: str = "default",
        *,
        db: str | os.PathLike[str] | None = None,
        encoder: str | Encoder | None = None,
        device: str | None = None,
        precision: str | None = None,
    ) -> Collection:
        """A collection that exists, with the model that made it.

        To name an `encoder` is only needed where its files have moved, or to make sure: another model than
        the collection's raises CollectionMismatch. `device` and `precision` are those of `load_encoder`.
        Raises CollectionNotFound if there is none of that name.
        """
        store = Store.open(database_uri(db), name)
        stamp = store.stamp
        load = Load(device, precision)
        if isinstance(encoder, Encoder):
            return cls(store, Model(store, load, stamp.checked(encoder, name), follows=False))
        if encoder is None or canonical_name(encoder) == stamp.encoder:
            return cls(store, Model(store, load))
        moved = load(encoder, upright=stamp.upright)
        return cls(store, Model(store, load, stamp.checked(moved, name), follows=False))

    @staticmethod
    def names(db: str | os.PathLike[str] | None = None) -> list[str]:
        """The names of the collections in `db`, sorted."""
        return collection_names(database_uri(db))

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def db(self) -> str:
        return self._store.uri

    @property
    def dim(self) -> int:
        return self._store.stamp.dim

    @property
    def encoder_name(self) -> str:
        """The spec of the model that made the vectors."""
        return self._store.stamp.encoder

    @property
    def encoder(self) -> Encoder:
        """The model, loaded on first use. Raises CollectionMismatch if it is no longer what it was."""
        return self._model.current()

    @property
    def text_encoder(self) -> Encoder:
        """What embeds texts as `encoder` does: its text side alone, where that can be had sooner.

        Raises CollectionMismatch if the collection has no vectors of the model.
        """
        return self._model.for_texts()

    @property
    def columns(self) -> dict[str, str]:
        """The user's own columns and their Arrow types."""
        return {field.name: str(field.type) for field in self._store.own_fields()}

    def add_columns(self, columns: Mapping[str, ColumnType]) -> None:
        """Add columns of your own, null in the items that are there."""
        self._store.items.add_columns(fields_of(columns, taken=self.columns))

    def index(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        selection: Selection | None = None,
        prune: bool = False,
        max_pixels: int | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> IndexReport:
        """Bring the collection in line with the image files of folders, and tell what that took.

        Only what is new or changed is read; a moved or copied file reuses the vector of its content. Files
        that cannot be read are skipped and reported. Items whose file has vanished are removed, but if they
        are more than a fifth of those known under `paths`, only with `prune`. Work is stored every few
        seconds: an interrupted run is continued by running it again. `max_pixels` (width x height, by
        default `images.MAX_PIXELS`) bounds what is decoded. Raises InvalidInput for a missing path, and
        IndexInterrupted on Ctrl-C.
        """
        roots = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        found = walk(roots, selection)
        return index_walk(
            self._store,
            self._model.pinned(),
            found,
            prune=prune,
            max_pixels=max_pixels,
            progress=progress,
        )

    def add_images(
        self,
        images: Sequence[ImageInput],
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> AddReport:
        """Store images, replacing those whose id is there already; a replaced item keeps other columns.

        Without `ids`, a path is its own id, as in `index`, and anything else gets a random one. `metadata`
        are values for your own columns, one mapping per image. Raises ImageError, with its position, for an
        image that cannot be read; of the 1,024 images around it nothing is stored, of earlier ones all.
        """
        return add_images(self._store, self._model.pinned(), images, ids=ids, metadata=metadata)

    def add_texts(
        self,
        texts: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> AddReport:
        """Store texts (captions, labels, documents), replacing those whose id is there already.

        Without `ids` each gets a random one, so equal texts stay apart. `metadata` is as in `add_images`.
        Texts longer than the model's context are stored whole, embedded cut, and counted in `cut`.
        """
        return add_texts(self._store, self._model.pinned(), texts, ids=ids, metadata=metadata)

    def update(self, ids: Sequence[str], metadata: Sequence[Mapping[str, Any]]) -> int:
        """The number of items given new values in your own columns; all else of them stays as it is.

        `metadata` is one mapping per id, as in `add_images`; columns that it does not name keep their values.
        Ids that are not there are no error. Raises InvalidInput, with its position, for an id given twice, a
        column that is not there and a value that does not fit.
        """
        return update(self._store, ids, metadata)

    def delete(self, ids: Sequence[str]) -> int:
        """The number of items deleted. Ids that are not there are no error."""
        return self._store.delete(id_in(strings(ids, "an id")))

    def delete_where(self, where: str) -> int:
        """The number of items deleted: all that pass the filter. Raises FilterError."""
        return self._store.delete(self._store.items.checked(where))

    def get(self, ids: Sequence[str]) -> list[Item]:
        """The items with these ids, in their order. Raises InvalidInput for one that is not there."""
        return [item_from(row) for row in self._store.read_rows(strings(ids, "an id"))]

    def search(
        self,
        query: str | Query,
        *,
        k: int = 10,
        kind: Kind | None = None,
        where: str | None = None,
        min_score: float | Literal["auto"] | None = None,
        hybrid: bool = False,
    ) -> Hits:
        """The up to `k` items of highest cosine similarity to `query`, best first.

        A string is the one-line form of a Query: "beach + 0.5*image:cat.jpg - people". `kind` keeps images
        or texts only, `where` is an SQL filter over the columns ("width > 1000 AND camera LIKE 'Canon%'"),
        and hits score at least `min_score`, to the accuracy of float32 (1e-6). "auto" stands for what
        `cutoffs` gives, which may be more than any item scores. Hits of equal score come in the order of
        their ids. Items that `id:` parts name are not among the hits.

        With both kinds in one search, a text and a picture that score alike are not equally good: hits are
        then ordered by how far they stand above what their own kind scores for this query (median and
        quartiles; `calibration` says how), if there are at least 20 items of each kind. `Hit.score` is the
        cosine all the same.

        With `hybrid`, the words of the query's texts are looked for as well: in captions and texts, names of
        files and folders, and your own columns of str or list[str]. Hits then stand in the order that
        reciprocal rank fusion makes of both rankings, though `score` still is the cosine. First come items
        whose file name or id is a text of the query, and those that hold a quoted text word for word. A hit
        with the words may score below `min_score`; one that also has those of a minus term counts as without.
        The first hybrid search builds the full-text indexes.

        Raises QueryError, FilterError, or InvalidInput for a `k` below 1.
        """
        request = Request(query, k, kind, where, min_score, hybrid)
        return search(self._store, self._backgrounds, self._model.for_search, request)

    def embedded(self, query: str | Query) -> Query:
        """The same query with its parts as vectors, for several searches by it. Raises as `search` does."""
        return embedded(self._store, self._model.for_search, query)

    def cutoffs(self, query: str | Query) -> dict[Kind, float]:
        """The scores from which on items are unlikely to be there by chance, by kind: `min_score="auto"`.

        They are the query's own, from how all items of a kind score for it, whatever a filter would leave:
        `calibration` has the method and its limits. Kinds of fewer than 20 items have none, and are not cut.
        Raises QueryError or InvalidInput.
        """
        return cutoffs(self._store, self._backgrounds, self._model.for_search, query)

    def count(self, *, kind: Kind | None = None, where: str | None = None) -> int:
        """The number of items, of those that pass the filter."""
        return self._store.items.count(all_of(kind_is(kind), self._store.checked(where)))

    def thumbnails(self, ids: Sequence[str]) -> dict[str, bytes]:
        """JPEG bytes by id, for those of `ids` that are images."""
        return self._store.read_thumbnails(strings(ids, "an id"))

    def batches(
        self,
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        batch_size: int = EXPORT_BATCH,
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of up to `batch_size` items, vectors included unless `columns` says otherwise.

        Items added after the start are left out; others may write meanwhile.
        """
        names = checked_columns(columns, self._store.columns())
        return self._store.batches(names, self._store.checked(where), at_least_1(batch_size, "batch_size"))

    def to_arrow(self, *, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """All items, or those that pass the filter, as one Arrow table."""
        names = checked_columns(columns, self._store.columns())
        return self._store.read(names, self._store.checked(where))

    def to_pandas(self, *, columns: Sequence[str] | None = None, where: str | None = None) -> pd.DataFrame:
        """The same as a data frame. Raises MissingExtra without pandas."""
        return to_pandas(self.to_arrow(columns=columns, where=where))

    def to_parquet(self, path: str | os.PathLike[str], *, where: str | None = None) -> int:
        """The number of items written to a Parquet file, which appears, or is replaced, only when complete.

        Raises StorageError if it cannot be written.
        """
        return self._store.to_parquet(os.path.expanduser(path), self._store.checked(where), EXPORT_BATCH)

    def failures(self) -> list[Failure]:
        """The files that the last runs of `index` could not read, and why."""
        stored = self._store.failures.read(["id", "reason"]).sort_by("id")
        return [Failure(row["id"], row["reason"]) for row in stored.to_pylist()]

    def status(self) -> Status:
        """What the collection holds."""
        return self._store.status()

    def tune(
        self,
        recall: float = 0.95,
        *,
        sample: int = SAMPLE,
        texts: Sequence[str] | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Tuning:
        """The report of trying indexes on up to `sample` rows, and of what was chosen for the collection.

        Choices are measured against exact search with vectors held out of the sample, and with `texts`: the
        searches that you expect, one a string; by default stored texts or else searches of every day. The
        fastest whose recall@10 is at least `recall` for both is built, and kept as the collection grows.
        A collection so small that exact search is as good is left as it is, and the report says so.
        """
        return tune(
            self._store, self._model.pinned(), recall=recall, sample=sample, texts=texts, progress=progress
        )

    def reindex(
        self,
        encoder: str | Encoder,
        *,
        switch: bool = True,
        sample: int = COMPARED,
        max_pixels: int | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> ReindexReport:
        """Change the model: give every item a vector of `encoder`, then have searches use these.

        Until the switch, one commit, all else goes on with the old model. Pictures are read again from their
        files, or from their thumbnails where those are gone. An interrupted run is continued by running it
        again. Without `switch` the vectors are only made, and the models compared on a `sample`. The old
        vectors stay until `drop_old_vectors`. Collections opened without an encoder follow by themselves.
        """
        model = self._model.another(encoder)
        report = reindex(
            self._store, model, switch=switch, sample=sample, max_pixels=max_pixels, progress=progress
        )
        if report.switched:
            self._model.adopt(model)
        return report

    def reindex_back(self) -> str:
        """The name of the model that searches use again: the one before the last switch, at once.

        What was added since has no vector of it until `reindex` is run with it, and is not found until then.
        Raises CollectionMismatch if the model was never changed, or the old vectors were dropped.
        """
        return switch_back(self._store).encoder

    def drop_old_vectors(self) -> list[str]:
        """The names of the models whose vectors were dropped to free their space: all but the current one."""
        return drop_others(self._store)

    def snapshot(self, name: str) -> Snapshot:
        """Keep what the collection is now under a name. Raises InvalidInput for one that is taken."""
        return snapshots.take(self._store, name)

    def snapshots(self) -> list[Snapshot]:
        """The named versions of this collection, oldest first."""
        return snapshots.listed(self._store)

    def restore(self, name: str) -> str:
        """The name of a new snapshot, with which `restore` undoes what this does: go back to `name`."""
        return snapshots.restore(self._store, name)

    def delete_snapshot(self, name: str) -> None:
        """Give up a named version, and free what only it needed."""
        snapshots.delete(self._store, name)

    def changes(self, before: str, after: str | None = None) -> SnapshotChanges:
        """The ids added, removed and changed from one snapshot to another, or to now."""
        return snapshots.changes(self._store, before, after)

    def optimize(self) -> None:
        """Compact the tables and bring the vector index up to date. Happens by itself after many writes."""
        self._store.optimize()

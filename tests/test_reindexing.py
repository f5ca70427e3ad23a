from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from numpy.typing import NDArray

import clipkit.lance.upkeep
import clipkit.reindexing
from clipkit import Collection, Query
from clipkit.comparison import compare_models
from clipkit.encoder import Pixels, Vectors
from clipkit.errors import CollectionMismatch, InvalidInput
from clipkit.images import read_picture
from clipkit.reading import size_needed
from clipkit.reports import Progress
from clipkit.stamps import Stamp
from clipkit.testing import FakeEncoder
from tests.pictures import draw, draw_folder


class Mirrored(FakeEncoder):
    """Another model of the same dimension: no vector of it may be compared with one of the other's."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.fingerprint = "mirrored", "mirrored-1"

    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        return super()._text_batch(texts)[:, ::-1]

    def _pixel_batch(self, pixels: list[Pixels]) -> NDArray[Any]:
        return super()._pixel_batch(pixels)[:, ::-1]


class Dazed(FakeEncoder):
    """Does something else in between, as other processes do, when it has encoded that many pictures."""

    def __init__(self, after: int, action: Any) -> None:
        super().__init__(48)
        self.left, self.action = after, action

    def encode_pixels(self, pixels: Any) -> Vectors:
        self.left -= len(pixels)
        if self.left <= 0 and self.action is not None:
            action, self.action = self.action, None
            action()
        return super().encode_pixels(pixels)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "photos", 40)
    return tmp_path / "photos"


@pytest.fixture
def filled(photos: Path, db: Path) -> Collection:
    """Pictures and texts, embedded by a model that is known by its name."""
    collection = Collection.create(db=db, encoder="fake", columns={"stars": int})
    collection.index(photos)
    collection.add_texts(
        ["red", "a blue house", "green"], ids=["t1", "t2", "t3"], metadata=[{"stars": 5}] * 3
    )
    return collection


def vectors(collection: Collection) -> dict[str, bytes]:
    rows = collection.to_arrow(columns=["id", "vector"]).to_pylist()
    return {row["id"]: np.asarray(row["vector"], np.float32).tobytes() for row in rows}


def made_anew(collection: Collection, photos: Path, encoder: FakeEncoder) -> dict[str, bytes]:
    """The vectors that the same items would have in a collection that was made with `encoder`."""
    fresh = Collection.create("fresh", db=collection.db, encoder=encoder)
    fresh.index(photos)
    texts = collection.to_arrow(where="kind = 'text'").to_pylist()
    fresh.add_texts([row["text"] for row in texts], ids=[row["id"] for row in texts])
    return vectors(fresh)


def columns_on_disk(collection: Collection) -> list[str]:
    return [
        name for name in lancedb.connect(collection.db).open_table("default").schema.names if "vector" in name
    ]


# --- the change


@pytest.mark.parametrize("encoder", [FakeEncoder(48), Mirrored()])
def test_a_new_model_gets_the_vectors_that_it_would_have_made_at_first(
    encoder: FakeEncoder, filled: Collection, photos: Path
) -> None:
    before = filled.to_arrow().drop_columns(["vector"]).sort_by("id")
    report = filled.reindex(encoder, sample=0)
    assert (report.model, report.before, report.switched) == (encoder.name, "fake", True)
    assert (report.embedded, report.from_thumbnails, report.failures) == (43, 0, ())
    with_it = Collection.open(db=filled.db, encoder=encoder)
    assert (with_it.encoder_name, with_it.dim) == (encoder.name, encoder.dim)
    assert vectors(with_it) == made_anew(filled, photos, encoder)
    assert with_it.to_arrow().drop_columns(["vector"]).sort_by("id") == before
    assert with_it.search("red", k=1)[0].score == pytest.approx(1.0)


def test_until_the_switch_nothing_changes_for_others(filled: Collection) -> None:
    before = vectors(filled)
    report = filled.reindex("fake:48", switch=False, sample=0)
    assert (report.switched, report.embedded) == (False, 43)
    assert (filled.encoder_name, vectors(filled)) == ("fake", before)
    assert "vector" in filled.to_arrow().schema.names
    assert (
        filled.to_arrow().schema.names
        == filled.to_arrow().select(filled.to_arrow().schema.names).schema.names
    )
    assert set(filled.search("red", k=1)[0].metadata) == set(filled.to_arrow().schema.names) - {
        *("id", "uri", "kind", "text", "vector")
    }
    again = filled.reindex("fake:48", sample=0)
    assert (again.switched, again.embedded) == (True, 0)


def test_the_same_model_again_is_nothing_to_do(filled: Collection) -> None:
    report = filled.reindex("fake", sample=0)
    assert (report.embedded, report.switched, report.comparison) == (0, True, None)
    assert columns_on_disk(filled) == ["vector"]


def test_progress_counts_every_item(filled: Collection) -> None:
    seen: list[Progress] = []
    filled.reindex("fake:48", progress=seen.append)
    assert (seen[-1].done, seen[-1].total, seen[-1].skipped) == (43, 43, 0)


def test_a_model_that_cannot_take_what_is_there_is_refused_at_once(
    filled: Collection,
) -> None:
    blind = FakeEncoder(48)
    blind.modalities = frozenset({"text"})
    with pytest.raises(InvalidInput, match="fake:48 embeds no images, and the collection holds 40"):
        filled.reindex(blind, sample=0)
    assert columns_on_disk(filled) == ["vector"]


# --- who else has it open


def test_a_handle_without_an_encoder_of_its_own_follows(filled: Collection) -> None:
    other = Collection.open(db=filled.db)
    assert other.search("red", k=1)[0].score == pytest.approx(1.0)
    filled.reindex("fake:48", sample=0)
    assert other.search("red", k=1)[0].score == pytest.approx(1.0)
    assert other.add_texts(["yellow"], ids=["y"]).added == 1
    assert (other.encoder.dim, other.get(["y"])[0].vector.shape) == (48, (48,))
    assert filled.search("yellow", kind="text", k=1)[0].id == "y"


@pytest.mark.parametrize("encoder", [FakeEncoder(48), Mirrored()])
def test_a_handle_with_its_own_encoder_searches_on_and_writes_no_more(
    encoder: FakeEncoder, filled: Collection, photos: Path
) -> None:
    own = Collection.open(db=filled.db, encoder=FakeEncoder())
    expected = own.search("red", k=50)
    item = next(iter(photos.rglob("*.jpg")))
    filled.reindex(encoder, sample=0)
    assert own.search("red", k=50) == expected
    assert own.search(Query.item(str(item)), k=5) != []
    draw(photos / "new.jpg", seed=500)
    for write in (lambda: own.add_texts(["x"]), lambda: own.index(photos)):
        with pytest.raises(CollectionMismatch, match=r"holds vectors of .* Open it without naming a model"):
            write()
    own_again = Collection.open(db=filled.db, encoder=encoder)
    own_again.drop_old_vectors()
    with pytest.raises(CollectionMismatch, match=r"holds vectors of .* which those of fake \(32\) cannot be"):
        own.search("red")


def test_one_job_keeps_to_one_model(filled: Collection, photos: Path) -> None:
    """A switch in the middle of a run must not let pixels for one model go into the other."""
    draw_folder(photos / "more", 200, first=1000)
    other = Collection.open(db=filled.db)
    switched = False

    def switch(_: Progress) -> None:
        nonlocal switched
        if not switched:
            switched = True
            filled.reindex("fake:48", sample=0)

    with pytest.raises(CollectionMismatch, match=r"has changed its model to fake:48 .* Run the same again"):
        other.index(photos, progress=switch)
    assert other.index(photos).added > 0
    assert vectors(other) == made_anew(other, photos, FakeEncoder(48))


# --- writers in the middle


def test_what_others_change_meanwhile_never_keeps_a_stale_vector(filled: Collection, photos: Path) -> None:
    writer = Collection.open(db=filled.db, encoder=FakeEncoder())
    files = sorted(photos.rglob("*.jpg"))

    def meddle() -> None:
        writer.add_texts(["purple", "yellow"], ids=["t1", "new"])
        writer.delete(["t3", str(files[5])])
        files[5].unlink()
        draw(files[0], seed=700)  # embedded already
        draw(files[-1], seed=701)  # not yet
        files[1].rename(files[1].with_name("moved.jpg"))
        files[2].write_bytes(files[3].read_bytes())
        writer.index(photos)

    encoder = Dazed(10, meddle)
    filled.reindex(encoder, sample=0)
    assert encoder.action is None
    assert vectors(filled) == made_anew(filled, photos, FakeEncoder(48))
    assert filled.search("purple", kind="text", k=1)[0].id == "t1"


def test_a_row_that_changed_while_it_was_embedded_is_embedded_again(
    filled: Collection, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change falls between reading an item and storing its vector: the table must refuse that one."""
    monkeypatch.setattr(clipkit.reindexing, "COMMIT_SECONDS", 1e9)
    writer = Collection.open(db=filled.db, encoder=FakeEncoder())
    changed = sorted(photos.rglob("*.jpg"))[0]

    def meddle() -> None:
        draw(changed, seed=800)
        writer.index(photos)
        writer.add_texts(["red of other words"], ids=["t2"])

    report = filled.reindex(Dazed(40, meddle), sample=0)
    assert report.embedded == 43
    assert vectors(filled) == made_anew(filled, photos, FakeEncoder(48))


def test_an_item_without_a_vector_of_the_new_model_is_embedded_by_the_next_index(
    filled: Collection, photos: Path
) -> None:
    """As after a write of the old model that comes just after the switch."""
    filled.reindex("fake:48", switch=False, sample=0)
    column = Stamp.of(FakeEncoder(48)).column
    store = filled._store
    draw(photos / "late.jpg", seed=900)
    shutil.copy(photos / "late.jpg", photos / "copy.jpg")
    filled.index(photos)
    clipkit.reindexing.switch_to(store, column)
    assert len(store.lacking()) == 2
    assert {item.vector.shape for item in filled.get(store.lacking())} == {(0,)}
    with pytest.raises(InvalidInput, match="has no vector of this model yet: finish with reindex"):
        filled.search(Query.item(str(photos / "late.jpg")))
    report = filled.index(photos)
    assert (report.added, report.updated, report.unchanged) == (0, 2, 40)
    assert store.lacking() == []
    assert vectors(filled) == made_anew(filled, photos, FakeEncoder(48))


# --- pictures that are not files any more


def test_what_has_no_file_is_embedded_from_its_thumbnail_and_counted(
    filled: Collection, photos: Path
) -> None:
    first, second, third, *_ = sorted(photos.rglob("*.jpg"))
    filled.add_images([first.read_bytes(), np.zeros((9, 9, 3), np.uint8)], ids=["bytes", "black"])
    second.unlink()
    draw(third, seed=1234, colour="white")  # another picture now, which the collection does not know yet
    report = filled.reindex("fake:48", sample=0)
    assert (report.embedded, report.from_thumbnails, report.failures) == (45, 4, ())
    assert {hit.id for hit in filled.search("black", kind="image", k=60, min_score=0.9)} >= {"black"}
    assert filled.search("white", kind="image", k=1)[0].id != str(third)


def test_members_of_archives_are_read_from_them(db: Path, tmp_path: Path) -> None:
    picture = draw(tmp_path / "one.jpg", seed=3)
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(picture, "cats/one.jpg")
    collection = Collection.create(db=db, encoder="fake")
    collection.add_images([picture], ids=["member"])
    rows = collection._store.items.read(["id", "uri", "kind"])
    rows = rows.set_column(1, rows.schema.field("uri"), [[f"{tmp_path}/shard.tar#cats/one.jpg"]])
    collection._store.items.update(rows)
    report = collection.reindex("fake:48", sample=0)
    assert (report.embedded, report.from_thumbnails) == (1, 0)
    other = FakeEncoder(48)
    image = read_picture(picture, reduce_to=size_needed(other)).image
    expected = other.encode_pixels([other.preprocess(image)])[0]
    np.testing.assert_allclose(collection.get(["member"])[0].vector, expected, atol=1e-6)


def test_an_item_that_cannot_be_embedded_stays_and_is_told(filled: Collection, photos: Path) -> None:
    lost = sorted(photos.rglob("*.jpg"))[0]
    lost.unlink()
    filled._store.thumbnails.delete_ids([str(lost)])
    report = filled.reindex("fake:48", sample=0)
    ((failure,), embedded) = (report.failures, report.embedded)
    assert (failure.id, embedded) == (str(lost), 42)
    assert "its file is gone or has changed, and it has no thumbnail" in failure.reason
    assert filled.count() == 43
    assert str(lost) not in {hit.id for hit in filled.search("red", k=100)}
    with pytest.raises(InvalidInput, match=r"1 items?, such as '.*', ha.* no vector of fake:48 yet"):
        filled.drop_old_vectors()


# --- resuming


def test_an_interrupted_run_is_continued(
    filled: Collection, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipkit.reindexing, "ENCODE_BATCH", 8)

    def interrupt() -> None:
        raise KeyboardInterrupt("just now")

    with pytest.raises(KeyboardInterrupt, match="just now"):
        filled.reindex(Dazed(25, interrupt), sample=0)
    assert filled.encoder_name == "fake"
    report = filled.reindex("fake:48", sample=0)
    assert 0 < report.embedded < 43
    assert vectors(filled) == made_anew(filled, photos, FakeEncoder(48))


# --- comparing


def test_a_model_agrees_with_itself(filled: Collection) -> None:
    found = compare_models(filled._store, "vector", "vector")
    assert (found.queries, found.overlap, found.texts, found.texts_overlap) == (40, 1.0, 3, 1.0)
    assert found.unlike[0][1] == 1.0


def test_the_overlap_is_the_share_of_hits_that_two_models_have_in_common(filled: Collection) -> None:
    report = filled.reindex("fake:48", switch=False)
    assert report.comparison is not None
    rows = filled.to_arrow(columns=["id", "vector"], where="kind = 'image'").to_pylist()
    ids = [row["id"] for row in rows]
    filled.reindex("fake:48", sample=0)
    new = {row["id"]: row["vector"] for row in filled.to_arrow(columns=["id", "vector"]).to_pylist()}
    spaces = [np.array([row["vector"] for row in rows]), np.array([new[id] for id in ids])]
    cosines = [space @ space.T - 2 * np.eye(len(ids)) for space in spaces]
    best = [np.argsort(-matrix, axis=1)[:, :10] for matrix in cosines]
    expected = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*best, strict=True)])
    assert report.comparison.queries == 40
    assert report.comparison.overlap == pytest.approx(expected)
    assert 0.1 < expected < 1.0
    least = min(
        zip(ids, best[0], best[1], strict=True), key=lambda row: (len(set(row[1]) & set(row[2])), row[0])
    )
    assert report.comparison.unlike[0][0] == least[0]


def test_there_may_be_nothing_to_compare(db: Path) -> None:
    collection = Collection.create(db=db, encoder="fake")
    report = collection.reindex("fake:48")
    assert report.comparison is not None
    assert (report.comparison.queries, report.comparison.overlap) == (0, None)
    assert (report.comparison.texts, report.comparison.texts_overlap) == (0, None)
    assert collection.reindex("fake:64", sample=0).comparison is None


# --- back, and away with the old


def test_back_is_one_step_and_forth_again(filled: Collection, photos: Path) -> None:
    before = vectors(filled)
    filled.reindex("fake:48", sample=0)
    filled.add_texts(["yellow"], ids=["y"])
    assert filled.reindex_back() == "fake"
    assert filled.encoder_name == "fake"
    assert "y" not in {hit.id for hit in filled.search("yellow", k=100)}
    assert filled.reindex("fake", sample=0).embedded == 1
    assert {id: vector for id, vector in vectors(filled).items() if id != "y"} == before
    assert filled.search("yellow", kind="text", k=1)[0].id == "y"
    assert filled.reindex_back() == "fake:48"
    assert vectors(filled) == made_anew(filled, photos, FakeEncoder(48))


def test_back_needs_something_to_go_back_to(filled: Collection) -> None:
    with pytest.raises(CollectionMismatch, match="no vectors but those of fake to go back to"):
        filled.reindex_back()
    filled.reindex("fake:48", sample=0)
    filled.drop_old_vectors()
    with pytest.raises(CollectionMismatch, match="no vectors but those of fake:48 to go back to"):
        filled.reindex_back()


def test_dropping_old_vectors_frees_their_space_and_no_model_takes_their_column(
    filled: Collection, photos: Path
) -> None:
    filled.add_texts([f"word{i}" for i in range(1000)], ids=[f"w{i}" for i in range(1000)])
    filled.optimize()
    alone = filled.status().size_bytes
    assert filled.drop_old_vectors() == []
    filled.reindex("fake:48", sample=0)
    both = filled.status().size_bytes
    assert filled.drop_old_vectors() == ["fake"]
    assert both - filled.status().size_bytes > 0.9 * 1000 * 32 * 4
    assert filled.status().size_bytes < alone + 1.2 * 1000 * 16 * 4
    filled.reindex(Mirrored(), sample=0)
    assert "vector" not in columns_on_disk(filled)
    assert len(columns_on_disk(filled)) == 2
    assert vectors(filled)["t1"] == Mirrored().encode_texts(["red"])[0].tobytes()


def test_exports_show_one_vector_under_one_name(filled: Collection, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    names = filled.to_arrow().schema.names
    filled.reindex("fake:48", sample=0)
    filled.to_parquet(tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet")
    assert table.schema.names == filled.to_arrow().schema.names
    assert sorted(table.schema.names) == sorted(names)
    assert table.schema.field("vector").type.list_size == 48
    assert Stamp.from_field(table.schema.field("vector")) == Stamp.of(FakeEncoder(48))
    batch = next(filled.batches(columns=["vector", "id"]))
    assert (batch.schema.names, batch["vector"].type.list_size) == (["vector", "id"], 48)
    assert filled.columns == {"stars": "int64"}


def test_an_index_is_there_before_the_switch(filled: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipkit.lance.upkeep, "INDEX_FROM_ROWS", 20)
    filled.optimize()
    filled.reindex("fake:48", sample=0)
    column = Stamp.of(FakeEncoder(48)).column
    assert column in filled._store.items.indexed()
    assert filled.search("red", k=1)[0].score == pytest.approx(1.0)
    assert set(filled._store.items.indexes) & set(filled._store.stamps.by_column) == {column}

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import clipkit.lance.plans
import clipkit.lance.upkeep
import clipkit.lance.vectors
from clipkit import Collection
from clipkit.errors import InvalidInput
from clipkit.lance import Built, Plan
from clipkit.quality import caption_quality, index_quality
from clipkit.reports import Progress
from clipkit.schema import ItemRow
from clipkit.tuning import PHRASES

DIM = 32
ROWS = 2_000

Vectors = NDArray[np.float32]


def unit(rows: Any) -> Vectors:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, np.float32)


def scattered(n: int, seed: int = 0) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(n, DIM)))


def filled(db: Path, images: Vectors) -> Collection:
    made = Collection.create(db=db, encoder="fake")  # of 32 dimensions
    rows = [ItemRow(id=f"{i}", kind="image") for i in range(len(images))]
    made._store.write(rows, images, made_by=made.encoder)
    return made


def described(collection: Collection, captions: list[tuple[str, str, Vectors]]) -> None:
    """(image, text, vector) for each caption."""
    rows = [
        ItemRow(id=f"caption:{i}", kind="text", text=text, image_id=image)
        for i, (image, text, _) in enumerate(captions)
    ]
    vectors = np.stack([vector for _, _, vector in captions])
    collection._store.write(rows, vectors, made_by=collection.encoder)


# --- the index


def test_exact_searches_find_all_there_is_to_be_found(tmp_path: Path) -> None:
    told: list[Progress] = []
    found = index_quality(filled(tmp_path, scattered(300)), queries=40, progress=told.append)
    assert found.recalls == {"image": 1.0, "text": 1.0}
    assert found.queries == {"image": 40, "text": 40}
    assert found.recall == 1.0
    assert 0 < found.p50_ms <= found.p95_ms
    assert told[-1] == Progress(80, 80, 0)


def test_few_items_are_all_that_can_be_found(tmp_path: Path) -> None:
    found = index_quality(filled(tmp_path, scattered(3)))
    assert (found.recalls, found.queries) == ({"image": 1.0, "text": 1.0}, {"image": 3, "text": len(PHRASES)})


def test_copies_are_as_right_as_each_other(tmp_path: Path) -> None:
    found = index_quality(filled(tmp_path, np.repeat(scattered(4), 30, axis=0)))
    assert found.recall == 1.0


def test_stored_texts_are_the_queries_where_there_are_some(tmp_path: Path) -> None:
    collection = filled(tmp_path, scattered(50))
    collection.add_texts([f"text {i}" for i in range(7)])
    assert index_quality(collection).queries == {"image": 50, "text": 7}
    assert index_quality(collection, kind="text").queries == {"image": 50, "text": 7}


def test_what_a_search_is_kept_from_reading_it_cannot_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all partitions read, the index finds what a scan does; with one of forty, much less."""
    monkeypatch.setattr(clipkit.lance.upkeep, "INDEX_FROM_ROWS", ROWS)
    monkeypatch.setattr(clipkit.lance.plans, "ROWS_PER_PARTITION", 50)
    monkeypatch.setattr(clipkit.lance.vectors, "EXACT_UP_TO_ROWS", 10)
    collection = filled(tmp_path, scattered(ROWS))
    index = collection._store.vectors.index
    all_read = Plan("flat", ROWS // 50, ROWS // 50, 1)
    index.adopt(Built(all_read, ROWS))
    assert index_quality(collection, queries=20).recall == 1.0
    index.note(Built(Plan("flat", ROWS // 50, 1, 1), ROWS))
    status = collection.status().index
    found = index_quality(collection, queries=20)
    assert found.recall == min(found.recalls.values()) < 0.7
    assert collection.status().index == status


def test_an_empty_collection_has_no_searches_to_measure(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'default' has 1 items of the kind image: index more first"):
        index_quality(filled(tmp_path, scattered(1)))


# --- captions


def test_captions_find_their_pictures_as_often_as_their_vectors_say(tmp_path: Path) -> None:
    """Ten pictures along ten axes. Eight captions lie at their picture, one at another's."""
    axes = np.eye(DIM, dtype=np.float32)[:10]
    collection = filled(tmp_path, axes)
    described(
        collection,
        [*((f"{i}", f"axis {i}", axes[i]) for i in range(8)), ("8", "axis 9, it says", axes[9])],
    )
    found = {measure.name: (measure.value, measure.n) for measure in caption_quality(collection)}
    assert found["text→image R@1"] == (8 / 9, 9)
    assert found["image→text R@1"] == (8 / 9, 9)
    assert found["text→image R@10"] == (1.0, 9)


def test_one_text_of_several_pictures_is_right_for_each(tmp_path: Path) -> None:
    axes = np.eye(DIM, dtype=np.float32)
    collection = filled(tmp_path, unit([axes[0] + 0.1 * axes[2], axes[0] + 0.1 * axes[3], axes[1]]))
    described(collection, [("0", "the same", axes[0]), ("1", "the same", axes[0]), ("2", "other", axes[1])])
    found = {measure.name: (measure.value, measure.n) for measure in caption_quality(collection)}
    assert found["text→image R@1"] == (1.0, 3)
    assert found["image→text R@1"] == (1.0, 3)


def test_of_many_captioned_pictures_some_are_drawn(tmp_path: Path) -> None:
    vectors = scattered(40)
    collection = filled(tmp_path, vectors)
    described(collection, [(f"{i}", f"text {i}", vectors[i]) for i in range(40)])
    assert {measure.n for measure in caption_quality(collection, sample=15)} == {15}


def test_without_captions_there_is_nothing_to_tell(tmp_path: Path) -> None:
    collection = filled(tmp_path, scattered(5))
    collection.add_texts(["about no picture"])
    described(collection, [("gone", "of a picture that is not there", scattered(1)[0])])
    assert caption_quality(collection) == ()

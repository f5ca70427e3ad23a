from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clipkit import Collection, Query, calibration
from clipkit.calibration import FALSE_SHARE, FEWEST, LEAST_SPREAD, Scale, cutoff, scale_of
from clipkit.errors import InvalidInput
from clipkit.schema import ItemRow
from clipkit.testing import FakeEncoder

DIM = 32
AXIS = np.eye(DIM, dtype=np.float32)[0]
QUERY = Query.vector(AXIS)


def with_scores(scores: NDArray[np.float64], seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors, (n, DIM), whose cosines to `AXIS` are the given scores."""
    rest = np.random.default_rng(seed).normal(size=(len(scores), DIM - 1))
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    return np.column_stack([scores, np.sqrt(1 - scores**2)[:, None] * rest]).astype(np.float32)


def collection_of(db: Path, **kinds: NDArray[np.float64]) -> Collection:
    """Items image:0000 and so on, that have the given scores for `QUERY`."""
    encoder = FakeEncoder(DIM)
    collection = Collection.create(db=db, encoder=encoder)
    for kind, scores in kinds.items():
        rows = [ItemRow(f"{kind}:{i:05}", kind, width=i) for i in range(len(scores))]  # type: ignore[arg-type]
        collection._store.write(rows, with_scores(scores), made_by=encoder)
    return collection


def planted(n: int, right: int, seed: int = 0, above: float = 6.0) -> tuple[NDArray[np.float64], float]:
    """n scores, the right ones first, around 0.2 + 0.03 * above; and the middle between both."""
    random = np.random.default_rng(seed)
    scores = random.normal(0.2, 0.03, n)
    scores[:right] += 0.03 * above
    return scores, 0.2 + 0.03 * above / 2


# --- the background


def test_the_scale_is_the_median_and_the_quartiles() -> None:
    even = np.arange(41) / 100
    for scores, middle, width in ((even, 0.20, 0.20), (np.append(even, [0.9, 0.95, 1.0, 1.0]), 0.22, 0.22)):
        scale = scale_of(scores)
        assert (scale.middle, scale.spread) == pytest.approx((middle, width / 1.349))


@pytest.mark.parametrize("n", [100, 1000, 10_000])
@pytest.mark.parametrize("right", [0.0, 0.01, 0.1, 0.3, 0.6, 0.8])
def test_right_items_hardly_move_the_background(n: int, right: float) -> None:
    scale = scale_of(np.sort(planted(n, int(right * n))[0]))
    assert scale.middle == pytest.approx(0.2, abs=0.02)
    assert scale.spread == pytest.approx(0.03, rel=0.5)


def test_scores_that_hardly_differ_are_alike() -> None:
    scale = scale_of(np.full(100, 0.3))
    assert (scale.middle, scale.spread) == pytest.approx((0.3, LEAST_SPREAD))
    assert scale.standard(np.array([0.3, 0.301])) == pytest.approx([0.0, 1.0])


def test_standard_scores_are_read_back() -> None:
    scale = Scale(0.2, 0.05)
    assert scale.score(float(scale.standard(np.array([0.33]))[0])) == pytest.approx(0.33)
    assert scale.score(100.0) == 1.0


# --- the cut-off


def benjamini_hochberg(scores: NDArray[np.float64]) -> int:
    """How many are kept, by the book: the largest i whose p-value is at most i / n times the level."""
    scale = scale_of(scores)
    falling = sorted(scores, reverse=True)
    chances = [math.erfc((score - scale.middle) / scale.spread / math.sqrt(2)) / 2 for score in falling]
    passed = [i for i, p in enumerate(chances, 1) if p <= FALSE_SHARE * i / len(scores)]
    return max(passed, default=0)


@pytest.mark.parametrize("n", [20, 100, 3000])
@pytest.mark.parametrize("right", [0.0, 0.02, 0.2, 0.5])
@pytest.mark.parametrize("above", [2.0, 3.5])
def test_the_cut_is_where_benjamini_and_hochberg_put_it(n: int, right: float, above: float) -> None:
    for seed in range(5):
        scores = np.sort(planted(n, int(right * n), seed, above)[0])
        least = cutoff(scores, total=n)
        assert (scores >= least).sum() == benjamini_hochberg(scores)


@pytest.mark.parametrize("right", [1, 50, 500, 3000, 6000])
def test_what_stands_out_is_kept_be_it_little_or_much(right: int) -> None:
    scores, between = planted(10_000, right, above=7)
    kept = scores >= cutoff(np.sort(scores), total=10_000)
    assert kept[:right].mean() >= 0.98
    assert kept[right:].sum() <= max(2, 0.1 * right)
    assert right > 50 or cutoff(np.sort(scores), total=10_000) == pytest.approx(between, abs=0.05)


def test_where_nothing_stands_out_nothing_is_kept() -> None:
    kept = [
        int((scores >= cutoff(scores, total=1000)).sum())
        for scores in (np.sort(planted(1000, 0, seed)[0]) for seed in range(200))
    ]
    assert np.mean([n == 0 for n in kept]) >= 0.9
    assert max(kept) < 10


@pytest.mark.parametrize(("alike", "kept"), [(0.0, 0), (0.3, 0), (1.0, 40)])
def test_equal_scores_do_not_stand_out_unless_they_are_copies(alike: float, kept: int) -> None:
    scores = np.full(40, alike)
    assert (scores >= cutoff(scores, total=40)).sum() == kept


def test_one_that_differs_from_equal_ones_stands_out() -> None:
    assert 0.3 < cutoff(np.array([0.3] * 99 + [0.5]), total=100) < 0.5
    assert 0.3 < cutoff(np.array([0.3] * 60 + [0.5] * 40), total=100) < 0.5


def test_a_cut_off_is_a_cosine() -> None:
    assert cutoff(np.linspace(-1, 1, 1000), total=1000) == 1.0
    assert cutoff(np.array([0.4]), total=1) == pytest.approx(0.4 + 1.645 * LEAST_SPREAD, abs=1e-5)


def test_a_sample_and_the_best_of_all_do_for_all() -> None:
    for right in (0, 3, 100, 30_000):
        scores, _ = planted(100_000, right, above=8)
        sample = np.sort(np.random.default_rng(1).choice(scores, 10_000, replace=False))
        every = np.sort(scores)
        least = cutoff(sample, total=100_000, top=every[-1000:])
        kept = scores >= least
        assert kept[:right].all()
        assert kept[right:].sum() <= 0.1 * right + 1


# --- of a collection


def ids(hits: object) -> list[str]:
    return [hit.id for hit in hits]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Images that score about 0.2, texts about 0.7 and twice as widely; of each the first five are right."""
    images, _ = planted(400, 5, above=6)
    texts = 0.7 + 2 * (planted(300, 5, seed=1, above=4.2)[0] - 0.2)
    texts[:5] = np.clip(texts[:5], None, 0.99)
    return collection_of(tmp_path_factory.mktemp("shifted"), image=images, text=texts)


def test_auto_keeps_what_stands_out_of_each_kind(shifted: Collection) -> None:
    images = shifted.search(QUERY, k=100, kind="image", min_score="auto")
    assert sorted(ids(images)) == [f"image:{i:05}" for i in range(5)]
    assert set(images.cutoffs) == {"image"}
    assert images[-1].score >= images.cutoffs["image"]
    both = shifted.search(QUERY, k=100, min_score="auto")
    assert {f"image:{i:05}" for i in range(5)} <= set(ids(both))
    assert both.cutoffs == shifted.cutoffs(QUERY)
    assert set(both.cutoffs) == {"image", "text"}
    assert all(hit.score >= both.cutoffs[hit.kind] for hit in both)
    texts = shifted.search(QUERY, k=300, kind="text")
    kept = [hit.id for hit in texts if hit.score >= both.cutoffs["text"]]
    assert kept == [hit.id for hit in both if hit.kind == "text"]


def test_auto_counts_within_k_and_filters_do_not_move_it(shifted: Collection) -> None:
    every = shifted.search(QUERY, k=100, kind="image", min_score="auto")
    assert ids(shifted.search(QUERY, k=2, kind="image", min_score="auto")) == ids(every)[:2]
    some = shifted.search(QUERY, k=100, kind="image", min_score="auto", where="width IN (0, 3, 30, 31)")
    assert set(ids(some)) == {"image:00000", "image:00003"}
    assert some.cutoffs == every.cutoffs
    assert shifted.search(QUERY, kind="image", min_score="auto", where="width >= 30") == []


def test_slices_keep_the_cut_off_and_other_searches_have_none(shifted: Collection) -> None:
    hits = shifted.search(QUERY, kind="image", min_score="auto")
    assert hits[:2].cutoffs == hits.cutoffs != {}
    assert shifted.search(QUERY, kind="image").cutoffs == {}
    assert shifted.search(QUERY, kind="image", min_score=0.3).cutoffs == {}


def test_images_and_texts_are_ranked_each_on_their_own_scale(shifted: Collection) -> None:
    table = shifted.to_arrow().to_pydict()
    scores = np.array(table["vector"], np.float64)[:, 0]
    kinds, names = np.array(table["kind"]), np.array(table["id"])
    standard = np.empty(len(scores))
    for kind in ("image", "text"):
        lower, middle, upper = np.percentile(scores[kinds == kind], [25, 50, 75])
        standard[kinds == kind] = (scores[kinds == kind] - middle) / (upper - lower)
    expected = np.sort(standard)[::-1]
    place = {name: i for i, name in enumerate(names)}
    for k in (1, 7, 50, 700, 5000):
        hits = shifted.search(QUERY, k=k)
        found = [place[hit.id] for hit in hits]
        assert len(set(found)) == len(hits) == min(k, 700)
        np.testing.assert_allclose(standard[found], expected[:k], atol=1e-4)  # cosines in float32
        np.testing.assert_allclose([hit.score for hit in hits], scores[found], atol=1e-6)
    assert {hit.kind for hit in shifted.search(QUERY, k=7)} == {"image", "text"}


def test_filters_and_min_score_hold_for_both_kinds(shifted: Collection) -> None:
    hits = shifted.search(QUERY, k=50, where="width >= 5 AND width < 25")
    assert len(hits) == 40
    assert {hit.metadata["width"] for hit in hits} == set(range(5, 25))
    assert [hit.kind for hit in hits] != sorted(hit.kind for hit in hits)
    cut = shifted.search(QUERY, k=1000, min_score=0.5)
    assert all(hit.score >= 0.5 - 1e-6 for hit in cut)
    assert len(cut) == sum(hit.score >= 0.5 for hit in shifted.search(QUERY, k=1000))
    assert ids(shifted.search(QUERY, k=3, where="kind = 'text'")) == ids(
        shifted.search(QUERY, k=3, kind="text")
    )


def test_equal_items_of_two_kinds_come_in_the_order_of_their_ids(db: Path) -> None:
    scores = np.repeat([0.9, 0.2], [5, 45])
    collection = collection_of(db, text=scores, image=scores)
    best = ids(collection.search(QUERY, k=10))
    assert best == sorted(best)
    assert len({identity[:5] for identity in best}) == 2


def test_a_few_of_a_kind_have_no_scale(db: Path) -> None:
    texts = np.linspace(0.5, 0.9, FEWEST - 1)
    collection = collection_of(db, image=planted(100, 2)[0], text=texts)
    hits = collection.search(QUERY, k=200)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    kept = collection.search(QUERY, k=200, min_score="auto")
    assert set(kept.cutoffs) == {"image"}
    assert sorted(ids(kept))[:2] == ["image:00000", "image:00001"]
    assert len(kept) == 2 + len(texts)


@pytest.mark.parametrize("n", [0, 1, 2, FEWEST - 1])
def test_a_small_collection_is_not_cut(db: Path, n: int) -> None:
    collection = collection_of(db, image=np.linspace(-0.5, 0.5, n))
    assert collection.cutoffs(QUERY) == {}
    assert len(collection.search(QUERY, k=100, min_score="auto")) == n


def test_items_that_the_query_names_are_left_out_of_account(db: Path) -> None:
    collection = collection_of(db, image=planted(FEWEST + 1, 0)[0])
    assert set(collection.cutoffs(Query.item("image:00001"))) == {"image"}
    both = Query.item("image:00001") + Query.item("image:00002")
    assert collection.cutoffs(both) == {}
    with pytest.raises(InvalidInput, match="there is no item 'image:2'"):
        collection.cutoffs("id:image:2")


def test_changes_are_taken_into_account(db: Path) -> None:
    collection = collection_of(db, image=planted(100, 0)[0])
    before = collection.cutoffs(QUERY)
    rows = [ItemRow(f"more:{i}", "image") for i in range(100)]
    other = Collection.open(db=db, encoder=FakeEncoder(DIM))
    more = with_scores(planted(100, 0, seed=1)[0] + 0.05)
    other._store.write(rows, more, made_by=other.encoder)
    after = collection.cutoffs(QUERY)
    assert after == other.cutoffs(QUERY)
    assert after["image"] > before["image"] + 0.02
    collection.delete([row.id for row in rows])
    assert collection.cutoffs(QUERY) == before
    collection.delete_where("width >= 10")
    assert collection.cutoffs(QUERY) == {}


def test_of_many_items_a_sample_is_read(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SAMPLE", 200)
    scores, _ = planted(2000, 3, above=9)
    collection = collection_of(db, image=scores)
    first = collection.cutoffs(QUERY)
    assert first == Collection.open(db=db, encoder=FakeEncoder(DIM)).cutoffs(QUERY), "the same for all"
    assert sorted(ids(collection.search(QUERY, min_score="auto"))) == [f"image:{i:05}" for i in range(3)]
    collection.delete(["image:01500"])
    assert collection.cutoffs(QUERY) == pytest.approx(first, abs=1e-3)
    rows = [ItemRow(f"more:{i}", "image") for i in range(1000)]
    more = with_scores(planted(1000, 0, seed=1)[0] + 0.05)
    collection._store.write(rows, more, made_by=collection.encoder)
    assert collection.cutoffs(QUERY)["image"] > first["image"] + 0.01
    assert collection.cutoffs(QUERY) == Collection.open(db=db, encoder=FakeEncoder(DIM)).cutoffs(QUERY)


def test_what_full_text_found_stays_whatever_the_cut_off(db: Path) -> None:
    collection = Collection.create(db=db, encoder=FakeEncoder(DIM))
    collection.add_texts(["red", "harbour at dusk", *(f"word{i}" for i in range(60))])
    hits = collection.search("red harbour", k=50, min_score="auto", hybrid=True)
    assert {"red", "harbour at dusk"} <= {hit.text for hit in hits}
    assert all(hit.score >= hits.cutoffs["text"] for hit in hits if hit.text and hit.text.startswith("word"))
    alone = collection.search("red harbour", k=50, min_score=0.99, hybrid=True)
    assert {hit.text for hit in alone} == {"red", "harbour at dusk"}

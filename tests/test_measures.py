from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipkit import measures
from clipkit.encoder import Vectors
from clipkit.errors import InvalidInput
from clipkit.measures import Measure, ensemble, precision, retrieval, zero_shot

AXES = np.eye(6, dtype=np.float32)


def turned(*degrees: float) -> Vectors:
    """Unit rows in a plane, at these angles."""
    angles = np.radians(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def named(found: Sequence[Measure]) -> dict[str, Measure]:
    return {measure.name: measure for measure in found}


# --- a second implementation, slow and plain


def score(a: NDArray[Any], b: NDArray[Any]) -> Fraction:
    exact = sum(Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True))
    return round(Fraction(exact), 7)


def order(query: NDArray[Any], candidates: Vectors, right: set[int]) -> list[int]:
    """The candidates, best first; of equal scores the wrong ones come first."""
    return sorted(range(len(candidates)), key=lambda i: (-score(query, candidates[i]), i in right))


def rank(query: NDArray[Any], candidates: Vectors, right: set[int]) -> int:
    return 1 + next(place for place, i in enumerate(order(query, candidates, right)) if i in right)


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


# --- matrices with many ties: few directions, in few dimensions


@st.composite
def matrices(draw: st.DrawFn, dim: int, at_least: int = 1) -> Vectors:
    grid = st.lists(st.integers(-2, 2), min_size=dim, max_size=dim).filter(any)
    rows = np.array(draw(st.lists(grid, min_size=at_least, max_size=7)), np.float64)
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


@st.composite
def paired(draw: st.DrawFn) -> tuple[Vectors, Vectors, list[tuple[int, int]]]:
    dim = draw(st.integers(1, 3))
    images, texts = draw(matrices(dim)), draw(matrices(dim))
    pair = st.tuples(st.integers(0, len(images) - 1), st.integers(0, len(texts) - 1))
    return images, texts, draw(st.lists(pair, min_size=1, max_size=9))


@given(paired(), st.integers(1, 9))
def test_retrieval_is_what_the_slow_way_gives(
    data: tuple[Vectors, Vectors, list[tuple[int, int]]], k: int
) -> None:
    images, texts, pairs = data
    found = named(retrieval(images, texts, pairs, ks=(k,)))

    linked = sorted(set(pairs))
    to_image = [rank(texts[t], images, {i for i, u in linked if u == t}) for _, t in linked]
    asked = sorted({i for i, _ in linked})
    to_text = [rank(images[i], texts, {t for j, t in linked if j == i}) for i in asked]
    for way, ranks in (("text→image", to_image), ("image→text", to_text)):
        assert found[f"{way} R@{k}"].value == pytest.approx(mean([r <= k for r in ranks]))
        assert found[f"{way} MRR"].value == pytest.approx(mean([1 / r for r in ranks]))
        assert found[f"{way} MRR"].n == len(ranks)


@st.composite
def classified(draw: st.DrawFn) -> tuple[Vectors, list[int], Vectors]:
    dim = draw(st.integers(1, 3))
    images, classes = draw(matrices(dim)), draw(matrices(dim))
    labels = st.lists(st.integers(0, len(classes) - 1), min_size=len(images), max_size=len(images))
    return images, draw(labels), classes


@given(classified(), st.integers(1, 9))
def test_zero_shot_is_what_the_slow_way_gives(data: tuple[Vectors, list[int], Vectors], k: int) -> None:
    images, labels, classes = data
    (found,) = zero_shot(images, labels, classes, ks=(k,))
    hits = [rank(image, classes, {label}) <= k for image, label in zip(images, labels, strict=True)]
    assert found.value == pytest.approx(mean(hits))
    assert found.n == len(images)


@given(classified(), st.integers(1, 9), st.data())
def test_precision_is_what_the_slow_way_gives(
    data: tuple[Vectors, list[int], Vectors], k: int, chosen: st.DataObject
) -> None:
    images, labels, queries = data
    some = st.sets(st.sampled_from(labels), min_size=1)
    wanted = [chosen.draw(some) for _ in queries]
    found = precision(queries, images, labels=labels, wanted=wanted, k=k)

    shares = []
    for query, right_labels in zip(queries, wanted, strict=True):
        right = {i for i, label in enumerate(labels) if label in right_labels}
        shares.append(len(right & set(order(query, images, right)[:k])) / k)
    assert found.value == pytest.approx(mean(shares))
    assert (found.name, found.n) == (f"P@{k}", len(queries))


@settings(max_examples=25)
@given(paired(), classified())
def test_blocks_change_nothing(
    pairs: tuple[Vectors, Vectors, list[tuple[int, int]]], classes: tuple[Vectors, list[int], Vectors]
) -> None:
    images, labels, queries = classes
    wanted = [{labels[0]}] * len(queries)
    whole = (retrieval(*pairs), precision(queries, images, labels=labels, wanted=wanted, k=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "_BLOCK", 128)  # two candidates wide
        patch.setattr(measures, "_PAIRS_AT_ONCE", 2)
        cut = (retrieval(*pairs), precision(queries, images, labels=labels, wanted=wanted, k=2))
    assert [m.value for m in (*whole[0], whole[1])] == [m.value for m in (*cut[0], cut[1])]


# --- known cases


def test_each_image_with_its_own_text_is_all_right() -> None:
    found = retrieval(AXES, AXES, [(i, i) for i in range(6)])
    assert {(m.value, m.low, m.high, m.n) for m in found} == {(1.0, 1.0, 1.0, 6)}
    assert [m.name for m in found[:4]] == [
        "text→image R@1",
        "text→image R@5",
        "text→image R@10",
        "text→image MRR",
    ]


def test_a_model_that_scores_all_alike_gets_nothing() -> None:
    same = np.repeat(AXES[:1], 20, axis=0)
    found = named(retrieval(same, same, [(i, i) for i in range(20)]))
    assert found["text→image R@1"].value == found["image→text R@10"].value == 0.0
    assert found["text→image MRR"].value == pytest.approx(1 / 20)
    assert zero_shot(same, [0] * 20, same, ks=(19, 20))[0].value == 0.0
    assert zero_shot(same, [0] * 20, same, ks=(19, 20))[1].value == 1.0
    labels = [0] * 10 + [1] * 10
    assert precision(AXES[:1], same, labels=labels, wanted=[{0}], k=10).value == 0.0
    assert precision(AXES[:1], same, labels=labels, wanted=[{0}], k=20).value == 0.5


def test_scores_that_float32_cannot_tell_apart_are_ties() -> None:
    nearly = turned(0.0, 1e-5)  # cosines to the first differ by 1.5e-14
    assert zero_shot(nearly[:1], [0], nearly, ks=(1,))[0].value == 0.0
    apart = turned(0.0, 0.1)  # by 1.5e-6
    assert zero_shot(apart[:1], [0], apart, ks=(1,))[0].value == 1.0


def test_ranks_are_counted_from_the_angles() -> None:
    images = turned(0, 30, 60, 90)
    texts = turned(1, 92)  # nearest first: images 0, 1, 2, 3 and 3, 2, 1, 0
    found = named(retrieval(images, texts, [(1, 0), (2, 1)], ks=(1, 2)))
    assert found["text→image R@1"].value == 0.0
    assert found["text→image R@2"].value == 1.0
    assert found["text→image MRR"].value == pytest.approx(1 / 2)
    assert found["image→text R@1"].value == 1.0


def test_several_captions_are_each_a_query_and_any_of_them_is_right() -> None:
    images = turned(0, 90)
    texts = turned(5, 80, 85)  # the second is of the first image, far from it
    found = named(retrieval(images, texts, [(0, 0), (0, 1), (1, 2)], ks=(1,)))
    assert found["text→image R@1"].value == pytest.approx(2 / 3)
    assert found["text→image R@1"].n == 3
    assert (found["image→text R@1"].value, found["image→text R@1"].n) == (1.0, 2)


def test_a_caption_of_two_images_is_right_for_both() -> None:
    images = turned(0, 10, 90)
    texts = turned(2, 88)
    found = named(retrieval(images, texts, [(0, 0), (1, 0), (2, 1)], ks=(1,)))
    assert found["text→image R@1"].value == 1.0
    assert found["image→text R@1"].value == 1.0
    assert found["text→image R@1"].n == 3


def test_a_pair_given_twice_counts_once() -> None:
    images, texts = turned(0, 90), turned(80, 85)
    pairs = [(0, 0), (1, 1)]
    assert retrieval(images, texts, pairs) == retrieval(images, texts, pairs + pairs[:1] * 5)


def test_rows_without_a_pair_are_in_the_way_but_not_asked() -> None:
    images, texts = turned(0, 4, 90), turned(5, 90)
    found = named(retrieval(images, texts, [(0, 0)], ks=(1, 2)))
    assert found["text→image R@1"].value == 0.0
    assert found["text→image R@2"].value == 1.0
    assert found["image→text R@1"].n == 1


def test_top_k_of_known_angles() -> None:
    classes = turned(0, 45, 90, 135)
    images = turned(10, 50, 60, 130)
    top1, top2 = zero_shot(images, [0, 1, 2, 0], classes, ks=(1, 2))
    assert (top1.name, top1.value) == ("zero-shot top-1", 0.5)
    assert (top2.name, top2.value) == ("zero-shot top-2", 0.75)


def test_one_class_is_always_right() -> None:
    assert zero_shot(AXES, [0] * 6, AXES[:1])[0].value == 1.0


def test_precision_is_of_k_even_where_fewer_are_right_or_there() -> None:
    images = turned(0, 10, 20)
    found = precision(turned(0), images, labels=[7, 7, 8], wanted=[{7}], k=4)
    assert found.value == 0.5
    assert precision(turned(0), images, labels=[7, 7, 8], wanted=[{7, 8, 99}], k=4).value == 0.75


def test_a_k_above_all_candidates_finds_everything() -> None:
    found = named(retrieval(turned(0, 90), turned(90, 0), [(0, 0), (1, 1)], ks=(1, 100)))
    assert found["text→image R@1"].value == 0.0
    assert found["text→image R@100"].value == found["image→text R@100"].value == 1.0


def test_an_ensemble_is_the_direction_of_the_mean() -> None:
    np.testing.assert_allclose(ensemble(turned(10, 50)), turned(30), atol=1e-7)
    assert ensemble(AXES[:1]).dtype == np.float32


# --- intervals


def hits(n: int, right: int) -> Measure:
    """Zero-shot accuracy of n images, of which `right` are right."""
    images = np.repeat(AXES[:1], n, axis=0)
    return zero_shot(images, [0] * right + [1] * (n - right), AXES[:2], ks=(1,))[0]


@pytest.mark.parametrize(("n", "right"), [(1000, 500), (1000, 900), (10_000, 5_800)])
def test_an_interval_of_shares_has_the_width_of_the_binomial(n: int, right: int) -> None:
    found = hits(n, right)
    share = right / n
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    assert found.value == share
    assert found.low == pytest.approx(share - half, abs=half / 10)
    assert found.high == pytest.approx(share + half, abs=half / 10)


def test_an_interval_is_what_drawing_one_by_one_gives() -> None:
    degrees = list(np.random.default_rng(1).uniform(0, 40, 60))
    images, texts = turned(*degrees), turned(*(d + 3 for d in degrees))
    found = named(retrieval(images, texts, [(i, i) for i in range(60)], ks=(1,)))["text→image MRR"]

    ranks = [rank(texts[i], images, {i}) for i in range(60)]
    draw = random.Random(2)
    means = sorted(mean([1 / r for r in draw.choices(ranks, k=60)]) for _ in range(4000))
    width = means[3899] - means[100]
    assert found.low == pytest.approx(means[100], abs=0.06 * width)
    assert found.high == pytest.approx(means[3899], abs=0.06 * width)


def test_captions_of_one_image_are_drawn_together() -> None:
    """Ten images with five equal captions each tell no more than ten with one."""
    images = turned(*range(0, 90, 9))
    far = [0, 1, 2, 3]  # images whose captions are nearer to another
    once = turned(*(9 * i + (9 if i in far else 1) for i in range(10)))
    one = named(retrieval(images, once, [(i, i) for i in range(10)]))["text→image R@1"]
    five = named(retrieval(images, np.repeat(once, 5, axis=0), [(i // 5, i) for i in range(50)]))[
        "text→image R@1"
    ]
    assert (one.value, one.n, five.value, five.n) == (0.6, 10, 0.6, 50)
    assert (one.low, one.high) == pytest.approx((five.low, five.high), abs=0.11)
    assert five.high - five.low > 0.4


def test_intervals_hold_the_truth_nineteen_times_in_twenty() -> None:
    draw = np.random.default_rng(3)
    found = [hits(200, int(right)) for right in draw.binomial(200, 0.7, 400)]
    assert 0.92 <= mean([m.low <= 0.7 <= m.high for m in found]) <= 0.97


def test_a_seed_gives_the_same_interval_again_and_another_one_nearly() -> None:
    images, labels = np.repeat(AXES[:1], 300, axis=0), [0] * 200 + [1] * 100
    first, again, other = (zero_shot(images, labels, AXES[:2], seed=seed)[0] for seed in (0, 0, 1))
    assert first == again
    assert first.value == other.value
    assert first.low == pytest.approx(other.low, abs=0.01)


@given(classified())
def test_a_figure_lies_in_its_interval(data: tuple[Vectors, list[int], Vectors]) -> None:
    for found in zero_shot(*data):
        assert 0.0 <= found.low <= found.value + 1e-12
        assert found.value - 1e-12 <= found.high <= 1.0


def test_a_single_picture_has_no_spread() -> None:
    found = hits(1, 1)
    assert (found.value, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 1)


# --- bad input

NOTHING = np.empty((0, 6), np.float32)
NAN = np.full((2, 6), np.nan, np.float32)


@pytest.mark.parametrize(
    ("images", "texts", "pairs", "message"),
    [
        (
            NOTHING,
            AXES,
            [(0, 0)],
            r"images should be one unit vector a row, at least one, not shape \(0, 6\)",
        ),
        (AXES, NOTHING, [(0, 0)], r"texts should be one unit vector a row"),
        (AXES[0], AXES, [(0, 0)], r"images .* not shape \(6,\)"),
        (NAN, AXES, [(0, 0)], r"row 0 of images has the length nan, not 1"),
        (AXES, 2 * AXES, [(0, 0)], r"row 0 of texts has the length 2, not 1"),
        (AXES, AXES[:, :5][:5], [(0, 0)], r"images and texts have different dimensions: \[5, 6\]"),
        (AXES, AXES, [], r"pairs are rows of \(image, text\), at least one"),
        (AXES, AXES, [(0, 1, 2)], r"pairs are rows of \(image, text\)"),
        (AXES, AXES, [(0.0, 1.5)], r"pairs are rows of \(image, text\)"),
        (AXES, AXES, [(6, 0)], r"a pair names an image that is not there: the rows go from 0 to 5"),
        (AXES, AXES, [(0, -1)], r"a pair names a text that is not there"),
    ],
)
def test_what_cannot_be_measured_is_told(images: Any, texts: Any, pairs: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        retrieval(images, texts, pairs)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0] * 5, r"labels are 6 whole numbers, one for each image, not int64 \(5,\)"),
        ([0.0] * 6, r"labels are 6 whole numbers.* not float64"),
        ([0, 1, 2, -1, 0, 0], r"input 3: a label is negative"),
        ([0, 1, 2, 6, 0, 0], r"a label is 6, but there are 6 classes, counted from 0"),
    ],
)
def test_labels_that_do_not_fit_are_told(labels: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        zero_shot(AXES, labels, AXES)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
def test_a_k_below_one_is_told(k: Any) -> None:
    for call in (
        lambda: retrieval(AXES, AXES, [(0, 0)], ks=(k,)),
        lambda: zero_shot(AXES, [0] * 6, AXES, ks=(k,)),
        lambda: precision(AXES, AXES, labels=[0] * 6, wanted=[{0}] * 6, k=k),
    ):
        with pytest.raises(InvalidInput, match="k is a whole number of at least 1"):
            call()


def test_queries_without_an_answer_are_told() -> None:
    with pytest.raises(InvalidInput, match="input 1: no image is right for this query"):
        precision(AXES[:2], AXES, labels=[0] * 6, wanted=[{0}, {1}], k=1)
    with pytest.raises(InvalidInput, match="there are 2 queries, but 1 sets of wanted labels"):
        precision(AXES[:2], AXES, labels=[0] * 6, wanted=[{0}], k=1)


def test_prompts_that_cancel_are_told() -> None:
    with pytest.raises(InvalidInput, match="the prompts of a class cancel each other"):
        ensemble(turned(0, 180))

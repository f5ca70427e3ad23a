from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clipkit import Collection, Query
from clipkit.encoder import Vectors
from clipkit.errors import FilterError, InvalidInput
from clipkit.neighbours import clusters, kmeans, outliers, recommend
from clipkit.neighbours.nearest import exact_scores, nearest
from clipkit.neighbours.outlying import _exact_means
from clipkit.neighbours.recommending import varied
from clipkit.neighbours.rows import mean_cosine
from clipkit.testing import FakeEncoder
from clipkit.vocabulary import Vocabulary


def unit(rows: Any) -> Vectors:
    found: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def bunches(n: int, per: int, *, dim: int = 32, noise: float = 0.3, seed: int = 0) -> Vectors:
    """n bunches of `per` rows, in order."""
    random = np.random.default_rng(seed)
    middles = unit(random.normal(size=(n, dim)))
    return unit(np.repeat(middles, per, axis=0) + noise * unit(random.normal(size=(n * per, dim))))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Texts about three colours, ten of each, and one about nothing of the kind."""
    collection = Collection.create(db=tmp_path_factory.mktemp("words"), encoder=FakeEncoder(dim=64))
    for colour in ("red", "green", "blue"):
        texts = [f"{colour} {colour} {colour} word{at}" for at in range(10)]
        collection.add_texts(texts, ids=[f"{colour}-{at}" for at in range(10)])
    collection.add_texts(["something else altogether"], ids=["odd"])
    return collection


# --- nearest


@pytest.mark.parametrize("n", [2, 3, 50, 700])
def test_the_nearest_are_those_that_all_cosines_give(n: int) -> None:
    vectors = unit(np.random.default_rng(n).normal(size=(n, 24)))
    cosines = vectors.astype(np.float64) @ vectors.T
    np.fill_diagonal(cosines, -2)
    found = nearest(vectors, 5)
    k = min(5, n - 1)
    assert found.exact
    assert found.places.shape == (n, k)
    np.testing.assert_allclose(found.scores, -np.sort(-cosines, axis=1)[:, :k], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(cosines, found.places, axis=1), found.scores, atol=1e-6)
    rows = np.arange(n)[:: max(1, n // 10)]
    np.testing.assert_allclose(exact_scores(vectors, rows, k), found.scores[rows], atol=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one_have_no_neighbours(n: int) -> None:
    found = nearest(unit(np.ones((n, 4))), 5)
    assert found.pairs().tolist() == []
    assert len(found.places) == n


def test_by_parts_nearly_all_near_pairs_are_found() -> None:
    vectors = bunches(600, 5, noise=0.4)
    exact, quick = nearest(vectors, 4), nearest(vectors, 4, exact_up_to=0)
    assert not quick.exact
    wanted = {tuple(pair) for pair in exact.pairs().tolist()}
    found = {tuple(pair) for pair in quick.pairs().tolist()}
    assert len(wanted & found) > 0.98 * len(wanted)
    assert all(one < other for one, other in found)
    assert (quick.scores <= exact.scores + 1e-6).all()


def test_equal_rows_are_cut_up_and_found_all_the_same() -> None:
    """One part would hold almost all of them; pieces keep it from being compared with itself."""
    vectors = np.concatenate([np.tile(unit(np.ones((1, 16))), (1500, 1)), bunches(100, 3, dim=16)])
    quick = nearest(vectors, 3, exact_up_to=0)
    assert (quick.places >= 0).all()
    np.testing.assert_allclose(quick.scores[:1500], 1.0, atol=1e-6)


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    vectors = unit(np.random.default_rng(3).normal(size=(40, 8)) + 0.5)
    cosines = (vectors @ vectors.T)[np.triu_indices(40, 1)]
    assert mean_cosine(vectors) == pytest.approx(float(cosines.mean()), abs=1e-6)
    assert mean_cosine(vectors[:1]) == 0.0


# --- clusters


def test_centres_are_those_of_the_bunches() -> None:
    vectors = bunches(6, 40)
    centres = kmeans.centres(vectors, 6)
    part = kmeans.nearest_centre(vectors, centres)
    assert [len(set(part[at : at + 40])) for at in range(0, 240, 40)] == [1] * 6
    assert len(set(part)) == 6
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(centres, kmeans.centres(vectors, 6))
    assert len(kmeans.centres(vectors[:3], 5)) == 3


def test_clusters_are_named_for_what_they_are(words: Collection) -> None:
    found = clusters(words, 3, vocabulary=["blue", "red", "green"], kind="text", where="id <> 'odd'")
    assert sorted(cluster.name for cluster in found) == ["blue", "green", "red"]
    for cluster in found:
        assert (cluster.size, len(cluster.names), len(cluster.items)) == (10, 3, 5)
        assert {identity.split("-")[0] for identity in cluster.ids} == {cluster.name}
        vectors = np.stack([item.vector for item in words.get(cluster.ids)])
        middle = unit(vectors.mean(axis=0, keepdims=True))[0]
        scores = vectors @ middle
        assert cluster.coherence == pytest.approx(float(scores.mean()), abs=1e-5)
        assert [hit.score for hit in cluster.items] == pytest.approx(scores[:5].tolist(), abs=1e-5)
        assert scores.tolist() == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
        assert [hit.id for hit in cluster.items] == list(cluster.ids[:5])
        assert cluster.items[0].text is not None


def test_the_number_of_clusters_is_found(words: Collection) -> None:
    found = clusters(words, kind="text", where="id <> 'odd'", vocabulary=())
    assert [cluster.size for cluster in found] == [10, 10, 10]
    assert [cluster.names for cluster in found] == [()] * 3
    assert found == clusters(words, kind="text", where="id <> 'odd'", vocabulary=())


def test_names_come_from_the_everyday_vocabulary_by_default(words: Collection) -> None:
    everyday = set(Vocabulary.everyday().names)
    found = clusters(words, 3, kind="text")
    assert all(len(cluster.names) == 3 and everyday.issuperset(cluster.names) for cluster in found)


def test_few_items_are_few_clusters(words: Collection) -> None:
    assert clusters(words, kind="image") == ()
    (only,) = clusters(words, kind="text", where="id = 'odd'", vocabulary=["red"])
    assert (only.ids, only.name) == (("odd",), "red")
    assert only.coherence == pytest.approx(1.0, abs=1e-6)
    two = clusters(words, 5, kind="text", where="id IN ('odd', 'red-1')")
    assert sorted(cluster.ids for cluster in two) == [("odd",), ("red-1",)]
    (both,) = clusters(words, kind="text", where="id IN ('odd', 'red-1')")
    assert both.size == 2


def test_every_item_is_in_one_cluster(words: Collection) -> None:
    ids = [identity for cluster in clusters(words, 7, kind="text") for identity in cluster.ids]
    assert sorted(ids) == sorted(words.to_arrow(columns=["id"])["id"].to_pylist())


# --- outliers


def test_outliers_are_those_that_all_cosines_give(words: Collection) -> None:
    stored = words.to_arrow(columns=["id", "vector"])
    vectors = np.stack(stored["vector"].to_numpy())
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    means = (-np.sort(-cosines, axis=1)[:, :5]).mean(axis=1)
    found = outliers(words, 4, kind="text")
    assert found[0].id == "odd"
    assert [hit.score for hit in found] == pytest.approx(np.sort(means)[:4].tolist(), abs=1e-6)
    score_of = dict(zip(stored["id"].to_pylist(), means.tolist(), strict=True))
    assert [hit.score for hit in found] == pytest.approx([score_of[hit.id] for hit in found], abs=1e-6)


def test_outliers_by_parts_are_exact() -> None:
    vectors = np.concatenate([bunches(200, 8), unit(np.random.default_rng(9).normal(size=(12, 32)))])
    exact = nearest(vectors, 5).scores.mean(axis=1)
    means = _exact_means(vectors, nearest(vectors, 5, exact_up_to=0), 10)
    lowest = np.argsort(exact)[:10]
    np.testing.assert_allclose(means[lowest], exact[lowest], atol=1e-6)
    assert set(np.argsort(np.nan_to_num(means, nan=9.0))[:10]) == set(lowest)
    assert np.isnan(means).any()


def test_none_and_one_are_no_outliers(words: Collection) -> None:
    assert outliers(words, kind="image") == ()
    assert outliers(words) == outliers(words, kind="text"), "texts, where there are no pictures"
    assert outliers(words, kind="text", where="id = 'odd'") == ()
    two = outliers(words, kind="text", where="id IN ('odd', 'red-1')")
    assert [hit.id for hit in two] == ["odd", "red-1"]
    assert two[0].score == pytest.approx(two[1].score, abs=1e-6)


# --- recommend


def test_liked_and_disliked_make_the_direction(words: Collection) -> None:
    red, green, blue = ({f"{colour}-{at}" for at in range(10)} for colour in ("red", "green", "blue"))
    liked, disliked = ["red-1", "red-2", "green-1"], ["green-2"]
    hits = recommend(words, liked, disliked=disliked, k=8, diversity=0.0)
    assert {hit.id for hit in hits} == red - set(liked)
    vectors = {item.id: item.vector for item in words.get([*liked, *disliked, *(hit.id for hit in hits)])}
    direction = 0.75 * np.mean([vectors[identity] for identity in liked], axis=0) - 0.15 * vectors["green-2"]
    direction /= np.linalg.norm(direction)
    expected = [float(vectors[hit.id] @ direction) for hit in hits]
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-6)
    everything = recommend(words, liked, disliked=disliked, k=100)
    assert {hit.id for hit in everything} == (red | green | blue | {"odd"}) - {*liked, *disliked}
    assert everything.to_arrow().num_rows == len(everything)


def test_a_query_counts_as_much_as_an_item(words: Collection) -> None:
    twice = recommend(words, ["green-1", 2 * Query.text("red") + 2 * Query.text("red")], k=5, diversity=0.0)
    once = recommend(words, ["green-1", Query.text("red")], k=5, diversity=0.0)
    assert [hit.id for hit in twice] == [hit.id for hit in once]
    assert [hit.score for hit in twice] == pytest.approx([hit.score for hit in once], abs=1e-6)


def test_diversity_takes_from_both_sides(words: Collection) -> None:
    def colours(diversity: float) -> set[str]:
        hits = recommend(words, ["red-0", "red-1", "green-0"], k=4, diversity=diversity, kind="text")
        return {hit.id.partition("-")[0] for hit in hits}

    assert colours(0.0) == {"red"}
    assert {"red", "green"} <= colours(0.6)


@pytest.mark.parametrize("diversity", [0.1, 0.3, 0.5, 0.9, 1.0])
def test_what_is_taken_has_most_marginal_relevance(diversity: float) -> None:
    random = np.random.default_rng(4)
    vectors = unit(random.normal(size=(30, 6)))
    scores = random.uniform(0.2, 0.4, 30).astype(np.float32)
    relevance = (scores - scores.min()) / (scores.max() - scores.min())
    cosines = vectors @ vectors.T
    off = cosines[~np.eye(30, dtype=bool)]
    likeness = (cosines - off.min()) / (off.max() - off.min())
    chosen = [int(np.argmax(relevance))]
    while len(chosen) < 12:
        worth = {
            at: (1 - diversity) * relevance[at] - diversity * max(likeness[at, other] for other in chosen)
            for at in range(30)
            if at not in chosen
        }
        chosen.append(max(worth, key=lambda at: worth[at]))
    assert varied(scores, vectors, 12, diversity) == chosen


def test_more_than_there_is_and_nothing_at_all(words: Collection, collection: Collection) -> None:
    assert len(recommend(words, ["odd"], k=500)) == 30
    assert len(recommend(words, ["odd"], k=5, kind="image")) == 0
    assert len(recommend(collection, [Query.text("red")])) == 0


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"liked": []}, "nothing is liked: name at least one item"),
        ({"liked": "odd"}, "liked is a list of ids or queries"),
        ({"liked": ["odd"], "disliked": Query.text("red")}, "disliked is a list of ids or queries"),
        ({"liked": ["none"]}, "there is no item 'none'"),
        ({"liked": ["odd"], "k": 0}, "the number of hits wanted, is a whole number of at least 1"),
        ({"liked": ["odd"], "diversity": 1.1}, "diversity is a number from 0 to 1, not 1.1"),
        ({"liked": ["odd"], "diversity": True}, "diversity is a number from 0 to 1, not True"),
        ({"liked": ["odd"], "kind": "texts"}, "kind is 'image' or 'text'"),
    ],
)
def test_recommend_says_what_it_takes(words: Collection, arguments: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        recommend(words, **arguments)


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_numbers_are_whole_and_positive(words: Collection, n: Any) -> None:
    with pytest.raises(InvalidInput, match="the number of clusters, is a whole number of at least 1"):
        clusters(words, n)
    with pytest.raises(InvalidInput, match="the number of outliers wanted, is a whole number of at least 1"):
        outliers(words, n)


def test_bad_filters_kinds_and_labels_are_told(words: Collection) -> None:
    with pytest.raises(FilterError, match="no column 'txt'"):
        clusters(words, where="txt = 'a'")
    with pytest.raises(FilterError, match="closes a parenthesis"):
        outliers(words, where="true) OR (true")
    with pytest.raises(InvalidInput, match="kind is 'image' or 'text'"):
        outliers(words, kind="texts")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="label 2"):
        clusters(words, vocabulary=["red", " "], kind="text")

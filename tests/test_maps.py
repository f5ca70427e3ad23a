from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit import Collection
from clipkit.encoder import Vectors
from clipkit.errors import FilterError, InvalidInput, MissingExtra
from clipkit.maps import _COMPILED, Map, Method, principal_axes, project
from clipkit.reports import Progress
from clipkit.schema import ItemRow
from clipkit.testing import FakeEncoder

DIM = 32
METHODS: tuple[Method, ...] = ("pca", "umap")


def unit(rows: Any) -> Vectors:
    found: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def bunches(n: int, per: int, *, noise: float = 0.3) -> Vectors:
    """n bunches of `per` rows around perpendicular middles, in order."""
    random = np.random.default_rng(0)
    middles = np.eye(DIM)[:n]
    return unit(np.repeat(middles, per, axis=0) + noise * unit(random.normal(size=(n * per, DIM))))


def stored(db: Path, vectors: Vectors, *, backwards: bool = False) -> Collection:
    """The vectors as pictures 0000, 0001, ..., written in that order or the other way round."""
    collection = Collection.create(db=db, encoder=FakeEncoder(DIM))
    order = np.arange(len(vectors))[:: -1 if backwards else 1]
    rows = [ItemRow(f"{at:04}", "image", width=int(at)) for at in order]
    collection._store.write(rows, vectors[order], made_by=collection.encoder)
    return collection


def check_inside(found: Map) -> None:
    assert found.xy.shape == (len(found), 2)
    assert found.xy.dtype == np.float32
    assert np.abs(found.xy).max(initial=0) <= 1.0


# --- principal axes


def test_principal_axes_are_the_singular_vectors_of_the_centred_rows() -> None:
    random = np.random.default_rng(1)
    vectors = unit(random.normal(size=(300, 24)) * np.linspace(3, 0.5, 24) + 2.0)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, lengths, right = np.linalg.svd(centred, full_matrices=False)
    axes = principal_axes([vectors], 24, 5)
    signs = np.sign(np.sum(axes.directions * right[:5].T, axis=0))
    np.testing.assert_allclose(axes.directions * signs, right[:5].T, atol=1e-9)
    np.testing.assert_allclose(axes.shares, (lengths**2 / (lengths**2).sum())[:5], atol=1e-12)
    np.testing.assert_allclose(axes.place(vectors), centred @ axes.directions, atol=1e-6)


def test_principal_axes_are_the_same_however_the_rows_are_paged() -> None:
    vectors = bunches(4, 30)
    whole = principal_axes([vectors], DIM, 3)
    paged = principal_axes(np.array_split(vectors, 7), DIM, 3)
    np.testing.assert_allclose(paged.directions, whole.directions, atol=1e-9)
    np.testing.assert_allclose(paged.shares, whole.shares, atol=1e-12)


def test_the_largest_entry_of_a_principal_direction_is_positive() -> None:
    directions = principal_axes([bunches(5, 20)], DIM, 6).directions
    largest = np.abs(directions).argmax(axis=0)
    assert (directions[largest, np.arange(6)] > 0).all()
    np.testing.assert_allclose(directions.T @ directions, np.eye(6), atol=1e-9)


def test_there_are_no_more_directions_than_dimensions() -> None:
    axes = principal_axes([bunches(3, 10)], DIM, 50)
    assert axes.directions.shape == (DIM, DIM)
    assert axes.shares.sum() == pytest.approx(1.0)


# --- both methods


def test_pca_is_the_shadow_on_the_two_principal_directions(db: Path) -> None:
    vectors = bunches(3, 40)
    found = project(stored(db, vectors), method="pca")
    axes = principal_axes([vectors], DIM, 2)
    shadow = axes.place(vectors)
    middle = (shadow.min(axis=0) + shadow.max(axis=0)) / 2
    longer = np.ptp(shadow, axis=0).max()
    np.testing.assert_allclose(found.xy, 2 * (shadow - middle) / longer, atol=1e-6)
    assert found.ids == tuple(f"{at:04}" for at in range(120))
    assert (found.method, found.total, dict(found.settings)) == ("pca", 120, {})
    assert found.explained == pytest.approx(tuple(axes.shares))
    check_inside(found)


@pytest.mark.parametrize("method", METHODS)
def test_bunches_lie_apart(db: Path, method: Method) -> None:
    vectors = bunches(3, 40)
    xy = project(stored(db, vectors), method=method).xy.reshape(3, 40, 2)
    middles = xy.mean(axis=1)
    radii = np.linalg.norm(xy - middles[:, None], axis=2).max(axis=1)
    apart = np.linalg.norm(middles[[0, 0, 1]] - middles[[1, 2, 2]], axis=1)
    assert apart.min() > 2 * radii.max()


def test_umap_keeps_apart_what_pca_must_lay_together(db: Path) -> None:
    """Six perpendicular bunches do not fit into two directions."""
    found = project(stored(db, bunches(6, 40)), method="umap")
    assert found.method == "umap"
    assert found.explained is None
    assert dict(found.settings) == {"neighbours": 15, "min_dist": 0.1}
    check_inside(found)
    assert np.ptp(found.xy, axis=0).max() == pytest.approx(2.0)
    distances = np.linalg.norm(found.xy[:, None] - found.xy[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    part = np.repeat(np.arange(6), 40)
    assert (part[distances.argmin(axis=1)] == part).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_items_give_the_same_map_in_whatever_order_they_came(tmp_path: Path, method: Method) -> None:
    vectors = bunches(4, 20)
    one = project(stored(tmp_path / "one", vectors), method=method, limit=50)
    other = project(stored(tmp_path / "other", vectors, backwards=True), method=method, limit=50)
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.xy, other.xy)


def test_of_more_items_than_the_limit_some_are_chosen_evenly(db: Path) -> None:
    collection = stored(db, bunches(4, 250))
    found = project(collection, method="pca", limit=400)
    assert (len(found), found.total) == (400, 1000)
    assert list(found.ids) == sorted(set(found.ids))
    a_bunch = np.bincount([int(name) // 250 for name in found.ids])
    assert (np.abs(a_bunch - 100) < 30).all(), "3.5 standard deviations of a fair draw"
    assert len(project(collection, method="pca", limit=1000)) == 1000


def test_only_items_of_the_kind_that_pass_the_filter_are_on_the_map(db: Path) -> None:
    collection = stored(db, bunches(2, 10))
    collection.add_texts(["red", "blue"], ids=["t1", "t2"])
    assert project(collection, method="pca", where="width < 3 OR width = 7").ids == (
        "0000",
        "0001",
        "0002",
        "0007",
    )
    texts = project(collection, method="pca", kind="text")
    assert texts.ids == ("t1", "t2")
    assert sorted(texts.xy[:, 0].tolist()) == [-1.0, 1.0]
    assert texts.explained == pytest.approx((1.0, 0.0))


def test_progress_ends_with_all(db: Path) -> None:
    seen: list[Progress] = []
    project(stored(db, bunches(2, 10)), method="pca", progress=seen.append)
    assert seen == [Progress(20, 40, 0), Progress(40, 40, 0), Progress(40, 40, 0)]


# --- little to show


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_collection_is_an_empty_map(db: Path, method: Method) -> None:
    found = project(stored(db, np.empty((0, DIM), np.float32)), method=method)
    assert (found.ids, found.total, found.method, found.explained) == ((), 0, "pca", (0.0, 0.0))
    check_inside(found)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 30])
def test_equal_items_lie_in_the_middle(db: Path, method: Method, n: int) -> None:
    found = project(stored(db, unit(np.ones((n, DIM), np.float32))), method=method)
    assert found.xy.tolist() == [[0.0, 0.0]] * n
    assert (found.method, found.explained) == ("pca", (0.0, 0.0))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_items_are_placed_by_pca(db: Path, n: int) -> None:
    found = project(stored(db, bunches(n, 1)), method="umap")
    assert found.method == "pca"
    check_inside(found)


@pytest.mark.parametrize("n", [5, 6, 16])
def test_umap_takes_as_many_neighbours_as_there_are(db: Path, n: int) -> None:
    found = project(stored(db, bunches(n, 1)), method="umap")
    assert (found.method, found.settings["neighbours"]) == ("umap", min(15, n - 1))
    assert len(np.unique(found.xy, axis=0)) == n
    check_inside(found)


def test_copies_of_two_pictures_are_two_places(db: Path) -> None:
    """All lie on one line, and neighbours are at no distance at all."""
    found = project(stored(db, np.repeat(bunches(2, 1), 40, axis=0)), method="umap")
    check_inside(found)
    one, other = found.xy[:40].mean(axis=0), found.xy[40:].mean(axis=0)
    assert (np.linalg.norm(found.xy[:40] - one, axis=1) < np.linalg.norm(found.xy[:40] - other, axis=1)).all()


# --- what cannot be done


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "ucap"}, r"there is no method 'ucap'\. Did you mean umap\?"),
        ({"limit": 0}, r"limit, the number of items on a map, is a whole number of at least 1, not 0"),
        ({"kind": "video"}, r"kind is 'image' or 'text', not 'video'"),
    ],
)
def test_what_cannot_be_used_is_told(db: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        project(stored(db, bunches(2, 2)), **wrong)  # type: ignore[arg-type]


def test_a_filter_that_cannot_be_evaluated_is_told(db: Path) -> None:
    with pytest.raises(FilterError, match="nosuch"):
        project(stored(db, bunches(2, 2)), method="pca", where="nosuch > 3")


def test_without_umap_the_install_line_is_told_and_pca_works(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = stored(db, bunches(2, 10))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(
        MissingExtra, match=r"by umap \(pca does without\) needs .* pip install 'clipkit\[web\]'"
    ):
        project(collection, method="umap")
    assert len(project(collection, method="pca")) == 20


def test_what_umap_compiles_is_kept_for_the_next_process(db: Path) -> None:
    umap = pytest.importorskip("umap", reason="needs the extra clipkit[web]")
    project(stored(db, bunches(2, 10)))
    for module, function in _COMPILED:
        stats = getattr(getattr(umap, module), function).stats
        assert stats.cache_hits or stats.cache_misses, f"{function} is another in this umap-learn"


LATER = """
import sys
from clipkit import Collection
from clipkit.maps import project

project(Collection.open(db=sys.argv[1]))
print("pynndescent" in sys.modules)

import numpy as np, umap
points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
print(umap.UMAP(metric="dot", n_neighbors=5, init="random").fit_transform(points / 9).shape)
print("pynndescent" in sys.modules)
"""


def test_a_search_that_a_map_does_without_is_there_for_others(db: Path) -> None:
    """umap-learn's own search for neighbours, and its metrics."""
    stored(db, bunches(2, 10))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LATER, str(db)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["False", "(40, 2)", "True"]


AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from clipkit import Collection
from clipkit.maps import project

collection = Collection.open(db=sys.argv[1])
with ThreadPoolExecutor(4) as pool:
    maps = list(pool.map(lambda _: project(collection), range(4)))
print(len({found.xy.tobytes() for found in maps}))
"""


def test_several_threads_may_ask_for_maps_at_once(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where numba has no OpenMP it ends a process in which two threads use it at once."""
    stored(db, bunches(3, 100))
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "workqueue")
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, str(db)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"]

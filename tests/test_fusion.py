from __future__ import annotations

import pytest

from clipkit.fusion import fused, ranks


def test_ranks_begin_at_one_and_equal_scores_share_the_best() -> None:
    assert ranks({"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.5, "e": -1.0}) == {
        "b": 1,
        "c": 2,
        "d": 2,
        "a": 4,
        "e": 5,
    }
    assert ranks({}) == {}


def test_fusion_sums_the_reciprocals_of_ranks_and_sixty() -> None:
    total = fused({"a": 1, "b": 2}, {"b": 1, "c": 3})
    assert total == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 63})
    assert fused() == {}


def test_what_both_rankings_know_comes_before_what_one_does() -> None:
    nearest = {f"n{place}": place for place in range(1, 200)}
    total = fused(nearest, {"n199": 2, "x": 1})
    assert max(total, key=lambda name: total[name]) == "n199"
    assert total["x"] == total["n1"]

"""Several rankings made into one: reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Mapping

RANK_CONSTANT = 60  # the paper's: how fast the weight of a place falls behind the first ones


def ranks(scores: Mapping[str, float]) -> dict[str, int]:
    """The place of each, from 1 for the highest score; equal scores share the best of their places."""
    best: dict[float, int] = {}
    for place, score in enumerate(sorted(scores.values(), reverse=True), start=1):
        best.setdefault(score, place)
    return {name: best[score] for name, score in scores.items()}


def fused(*rankings: Mapping[str, int]) -> dict[str, float]:
    """The sum of 1 / (60 + rank) over the rankings that know a name; higher is better.

    G. V. Cormack, C. L. A. Clarke, S. Büttcher: "Reciprocal Rank Fusion outperforms Condorcet and individual
    Rank Learning Methods", SIGIR 2009. It takes ranks only, so scores of different scales need no weighing.
    """
    total: dict[str, float] = {}
    for ranking in rankings:
        for name, rank in ranking.items():
            total[name] = total.get(name, 0.0) + 1.0 / (RANK_CONSTANT + rank)
    return total

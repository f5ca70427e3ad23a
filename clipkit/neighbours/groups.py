"""Groups from pairs that match, without the chains that joining alone would make."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import numpy as np

from clipkit.neighbours.kmeans import Ints
from clipkit.neighbours.looks import Mask


def stars(pairs: Ints, match: Callable[[Ints], Mask]) -> Iterator[list[int]]:
    """Groups of two or more, each sorted, whose members all match the group's middle.

    `pairs` (p, 2) match already; `match` is asked about others. What pairs join is taken apart around the
    member with most of them, the lowest of several: the star algorithm of J. Aslam, E. Pelekhov, D. Rus,
    J. of Graph Algorithms and Applications 8 (2004), where the middle is asked about everyone it is joined
    with. Who does not match it forms groups with the others who do not.
    """
    waiting = list(connected(pairs))
    while waiting:
        joined = waiting.pop()
        degree = Counter(joined.ravel().tolist())
        middle = min(degree, key=lambda place: (-degree[place], place))
        beside = joined[(joined == middle).any(axis=1)]
        star = set(beside.ravel().tolist())
        asked = np.array([[middle, place] for place in sorted(set(degree) - star)], np.int64).reshape(-1, 2)
        if len(asked):
            star.update(asked[match(asked), 1].tolist())
        yield sorted(star)
        left = ~np.isin(joined, list(star)).any(axis=1)
        waiting += connected(joined[left])


def connected(pairs: Ints) -> list[Ints]:
    """The pairs of each connected component, by union-find; components in the order of their lowest place."""
    parent: dict[int, int] = {}

    def root(place: int) -> int:
        parent.setdefault(place, place)
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for one, other in pairs.tolist():
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    components: dict[int, list[list[int]]] = defaultdict(list)
    for pair in pairs.tolist():
        components[root(pair[0])].append(pair)
    return [np.array(components[place], np.int64) for place in sorted(components)]

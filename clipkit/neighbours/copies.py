"""Duplicates: items that are the same, or nearly, in groups of which one is kept.

Vectors propose the pairs, pictures and words decide: two dogs may have one vector to a small model, and a
crop another than the whole. What is left to the vectors is how near two things are that are not one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipkit.collection import Collection
from clipkit.encoder import Vectors
from clipkit.errors import InvalidInput, did_you_mean
from clipkit.hits import Hit, Kind
from clipkit.neighbours import looks, wording
from clipkit.neighbours.groups import stars
from clipkit.neighbours.kmeans import Ints
from clipkit.neighbours.looks import Mask
from clipkit.neighbours.nearest import nearest
from clipkit.neighbours.rows import Rows, mean_cosine, read_hits, read_rows
from clipkit.reports import Progress
from clipkit.searching import kind_or_main

Strength: TypeAlias = Literal["exact", "resaved", "edited", "similar"]
STRENGTHS: tuple[Strength, ...] = get_args(Strength)
"""What counts as a duplicate, each with all that the ones before it count.

    exact     the same bytes; the same text
    resaved   one picture, saved again, resized or converted; the same words but for case and punctuation
    edited    cropped by up to a third of each edge, mirrored, lighter or darker, in other colours; a text
              with a few words changed
    similar   one scene, taken twice; texts that say nearly the same
"""

# Nearest vectors that are looked at. To `bundled`, the whole of one of 200 photos is among the 4 nearest to
# what a fifth of each edge was cut off from; with 30% it can be the 19th. Each more costs time.
CANDIDATES = 10
# How near two vectors of one scene, or of one meaning, are at least: 0 is as near as two items of the
# collection on average, 1 the same. Taken so, and not as a cosine, it says the same for models whose cosines
# all lie high. Pictures are looked at besides; texts have only this: of captions of different drawn scenes 2
# in 10,000 are so near to `bundled`, of captions of one scene, which tell different parts of it, a third.
_NEAR_PICTURES, _NEAR_TEXTS = 0.6, 0.85
_AVERAGED_FROM = 50  # items from which an average means something; with fewer, vectors have no say

_PAIRS = 1 << 14  # whose vectors are compared at once: with 512 dimensions 67 MB
_COLUMNS = ("content_hash", "text", "width", "height", "size_bytes", "mtime_ns")


@dataclass(frozen=True, slots=True)
class Group:
    """Items that are duplicates of one another: one to keep, and the others.

    Kept is the one of most pixels; of these the largest file, the oldest, and the first by id. Of texts it
    is the longest. The score of each is its cosine similarity to the kept.
    """

    keep: Hit
    others: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What `duplicates` found among `items` items, the largest groups first.

    `unseen` are pictures without a thumbnail, of which only exact copies can be found.
    """

    strength: Strength
    items: int
    groups: tuple[Group, ...]
    unseen: tuple[str, ...] = ()


def duplicates(
    collection: Collection,
    strength: Strength = "exact",
    *,
    kind: Kind | None = None,
    where: str | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Duplicates:
    """Groups of items that are the same, or nearly, as `STRENGTHS` says; each item is in one at most.

    Of pictures, or of texts; without `kind` of texts where there are no pictures. Every member of a group
    matches its middle, so that a chain of small differences does not join what is different. Nothing is
    deleted. Beyond 20,000 items a pair can be missed. `progress` counts the pictures
    that are compared. Raises InvalidInput for an unknown strength, FilterError for a bad filter.
    """
    if strength not in STRENGTHS:
        raise InvalidInput(f"there is no strength {strength!r}. {did_you_mean(str(strength), STRENGTHS)}")
    kind = kind_or_main(kind, collection.count)
    rows = read_rows(collection, kind, where, _COLUMNS)
    classes = _identical(rows, "content_hash" if kind == "image" else "text")
    unseen: list[str] = []
    if strength != "exact":
        firsts = rows.taken([members[0] for members in classes])
        judge: _Judge
        if kind == "image":
            judge = _Pictures(_seen(collection, firsts, progress), strength)
            unseen = [firsts.ids[place] for place in np.flatnonzero(~judge.looks.known)]
        else:
            judge = _Texts(firsts.columns["text"].to_pylist(), strength)
        classes = _joined(classes, _stars(firsts.vectors, judge))
    groups = _groups(collection, rows, [members for members in classes if len(members) > 1])
    return Duplicates(strength, len(rows), tuple(groups), tuple(unseen))


class _Judge(Protocol):
    """Whether pairs (p, 2) are duplicates; `near` tells which of them have vectors as near as `nearness`."""

    @property
    def nearness(self) -> float: ...
    def __call__(self, pairs: Ints, near: Mask) -> Mask: ...


@dataclass(frozen=True, slots=True)
class _Pictures:
    looks: looks.Looks
    strength: Strength
    nearness: float = _NEAR_PICTURES

    def __call__(self, pairs: Ints, near: Mask) -> Mask:
        if self.strength == "resaved":
            return looks.resaved(self.looks, pairs)
        same = looks.agreeing(self.looks, pairs, looks.EDITED)
        if self.strength == "similar":
            open_ = np.flatnonzero(near & ~same)
            same[open_] = looks.agreeing(self.looks, pairs[open_], looks.SIMILAR)
        return same


@dataclass(frozen=True, slots=True)
class _Texts:
    texts: Sequence[str]
    strength: Strength
    nearness: float = _NEAR_TEXTS

    def __call__(self, pairs: Ints, near: Mask) -> Mask:
        if self.strength == "resaved":
            return wording.rewritten(self.texts, pairs)
        same = wording.resembling(self.texts, pairs)
        return same | near if self.strength == "similar" else same


def _stars(vectors: Vectors, judge: _Judge) -> Iterator[list[int]]:
    """Groups of the places of rows that match, the best of each first."""
    mean = mean_cosine(vectors) if len(vectors) >= _AVERAGED_FROM else 0.0
    least = mean + judge.nearness * (1 - mean)

    def match(pairs: Ints) -> Mask:
        found = np.zeros(len(pairs), bool)
        for start in range(0, len(pairs), _PAIRS):
            page = pairs[start : start + _PAIRS]
            cosines = np.einsum("pd,pd->p", vectors[page[:, 0]], vectors[page[:, 1]])
            found[start : start + _PAIRS] = judge(page, cosines >= least)
        return found

    pairs = nearest(vectors, CANDIDATES).pairs()
    return stars(pairs[match(pairs)], match)


def _identical(rows: Rows, column: str) -> list[list[int]]:
    """The places of rows with one value in `column`, and of each without any; the best to keep come first."""
    values = rows.columns[column].to_pylist()
    classes: dict[object, list[int]] = {}
    for place in _best_first(rows.columns):
        classes.setdefault(place if values[place] is None else values[place], []).append(place)
    return list(classes.values())


def _best_first(columns: pa.Table) -> list[int]:
    pixels = pc.multiply(columns["width"].cast(pa.int64()), columns["height"].cast(pa.int64()))
    ranked = pa.table(
        {
            "extent": pc.coalesce(pixels, pc.utf8_length(columns["text"]).cast(pa.int64())),
            "size_bytes": columns["size_bytes"],
            "mtime_ns": columns["mtime_ns"],
            "id": columns["id"],
        }
    )
    by = [
        ("extent", "descending"),
        ("size_bytes", "descending"),
        ("mtime_ns", "ascending"),
        ("id", "ascending"),
    ]
    order: list[int] = pc.sort_indices(ranked, sort_keys=by).to_pylist()
    return order


def _joined(classes: list[list[int]], stars: Iterable[list[int]]) -> list[list[int]]:
    """`classes` with those joined that are in one star."""
    joined, taken = [], set()
    for star in stars:
        joined.append([place for at in star for place in classes[at]])
        taken.update(star)
    return joined + [members for at, members in enumerate(classes) if at not in taken]


def _seen(collection: Collection, rows: Rows, progress: Callable[[Progress], None]) -> looks.Looks:
    return looks.read_looks(
        collection.thumbnails, rows.ids, progress=lambda done: progress(Progress(done, len(rows), 0))
    )


def _groups(collection: Collection, rows: Rows, classes: list[list[int]]) -> list[Group]:
    """The largest first; the first member of each class is the one to keep."""
    ids = rows.ids
    found = read_hits(collection, [ids[place] for members in classes for place in members])
    groups = []
    for members in classes:
        cosines = np.clip(rows.vectors[members] @ rows.vectors[members[0]], -1.0, 1.0)
        there = [
            replace(found[ids[place]], score=float(cosine))
            for place, cosine in zip(members, cosines, strict=True)
            if ids[place] in found
        ]
        if len(there) > 1:
            groups.append(Group(there[0], tuple(sorted(there[1:], key=lambda hit: (-hit.score, hit.id)))))
    return sorted(groups, key=lambda group: (-len(group.others), group.keep.id))

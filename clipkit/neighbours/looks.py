"""What two pictures have in common, told from their thumbnails: so it means the same with every model.

A picture is reduced to its brightness in 64 x 64 cells and its colours in 8 x 8. To see whether one was cut
out of another, the other is searched for the window that correlates best with it: first among 81 windows of
a fixed grid, in 8 x 8 cells, then from the best of these with ever smaller steps, in 16 x 16. Where that
ends, in 24 x 24 cells, the correlation of the brightness (`tones`) is high for any two bright skies above
dark ground; that of its slopes (`edges`) is not, so both are asked for. The figures below are from 200 photos
of as many kinds, and from 600 drawn scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.ahead import read_ahead
from clipkit.encoder import batched
from clipkit.errors import ImageError
from clipkit.images import open_image
from clipkit.neighbours.kmeans import Ints

Floats: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]

EDGE = 64  # cells of brightness along an edge: 4 kB a picture
_COLOURS, _COARSE, _WHOLE, _SEARCHED, _FINE = 8, 8, 16, 16, 24  # cells along an edge
_PAGE = 1_000  # thumbnails read at once: 15 MB
_AHEAD = 8  # batches, or thumbnails, that threads are ahead of what has been taken
_BATCH = 256  # pairs compared at once: 20 MB of windows

# One picture stored twice: of 200 photos, 99 in 100 saved again as JPEG of quality 30, or at a quarter of
# their size, differ by less; of those with a twentieth cut off, 99 in 100 by more. In levels of 0 to 255.
_RESAVED_TONES = (1.5, 6.0, 0.14)  # root mean square: least and most, between them a share of the contrast
_RESAVED_COLOURS = 4.0

_COARSE_LEAST = (
    0.7  # 99 in 100 photos of which 30% were cut off from each edge reach it, 3 in 100 other pairs
)
_FLAT = 4.0  # levels of contrast below which a correlation speaks of noise
_STEPS = (0.04, 0.02, 0.01)  # of a window's edges, in shares of the picture
_NARROWEST = 0.45  # share of an edge that a window keeps
_SPANS = tuple(
    (start, start + share)
    for share, places in ((1.0, 1), (0.85, 3), (0.7, 5))
    for start in np.linspace(0.0, 1.0 - share, places)
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How much must agree for two pictures to count as one: correlations of brightness and of its slopes."""

    tones: float
    edges: float


# Of 200 photos, 99 in 100 with 30% cut off from each edge, or brightened by a quarter, reach both; of other
# photos none comes near the second (0.63 at most), of drawn scenes with one background none reaches both.
EDITED = Agreement(tones=0.93, edges=0.85)
# Reached by 99 in 100 photos turned by three degrees: what a hand does between two shots.
SIMILAR = Agreement(tones=0.65, edges=0.66)


@dataclass(frozen=True, slots=True)
class Looks:
    """What is compared of pictures: brightness (n, 64, 64) and colours (n, 8, 8, 3), both uint8; `known` is
    False for those without a thumbnail, which match nothing."""

    brightness: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    known: Mask


def read_looks(
    thumbnails: Callable[[Sequence[str]], Mapping[str, bytes]],
    ids: Sequence[str],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Looks:
    """The looks of the items of these ids, in order; `progress` is told how many have been read."""
    n = len(ids)
    looks = Looks(
        np.zeros((n, EDGE, EDGE), np.uint8), np.zeros((n, _COLOURS, _COLOURS, 3), np.uint8), np.zeros(n, bool)
    )
    done = 0
    for page in batched(ids, _PAGE):
        found = thumbnails(page)
        grids = read_ahead((found.get(identity) for identity in page), _grids, ahead=_AHEAD)
        for place, both in enumerate(grids, done):
            if both is not None:
                looks.brightness[place], looks.colours[place] = both
                looks.known[place] = True
        done += len(page)
        progress(done)
    return looks


def _grids(jpeg: bytes | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Brightness and colours of a thumbnail; None if it is damaged, as if there were none."""
    try:
        picture = None if jpeg is None else open_image(jpeg)
    except ImageError:
        return None
    if picture is None:
        return None
    small = picture.resize((EDGE, EDGE), Image.Resampling.BOX)
    colours = small.resize((_COLOURS, _COLOURS), Image.Resampling.BOX)
    return np.asarray(small.convert("L")), np.asarray(colours)


def resaved(looks: Looks, pairs: Ints) -> Mask:
    """Which pairs (p, 2) are one picture, saved again or resized."""
    same = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), _BATCH):
        one, other = pairs[start : start + _BATCH].T
        a, b = (_averaged(looks.brightness[places], _WHOLE) for places in (one, other))  # (p, 256)
        least, most, share = _RESAVED_TONES
        contrast = np.minimum(a.std(axis=1), b.std(axis=1))
        tones = _rms(a - b) <= np.clip(share * contrast, least, most)
        colours = looks.colours[one].astype(np.float32) - looks.colours[other]
        alike = tones & (_rms(colours.reshape(len(one), -1)) <= _RESAVED_COLOURS)
        same[start : start + _BATCH] = alike & looks.known[one] & looks.known[other]
    return same


def agreeing(looks: Looks, pairs: Ints, least: Agreement) -> Mask:
    """Which pairs (p, 2) show the same: one may be cut out of the other, mirrored, or of other colours."""
    same = resaved(looks, pairs)
    for direction in (pairs, pairs[:, ::-1]):
        for mirrored in (False, True):
            open_ = np.flatnonzero(~same & looks.known[pairs].all(axis=1))
            open_ = open_[np.argsort(direction[open_, 0], kind="stable")]  # so that windows serve several
            within = partial(_within, looks.brightness, mirrored=mirrored, least=least)
            batches = [open_[start : start + _BATCH] for start in range(0, len(open_), _BATCH)]
            found = read_ahead((direction[batch] for batch in batches), within, ahead=_AHEAD)
            for batch, mask in zip(batches, found, strict=True):
                same[batch] = mask
    return same


def _within(brightness: NDArray[np.uint8], pairs: Ints, *, mirrored: bool, least: Agreement) -> Mask:
    """Whether the second of each of `pairs` (p, 2) is found in the first."""
    wholes, at = np.unique(pairs[:, 0], return_inverse=True)
    part = brightness[pairs[:, 1]].astype(np.float32)  # (p, 64, 64)
    part = part[:, :, ::-1] if mirrored else part
    spans = len(_SPANS)
    grid = _GRID @ brightness[wholes].astype(np.float32) @ _GRID.T  # (w, spans * 8, spans * 8)
    windows = grid.reshape(-1, spans, _COARSE, spans, _COARSE).transpose(0, 1, 3, 2, 4)
    windows = _unit(windows.reshape(len(wholes), spans * spans, -1))[at]  # (p, 81, 64)
    coarse = (windows @ _unit(_averaged(part, _COARSE))[:, :, None])[:, :, 0]
    best = coarse.argmax(axis=1)
    likely = np.flatnonzero(coarse[np.arange(len(best)), best] >= _COARSE_LEAST)
    found = np.zeros(len(pairs), bool)
    if len(likely):
        down, across = np.divmod(best[likely], spans)
        spans_of = np.array(_SPANS, np.float32)
        whole = brightness[pairs[likely, 0]].astype(np.float32)
        found[likely] = _fits(whole, part[likely], spans_of[down], spans_of[across], least)
    return found


def _fits(whole: Floats, part: Floats, rows: Floats, columns: Floats, least: Agreement) -> Mask:
    """Whether the window from `rows` and `columns`, both (p, 2), agrees with `part` once it is adjusted."""
    everything = np.tile(np.array([0, 1], np.float32), (len(part), 1))
    sought = _unit(_averaged(part, _SEARCHED))
    turned = _unit(_averaged(part.transpose(0, 2, 1), _SEARCHED))
    for step in _STEPS:
        for _ in range(2):
            columns = _adjusted(_weights(rows, _SEARCHED) @ whole, columns, sought, step)
            rows = _adjusted(_weights(columns, _SEARCHED) @ whole.transpose(0, 2, 1), rows, turned, step)
    window, target = _averages(whole, rows, columns), _averages(part, everything, everything)
    contrast = np.minimum(window.std(axis=(1, 2)), target.std(axis=(1, 2)))
    tones = (_unit(window.reshape(len(part), -1)) * _unit(target.reshape(len(part), -1))).sum(axis=1)
    edges = (_unit(_slopes(window), centred=False) * _unit(_slopes(target), centred=False)).sum(axis=1)
    fits: Mask = (contrast >= _FLAT) & (tones >= least.tones) & (edges >= least.edges)
    return fits


def _adjusted(strips: Floats, spans: Floats, sought: Floats, step: float) -> Floats:
    """`spans` along the last axis of `strips` (p, 16, 64), each end moved by `step` if that agrees more."""
    best = _agreement(strips, spans, sought)
    chosen = spans
    for moves in ((-step, 0), (step, 0), (0, -step), (0, step)):
        moved = np.clip(spans + np.array(moves, np.float32), 0, 1)
        score = np.where(moved[:, 1] - moved[:, 0] < _NARROWEST, -1, _agreement(strips, moved, sought))
        chosen = np.where((score > best)[:, None], moved, chosen)
        best = np.maximum(best, score)
    return chosen


def _agreement(strips: Floats, spans: Floats, sought: Floats) -> Floats:
    window = strips @ _weights(spans, _SEARCHED).transpose(0, 2, 1)  # (p, 16, 16)
    agreement: Floats = (_unit(window.reshape(len(strips), -1)) * sought).sum(axis=1)
    return agreement


def _slopes(grid: Floats) -> Floats:
    """Differences to both sides and up and down, of the inner cells of (p, h, w)."""
    across = grid[:, 1:-1, 2:] - grid[:, 1:-1, :-2]
    down = grid[:, 2:, 1:-1] - grid[:, :-2, 1:-1]
    return np.concatenate([across.reshape(len(grid), -1), down.reshape(len(grid), -1)], axis=1)


def _averages(pictures: Floats, rows: Floats, columns: Floats) -> Floats:
    """The window (p, 24, 24) of each of `pictures` (p, 64, 64)."""
    across = pictures @ _weights(columns, _FINE).transpose(0, 2, 1)
    return np.asarray(_weights(rows, _FINE) @ across, np.float32)


def _weights(spans: Floats, cells: int) -> Floats:
    """The share of each of 64 cells in each of `cells` that divide a span of [0, 1]: (p, cells, 64)."""
    bounds = (spans[:, :1] + (spans[:, 1:] - spans[:, :1]) * np.arange(cells + 1) / cells) * EDGE
    places = np.arange(EDGE)
    inside = np.minimum(bounds[:, 1:, None], places + 1) - np.maximum(bounds[:, :-1, None], places)
    inside = np.clip(inside, 0, None)
    weights: Floats = (inside / inside.sum(axis=2, keepdims=True)).astype(np.float32)
    return weights


def _averaged(pictures: NDArray[np.generic], cells: int) -> Floats:
    """(p, 64, 64) as the means of cells x cells squares, (p, cells * cells)."""
    block = EDGE // cells
    means: Floats = pictures.reshape(-1, cells, block, cells, block).mean(axis=(2, 4), dtype=np.float32)
    return means.reshape(len(pictures), -1)


def _unit(rows: Floats, *, centred: bool = True) -> Floats:
    """Rows along the last axis, without their mean and of unit length; zero where nothing is left."""
    if centred:
        rows = rows - rows.mean(axis=-1, keepdims=True, dtype=np.float32)
    lengths: Floats = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-6), np.float32)


def _rms(rows: Floats) -> Floats:
    rms: Floats = np.sqrt(np.square(rows).mean(axis=1, dtype=np.float32))
    return rms


_GRID: Floats = _weights(np.array(_SPANS, np.float32), _COARSE).reshape(-1, EDGE)  # (spans * 8, 64)

"""Pictures resized by torch are Pillow's, and nobody has to load torch for them."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipkit import resizing
from clipkit.errors import InvalidInput
from clipkit.resizing import FILTERS, Filter, resized, thumbnail, within
from clipkit.sketch import draw, scene
from tests.test_images import noise, oriented, stored


@pytest.mark.parametrize("by", FILTERS)
@settings(max_examples=40)
@given(edges=st.tuples(*[st.integers(8, 300)] * 4), seed=st.integers(0, 9))
def test_torch_makes_what_pillow_makes(by: Filter, edges: tuple[int, int, int, int], seed: int) -> None:
    image = draw(scene(seed), size=300).resize(edges[:2])
    before = np.array(image)
    ours = resized(image, edges[2], edges[3], by).astype(int)
    theirs = np.array(image.resize(edges[2:], FILTERS[by])).astype(int)
    assert ours.shape == theirs.shape == (edges[3], edges[2], 3)
    assert np.abs(ours - theirs).max() <= 2
    assert np.array_equal(np.array(image), before)


def test_a_thumbnail_is_the_same_with_and_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    image = draw(scene(4), size=600)
    with_torch = thumbnail(image)
    monkeypatch.setattr(resizing, "vectorised", lambda: False)
    shown = [np.array(Image.open(BytesIO(each))).astype(int) for each in (with_torch, thumbnail(image))]
    assert np.abs(shown[0] - shown[1]).mean() < 0.5  # levels of 255, after JPEG


def test_a_thumbnail_loads_no_torch() -> None:
    code = """if True:
        import sys
        from clipkit.resizing import thumbnail
        from clipkit.sketch import draw, scene
        assert thumbnail(draw(scene(1), size=600)).startswith(b"\\xff\\xd8")
        print("torch" in sys.modules)
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("False\n", "")


@given(width=st.integers(1, 20_000), height=st.integers(1, 20_000), edge=st.integers(1, 1000))
def test_a_picture_within_an_edge_keeps_its_shape(width: int, height: int, edge: int) -> None:
    small = within(width, height, edge)
    if max(width, height) <= edge:
        assert small == (width, height)
        return
    assert max(small) == edge
    assert min(small) >= 1
    exact = edge / max(width, height)
    assert all(
        abs(got - max(1.0, was * exact)) <= 0.5 for got, was in zip(small, (width, height), strict=True)
    )


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [
        ((1000, 500), 256, (256, 128)),
        ((500, 1000), 100, (50, 100)),
        ((90, 70), 256, (90, 70)),
        ((3000, 1), 256, (256, 1)),
    ],
)
def test_a_thumbnail_fits_and_is_never_enlarged(
    size: tuple[int, int], edge: int, expected: tuple[int, int]
) -> None:
    shown = Image.open(BytesIO(thumbnail(noise(size[1], size[0]), edge=edge)))
    assert (shown.format, shown.mode, shown.size) == ("JPEG", "RGB", expected)


def test_a_thumbnail_tells_nothing_of_its_picture_but_the_pixels() -> None:
    data = stored(
        noise(30, 40), "JPEG", exif=oriented(6), comment=b"private", icc_profile=b"x" * 200, dpi=(300, 300)
    )
    image = Image.open(BytesIO(data))
    assert {"exif", "comment", "icc_profile", "dpi"} <= set(image.info)
    shown = Image.open(BytesIO(thumbnail(image)))
    assert not {"exif", "comment", "icc_profile", "dpi", "xmp"} & set(shown.info)


def test_a_thumbnail_of_any_mode_is_on_white_and_leaves_its_picture_alone() -> None:
    image = Image.new("RGBA", (600, 300), (200, 0, 0, 0))
    shown = Image.open(BytesIO(thumbnail(image)))
    assert shown.getpixel((5, 5)) == (255, 255, 255)
    assert (image.size, image.mode) == ((600, 300), "RGBA")


def test_a_thumbnail_of_higher_quality_is_nearer_to_its_picture() -> None:
    image = noise(64, 64)
    off = [
        np.abs(np.asarray(Image.open(BytesIO(data)), np.int16) - np.asarray(image)).mean()
        for data in (thumbnail(image), thumbnail(image, quality=92))
    ]
    assert off[1] < off[0]


def test_a_thumbnail_has_at_least_one_pixel() -> None:
    with pytest.raises(InvalidInput, match=r"^a thumbnail's edge is at least 1 pixel, not 0$"):
        thumbnail(noise(3, 3), edge=0)

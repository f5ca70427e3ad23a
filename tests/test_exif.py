import io
import math
import struct
from datetime import datetime
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from clipkit.exif import Facts, facts_of, tiff_facts
from clipkit.images import read_picture

Tags: TypeAlias = dict[Any, Any]

BERN: Tags = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (46.0, 57.0, 3.6),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (7.0, 26.0, 24.0),
}


def header(first: Tags | None = None, exif: Tags | None = None, gps: Tags | None = None) -> bytes:
    tags = Image.Exif()
    tags.update(first or {})
    if exif:
        tags[IFD.Exif] = exif
    if gps:
        tags[IFD.GPSInfo] = gps
    return tags.tobytes()


def jpeg(exif: bytes) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), "green").save(out, "JPEG", exif=exif)
    return out.getvalue()


def facts(exif: bytes) -> Facts:
    return facts_of(Image.open(io.BytesIO(jpeg(exif))))


def place(gps: Tags) -> tuple[float | None, float | None]:
    found = facts(header(gps=gps))
    return found.latitude, found.longitude


# --- when


def taken(first: Tags | None = None, exif: Tags | None = None) -> datetime | None:
    return facts(header(first, exif)).taken_at


def test_the_time_of_the_shot_comes_before_that_of_the_scan_and_of_the_last_change() -> None:
    shot, scan, change = "2019:08:07 06:05:04", "2020:01:01 00:00:00", "2021:01:01 00:00:00"
    first, both = {Base.DateTime: change}, {Base.DateTimeOriginal: shot, Base.DateTimeDigitized: scan}
    assert taken(first, both) == datetime(2019, 8, 7, 6, 5, 4)
    assert taken(first, {Base.DateTimeDigitized: scan}) == datetime(2020, 1, 1)
    assert taken(first) == datetime(2021, 1, 1)
    assert taken() is None


@pytest.mark.parametrize(("digits", "microsecond"), [("5", 500_000), ("047", 47_000), ("12345678", 123_456)])
def test_fractions_of_a_second_are_decimals(digits: str, microsecond: int) -> None:
    exif = {Base.DateTimeOriginal: "2019:08:07 06:05:04", Base.SubsecTimeOriginal: digits}
    assert taken(exif=exif) == datetime(2019, 8, 7, 6, 5, 4, microsecond)


@pytest.mark.parametrize("digits", ["", "  ", "-1", "x", "²"])
def test_a_corrupt_fraction_leaves_the_whole_second(digits: str) -> None:
    exif = {Base.DateTimeOriginal: "2019:08:07 06:05:04", Base.SubsecTimeOriginal: digits}
    assert taken(exif=exif) == datetime(2019, 8, 7, 6, 5, 4)


@pytest.mark.parametrize(
    "text",
    ["2019:08:07 06:05:04\0", "2019-08-07 06:05:04", "2019/08/07T06:05:04+02:00", " 2019:08:07  06:05:04"],
)
def test_other_spellings_of_a_time(text: str) -> None:
    assert taken(exif={Base.DateTimeOriginal: text}) == datetime(2019, 8, 7, 6, 5, 4)


@pytest.mark.parametrize(
    "text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2019:02:30 00:00:00", "", "now"]
)
def test_an_impossible_time_is_no_time_and_the_next_is_taken(text: str) -> None:
    assert taken(exif={Base.DateTimeOriginal: text}) is None
    assert taken({Base.DateTime: "2021:01:01 00:00:00"}, {Base.DateTimeOriginal: text}) == datetime(
        2021, 1, 1
    )


# --- with what


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D750", "NIKON D750"),
        ("SONY\0\0", "ILCE-7\0", "SONY ILCE-7"),
        ("  ", "X-T5   ", "X-T5"),
        ("FUJIFILM", "", "FUJIFILM"),
        ("Bad\x07\nMake", "M", "Bad Make M"),
        ("", "", None),
    ],
)
def test_the_camera_is_named_once(make: str, model: str, camera: str | None) -> None:
    assert facts(header({Base.Make: make, Base.Model: model})).camera == camera


# --- where


def test_a_position_in_every_hemisphere() -> None:
    assert place(BERN) == pytest.approx((46.951, 7.44), abs=1e-9)
    south_west = BERN | {GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "W"}
    assert place(south_west) == pytest.approx((-46.951, -7.44), abs=1e-9)


def test_degrees_alone_are_a_position() -> None:
    gps = BERN | {GPS.GPSLatitude: (46.951, 0.0, 0.0), GPS.GPSLongitude: (180.0, 0.0, 0.0)}
    assert place(gps) == pytest.approx((46.951, 180.0))


def test_the_equator_and_the_meridian_are_places() -> None:
    assert place(BERN | {GPS.GPSLatitude: (0.0, 0.0, 0.0)}) == pytest.approx((0.0, 7.44))
    assert place(BERN | {GPS.GPSLongitude: (0.0, 0.0, 0.0)}) == pytest.approx((46.951, 0.0))


@pytest.mark.parametrize(
    "change",
    [
        {GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)},
        {GPS.GPSLatitude: (90.0, 0.0, 0.1)},
        {GPS.GPSLongitude: (181.0, 0.0, 0.0)},
        {GPS.GPSLatitudeRef: ""},
        {GPS.GPSLatitudeRef: "E"},
        {GPS.GPSLatitudeRef: "\0"},
        {GPS.GPSLongitudeRef: "X"},
    ],
)
def test_an_impossible_position_is_no_position(change: Tags) -> None:
    assert place(BERN | change) == (None, None)


@pytest.mark.parametrize("numerator", [0, 46])
def test_a_fraction_by_zero_is_no_position(numerator: int) -> None:
    exif = header(gps=BERN).replace(struct.pack(">II", 46, 1), struct.pack(">II", numerator, 0))
    assert exif != header(gps=BERN)
    found = facts(exif)
    assert (found.latitude, found.longitude) == (None, None)


@pytest.mark.parametrize(
    "missing", [GPS.GPSLatitude, GPS.GPSLongitude, GPS.GPSLatitudeRef, GPS.GPSLongitudeRef]
)
def test_half_a_position_is_no_position(missing: int) -> None:
    assert place({tag: value for tag, value in BERN.items() if tag != missing}) == (None, None)


# --- which way up, and headers gone wrong


@pytest.mark.parametrize(("stored", "orientation"), [(1, 1), (6, 6), (8, 8), (0, 1), (9, 1), (65535, 1)])
def test_an_orientation_that_does_not_exist_is_upright(stored: int, orientation: int) -> None:
    assert facts(header({Base.Orientation: stored})).orientation == orientation


def patched(exif: bytes, tag: int, at: int, value: bytes) -> bytes:
    """`exif` with the bytes of one directory entry changed: type at 2, count at 4, value or offset at 8."""
    start = exif.index(tag.to_bytes(2, "big")) + at
    return exif[:start] + value + exif[start + len(value) :]


@pytest.mark.parametrize("type", [2, 7, 10, 12, 99])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File", "ignore:Metadata Warning")
def test_tags_of_the_wrong_type_say_nothing(type: int) -> None:
    exif = header({Base.Orientation: 6, Base.Make: "Make"}, gps=BERN)
    for tag in (Base.Orientation, Base.Make, GPS.GPSLatitude):
        exif = patched(exif, tag, 2, type.to_bytes(2, "big"))
    found = facts(exif)
    assert (found.orientation, found.latitude, found.taken_at) == (1, None, None)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_directory_costs_only_what_it_holds() -> None:
    exif = header({Base.Orientation: 6, Base.Make: "Make"}, {Base.DateTimeOriginal: "2019:08:07 06:05:04"})
    beyond_the_end = patched(exif, IFD.Exif, 8, b"\x7f\xff\xff\xff")
    assert facts(beyond_the_end) == Facts(orientation=6, camera="Make")


def test_no_header_says_nothing() -> None:
    assert facts_of(Image.new("RGB", (2, 2))) == Facts()
    assert facts(b"Exif\0\0garbage") == Facts()
    assert tiff_facts(io.BytesIO(b"no tiff")) == Facts()


def test_the_facts_of_a_tiff_header() -> None:
    found = tiff_facts(io.BytesIO(header({Base.Make: "Make", Base.Orientation: 3}, gps=BERN)[6:]))
    assert (found.camera, found.orientation) == ("Make", 3)
    assert (found.latitude, found.longitude) == pytest.approx((46.951, 7.44))


FULL = header(
    {Base.Orientation: 6, Base.Make: "Make", Base.Model: "Model"},
    {Base.DateTimeOriginal: "2019:08:07 06:05:04", Base.SubsecTimeOriginal: "5"},
    BERN,
)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File", "ignore:Metadata Warning")
@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(6, len(FULL) - 1), st.integers(0, 255)), max_size=8),
    st.integers(6, len(FULL)),
)
def test_a_damaged_header_never_spoils_the_picture(changes: list[tuple[int, int]], length: int) -> None:
    exif = bytearray(FULL)
    for at, byte in changes:
        exif[at] = byte
    picture = read_picture(jpeg(bytes(exif[:length])))
    assert {picture.width, picture.height} == {8, 6}
    assert picture.latitude is None or math.isfinite(picture.latitude)

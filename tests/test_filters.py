from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clipkit.errors import FilterError, InvalidInput
from clipkit.filters import EARTH_RADIUS_M, camera, near, since, under, until, within
from clipkit.folders import path_to_id
from clipkit.lance import Database, Table

TIMES = {
    "first": datetime(1, 1, 1),
    "eve": datetime(2023, 12, 31, 23, 59, 59, 999_999),
    "new year": datetime(2024, 1, 1),
    "leap": datetime(2024, 2, 29, 18, 30),
    "leap's end": datetime(2024, 2, 29, 23, 59, 59, 999_999),
    "march": datetime(2024, 3, 1),
    "last": datetime(9999, 12, 31, 23, 59, 59, 999_999),
}
CAMERAS = {"c1": "Canon EOS R5", "c2": "CANON IXUS", "c3": "Nikon Z6 100%", "c4": "it's_one", "c5": None}


def made(folder: Path, columns: dict[str, list[Any]]) -> Table:
    rows = pa.table(columns)
    key = pa.field("id", pa.string(), False, {"lance-schema:unenforced-primary-key": "true"})
    schema = rows.schema.set(rows.schema.get_field_index("id"), key)
    table = Database(str(folder)).create("t", schema)
    assert table is not None
    table.upsert(rows.cast(schema))
    return table


def found(table: Table, where: str) -> set[str]:
    return set(table.read(["id"], table.checked(where))["id"].to_pylist())


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Rows at TIMES, one without a time, and rows by CAMERAS."""
    at = pa.array([*TIMES.values(), None, *[None] * len(CAMERAS)], pa.timestamp("us"))
    columns = {
        "id": [*TIMES, "never", *CAMERAS],
        "taken_at": at,
        "camera": [*[None] * (len(TIMES) + 1), *CAMERAS.values()],
    }
    return made(tmp_path_factory.mktemp("taken"), columns)


# --- when


@pytest.mark.parametrize(
    ("moment", "first", "last"),
    [
        ("2023", "eve", "eve"),
        ("2024", "new year", "march"),
        ("2024-02", "leap", "leap's end"),
        ("2024-2", "leap", "leap's end"),
        ("2024-02-29", "leap", "leap's end"),
        (" 2024-02-29 18:30 ", "leap", "leap"),
        ("2024-02-29T18:30:00", "leap", "leap"),
        ("2024-02-29 18:30:01", "leap's end", "leap"),
        ("2024-02-29 23:59", "leap's end", "leap's end"),
        (date(2024, 2, 29), "leap", "leap's end"),
        (datetime(2024, 2, 29, 18, 30), "leap", "leap"),
        (datetime(2024, 2, 29, 18, 30, 0, 1), "leap's end", "leap"),
        ("0001", "first", "first"),
        ("9999", "last", "last"),
        ("9999-12-31", "last", "last"),
    ],
)
def test_since_and_until_hold_the_whole_of_a_period(
    taken: Table, moment: str | date, first: str, last: str
) -> None:
    names = list(TIMES)
    assert found(taken, since(moment)) == set(names[names.index(first) :])
    assert found(taken, until(moment)) == set(names[: names.index(last) + 1])


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        ("2024-02-30", "2024-02-30 is no date: day is out of range for month; write 2024, 2024-06"),
        ("2023-02-29", "2023-02-29 is no date"),
        ("2024-13", "month must be in"),
        ("2024-00", "month must be in"),
        ("0000", "year 0 is out of range"),
        ("2024-06-01 25:00", "hour must be in"),
        ("2024-06-01 18", "'2024-06-01 18' is no date: write .* 2024-06-01 18:30"),
        ("yesterday", "'yesterday' is no date: write 2024"),
        ("24-06-01", "is no date: write 2024"),
        ("٢٠٢٤", "is no date: write 2024"),
        ("", "'' is no date: write 2024"),
        (None, "None is no date: write 2024"),
        (datetime(2024, 1, 1, tzinfo=UTC), "has a time zone"),
    ],
)
def test_an_impossible_date_is_named_with_what_would_do(moment: Any, message: str) -> None:
    for short in (since, until):
        with pytest.raises(FilterError, match=message):
            short(moment)


# --- with what


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("canon", {"c1", "c2"}),
        (" EOS r5 ", {"c1"}),
        ("100%", {"c3"}),
        ("%", {"c3"}),
        ("_", {"c4"}),
        ("IT'S", {"c4"}),
        ("leica", set()),
    ],
)
def test_a_camera_is_found_by_a_part_of_its_name(taken: Table, name: str, expected: set[str]) -> None:
    assert found(taken, camera(name)) == expected


@pytest.mark.parametrize("name", ["", "  ", None, 5])
def test_a_camera_has_a_name(name: Any) -> None:
    with pytest.raises(FilterError, match="a camera is told by a part of its name, such as canon"):
        camera(name)


# --- where


def test_under_a_folder_are_its_files_at_any_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = ["a.jpg", "deep/er/b.jpg", "it's/c.jpg", "猫/d.jpg", os.fsdecode(b"bytes-\xff.jpg")]
    paths = [f"{tmp_path}/photos/{name}" for name in inside]
    outside = [f"{tmp_path}/photos-2/a.jpg", f"{tmp_path}/photos", f"{tmp_path}/b.jpg"]
    ids = [path_to_id(path) for path in paths + outside]
    table = made(tmp_path / "db", {"id": [*ids, "text"], "uri": [*ids, None]})
    assert found(table, under(tmp_path / "photos")) == set(ids[: len(paths)])
    assert found(table, under(f"{tmp_path}/photos/it's/")) == {ids[2]}
    assert found(table, under(f"{tmp_path}/photos/deep/../猫")) == {ids[3]}
    assert found(table, under("/")) == set(ids)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "photos"))
    assert found(table, under("photos/deep")) == {ids[1]}
    assert found(table, under("~")) == set(ids[: len(paths)])
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert found(table, under("link")) == set(ids[: len(paths)])  # as index would call it


def test_a_folder_is_a_path() -> None:
    with pytest.raises(InvalidInput, match="'a\\\\x00b' is not a path"):
        under("a\0b")


def spread() -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes: everywhere, around Vienna, at the poles, and at the date line."""
    noise = np.random.default_rng(0)
    latitudes = [noise.uniform(-90, 90, 1500), noise.normal(48.2, 0.3, 500)]
    longitudes = [noise.uniform(-180, 180, 1500), noise.normal(16.4, 0.3, 500)]
    for pole in (90, -90):
        latitudes.append(pole - np.copysign(noise.exponential(0.5, 300), pole))
        longitudes.append(noise.uniform(-180, 180, 300))
    latitudes.append(noise.uniform(-60, 60, 500))
    longitudes.append((noise.normal(180, 0.5, 500) + 180) % 360 - 180)
    latitudes.append(np.array([90.0, -90.0, 0.0, 0.0]))
    longitudes.append(np.array([0.0, 0.0, 180.0, -180.0]))
    return np.concatenate(latitudes), np.concatenate(longitudes)


def metres_between(latitude: float, longitude: float, at: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """By the chord between points of the unit sphere, a formula that has nothing of the haversine's."""

    def on_sphere(latitudes: Any, longitudes: Any) -> np.ndarray:
        a, b = np.radians(latitudes), np.radians(longitudes)
        return np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], axis=-1)

    chords = np.linalg.norm(on_sphere(*at) - on_sphere(latitude, longitude), axis=-1)
    return np.asarray(2 * EARTH_RADIUS_M * np.arcsin(np.clip(chords / 2, 0, 1)))


def test_near_a_place_is_what_brute_force_finds(tmp_path: Path) -> None:
    at = spread()
    ids = [str(number) for number in range(len(at[0]))]
    halves = {"no latitude": (None, 16.4), "no longitude": (48.2, None), "no place": (None, None)}
    table = made(
        tmp_path,
        {
            "id": [*ids, *halves],
            "latitude": [*at[0].tolist(), *(half[0] for half in halves.values())],
            "longitude": [*at[1].tolist(), *(half[1] for half in halves.values())],
        },
    )
    places = [(48.2, 16.4), (0.0, 180.0), (52.0, -179.9), (-45.0, 179.95), (90.0, 0.0), (-89.9, 77.0)]
    nonempty = 0
    for latitude, longitude in [*places, (0.0, 0.0), (89.0, -180.0)]:
        distances = metres_between(latitude, longitude, at)
        for metres in (500.0, 20_000.0, 111_000.0, 3e6, 1.2e7, 1.99e7):
            expected = {ids[i] for i in np.flatnonzero(distances <= metres)}
            got = found(table, within(latitude, longitude, metres=metres))
            assert got == expected, (latitude, longitude, metres)
            nonempty += bool(expected)
    assert nonempty > 30


def test_a_place_is_written_in_one_line() -> None:
    vienna = within(48.2, 16.4, metres=20_000.0)
    for line in ("48.2,16.4,20km", " 48.2 , +16.40 , 20 KM ", "48.2,16.4,20000m"):
        assert near(line) == vienna
    assert near("-33.9,151.2,1mi") == within(-33.9, 151.2, metres=1609.344)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("48.2,16.4,20", "'48.2,16.4,20' is no place: give latitude, .*such as 48.2,16.4,20km"),
        ("48.2,16.4", "is no place"),
        ("48,2,16,4,20km", "is no place"),
        ("48.2,16.4,20 miles", "is no place"),
        ("nan,16.4,20km", "is no place"),
        ("Vienna", "is no place"),
        (None, "None is no place"),
        ("100,16.4,20km", "a latitude is from -90 to 90 degrees, not 100.0.* 48.2,16.4,20km"),
        ("48.2,-180.5,20km", "a longitude is from -180 to 180 degrees, not -180.5"),
        ("48.2,16.4,-20km", "a distance is in metres, 0 or more, not -20000.0"),
    ],
)
def test_a_wrong_place_is_named_with_a_right_one(place: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        near(place)


@pytest.mark.parametrize("number", [float("nan"), True, "48.2", None])
def test_a_place_has_numbers(number: Any) -> None:
    with pytest.raises(FilterError, match="a latitude is from -90 to 90 degrees, not"):
        within(number, 16.4, metres=1.0)
    with pytest.raises(FilterError, match="a distance is in metres"):
        within(48.2, 16.4, metres=number)

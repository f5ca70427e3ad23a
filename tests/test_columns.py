from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from clipkit.columns import (
    ColumnType,
    at_least_1,
    checked_columns,
    checked_ids,
    checked_metadata,
    cosine,
    fields_of,
    strings,
)
from clipkit.errors import InvalidInput

NOON = datetime(2024, 5, 1, 12)


@pytest.mark.parametrize(
    ("kind", "arrow"),
    [
        (str, pa.string()),
        (int, pa.int64()),
        (float, pa.float64()),
        (bool, pa.bool_()),
        (datetime, pa.timestamp("us")),
        (date, pa.date32()),
        (bytes, pa.binary()),
        (list[str], pa.list_(pa.string())),
        (list[list[int]], pa.list_(pa.list_(pa.int64()))),
        (pa.float32(), pa.float32()),
    ],
)
def test_a_column_has_the_arrow_type_of_its_python_type(kind: ColumnType, arrow: pa.DataType) -> None:
    (field,) = fields_of({"x": kind})
    assert field == pa.field("x", arrow, nullable=True)


@pytest.mark.parametrize("kind", [list, dict, str | None, object, "str", None, dict[str, int], np.float32])
def test_a_type_that_no_column_has_is_refused_with_those_that_do(kind: Any) -> None:
    with pytest.raises(InvalidInput, match=r"use str, int, float, bool, datetime, date, bytes, list\[...\]"):
        fields_of({"x": kind})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "cannot name a column"),
        ("1st", "cannot name a column"),
        ("a b", "cannot name a column"),
        ("a.b", "cannot name a column"),
        ("_rowid", "cannot name a column"),
        ("größe", "cannot name a column"),
        (5, "5 cannot name a column"),
        ("id", "built in"),
        ("Vector", "built in"),
        ("score", "built in"),
        ("null", "a filter would not take 'null'"),
        ("Select", "a filter would not take 'Select'"),
        ("TAG", "there is a column 'Tag' already"),
    ],
)
def test_a_name_that_filters_could_not_use_is_refused(name: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        fields_of({"fine": str, name: str}, taken=["Tag"])


def test_two_new_names_may_not_differ_in_case_only() -> None:
    with pytest.raises(InvalidInput, match="there is a column 'tag' already"):
        fields_of({"tag": str, "Tag": str})


FITTING: list[tuple[ColumnType, list[Any]]] = [
    (str, ["", "x", "😀", np.str_("x")]),
    (int, [0, -1, 2**63 - 1, np.int64(3), np.uint8(3)]),
    (float, [0.5, 1, float("nan"), float("inf"), np.float32(0.5), np.int64(3)]),
    (bool, [True, False, np.True_]),
    (datetime, [NOON, pd.Timestamp(NOON), np.datetime64("2024-05-01T12:00", "us")]),
    (date, [date(2024, 5, 1)]),
    (bytes, [b"", b"\x00\xff", bytearray(b"x")]),
    (list[str], [[], ["a", "b"], ("a",), ["a", None]]),
    (list[float], [[1, 2.5], np.array([1.0, 2.0])]),
    (pa.int8(), [127, -128]),
    (pa.timestamp("us", tz="UTC"), [datetime(2024, 5, 1, 12, tzinfo=UTC)]),
]


@pytest.mark.parametrize(("kind", "values"), FITTING, ids=lambda value: str(value)[:30])
def test_values_that_fit_are_taken_as_they_are(kind: ColumnType, values: list[Any]) -> None:
    (field,) = fields_of({"x": kind})
    metadata = [{"x": value} for value in [*values, None]]
    assert checked_metadata(metadata, len(metadata), [field]) is metadata
    assert pa.array([row["x"] for row in metadata], field.type).null_count == 1


MISFITS: list[tuple[ColumnType, list[Any]]] = [
    (str, [5, b"x", str, ["x"], "\ud800"]),
    (int, [1.5, 1.0, "1", True, np.True_, 2**63, Decimal(1), np.float32(2)]),
    (float, ["1", True, b"1", Decimal("1.5")]),
    (bool, [1, 0, "true", 1.0]),
    (datetime, [5, "2024-05-01", date(2024, 5, 1), time(12), 1.5]),
    (date, [NOON, 5, "2024-05-01", True, pd.Timestamp(NOON)]),
    (bytes, ["x", 5, [1]]),
    (list[str], ["abc", [5], {"a"}, "a", [["a"]], {"a": 1}]),
    (list[int], [[1.5], [True], "12", b"12"]),
    (pa.int8(), [128, -129]),
]


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, value) for kind, values in MISFITS for value in values], ids=ascii
)
def test_a_value_that_does_not_fit_is_named_with_its_column_and_position(
    kind: ColumnType, value: Any
) -> None:
    fields = fields_of({"x": kind})
    with pytest.raises(InvalidInput, match=r"^input 1: .* does not fit the column 'x'$") as caught:
        checked_metadata([{"x": None}, {"x": value}], 2, fields)
    assert caught.value.position == 1


def test_a_time_zone_is_not_lost_without_a_word() -> None:
    fields = fields_of({"x": datetime})
    with pytest.raises(InvalidInput, match=r"^input 0: 2024-05-01 12:00:00\+00:00 has a time zone"):
        checked_metadata([{"x": datetime(2024, 5, 1, 12, tzinfo=UTC)}], 1, fields)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([{}], "1 entries for 2 items"),
        ([{}, {}, {}], "3 entries for 2 items"),
        ({"a": 1, "b": 2}, "give a list"),
        ([{}, None], "^input 1: metadata is a dict for each item, not NoneType"),
        ([{}, {"raiting": 1}], "^input 1: .*no column 'raiting'. Did you mean rating.*add_columns"),
        ([{}, {5: 1}], "^input 1: .*no column 5"),
    ],
)
def test_metadata_of_another_form_is_refused(metadata: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        checked_metadata(metadata, 2, fields_of({"rating": int}))


def test_no_metadata_is_an_empty_dict_for_each() -> None:
    assert list(checked_metadata(None, 2, [])) == [{}, {}]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("ab", "2 ids for 2 items"),
        (["a"], "1 ids for 2 items"),
        (["a", 5], "^input 1: an id must be a string, not int"),
        (["a", None], "^input 1: an id must be a string, not NoneType"),
        (["a", ""], "^input 1: an id must not be empty or blank"),
        (["a", " "], "^input 1: an id must not be empty or blank"),
        (["a", "x\udcff"], "^input 1: an id must be valid Unicode, .* surrogate at character 1"),
        (["a", "a"], "^input 1: the id 'a' is given twice, first at 0"),
    ],
)
def test_ids_that_cannot_name_items_are_refused(ids: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        checked_ids(ids, 2)


def test_ids_that_are_not_given_stay_open() -> None:
    assert list(checked_ids(None, 2)) == [None, None]
    assert list(checked_ids(["a", "A"], 2)) == ["a", "A"]


def test_one_string_is_no_list_of_strings() -> None:
    with pytest.raises(InvalidInput, match=r"a list is wanted, not one string: \['abc'\]"):
        strings("abc", "a text")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["widht"], "no column 'widht'. Did you mean width"),
        (["ID"], "no column 'ID'"),
        (["id", "id"], "named twice: id, id"),
        ([], "at least one, or None for all"),
        ("id", "not one string"),
    ],
)
def test_columns_that_are_not_there_are_refused(columns: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        checked_columns(columns, ["id", "width"])


def test_no_columns_named_are_all() -> None:
    assert list(checked_columns(None, ["id", "width"])) == ["id", "width"]
    assert list(checked_columns(["width"], ["id", "width"])) == ["width"]


@pytest.mark.parametrize("value", [1, 10**30, np.int64(7)])
def test_a_count_is_a_whole_number(value: int) -> None:
    assert at_least_1(value, "k") == value


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "3", None, float("nan")])
def test_a_count_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^k is a whole number of at least 1, not "):
        at_least_1(value, "k")


@pytest.mark.parametrize("value", [-1, 0, 1.0, np.float32(0.25)])
def test_a_cosine_lies_between_its_ends(value: float) -> None:
    assert cosine(value) == value


@pytest.mark.parametrize("value", [-1.1, 1.0000001, float("nan"), float("inf"), "0.5", True, None])
def test_what_is_no_cosine_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="a cosine similarity from -1 to 1, or 'auto', not "):
        cosine(value)


def test_a_mapping_that_is_no_dict_will_do() -> None:
    class Row(Mapping[str, Any]):
        def __getitem__(self, key: str) -> int:
            return 5

        def __iter__(self) -> Any:
            return iter(["rating"])

        def __len__(self) -> int:
            return 1

    rows = [Row()]
    assert checked_metadata(rows, 1, fields_of({"rating": int})) is rows

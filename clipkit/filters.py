"""The filters that clipkit writes: SQL conditions over the columns, put together from safe pieces.

`since`, `until`, `under`, `camera` and `near` are short forms of what people ask most: when, in which folder,
with what and where a picture was taken.
"""

from __future__ import annotations

import math
import os
import re
from calendar import monthrange
from collections.abc import Iterable
from datetime import date, datetime, time
from numbers import Real

from clipkit.errors import FilterError

EARTH_RADIUS_M = 6_371_008.8  # the mean radius of WGS 84; distances on this sphere are true to 0.6%
METRES = {"m": 1.0, "km": 1_000.0, "mi": 1_609.344}
_BOX_MARGIN = 1e-9  # degrees, 0.1 mm: the box around a circle must not cut it by a rounding error

_MOMENT = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?)(?:[T ]+(\d\d?):(\d\d)(?::(\d\d))?)?)?)?", re.ASCII)
_NUMBER = r"\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*"
_PLACE = re.compile(rf"{_NUMBER},{_NUMBER},{_NUMBER}(km|mi|m)\s*", re.ASCII | re.IGNORECASE)
_RIGHT_DATES = "write 2024, 2024-06, 2024-06-01 or 2024-06-01 18:30"
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|--[^\n]*|/\*.*?\*/""", re.DOTALL)


def quoted(value: str) -> str:
    """`value` as a string literal of the filter language."""
    return "'" + value.replace("'", "''") + "'"


def is_in(column: str, values: Iterable[str]) -> str:
    """The filter that passes the rows whose `column` is one of `values`."""
    listed = ", ".join(map(quoted, values))
    return f"{column} IN ({listed})" if listed else "false"


def id_in(ids: Iterable[str]) -> str:
    """The filter that passes exactly these ids."""
    return is_in("id", ids)


def starts_with(column: str, prefix: str) -> str:
    """The filter that passes the rows whose `column` starts with `prefix`."""
    return f"starts_with({column}, {quoted(prefix)})"


def goes_by(name: str) -> str:
    """The filter that passes the rows whose id or uri is `name` or ends with it below a folder, in upper or
    lower case and with any suffix; and some more, where `name` is a folder's with a dot."""
    tail = quoted("/" + name.lstrip("/") + ".")
    return any_of(
        *(f"contains(concat('/', lower({column}), '.'), lower({tail}))" for column in ("id", "uri"))
    )


def any_of(*conditions: str) -> str:
    """The filter that passes what at least one of the given ones passes."""
    return " OR ".join(f"({condition})" for condition in conditions) or "false"


def all_of(*conditions: str | None) -> str | None:
    """The filter that passes what all of the given ones pass; None passes everything."""
    given = [f"({condition})" for condition in conditions if condition is not None]
    return " AND ".join(given) if given else None


def self_contained(where: str) -> str:
    """`where`, if it stays between the parentheses it is put into: no quote or comment is open at its end."""
    if not isinstance(where, str) or not where.strip():
        raise FilterError(f'a filter is an SQL condition such as "width > 1000", not {where!r}')
    bare = unquoted(where)
    if re.search(r"['\"`]|/\*", bare):
        raise FilterError(f"the filter {where} has a quote or comment that is not closed")
    depth = 0
    for bracket in re.findall("[()]", bare):
        depth += 1 if bracket == "(" else -1
        if depth < 0:
            raise FilterError(f"the filter {where} closes a parenthesis that it did not open")
    return f"{where}\n" if "--" in where else where  # a comment ends with its line


def unquoted(where: str) -> str:
    """`where` without what is in quotes, and without comments."""
    return _QUOTED.sub("", where)


# --- when, where and with what a picture was taken


def since(moment: str | date) -> str:
    """The filter that passes what was taken at or after the beginning of `moment`.

    It is a year, a month, a day or a time: 2024, 2024-06, 2024-06-01, 2024-06-01 18:30, or a date of Python.
    Times are those of the camera's clock. Raises FilterError for what is no date.
    """
    return f"taken_at >= {_timestamp(_period(moment)[0])}"


def until(moment: str | date) -> str:
    """The filter that passes what was taken before the end of `moment`: all of that day, month or year."""
    return f"taken_at <= {_timestamp(_period(moment)[1])}"


def under(folder: str | os.PathLike[str]) -> str:
    """The filter that passes the items whose file lies below `folder`, at any depth."""
    from clipkit.folders import id_prefixes, resolved  # here, since it knows images, which load Pillow

    return any_of(*(starts_with("uri", prefix) for prefix in id_prefixes(resolved(folder))))


def camera(name: str) -> str:
    """The filter that passes what was taken with a camera whose name holds `name`, in upper or lower case."""
    if not isinstance(name, str) or not name.strip():
        raise FilterError(f"a camera is told by a part of its name, such as canon, not by {name!r}")
    return f"contains(lower(camera), lower({quoted(name.strip())}))"


def near(place: str) -> str:
    """The filter that passes what was taken around a place: LATITUDE,LONGITUDE,DISTANCE.

    For example 48.2,16.4,20km; the distance is in m, km or mi. Raises FilterError for anything else.
    """
    match = _PLACE.fullmatch(place) if isinstance(place, str) else None
    if not match:
        raise FilterError(
            f"{place!r} is no place: give latitude, longitude and a distance in m, km or mi, such as "
            "48.2,16.4,20km"
        )
    latitude, longitude, distance = map(float, match.groups()[:3])
    return within(latitude, longitude, metres=distance * METRES[match[4].lower()])


def within(latitude: float, longitude: float, *, metres: float) -> str:
    """The filter that passes what was taken at most `metres` from a place, in degrees of WGS 84.

    The distance is that along the great circle, by the haversine formula (R. W. Sinnott, "Virtues of the
    Haversine", Sky and Telescope 68, 1984), which is exact for small distances too. A box around the circle
    goes first, as comparisons are cheap. Raises FilterError for what is no place.
    """
    _check_number(latitude, "a latitude", -90.0, 90.0)
    _check_number(longitude, "a longitude", -180.0, 180.0)
    _check_number(metres, "a distance", 0.0, math.inf)
    angle = min(metres / EARTH_RADIUS_M, math.pi)  # seen from the centre of the earth
    haversine = (
        f"power(sin(radians(latitude - ({latitude!r})) / 2), 2) + cos(radians(latitude)) "
        f"* {math.cos(math.radians(latitude))!r} * power(sin(radians(longitude - ({longitude!r})) / 2), 2)"
    )
    # on the far side of the earth rounding may carry it beyond 1, its largest value
    circle = f"least({haversine}, 1.0) <= {math.sin(angle / 2) ** 2!r}"
    reach = math.degrees(angle) + _BOX_MARGIN
    box = f"latitude BETWEEN ({latitude - reach!r}) AND ({latitude + reach!r})"
    return str(all_of(box, _meridians(latitude, longitude, angle), circle))


def _meridians(latitude: float, longitude: float, angle: float) -> str | None:
    """The filter for the longitudes that a circle reaches; None if it holds a pole, and so all of them."""
    if math.radians(abs(latitude)) + angle >= math.pi / 2 - math.radians(_BOX_MARGIN):
        return None
    widest = math.degrees(math.asin(math.sin(angle) / math.cos(math.radians(latitude)))) + _BOX_MARGIN
    west, east = longitude - widest, longitude + widest
    if west >= -180.0 and east <= 180.0:
        return f"longitude BETWEEN ({west!r}) AND ({east!r})"
    # across the date line
    west, east = (west + 360.0, east) if west < -180.0 else (west, east - 360.0)
    return any_of(f"longitude >= {west!r}", f"longitude <= {east!r}")


def _check_number(value: float, what: str, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= value <= most:
        limits = f"from {least:g} to {most:g} degrees" if most < math.inf else "in metres, 0 or more"
        raise FilterError(f"{what} is {limits}, not {value!r}: a place is given as 48.2,16.4,20km")


def _period(moment: str | date) -> tuple[datetime, datetime]:
    """The first and the last microsecond of a year, month, day, minute or second."""
    if isinstance(moment, datetime):
        if moment.tzinfo is not None:
            raise FilterError(f"{moment} has a time zone, but pictures have the time of the camera's clock")
        return moment, moment
    text = moment.isoformat() if isinstance(moment, date) else moment
    match = _MOMENT.fullmatch(text.strip()) if isinstance(text, str) else None
    if not match:
        raise FilterError(f"{moment!r} is no date: {_RIGHT_DATES}")
    given = [int(number) for number in match.groups() if number is not None]
    year, month, day, hour, minute, second = given + [0, 1, 1, 0, 0, 0][len(given) :]
    try:
        start = datetime(year, month, day, hour, minute, second)
    except ValueError as error:  # the 30th of February, 25 o'clock
        raise FilterError(f"{text.strip()} is no date: {error}; {_RIGHT_DATES}") from None
    return start, _end(start, len(given))


def _end(start: datetime, given: int) -> datetime:
    """The last microsecond of the period at `start` of which so many numbers were given, the year first."""
    if given > 3:
        return start.replace(second=59 if given == 5 else start.second, microsecond=999_999)
    if given == 1:
        start = start.replace(month=12)
    if given <= 2:
        start = start.replace(day=monthrange(start.year, start.month)[1])
    return datetime.combine(start, time.max)


def _timestamp(moment: datetime) -> str:
    # a literal of its own would count nanoseconds, which leaves room for the years 1678 to 2262 only
    return f"arrow_cast('{moment.isoformat()}', 'Timestamp(Microsecond, None)')"

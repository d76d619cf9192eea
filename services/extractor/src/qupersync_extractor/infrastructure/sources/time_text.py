"""Dates and times as PostgreSQL and Redshift write them (DateStyle ISO), parsed into Arrow exactly.

Arrow parses whole columns of ordinary values; where it stumbles (years over 9999, BC, infinity), each value is parsed
here.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_shared.contracts.infinity import INFINITE_DAYS, INFINITE_MICROSECONDS, INFINITE_TEXTS

_SHAPE: Final = re.compile(
    r"(?P<year>\d{4,})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[ T](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?"
    r"(?P<zone>[+-]\d\d(?::?\d\d)?(?::?\d\d)?|Z)?(?P<bc> BC)?"
)
_DAY: Final = 86_400_000_000


class UnholdableError(ValueError):
    """A value is beyond what Arrow can hold, or is none of its type."""


def arrow(values: Sequence[Any] | pa.Array, kind: pa.DataType) -> pa.Array:
    """The values as an Arrow array of this type; Arrow's errors for what does not fit."""
    if isinstance(values, pa.Array):
        return values if values.type == kind else pc.cast(values, kind)
    return pa.array(values, kind)


def timestamps(values: Sequence[str | None] | pa.Array, *, zone: bool) -> pa.Array:
    """`timestamp[us]`, in UTC if they carry a zone; UnholdableError for what is none."""
    kind = pa.timestamp("us", "UTC" if zone else None)
    text = arrow(values, pa.string())
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        return pa.array(_each(values, lambda value: _microseconds(value, zone=zone)), pa.int64()).cast(kind)


def dates(values: Sequence[str | None] | pa.Array) -> pa.Array:
    """`date32`; UnholdableError for what is none."""
    text = arrow(values, pa.string())
    try:
        return pc.cast(text, pa.date32())
    except pa.ArrowInvalid:
        return pa.array(_each(values, _days), pa.int32()).cast(pa.date32())


def times(values: Sequence[str | None] | pa.Array) -> pa.Array:
    """`time64[us]`; UnholdableError for 24:00:00, which Arrow does not know, and for what is no time."""
    text = pc.binary_join_element_wise(pa.scalar("1970-01-01 "), arrow(values, pa.string()), "")
    try:
        return pc.cast(text, pa.timestamp("us")).cast(pa.int64()).cast(pa.time64("us"))
    except pa.ArrowInvalid:
        return pa.array(_each(values, _of_day), pa.int64()).cast(pa.time64("us"))


def _each(values: Sequence[str | None] | pa.Array, parse: Callable[[str], int]) -> list[int | None]:
    parsed: list[int | None] = []
    for value in values.to_pylist() if isinstance(values, pa.Array) else values:
        try:
            parsed.append(None if value is None else parse(value))
        except ValueError as error:
            raise UnholdableError(str(error)) from error
    return parsed


def _microseconds(text: str, *, zone: bool) -> int:
    if text in INFINITE_TEXTS:
        return INFINITE_TEXTS[text] * INFINITE_MICROSECONDS
    match = _SHAPE.fullmatch(text)
    if match is None or bool(match["zone"]) is not zone:
        raise ValueError(f"{text!r} is not a timestamp that can travel")
    fraction = (match["fraction"] or "").ljust(6, "0")
    seconds = int(match["hour"] or 0) * 3600 + int(match["minute"] or 0) * 60 + int(match["second"] or 0)
    total = _civil(match) * _DAY + (seconds - _offset(match["zone"])) * 1_000_000 + int(fraction)
    if not -INFINITE_MICROSECONDS < total < INFINITE_MICROSECONDS:
        raise ValueError(f"{text!r} is beyond what 64 bits of microseconds hold")
    return total


def _days(text: str) -> int:
    if text in INFINITE_TEXTS:
        return INFINITE_TEXTS[text] * INFINITE_DAYS
    match = _SHAPE.fullmatch(text)
    if match is None or match["hour"] or match["zone"]:
        raise ValueError(f"{text!r} is not a date that can travel")
    days = _civil(match)
    if not -INFINITE_DAYS < days < INFINITE_DAYS:
        raise ValueError(f"{text!r} is beyond what 32 bits of days hold")
    return days


def _of_day(text: str) -> int:
    total = _microseconds("1970-01-01 " + text, zone=False)
    if not 0 <= total < _DAY:
        raise ValueError(f"{text!r} is not within a day: it begins the next one")
    return total


def _offset(zone: str | None) -> int:
    """Seconds east of UTC."""
    if not zone or zone == "Z":
        return 0
    parts = re.findall(r"\d\d", zone)
    seconds = sum(int(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    return -seconds if zone[0] == "-" else seconds


def _civil(match: re.Match[str]) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar; 1 BC is the year 0."""
    year = 1 - int(match["year"]) if match["bc"] else int(match["year"])
    month, day = int(match["month"]), int(match["day"])
    year -= month <= 2  # noqa: PLR2004  # years begin in March here, so that the leap day comes last
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468

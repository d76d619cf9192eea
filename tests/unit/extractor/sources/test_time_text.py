"""Dates and times from text: the slow path equals Arrow's, which equals the calendar."""

from datetime import UTC, date, datetime, time, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.infrastructure.sources.time_text import UnholdableError, dates, times, timestamps
from qupersync_shared.contracts.infinity import plain

BC = "0044-03-15 00:00:00 BC"  # makes the whole column take the slow path
BC_DAY = "0044-03-15 BC"
MOMENTS = st.datetimes()
ZONES = st.timedeltas(timedelta(hours=-15), timedelta(hours=15)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)


@given(st.lists(st.none() | MOMENTS))
def test_timestamps(moments: list[datetime | None]) -> None:
    text = [None if moment is None else moment.isoformat(" ") for moment in moments]
    assert timestamps(text, zone=False).to_pylist() == moments
    assert timestamps([*text, BC], zone=False).slice(0, len(text)).to_pylist() == moments


@given(st.lists(MOMENTS.filter(lambda m: 1 < m.year < 9999)), ZONES)
def test_timestamps_with_zone(moments: list[datetime], zone: timezone) -> None:
    zoned = [moment.replace(tzinfo=zone) for moment in moments]
    text = [moment.isoformat(" ") for moment in zoned]
    found = timestamps(text, zone=True)
    assert found.type == pa.timestamp("us", "UTC")
    assert found.to_pylist() == [moment.astimezone(UTC) for moment in zoned]
    assert timestamps([*text, "0044-03-15 00:00:00+00 BC"], zone=True).slice(0, len(text)).equals(found)


@given(st.lists(st.none() | st.dates()))
def test_dates(days: list[date | None]) -> None:
    text = [None if day is None else day.isoformat() for day in days]
    assert dates(text).to_pylist() == days
    assert dates([*text, BC_DAY]).slice(0, len(text)).to_pylist() == days


@given(st.lists(st.none() | st.times()))
def test_times(moments: list[time | None]) -> None:
    assert times([None if moment is None else moment.isoformat() for moment in moments]).to_pylist() == moments


def test_no_values_are_no_values() -> None:
    assert timestamps([], zone=True).type == pa.timestamp("us", "UTC")
    assert dates([]).type == pa.date32()
    assert times([None]).to_pylist() == [None]


def test_the_calendar_goes_on_before_the_year_one() -> None:
    days = dates(["0001-01-01", "0001-12-31 BC", "0001-02-29 BC", "0002-12-31 BC", BC_DAY]).cast(pa.int32()).to_pylist()
    first = days[0]
    assert [first - day for day in days] == [0, 1, 1 + 306, 367, 15998]


def test_infinity_is_the_outermost_number_and_nothing_else_is() -> None:
    for zone in (False, True):
        assert [plain(value) for value in timestamps(["infinity", "-infinity"], zone=zone)] == ["infinity", "-infinity"]
    assert [plain(value) for value in dates(["infinity", "-infinity"])] == ["infinity", "-infinity"]
    assert plain(timestamps(["294247-01-10 04:00:54.775806"], zone=False)[0]) == "294247-01-10 04:00:54.775806"
    for beyond in ("294247-01-10 04:00:54.775807", "294276-12-31 00:00:00"):
        with pytest.raises(UnholdableError):
            timestamps([beyond], zone=False)


@pytest.mark.parametrize("text", ["2024-01-01 00:00:00+00", "soon"])
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(UnholdableError, match="not a timestamp"):
        timestamps([None, "2024-01-01 00:00:00", text], zone=False)


@pytest.mark.parametrize("text", ["5881580-07-12 00:00:00", "5881580-07-11", "9999999-01-01"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(UnholdableError):
        dates([text])


@pytest.mark.parametrize("text", ["24:00:00", "soon"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UnholdableError):
        times(["00:00:00", text])

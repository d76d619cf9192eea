"""Maintenance windows: over midnight, to 24:00, by the days on which they begin, and where clocks are put."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.domain.maintenance import AHEAD, Maintenance, Window, Windows
from qupersync_extractor.settings import limits_of, windows_of
from qupersync_shared.runtime.settings import Configuration

BERLIN = ZoneInfo("Europe/Berlin")
ZULU = ZoneInfo("UTC")
MON, TUE, SUN = 0, 1, 6


def window(begins: str, ends: str, *days: int, zone: ZoneInfo = ZULU) -> Window:
    return Window(
        begins=time.fromisoformat(begins), ends=time.fromisoformat(ends), days=frozenset(days or range(7)), zone=zone
    )


def at(text: str, zone: ZoneInfo = ZULU) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def until(windows: Windows, moment: datetime) -> datetime | None:
    found = windows.at(moment)
    return None if found is None else found.ends


def test_without_windows_there_is_no_maintenance() -> None:
    assert not Windows()
    assert Windows().at(at("2026-01-01")) is None
    assert Windows().next_from(at("2026-01-01")) is None


def test_a_window_is_open_from_its_begin_to_just_before_its_end() -> None:
    windows = Windows((window("02:00", "03:30"),))
    assert windows.at(at("2026-01-05T01:59:59")) is None
    assert until(windows, at("2026-01-05T02:00:00")) == at("2026-01-05T03:30:00")
    assert until(windows, at("2026-01-05T03:29:59")) == at("2026-01-05T03:30:00")
    assert windows.at(at("2026-01-05T03:30:00")) is None
    assert windows.next_from(at("2026-01-05T01:00:00")) == at("2026-01-05T02:00:00")
    assert windows.next_from(at("2026-01-05T02:00:00")) == at("2026-01-06T02:00:00")


def test_over_midnight_the_day_is_the_one_on_which_it_begins() -> None:
    windows = Windows((window("23:00", "01:00", MON),))  # 2026-01-05 is a Monday
    assert until(windows, at("2026-01-05T23:30:00")) == at("2026-01-06T01:00:00")
    assert until(windows, at("2026-01-06T00:30:00")) == at("2026-01-06T01:00:00")
    assert windows.at(at("2026-01-05T00:30:00")) is None
    assert windows.at(at("2026-01-06T23:30:00")) is None
    assert windows.next_from(at("2026-01-06T00:30:00")) == at("2026-01-12T23:00:00")


def test_windows_that_overlap_or_touch_are_one() -> None:
    windows = Windows((window("02:00", "04:00"), window("03:00", "05:00"), window("05:00", "06:00", zone=ZULU)))
    assert until(windows, at("2026-01-05T02:30:00")) == at("2026-01-05T06:00:00")
    assert windows.next_from(at("2026-01-05T02:30:00")) == at("2026-01-06T02:00:00")


def test_windows_that_leave_no_time_have_no_end() -> None:
    windows = Windows((window("00:00", "00:00"),))
    found = windows.at(at("2026-01-05T12:00:00"))
    assert found == Maintenance(ends=None, zone=ZULU)
    assert "no time to read" in found.words(at("2026-01-05T12:00:00"))
    assert windows.next_from(at("2026-01-05T12:00:00")) is None


@pytest.mark.parametrize(
    ("begins", "ends", "first", "last"),
    [
        # Put forward on 2026-03-29: 02:00 to 03:00 is not shown.
        ("02:30", "03:10", "2026-03-29T00:30:00", "2026-03-29T01:10:00"),
        ("01:30", "02:30", "2026-03-29T00:30:00", "2026-03-29T01:30:00"),
        ("02:15", "02:45", "2026-03-29T00:15:00", "2026-03-29T01:45:00"),
        # Put back on 2026-10-25: 02:00 to 03:00 is shown twice.
        ("02:30", "03:10", "2026-10-25T00:30:00", "2026-10-25T02:10:00"),
        ("01:30", "02:30", "2026-10-24T23:30:00", "2026-10-25T01:30:00"),
        ("02:15", "02:45", "2026-10-25T00:15:00", "2026-10-25T01:45:00"),
    ],
)
def test_where_clocks_are_put_a_window_is_as_long_as_it_can_be(begins: str, ends: str, first: str, last: str) -> None:
    windows = Windows((window(begins, ends, SUN, zone=BERLIN),))
    assert windows.next_from(at(first) - timedelta(hours=20)) == at(first)
    assert until(windows, at(first)) == at(last)
    assert windows.at(at(first) - timedelta(seconds=1)) is None
    assert windows.at(at(last)) is None


def test_people_are_told_in_the_zone_of_the_window_and_with_the_day_where_it_is_another() -> None:
    windows = Windows((window("23:00", "03:30", zone=BERLIN),))
    evening, night = at("2026-01-05T23:30:00", BERLIN), at("2026-01-06T00:30:00", BERLIN)
    told = [found.words(moment) for moment in (evening, night) if (found := windows.at(moment)) is not None]
    assert told == ["maintenance until Tue 03:30 Europe/Berlin", "maintenance until 03:30 Europe/Berlin"]


def test_days_are_days_of_the_week() -> None:
    with pytest.raises(ValueError, match="Monday"):
        window("01:00", "02:00", 7)


def test_the_configuration_says_it_all() -> None:
    configuration = Configuration.model_validate(
        {
            "source": {
                "kind": "duckdb",
                "path": "warehouse.duckdb",
                "budget": {"reads": 2, "bytes_per_minute": "1MiB"},
                "maintenance": [{"from": "22:00", "to": "24:00", "days": ["tue"], "time_zone": "Europe/Berlin"}],
            }
        }
    )
    limits = limits_of(configuration)
    assert (limits.reads, limits.rows_per_minute, limits.bytes_per_minute) == (2, None, 1 << 20)
    assert windows_of(configuration) == Windows((window("22:00", "00:00", TUE, zone=BERLIN),))
    assert not limits_of(Configuration())
    assert not windows_of(Configuration())


zones = st.sampled_from([ZULU, BERLIN, ZoneInfo("America/St_Johns"), ZoneInfo("Australia/Lord_Howe")])
times = st.times(timezones=st.none()).map(lambda moment: moment.replace(second=0, microsecond=0, fold=0))
some_windows = st.lists(
    st.builds(Window, begins=times, ends=times, days=st.frozensets(st.integers(0, 6), min_size=1), zone=zones),
    min_size=1,
    max_size=3,
).map(lambda windows: Windows(tuple(windows)))
moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(some_windows, moments)
def test_nothing_changes_before_it_was_said_to(windows: Windows, now: datetime) -> None:
    found, following = windows.at(now), windows.next_from(now)
    if found is None:
        assert following is not None
        assert now < following <= now + AHEAD
        assert windows.at(following) is not None
        for share in (0.25, 0.5, 0.999):
            assert windows.at(now + share * (following - now)) is None
    elif found.ends is None:
        assert windows.at(now + timedelta(days=3)) is not None
    else:
        assert now < found.ends
        assert windows.at(found.ends) is None
        for share in (0.25, 0.5, 0.999):
            assert until(windows, now + share * (found.ends - now)) in (found.ends, None)
            assert windows.at(now + share * (found.ends - now)) is not None
        assert following is None or following > found.ends


@given(some_windows, moments)
def test_a_wall_clock_inside_a_window_is_maintenance(windows: Windows, now: datetime) -> None:
    inside = any(_shown_inside(one, now) for one in windows.windows)
    if inside:
        assert windows.at(now) is not None


def _shown_inside(one: Window, now: datetime) -> bool:
    """By what the wall shows alone, which cannot tell a repeated hour from the first."""
    shown = now.astimezone(one.zone).replace(tzinfo=None, fold=0)
    for days_ago in (0, 1):
        day = shown.date() - timedelta(days=days_ago)
        begins = datetime.combine(day, one.begins)
        ends = datetime.combine(day if one.ends > one.begins else day + timedelta(days=1), one.ends)
        if day.weekday() in one.days and begins <= shown < ends:
            return True
    return False

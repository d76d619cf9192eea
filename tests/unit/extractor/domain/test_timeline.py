"""Cursor values and time: how far a run reads, and how far a lookback reaches, also when clocks are changed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.domain.timeline import (
    end_of_run,
    horizon,
    minus,
    resumed,
    scalar_of_time,
)
from qupersync_shared.kernel.positions import KeyBound, Position, Scalar, ScalarKind

BERLIN = "Europe/Berlin"
LAG = timedelta(seconds=30)
NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
BACK = datetime(2025, 10, 26, 1, 0, tzinfo=UTC)  # Berlin's clocks go from 03:00 back to 02:00
FORWARD = datetime(2025, 3, 30, 1, 0, tzinfo=UTC)  # and here from 02:00 to 03:00
MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
NEAR_BACK = st.integers(-7200, 7200).map(lambda seconds: BACK + timedelta(seconds=seconds))
NEAR_FORWARD = st.integers(-7200, 7200).map(lambda seconds: FORWARD + timedelta(seconds=seconds))
LOOKBACKS = st.integers(0, 10_000).map(lambda seconds: timedelta(seconds=seconds))


def local(moment: datetime, zone: str = BERLIN) -> str:
    return scalar_of_time(ScalarKind.TIMESTAMP, moment, zone).text


@pytest.mark.parametrize(
    ("kind", "zone", "text"),
    [
        (ScalarKind.TIMESTAMPTZ, "UTC", "2025-06-01 11:59:30.000000Z"),
        (ScalarKind.TIMESTAMPTZ, BERLIN, "2025-06-01 11:59:30.000000Z"),
        (ScalarKind.TIMESTAMP, "UTC", "2025-06-01 11:59:30.000000"),
        (ScalarKind.TIMESTAMP, BERLIN, "2025-06-01 13:59:30.000000"),
        (ScalarKind.TIMESTAMP, "Asia/Kathmandu", "2025-06-01 17:44:30.000000"),
        (ScalarKind.DATE, "UTC", "2025-06-01"),
        (ScalarKind.DATE, "Pacific/Kiritimati", "2025-06-02"),
    ],
)
def test_the_high_is_the_sources_clock_less_the_safety_lag(kind: ScalarKind, zone: str, text: str) -> None:
    found = horizon(kind, now=NOON, oldest_open=None, safety_lag=LAG, time_zone=zone)

    assert (found.high, found.reached, found.began_at) == (Scalar(kind, text), Scalar(kind, text), NOON)


def test_an_open_transaction_holds_the_high_back_and_a_later_one_does_not() -> None:
    for oldest, text in ((NOON - timedelta(hours=1), "10:59:30"), (NOON + timedelta(hours=1), "11:59:30")):
        found = horizon(ScalarKind.TIMESTAMPTZ, now=NOON, oldest_open=oldest, safety_lag=LAG, time_zone="UTC")
        assert found.high.text == f"2025-06-01 {text}.000000Z"


def test_an_integer_has_no_time() -> None:
    with pytest.raises(ValueError, match="has no time"):
        scalar_of_time(ScalarKind.INT, NOON, "UTC")


def test_years_keep_four_digits_so_that_texts_sort() -> None:
    assert scalar_of_time(ScalarKind.TIMESTAMPTZ, datetime(987, 1, 2, tzinfo=UTC), "UTC").text.startswith("0987-01-02")


# ---------------------------------------------------------------------------------------------------------- lookback


@pytest.mark.parametrize(
    ("value", "lookback", "earlier"),
    [
        (Scalar(ScalarKind.INT, "100"), timedelta(0), "93"),
        (Scalar(ScalarKind.DATE, "2025-03-01"), timedelta(minutes=1), "2025-02-28"),
        (Scalar(ScalarKind.DATE, "2025-03-01"), timedelta(days=1), "2025-02-28"),
        (Scalar(ScalarKind.DATE, "2025-03-01"), timedelta(days=1, seconds=1), "2025-02-27"),
        (Scalar(ScalarKind.DATE, "2025-03-01"), timedelta(0), "2025-03-01"),
        (Scalar(ScalarKind.DATE, "0001-01-02"), timedelta(days=9), "0001-01-01"),
        (
            Scalar(ScalarKind.TIMESTAMP, "2025-01-01 00:05:00.000000"),
            timedelta(minutes=10),
            "2024-12-31 23:55:00.000000",
        ),
        (
            Scalar(ScalarKind.TIMESTAMPTZ, "2025-01-01 00:05:00.000001Z"),
            timedelta(minutes=5),
            "2025-01-01 00:00:00.000001Z",
        ),
        (Scalar(ScalarKind.TIMESTAMP, "0001-01-01 00:05:00.000000"), timedelta(days=1), "0001-01-01 00:00:00.000000"),
    ],
)
def test_the_lookback_is_taken_in_the_cursors_own_unit(value: Scalar, lookback: timedelta, earlier: str) -> None:
    assert minus(value, lookback=lookback, units=7) == Scalar(value.kind, earlier)


def test_text_is_no_cursor() -> None:
    with pytest.raises(ValueError, match="cannot be a cursor"):
        minus(Scalar(ScalarKind.TEXT, "a"), lookback=LAG, units=0)


@given(MOMENTS | NEAR_BACK | NEAR_FORWARD, LOOKBACKS, st.floats(0, 1))
def test_nothing_written_within_the_lookback_bears_less_than_its_beginning(
    moment: datetime, lookback: timedelta, share: float
) -> None:
    """Clocks put forward or back: local times are not as far apart as the moments that bear them."""
    start = minus(scalar_of_time(ScalarKind.TIMESTAMP, moment, BERLIN), lookback=lookback, units=0, time_zone=BERLIN)
    written = moment - lookback * share

    assert local(written) >= start.text


@given(MOMENTS | NEAR_BACK | NEAR_FORWARD, st.integers(1, 200_000).map(lambda s: timedelta(seconds=s)), st.floats(0, 1))
def test_no_day_within_the_lookback_lies_before_its_beginning(
    moment: datetime, lookback: timedelta, share: float
) -> None:
    start = minus(scalar_of_time(ScalarKind.DATE, moment, BERLIN), lookback=lookback, units=0, time_zone=BERLIN)

    assert scalar_of_time(ScalarKind.DATE, moment - lookback * share, BERLIN).text >= start.text


# ---------------------------------------------------------------------------------------------------- repeated hours


def read_at(now: datetime) -> tuple[str, Position]:
    """How far a run at this moment reads, and where the next one goes on."""
    found = horizon(ScalarKind.TIMESTAMP, now=now, oldest_open=None, safety_lag=timedelta(0), time_zone=BERLIN)
    return found.high.text, resumed(end_of_run(found.reached), BERLIN)


@given(NEAR_BACK, st.integers(1, 7200))
def test_what_is_written_after_a_run_is_never_behind_where_the_next_one_goes_on(now: datetime, later: int) -> None:
    """Also where the clocks are put back, and an hour of local time comes twice."""
    _, goes_on = read_at(now)
    written = local(now + timedelta(seconds=later))

    assert written > goes_on.cursor.text or (written == goes_on.cursor.text and goes_on.key is KeyBound.LOWEST)


@given(NEAR_BACK, st.integers(0, 7200))
def test_what_was_written_before_a_run_is_within_its_reach(now: datetime, earlier: int) -> None:
    high, _ = read_at(now)

    assert local(now - timedelta(seconds=earlier)) <= high


def test_a_day_is_read_again_whole_and_an_instant_is_not() -> None:
    day, instant = Scalar(ScalarKind.DATE, "2025-06-01"), Scalar(ScalarKind.TIMESTAMPTZ, "2025-06-01 00:00:00.000000Z")
    key = (Scalar(ScalarKind.INT, "1"),)

    assert end_of_run(day) == Position.before(day)
    assert end_of_run(instant) == Position.after(instant)
    assert resumed(Position(cursor=day, key=key), "UTC") == Position.before(day)
    assert resumed(Position(cursor=instant, key=key), BERLIN) == Position(cursor=instant, key=key)

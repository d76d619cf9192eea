"""Cursors in local time over a change to or from summer time, and clocks that are set back: nothing is skipped.

Every other minute of half a day around a change a row is written with the local time; some commit late. Runs read
what their plan says. At the end every row must have been read, and none before the honest time may be missing at any
time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qupersync_extractor.domain.extraction import (
    Extraction,
    IncrementalPage,
    advance,
    begin_snapshot,
)
from qupersync_extractor.domain.ordering import position_order, scalar_order
from qupersync_extractor.domain.pipeline import Pipeline, SourceTable
from qupersync_extractor.domain.planning import ContinueSnapshot, ReadIncrementally, plan, plan_incremental
from qupersync_extractor.domain.timeline import end_of_run, horizon, minus, resumed, scalar_of_time
from qupersync_shared.kernel.ids import PipelineName, SnapshotId, uuid7
from qupersync_shared.kernel.positions import Position, Scalar, ScalarKind

NAME = PipelineName("p")
KIND = ScalarKind.TIMESTAMP
CHANGES = [
    pytest.param("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC), id="back"),
    pytest.param("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC), id="forward"),
    pytest.param("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC), id="half an hour back"),
    pytest.param("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC), id="back at midnight"),
]


SPAN = timedelta(hours=6)


@dataclass(frozen=True)
class Written:
    stamp: Scalar
    order: Any
    committed: datetime
    key: int


def defined(zone: str, lookback: timedelta) -> Pipeline:
    return Pipeline(
        name=NAME,
        relation=SourceTable("s", "t"),
        key=("id",),
        cursor="at",
        cursor_time_zone=zone,
        lookback=lookback,
        safety_lag=timedelta(seconds=30),
        page_rows=1,
        lanes=1,
        snapshot_every=None,
    )


def writes(change: datetime, zone: str, kind: ScalarKind, late: timedelta) -> list[Written]:
    found = []
    for number in range(int(2 * SPAN / timedelta(minutes=2))):
        at = change - SPAN + timedelta(minutes=2 * number)
        stamp = scalar_of_time(kind, at, zone)
        delay = late * ((number % 11) / 11) if number % 3 == 0 else timedelta(0)
        found.append(Written(stamp, scalar_order(stamp), at + delay, number))
    return found


@pytest.mark.parametrize("kind", [ScalarKind.TIMESTAMP, ScalarKind.DATE])
@pytest.mark.parametrize("every", [timedelta(minutes=2), timedelta(minutes=15), timedelta(minutes=47)])
@pytest.mark.parametrize("lookback", [timedelta(0), timedelta(minutes=10), timedelta(minutes=90)])
@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_every_row_is_read_and_the_honest_time_is_honest(
    zone: str, change: datetime, lookback: timedelta, every: timedelta, kind: ScalarKind
) -> None:
    pipeline = defined(zone, lookback)
    rows = writes(change, zone, kind, lookback)
    now = change - SPAN
    state = Extraction(pipeline=NAME, lanes=1)
    first = horizon(kind, now=now, oldest_open=None, safety_lag=pipeline.safety_lag, time_zone=zone)
    state = begin_snapshot(state, snapshot_id=SnapshotId(uuid7()), began_at=now, high=first.reached, fingerprint="f")
    read = {row.key for row in rows if row.committed <= now}
    while now < change + SPAN - timedelta(hours=1):
        now += every
        at = horizon(kind, now=now, oldest_open=None, safety_lag=pipeline.safety_lag, time_zone=zone)
        run = plan_incremental(state, pipeline, at, high_time=now - pipeline.safety_lag)
        assert run.after is not None
        low = position_order(run.after)
        top = scalar_order(at.high)
        found = [row for row in rows if row.committed <= now and row.order <= top and (row.order, 1, (row.key,)) > low]
        read |= {row.key for row in found}
        for row in found[:-1]:  # as if every row were a page of its own
            key = (Scalar(ScalarKind.INT, str(row.key)),)
            state = advance(state, IncrementalPage(upto=Position(cursor=row.stamp, key=key)))
        last = IncrementalPage(upto=end_of_run(at.reached), sweep=run.sweep, completes_at=run.completes_at)
        state = advance(state, last)
        assert state.completed_at is not None or run.completes_at is None
        if state.completed_at is not None:
            missing = [row for row in rows if row.committed <= state.completed_at and row.key not in read]
            assert not missing, f"at {now} the honest time claims {missing[0]}"
    assert {row.key for row in rows if row.committed < now - every - lookback - pipeline.safety_lag} <= read


def test_the_lookback_is_real_time() -> None:
    zone = "Europe/Berlin"
    mark = Scalar(KIND, "2026-03-29 03:02:00.000000")
    assert minus(mark, lookback=timedelta(minutes=10), units=0, time_zone=zone).text == "2026-03-29 01:52:00.000000"
    assert minus(mark, lookback=timedelta(minutes=10), units=0).text == "2026-03-29 02:52:00.000000"
    autumn = Scalar(KIND, "2026-10-25 03:05:00.000000")
    assert minus(autumn, lookback=timedelta(minutes=10), units=0, time_zone=zone).text == "2026-10-25 02:00:00.000000"


def test_an_hour_that_comes_twice_is_read_again_from_its_beginning() -> None:
    inside = Position.after(Scalar(KIND, "2026-10-25 02:41:07.123456"))
    assert resumed(inside, "Europe/Berlin") == Position.before(Scalar(KIND, "2026-10-25 02:00:00.000000"))
    assert resumed(inside, "UTC") == inside
    for outside in ("2026-10-25 01:59:59.999999", "2026-10-25 03:00:00.000000", "2026-03-29 02:30:00.000000"):
        position = Position.after(Scalar(KIND, outside))
        assert resumed(position, "Europe/Berlin") == position


def test_in_the_second_of_two_hours_reading_goes_to_the_end_of_the_first() -> None:
    at = horizon(
        KIND,
        now=datetime(2026, 10, 25, 1, 10, tzinfo=UTC),
        oldest_open=None,
        safety_lag=timedelta(0),
        time_zone="Europe/Berlin",
    )
    assert at.high.text == "2026-10-25 02:59:59.999999"
    assert at.reached.text == "2026-10-25 02:10:00.000000"


def test_rows_written_after_the_sources_clock_was_put_back_are_swept() -> None:
    pipeline = defined("UTC", timedelta(minutes=10))
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    state = Extraction(pipeline=NAME, lanes=1)

    def run(state: Extraction, now: datetime) -> tuple[Extraction, Position | None, Scalar]:
        at = horizon(KIND, now=now, oldest_open=None, safety_lag=timedelta(0), time_zone="UTC")
        planned = plan_incremental(state, pipeline, at, high_time=now)
        page = IncrementalPage(upto=end_of_run(at.reached), sweep=planned.sweep, completes_at=planned.completes_at)
        return advance(state, page), planned.after, at.high

    state = begin_snapshot(
        state, snapshot_id=SnapshotId(uuid7()), began_at=noon, high=scalar_of_time(KIND, noon, "UTC"), fingerprint="f"
    )
    state, _, _ = run(state, noon)
    eleven = noon - timedelta(hours=1)
    row = Position.after(scalar_of_time(KIND, eleven + timedelta(minutes=3), "UTC"))
    met = False
    for minutes in range(1, 12):
        state, after, high = run(state, eleven + timedelta(minutes=minutes))
        inside = after is not None and position_order(after) < position_order(row)
        met = met or (minutes > 3 and inside and scalar_order(high) >= scalar_order(row.cursor))
    assert met


def test_a_snapshot_that_ended_in_a_wrong_future_puts_the_next_one_off_by_no_more_than_its_interval() -> None:
    pipeline = Pipeline(
        name=NAME,
        relation=SourceTable("s", "t"),
        key=("id",),
        cursor="at",
        lookback=timedelta(0),
        safety_lag=timedelta(0),
        page_rows=1,
        lanes=1,
        snapshot_every=timedelta(hours=24),
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    state = Extraction(
        pipeline=NAME, lanes=1, snapshot_wish=None, snapshot_ended_at=now + timedelta(days=9000), schema_fingerprint="f"
    )
    assert not isinstance(plan(state, pipeline, fingerprint="f", now=now), ReadIncrementally | ContinueSnapshot)
    near = Extraction(
        pipeline=NAME, lanes=1, snapshot_wish=None, snapshot_ended_at=now + timedelta(minutes=3), schema_fingerprint="f"
    )
    assert isinstance(plan(near, pipeline, fingerprint="f", now=now), ReadIncrementally)


def test_dates_before_christ_have_an_order() -> None:
    texts = ["-0044-03-15", "-0043-01-01", "0001-01-01", "2026-01-01", "10000-01-01"]
    orders = [scalar_order(Scalar(ScalarKind.DATE, text)) for text in texts]
    assert orders == sorted(orders)

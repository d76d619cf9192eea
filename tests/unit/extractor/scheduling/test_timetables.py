"""When runs are due: after the last one, within their grace, spread by their jitter; and what is said of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qupersync_extractor.application.appointments import LastRun, due_at, following, is_served, spread
from qupersync_extractor.infrastructure.scheduling.timetables import (
    CONTINUOUS,
    Every,
    check_schedule,
    next_run,
    schedule_text,
    timetable,
)
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.settings import Schedule

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
NOON = NOW.replace(second=0)
ORDERS = PipelineName("orders")
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def ran(covers: datetime, *, took: timedelta = SECOND) -> LastRun:
    return LastRun(covers=covers, ended_at=covers + took)


def schedule(**options: Any) -> Schedule:
    return Schedule.model_validate(options)


def cron(expression: str, **options: Any) -> Schedule:
    return schedule(cron=expression, **options)


def test_what_has_never_run_is_due_now() -> None:
    for one in (schedule(every="1h"), cron("0 0 1 1 *"), schedule(continuous=True)):
        assert due_at(timetable(one), None, NOW) == NOW


def test_an_interval_counts_from_the_last_runs_end_over_restarts() -> None:
    hourly = Every(HOUR)
    recent = ran(NOW - 50 * MINUTE, took=10 * MINUTE)
    assert due_at(hourly, recent, NOW) == NOW + 20 * MINUTE
    assert due_at(hourly, ran(NOW - 30 * HOUR), NOW) < NOW


def test_continuous_runs_begin_a_second_apart_or_when_the_last_one_has_ended() -> None:
    one = timetable(schedule(continuous=True))
    assert due_at(one, ran(NOW, took=timedelta(milliseconds=100)), NOW) == NOW + CONTINUOUS
    assert due_at(one, ran(NOW - HOUR, took=HOUR), NOW) == NOW


@pytest.mark.parametrize(
    ("last", "due"),
    [
        (NOON - 1 * MINUTE, NOON),  # at 12:00, and it is 30 s later
        (NOON - 2 * HOUR, NOON),  # of those that were missed one is made up for
        (NOON, NOON + HOUR),
        (NOON + 20 * SECOND, NOON + HOUR),
    ],
)
def test_a_run_by_cron_that_nobody_made_is_made_up_for_within_its_grace(last: datetime, due: datetime) -> None:
    assert due_at(timetable(cron("0 * * * *", misfire_grace="1m")), ran(last), NOW) == due


def test_one_that_is_later_than_its_grace_is_left_out() -> None:
    hourly = timetable(cron("0 * * * *", misfire_grace="20s"))
    assert due_at(hourly, ran(NOON - HOUR), NOW) == NOON + HOUR


def test_what_a_wrong_clock_has_written_puts_nothing_off() -> None:
    for one in (Every(HOUR), timetable(cron("0 * * * *"))):
        assert due_at(one, ran(NOW + 2 * HOUR), NOW) == NOW
        assert not is_served(one, ran(NOW + 2 * HOUR), NOW, NOW)
    assert due_at(Every(HOUR), ran(NOW + 10 * SECOND), NOW) > NOW, "clocks of two machines are never the same"


def test_a_run_is_served_by_whoever_made_it() -> None:
    hourly = timetable(cron("0 * * * *", misfire_grace="1s"))
    assert not is_served(hourly, None, NOON, NOW)
    assert not is_served(hourly, ran(NOON - HOUR), NOON, NOW), "what fails is wanted for longer than its grace"
    assert is_served(hourly, ran(NOON), NOON, NOW)
    assert not is_served(hourly, ran(NOON), NOON + HOUR, NOON + HOUR)
    every = Every(HOUR)
    assert is_served(every, ran(NOW - 5 * MINUTE), NOW, NOW)
    assert not is_served(every, ran(NOW - 2 * HOUR), NOW, NOW)


def test_jitter_spreads_pipelines_within_its_bounds_and_each_the_same_way_everywhere() -> None:
    one = timetable(schedule(every="1m", jitter="20s"))
    late = [spread(one, PipelineName(f"p{number}"), NOW) - NOW for number in range(100)]
    assert all(timedelta(0) <= moment < 20 * SECOND for moment in late)
    by_second = [sum(int(moment.total_seconds()) == second for moment in late) for second in range(20)]
    assert min(by_second) > 0
    assert max(by_second) < 20
    assert late == [spread(one, PipelineName(f"p{number}"), NOW) - NOW for number in range(100)]
    assert len({spread(one, ORDERS, NOW + number * MINUTE) - number * MINUTE for number in range(50)}) == 50


def test_an_entry_comes_again_by_its_timetable() -> None:
    minutely = timetable(cron("* * * * *", misfire_grace="2m", jitter="10s"))
    moment = following(minutely, ORDERS, NOON, NOON)
    assert NOON + MINUTE <= moment < NOON + MINUTE + 10 * SECOND
    assert following(minutely, ORDERS, moment, moment) >= NOON + 2 * MINUTE
    assert following(minutely, ORDERS, NOON, NOON + HOUR) > NOON + 57 * MINUTE, "an hour of sleep is not gone through"
    assert following(Every(MINUTE), ORDERS, NOON, NOON + HOUR) == NOON + HOUR + MINUTE


def test_what_people_see_of_the_next_run() -> None:
    assert next_run(schedule(every="15m"), ORDERS, ran(NOW - 10 * MINUTE, took=MINUTE), NOW) == NOW + 6 * MINUTE
    assert next_run(cron("0 6 * * *", time_zone="Europe/Berlin"), ORDERS, ran(NOW), NOW).hour == 5
    assert next_run(schedule(continuous=True), ORDERS, None, NOW) == NOW
    jittered = schedule(every="15m", jitter="5m")
    assert next_run(jittered, ORDERS, ran(NOW), NOW) == spread(timetable(jittered), ORDERS, NOW + SECOND + 15 * MINUTE)


def test_a_schedule_in_words() -> None:
    assert schedule_text(schedule(every="90s")) == "every 1m30s"
    assert schedule_text(cron("0 3 * * 1-5", time_zone="Europe/Berlin")) == "cron 0 3 * * 1-5 (Europe/Berlin)"
    assert schedule_text(schedule(continuous=True)) == "continuous"
    assert schedule_text(schedule(every="1h", jitter="5m")) == "every 1h, jitter 5m"


@pytest.mark.parametrize(
    ("options", "place", "says", "cure"),
    [
        ({"cron": "every day"}, "cron", "'every day' is not a crontab expression: it has 2 fields", "five fields"),
        ({"cron": "61 * * * *"}, "cron", "is not a crontab expression", "five fields"),
        ({"cron": "0 0 30 2 *"}, "cron", "'0 0 30 2 \\*' never comes", "day"),
        ({"every": "1m", "jitter": "1m"}, "jitter", "may come 1m late", "less than 1m"),
        ({"continuous": True, "jitter": "2s"}, "jitter", "due after 1s", "less than 1s"),
        ({"cron": "0,5 * * * *", "jitter": "10m"}, "jitter", "due after 5m", "less than 5m"),
    ],
)
def test_a_schedule_that_nobody_can_keep_is_refused(options: dict[str, Any], place: str, says: str, cure: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        check_schedule(schedule(**options), place="pipelines.orders.schedule", now=NOW)
    assert caught.value.place == f"pipelines.orders.schedule.{place}"
    assert cure in (caught.value.cure or "")


def test_a_schedule_that_can_be_kept_passes() -> None:
    for options in ({"cron": "0 0 29 2 *"}, {"cron": "0 * * * *", "jitter": "59m"}, {"every": "1m", "jitter": "20s"}):
        check_schedule(schedule(**options), place="x", now=NOW)

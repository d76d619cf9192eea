"""Crontab expressions as crontab(5) means them, across clock changes, against a count of every minute."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from qupersync_extractor.infrastructure.scheduling.crontab import Crontab
from qupersync_extractor.infrastructure.scheduling.timetables import NeverComesError

BERLIN = "Europe/Berlin"
FORWARD = datetime(2026, 3, 28, 18, tzinfo=UTC)  # at 01:00 UTC of the next day 02:00 becomes 03:00
BACK = datetime(2026, 10, 24, 18, tzinfo=UTC)  # at 01:00 UTC of the next day 03:00 becomes 02:00
LORD_HOWE = datetime(2026, 10, 3, 10, tzinfo=UTC)  # where it is half an hour
DAY = timedelta(days=1)


def moments(expression: str, after: datetime, *, zone: str = "UTC") -> Iterator[datetime]:
    crontab, moment = Crontab(expression, time_zone=zone), after
    while True:
        found = crontab.next_after(moment)
        assert found > moment
        assert found.tzinfo is UTC
        yield (moment := found)


def first(expression: str, after: datetime, count: int, *, zone: str = BERLIN) -> list[str]:
    """The next moments, as a clock on the wall shows them."""
    local = (moment.astimezone(ZoneInfo(zone)) for moment in moments(expression, after, zone=zone))
    return [f"{moment:%d %H:%M%z}" for moment in islice(local, count)]


def test_a_time_that_is_left_out_comes_an_hour_later() -> None:
    assert first("30 2 * * *", FORWARD, 3) == ["29 03:30+0200", "30 02:30+0200", "31 02:30+0200"]


def test_a_time_that_comes_twice_is_kept_once() -> None:
    assert first("30 2 * * *", BACK, 2) == ["25 02:30+0200", "26 02:30+0100"]
    assert first("*/30 2 * * *", BACK, 3) == ["25 02:00+0200", "25 02:30+0200", "26 02:00+0100"]


def test_every_hour_is_every_hour() -> None:
    assert first("0 * * * *", BACK + 5 * timedelta(hours=1), 4) == [
        "25 02:00+0200",
        "25 02:00+0100",
        "25 03:00+0100",
        "25 04:00+0100",
    ]
    assert first("0 * * * *", FORWARD + 6 * timedelta(hours=1), 3) == [
        "29 03:00+0200",
        "29 04:00+0200",
        "29 05:00+0200",
    ]


def test_the_day_after_the_clocks_went_forward_has_its_midnight() -> None:
    assert first("36 0 * * *", FORWARD, 3) == ["29 00:36+0100", "30 00:36+0200", "31 00:36+0200"]


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", {"Sun"}),
        ("7", {"Sun"}),
        ("1", {"Mon"}),
        ("mon", {"Mon"}),
        ("1-5", {"Mon", "Tue", "Wed", "Thu", "Fri"}),
        ("5-7", {"Fri", "Sat", "Sun"}),
        ("fri-mon", {"Fri", "Sat", "Sun", "Mon"}),
        ("0,3", {"Sun", "Wed"}),
        ("*/3", {"Sun", "Wed", "Sat"}),
        ("4/2", {"Thu", "Sat"}),
    ],
)
def test_the_week_begins_with_sunday(field: str, days: set[str]) -> None:
    found = islice(moments(f"0 3 * * {field}", BACK), 20)
    assert {f"{moment:%a}" for moment in found} == days


def test_days_of_month_and_week_are_alternatives() -> None:
    found = [moment.day for moment in islice(moments("0 0 13 * fri", datetime(2026, 1, 1, tzinfo=UTC)), 5)]
    assert found == [2, 9, 13, 16, 23]


def test_a_sixth_field_in_front_is_the_seconds() -> None:
    found = islice(moments("*/20 59 23 31 12 *", BACK), 3)
    assert [f"{moment:%m-%d %T}" for moment in found] == ["12-31 23:59:00", "12-31 23:59:20", "12-31 23:59:40"]


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "* * * * * * *", "60 * * * *", "* * * * 8", "* * * * mo", "* * * * 1/0", "every day"]
)
def test_what_is_no_crontab_expression_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Crontab(expression)


def test_a_day_that_there_never_is_is_refused() -> None:
    with pytest.raises(NeverComesError):
        Crontab("0 0 30 2 *")
    assert Crontab("0 0 29 2 *").next_after(BACK).year == 2028


@pytest.mark.parametrize("seed", range(40))
def test_every_moment_is_met_and_no_other(seed: int) -> None:
    """Also where clocks are set: a minute of the wall clock by another, as the class promises."""
    dice = random.Random(seed)
    expression = " ".join(
        [
            _field(dice, 59),
            dice.choice(["*", "*", "2", "1-3", "2,3", "*/2", "0", _field(dice, 23)]),
            dice.choice(["*", "*", "4", "25-29"]),
            "*",
            dice.choice(["*", "*", "0", "1-5", "0,3"]),
        ]
    )
    zone = dice.choice([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
    begin = dice.choice(
        [FORWARD, BACK, LORD_HOWE, datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 4, 4, 10, tzinfo=UTC)]
    )
    found = []
    for moment in moments(expression, begin, zone=zone):
        if moment > begin + DAY:
            break
        found.append(moment)
    assert found == _counted(expression, zone, begin), (expression, zone)


def _field(dice: random.Random, greatest: int) -> str:
    low = dice.randint(0, greatest)
    return dice.choice(["*", f"*/{dice.choice([2, 7, 15])}", str(low), f"{low}-{dice.randint(low, greatest)}"])


def _numbers(field: str, least: int, greatest: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = (f"{least}-{greatest}" if span == "*" else span).partition("-")
        found |= set(range(int(low), int(high or low) + 1, int(step or 1)))
    return found


def _counted(expression: str, zone: str, begin: datetime) -> list[datetime]:
    minute, hour, day, _, weekday = expression.split()
    minutes, hours, days = _numbers(minute, 0, 59), _numbers(hour, 0, 23), _numbers(day, 1, 31)
    weekdays = {number % 7 for number in _numbers(weekday, 0, 7)}
    local = ZoneInfo(zone)
    found: set[datetime] = set()
    face = begin.astimezone(local).replace(tzinfo=None, minute=0) - timedelta(hours=3)
    for _ in range(30 * 60):
        face += timedelta(minutes=1)
        by_month, by_week = face.day in days, face.isoweekday() % 7 in weekdays
        right_day = by_month or by_week if "*" not in (day, weekday) else by_month and by_week
        if not right_day or face.hour not in hours or face.minute not in minutes:
            continue
        moment = face.replace(tzinfo=local).astimezone(UTC)
        shown = moment.astimezone(local).replace(tzinfo=None, fold=0) == face
        if shown or hour != "*":
            found.add(moment)
        if shown and hour == "*":
            found.add(face.replace(tzinfo=local, fold=1).astimezone(UTC))
    return sorted(moment for moment in found if begin < moment <= begin + DAY)

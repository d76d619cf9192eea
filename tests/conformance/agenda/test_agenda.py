"""What every agenda promises: entries come when they are due, again and again, and no others do."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from tests.conformance.agenda.conftest import Desk

from qupersync_extractor.application.appointments import Timetable
from qupersync_extractor.infrastructure.scheduling.crontab import Crontab
from qupersync_extractor.infrastructure.scheduling.timetables import Every
from qupersync_shared.kernel.ids import PipelineName

ORDERS, COSTS = PipelineName("orders"), PipelineName("costs")
SOON, HOUR = timedelta(milliseconds=300), timedelta(hours=1)
OFTEN, RARELY = Every(timedelta(milliseconds=100)), Every(HOUR)


def bell(rung: Counter[str], name: str) -> Callable[[], None]:
    return partial(rung.update, [name])


def enter(desk: Desk, rung: Counter[str], name: PipelineName, timetable: Timetable, after: timedelta) -> None:
    desk.agenda.enter(name, timetable, desk.clock.now() + after, bell(rung, name))


async def test_an_entry_comes_when_it_is_due_and_then_by_its_timetable(desk: Desk) -> None:
    rung: Counter[str] = Counter()
    enter(desk, rung, ORDERS, OFTEN, SOON)
    enter(desk, rung, COSTS, RARELY, SOON)
    assert not rung
    await desk.until(lambda: rung[ORDERS] >= 3)
    assert rung[COSTS] == 1


async def test_what_is_overdue_comes_at_once_and_once(desk: Desk) -> None:
    rung: Counter[str] = Counter()
    enter(desk, rung, ORDERS, Crontab("0 * * * *", grace=2 * HOUR), -3 * HOUR)
    enter(desk, rung, COSTS, RARELY, SOON)
    await desk.until(lambda: rung[COSTS] == 1)
    assert rung[ORDERS] == 1


async def test_a_hundred_that_are_due_at_once_all_come(desk: Desk) -> None:
    rung: Counter[str] = Counter()
    for number in range(100):
        enter(desk, rung, PipelineName(f"p{number}"), RARELY, -HOUR)
    await desk.until(lambda: len(rung) == 100)
    assert set(rung.values()) == {1}


async def test_an_entry_that_is_moved_comes_then_and_not_before(desk: Desk) -> None:
    rung: Counter[str] = Counter()
    enter(desk, rung, ORDERS, RARELY, HOUR)
    enter(desk, rung, COSTS, RARELY, SOON)
    desk.agenda.move(ORDERS, desk.clock.now() + SOON)
    desk.agenda.move(COSTS, desk.clock.now() + HOUR)
    await desk.until(lambda: rung[ORDERS] == 1)
    assert rung[COSTS] == 0
    desk.agenda.move(ORDERS, desk.clock.now() - HOUR)
    await desk.until(lambda: rung[ORDERS] == 2)


async def test_an_entry_that_is_struck_comes_no_more_and_the_others_do(desk: Desk) -> None:
    rung: Counter[str] = Counter()
    enter(desk, rung, ORDERS, OFTEN, SOON)
    enter(desk, rung, COSTS, OFTEN, SOON)
    desk.agenda.strike(ORDERS)
    desk.agenda.strike(ORDERS)
    desk.agenda.move(ORDERS, desk.clock.now())
    await desk.until(lambda: rung[COSTS] >= 2)
    assert rung[ORDERS] == 0
    enter(desk, rung, ORDERS, RARELY, -SOON)
    await desk.until(lambda: rung[ORDERS] == 1)


async def test_an_entry_that_is_entered_again_is_replaced(desk: Desk) -> None:
    before: Counter[str] = Counter()
    rung: Counter[str] = Counter()
    enter(desk, before, ORDERS, OFTEN, SOON)
    enter(desk, rung, ORDERS, RARELY, SOON)
    enter(desk, rung, COSTS, RARELY, 2 * SOON)
    await desk.until(lambda: rung[COSTS] == 1)
    assert (before[ORDERS], rung[ORDERS]) == (0, 1)

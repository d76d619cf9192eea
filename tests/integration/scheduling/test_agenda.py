"""APScheduler as the agenda's clock: what a process that slept, or whose clock was set, makes of its entries."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from qupersync_extractor.application.appointments import LastRun
from qupersync_extractor.infrastructure.scheduling import agenda as agendas
from qupersync_extractor.infrastructure.scheduling.agenda import AT_ONCE_APART, ScheduledAgenda
from qupersync_extractor.infrastructure.scheduling.timetables import Every
from qupersync_shared.kernel.ids import PipelineName

ORDERS = PipelineName("orders")
HOUR = timedelta(hours=1)


@dataclass
class OffClock:
    """The machine's clock, and by how much it has been set since."""

    off: timedelta = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.off


@dataclass(frozen=True)
class Hourly:
    """Moments an hour apart, which are not made up for after a second."""

    first: datetime
    jitter: timedelta = timedelta(0)
    grace: timedelta | None = timedelta(seconds=1)
    remembered: bool = True

    def next_after(self, moment: datetime) -> datetime:
        return self.first if moment < self.first else self.next_after(moment - HOUR) + HOUR

    def after(self, last: LastRun) -> datetime:
        return self.next_after(last.covers)


@pytest.fixture
def clock() -> OffClock:
    return OffClock()


@pytest.fixture
async def agenda(clock: OffClock) -> AsyncIterator[ScheduledAgenda]:
    made = ScheduledAgenda(clock)
    yield made
    await made.close()


async def test_what_came_while_the_process_slept_too_long_is_left_out(
    agenda: ScheduledAgenda, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(agendas, "_log", SimpleNamespace(warning=lambda event, **_: told.append(event)))
    rung, other = asyncio.Event(), asyncio.Event()
    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    agenda.enter(ORDERS, Hourly(soon), soon, rung.set)
    agenda.enter(PipelineName("costs"), Every(HOUR), soon, other.set)
    time.sleep(2)  # noqa: ASYNC251  # the whole process stands still, as a suspended one does
    await asyncio.wait_for(other.wait(), 20)
    assert not rung.is_set()
    assert told == ["run_left_out"]


async def test_what_came_while_the_process_slept_shortly_is_made_up_for(agenda: ScheduledAgenda) -> None:
    rung = asyncio.Event()
    soon = datetime.now(UTC) + timedelta(milliseconds=200)
    agenda.enter(ORDERS, Hourly(soon, grace=HOUR), soon, rung.set)
    time.sleep(0.5)  # noqa: ASYNC251  # as above
    await asyncio.wait_for(rung.wait(), 20)


async def test_a_clock_that_is_put_back_puts_nothing_off(
    agenda: ScheduledAgenda, clock: OffClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agendas, "CLOCK_LOOK_SECONDS", 0.05)
    rung = asyncio.Event()
    agenda.enter(ORDERS, Every(timedelta(minutes=1)), clock.now() + 2 * HOUR, rung.set)  # by a clock that was ahead
    await asyncio.sleep(0)  # the clock is watched from now on
    clock.off = -2 * HOUR
    await asyncio.wait_for(rung.wait(), 20)


async def test_pipelines_that_are_due_at_once_begin_after_each_other(agenda: ScheduledAgenda) -> None:
    now = datetime.now(UTC)
    for number in range(100):
        agenda.enter(PipelineName(f"p{number}"), Every(HOUR), now - HOUR, lambda: None)
    places = sorted(entry.next_run_time for entry in agenda._scheduler.get_jobs())
    assert len(places) == 100
    assert all(later - earlier >= AT_ONCE_APART for earlier, later in itertools.pairwise(places))


async def test_a_closed_agenda_rings_no_more(clock: OffClock) -> None:
    rung = asyncio.Event()
    closed, other = ScheduledAgenda(clock), ScheduledAgenda(clock)
    soon = clock.now() + timedelta(milliseconds=200)
    closed.enter(ORDERS, Every(HOUR), soon, rung.set)
    await closed.close()
    await closed.close()
    later = asyncio.Event()
    other.enter(ORDERS, Every(HOUR), soon + timedelta(milliseconds=200), later.set)
    await asyncio.wait_for(later.wait(), 20)
    await other.close()
    assert not rung.is_set()

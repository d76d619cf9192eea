"""Both agendas: the one in memory, whose time a test lets pass, and APScheduler's, whose time passes by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from qupersync_extractor.application.appointments import Agenda
from qupersync_extractor.infrastructure.memory.agenda import MemoryAgenda
from qupersync_extractor.infrastructure.scheduling.agenda import ScheduledAgenda
from qupersync_shared.kernel.clock import Clock, SystemClock

STEP = timedelta(milliseconds=50)
SECONDS_MAX = 20


class Desk(Protocol):
    """An agenda and its time."""

    agenda: Agenda
    clock: Clock

    async def until(self, holds: Callable[[], bool]) -> None:
        """Lets time pass until it holds."""
        ...


@dataclass
class HandClock:
    moment: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


class MemoryDesk:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.agenda = MemoryAgenda(self.clock)

    async def until(self, holds: Callable[[], bool]) -> None:
        end = self.clock.moment + timedelta(seconds=SECONDS_MAX)
        while not holds():
            assert self.clock.moment < end
            self.clock.moment += STEP
            self.agenda.look()


class ScheduledDesk:
    def __init__(self) -> None:
        self.clock = SystemClock()
        self.agenda = ScheduledAgenda(self.clock)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while not holds():  # noqa: ASYNC110  # the bells of the tests are counters
                await asyncio.sleep(STEP.total_seconds() / 5)


@pytest.fixture(params=["memory", "apscheduler"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    if request.param == "memory":
        yield MemoryDesk()
        return
    scheduled = ScheduledDesk()
    yield scheduled
    await scheduled.agenda.close()

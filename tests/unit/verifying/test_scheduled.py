"""Comparisons by schedule: once for all processes, after a failure sooner, and given up at a stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.application.verifying.records import Verification, VerificationCounts
from qupersync_extractor.application.verifying.scheduled import LOOK_SECONDS, ScheduledVerification
from qupersync_extractor.application.verifying.verify import Outcome
from qupersync_extractor.infrastructure.memory.source import EPOCH
from qupersync_extractor.infrastructure.memory.verifications import MemoryVerifications
from qupersync_extractor.infrastructure.scheduling.timetables import Every
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import GroupName, PipelineName
from qupersync_shared.runtime.lifecycle import Stop

PIPELINE, GROUP = PipelineName("people"), GroupName("main")


@dataclass(kw_only=True)
class Bench:
    """Two processes share what is kept; `hold`, `error` and `outcome` are what a comparison comes to."""

    now: datetime = EPOCH
    snapshot: datetime | None = EPOCH
    compared: int = 0
    error: Exception | None = None
    outcome: Outcome = field(default_factory=Outcome)
    hold: asyncio.Event | None = None
    troubles: Troubles = field(default_factory=Troubles)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.kept = MemoryVerifications(lambda: self.now)

    def process(self) -> ScheduledVerification:
        clock: Any = SimpleNamespace(now=lambda: self.now)
        return ScheduledVerification(
            pipeline=PIPELINE,
            group=GROUP,
            timetable=Every(timedelta(hours=1)),
            verifications=self.kept,
            registry=self,  # type: ignore[arg-type]  # of which one method is asked
            clock=clock,
            troubles=self.troubles,
            opened=self._opened,
        )

    async def get(self, _: PipelineName) -> Any:
        return SimpleNamespace(state=SimpleNamespace(snapshot_ended_at=self.snapshot))

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Any]:
        yield self._verify

    async def _verify(self, verification: UUID, *, repair: bool) -> Outcome:
        assert not repair
        self.compared += 1
        self.began.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        await self.kept.end(verification, counts=VerificationCounts(differing=1))
        return self.outcome

    async def last(self) -> Verification:
        found = await self.kept.last(PIPELINE, GROUP)
        assert found is not None
        return found


async def test_it_waits_for_the_first_snapshot_and_then_for_its_hour() -> None:
    bench = Bench(snapshot=None)
    one, other = bench.process(), bench.process()
    assert await one.turn(Stop()) == LOOK_SECONDS
    assert bench.compared == 0
    bench.snapshot = EPOCH
    await asyncio.gather(one.turn(Stop()), other.turn(Stop()))
    assert bench.compared == 1
    bench.now += timedelta(minutes=59)
    await one.turn(Stop())
    assert bench.compared == 1
    bench.now += timedelta(minutes=1)
    await other.turn(Stop())
    await one.turn(Stop())
    assert bench.compared == 2


async def test_a_failure_is_recorded_and_tried_again_before_the_hour() -> None:
    bench = Bench(error=TransientError("no loader answers"))
    process = bench.process()
    with pytest.raises(TransientError):
        await process.turn(Stop())
    assert "no loader answers" in str((await bench.last()).error)
    bench.now += timedelta(minutes=14)
    await process.turn(Stop())
    assert bench.compared == 1
    bench.error = None
    bench.now += timedelta(minutes=2)
    await process.turn(Stop())
    assert (bench.compared, (await bench.last()).told) == (2, True)


async def test_what_keeps_it_from_comparing_is_told_until_it_has() -> None:
    bench = Bench(error=TransientError("no loader answers"))
    stop = Stop()
    serving = asyncio.create_task(bench.process().serve(stop))
    await asyncio.wait_for(bench.began.wait(), 20)
    stop.request()
    await asyncio.wait_for(serving, 20)
    assert "no loader answers" in bench.troubles.by_pipeline()[PIPELINE]
    bench.error = None
    bench.now += timedelta(hours=1)
    await bench.process().turn(Stop())
    assert bench.troubles.by_pipeline() == {}


async def test_a_stop_ends_the_comparison_under_way() -> None:
    bench = Bench(hold=asyncio.Event())
    stop = Stop()
    serving = asyncio.create_task(bench.process().serve(stop))
    await asyncio.wait_for(bench.began.wait(), 20)
    stop.request()
    await asyncio.wait_for(serving, 20)
    assert "ended by CancelledError" in str((await bench.last()).error)

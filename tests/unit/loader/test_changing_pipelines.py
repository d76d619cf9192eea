"""Pipelines come and go while a loader runs: the event under way is finished, nothing of a pipeline is left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.conformance.loader.events import SentDelivery, pipeline

from qupersync_loader.application.claims import ClaimKeeper
from qupersync_loader.application.loader import Loader
from qupersync_loader.application.outcome import Ack, Cause
from qupersync_loader.application.ports import Backlog, PipelineState
from qupersync_loader.application.quiet import QuietLanes
from qupersync_loader.application.rotation import LaneRef, Rotation
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.troubles import STREAM, Troubles
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.ids import Lane, Log, PipelineName, uuid7
from qupersync_shared.runtime.lifecycle import Stop

ONE, TWO = pipeline(name=PipelineName("one")), pipeline(name=PipelineName("two"))
PATIENCE = 20.0
BEGUN = LaneProgress(
    group="main", pipeline="one", lane=0, lanes=2, log=1, sequence=1, event_id=uuid7(), applied_at=datetime.now(UTC)
)


class World:
    """Feed, target, reporter and use cases of a loader; every lane always has another event."""

    def __init__(self, *, slots: int = 2) -> None:
        self.applied: dict[TargetPipeline, int] = {}
        self.began: dict[str, asyncio.Event] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.progress = asyncio.Condition()
        self.under_way: list[str] = []
        self.let_go_of: list[TargetPipeline] = []
        self.known: dict[PipelineName, PipelineState] = {
            served.name: PipelineState(log=Log(1), lanes=2, watermarks={Lane(0): BEGUN, Lane(1): BEGUN})
            for served in (ONE, TWO)
        }
        self.begun_again: asyncio.Queue[TargetPipeline] = asyncio.Queue()
        self.troubles = Troubles()
        self.rotation = Rotation(slots)
        self.quiet = QuietLanes(self, self.rotation, watch_seconds=0.01)
        self.slots = Slots(
            target=self,  # type: ignore[arg-type]  # as far as a turn asks it
            feed=self,  # type: ignore[arg-type]
            use_cases={},
            rotation=self.rotation,
            troubles=self.troubles,
            ack_wait_seconds=30,
            quiet=self.quiet,
        )
        self.loader = Loader(
            group=ONE.group,
            pipelines=[ONE],
            target=self,  # type: ignore[arg-type]
            feed=self,  # type: ignore[arg-type]
            slots=self.slots,
            slot_count=slots,
            rotation=self.rotation,
            baselines=self,  # type: ignore[arg-type]
            parked=self,  # type: ignore[arg-type]
            reporter=self,  # type: ignore[arg-type]
            troubles=self.troubles,
            use_case=self.use_case,  # type: ignore[arg-type]
            claims=ClaimKeeper(self),
        )

    def use_case(self, served: TargetPipeline) -> Any:
        async def apply(_lane: Lane, _delivery: Any, _session: Any) -> Ack:
            self.under_way.append(served.name)
            self.event(self.began, served.name).set()
            gate = self.gates.get(served.name)
            if gate is not None:
                await gate.wait()
            self.under_way.remove(served.name)
            async with self.progress:
                self.applied[served] = self.applied.get(served, 0) + 1
                self.progress.notify_all()
            return Ack(cause=Cause.APPLIED)

        return apply

    @staticmethod
    def event(events: dict[str, asyncio.Event], name: str) -> asyncio.Event:
        return events.setdefault(name, asyncio.Event())

    async def has_applied(self, served: TargetPipeline) -> None:
        before = self.applied.get(served, 0)
        async with asyncio.timeout(PATIENCE):
            async with self.progress:
                await self.progress.wait_for(lambda: self.applied.get(served, 0) > before)

    @asynccontextmanager
    async def session(self, _pipeline: Any) -> AsyncIterator[None]:
        yield None

    async def states(self, _group: Any) -> dict[PipelineName, PipelineState]:
        return self.known

    async def discover(self, _pipeline: Any) -> frozenset[Lane]:
        return frozenset({Lane(0), Lane(1)})

    async def fetch(self, _pipeline: Any, _lane: Lane, *, wait_seconds: float) -> SentDelivery:
        await asyncio.sleep(0)
        return SentDelivery(headers={}, body=b"")

    async def news(self, _pipeline: Any, _lane: Lane, *, wait_seconds: float) -> bool:
        await asyncio.sleep(min(wait_seconds, 0.01))
        return True

    async def backlog(self, _pipeline: Any, _lane: Lane) -> Backlog:
        return Backlog(pending=0, unacknowledged=0)

    async def let_go(self, served: TargetPipeline) -> None:
        assert served.name not in self.under_way, "an event was under way"
        self.let_go_of.append(served)

    async def begin_again(self, served: TargetPipeline, lanes: frozenset[Lane]) -> frozenset[Lane]:
        self.begun_again.put_nowait(served)
        return lanes

    async def end(self, _served: TargetPipeline, *, kept: frozenset[Lane]) -> frozenset[Lane]:
        return frozenset()

    async def report(self, _states: Any) -> None: ...

    async def withdraw(self) -> None: ...

    async def look(self, *_: Any) -> None: ...


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Stop]:
    stop = Stop()
    task = asyncio.create_task(world.loader.run(stop))
    try:
        await world.has_applied(ONE)
        yield stop
    finally:
        stop.request()
        for gate in world.gates.values():
            gate.set()
        async with asyncio.timeout(PATIENCE):
            await task


@pytest.mark.parametrize("slots", [1, 2, 8])
async def test_a_pipeline_joins_and_the_others_go_on(slots: int) -> None:
    world = World(slots=slots)
    async with running(world) as stop:
        await world.loader.change([ONE, TWO], stop)
        await world.has_applied(TWO)
        await world.has_applied(ONE)
    assert world.let_go_of == []


async def test_one_that_is_removed_finishes_its_event_first_and_holds_nobody_up() -> None:
    world = World()
    async with running(world) as stop:
        await world.loader.change([ONE, TWO], stop)
        await world.has_applied(TWO)
        world.gates["two"] = asyncio.Event()
        world.event(world.began, "two").clear()
        await asyncio.wait_for(world.began["two"].wait(), PATIENCE)
        world.troubles.set([TWO.name], STREAM, "gone")
        leaving = asyncio.create_task(world.loader.change([ONE], stop))
        await asyncio.sleep(0.05)
        assert not leaving.done()
        world.gates["two"].set()
        await asyncio.wait_for(leaving, PATIENCE)
        applied = world.applied[TWO]
        await world.has_applied(ONE)
        assert world.applied[TWO] == applied
    assert world.let_go_of == [TWO]
    assert world.troubles.by_pipeline() == {}
    assert {ref[0] for ref in world.rotation.lanes} == {ONE}
    assert not [ref for ref in world.slots.last if ref[0] == TWO]


async def test_one_whose_definition_changed_is_let_go_and_begun_anew() -> None:
    world = World()
    other = pipeline(name=ONE.name, table="elsewhere")
    async with running(world) as stop:
        await world.loader.change([other], stop)
        await world.has_applied(other)
        assert {ref[0] for ref in world.rotation.lanes} == {other}
        await world.loader.change([other], stop)
    assert world.let_go_of == [ONE], "what has not changed stays"


async def test_a_stop_ends_a_loader_that_is_in_the_middle_of_a_change() -> None:
    world = World()
    async with running(world) as stop:
        world.gates["one"] = asyncio.Event()
        world.event(world.began, "one").clear()
        await asyncio.wait_for(world.began["one"].wait(), PATIENCE)
        leaving = asyncio.create_task(world.loader.change([TWO], stop))
        await asyncio.sleep(0)
        stop.request()
        world.gates["one"].set()
        await asyncio.wait_for(leaving, PATIENCE)


async def test_a_target_that_forgets_everything_while_loaders_run_has_the_stream_read_again() -> None:
    world = World()
    async with running(world):
        assert world.begun_again.empty()
        world.known = {}
        assert await asyncio.wait_for(world.begun_again.get(), PATIENCE) == ONE
        await world.has_applied(ONE)
    assert world.begun_again.empty()


def test_lanes_that_are_dropped_do_not_come_back() -> None:
    rotation = Rotation(1)
    zero, one, two = refs = [(ONE, Lane(lane)) for lane in range(3)]
    rotation.add(refs)
    served = rotation.take()
    assert served == zero
    rotation.drop([zero, one])
    rotation.give_back(zero, busy=True)
    assert (rotation.lanes, rotation.take(), rotation.take()) == (frozenset({two}), two, None)
    assert not rotation.knows(zero)


def test_a_lane_may_be_added_again() -> None:
    rotation = Rotation(1)
    ref: LaneRef = (ONE, Lane(0))
    rotation.add([ref])
    rotation.drop([ref])
    rotation.add([ref])
    assert rotation.take() == ref
    rotation.drop([ref])
    rotation.add([ref])
    rotation.give_back(ref, busy=True)
    assert (rotation.take(), rotation.take()) == (ref, None), "it waited twice"

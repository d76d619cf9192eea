"""A slot leaves a lane that has more only for one that has something, not for lanes that other processes are at."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.conformance.loader.events import SentDelivery, pipeline

from qupersync_loader.application import rotation as turns
from qupersync_loader.application.outcome import Ack, Cause
from qupersync_loader.application.quiet import QuietLanes
from qupersync_loader.application.rotation import Rotation
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.troubles import Troubles
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.lifecycle import Stop

EVENTS = 6


class Stream:
    """Lanes of endless events, as far as they are `free`: some other process is at the rest of them."""

    def __init__(self, free: set[int], *, away: bool = False) -> None:
        self.free = free
        self.away = away
        self.fetched: list[int] = []
        self.stop = Stop()

    @asynccontextmanager
    async def session(self, _pipeline: Any) -> AsyncIterator[Any]:
        yield self

    async def fetch(self, _pipeline: TargetPipeline, lane: Lane, *, wait_seconds: float) -> SentDelivery | None:
        self.fetched.append(lane)
        if len(self.fetched) >= EVENTS:
            self.stop.request()
        return replace(SentDelivery(headers={}, body=b""), pending=1) if lane in self.free else None

    async def news(self, _pipeline: TargetPipeline, lane: Lane, *, wait_seconds: float) -> bool:
        if self.away:
            raise StreamUnavailableError("away")
        if lane not in self.free:
            await asyncio.sleep(wait_seconds)
        return lane in self.free

    async def __call__(self, *_: Any) -> Ack:
        return Ack(cause=Cause.APPLIED)


async def served(stream: Stream, lanes: int) -> list[int]:
    rotation = Rotation(1)
    rotation.add((pipeline(), Lane(lane)) for lane in range(lanes))
    anything: Any = stream
    slots = Slots(
        target=anything,
        feed=anything,
        use_cases={pipeline().name: anything},
        rotation=rotation,
        troubles=Troubles(),
        ack_wait_seconds=30,
        quiet=QuietLanes(anything, rotation),
    )
    await asyncio.wait_for(slots.serve(stream.stop), 30)
    return stream.fetched


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a turn is over with each event."""
    monkeypatch.setattr(turns, "_QUANTUM_SECONDS", 0.0)


async def test_a_lane_is_kept_while_no_other_has_anything_to_give() -> None:
    assert await served(Stream({0}), lanes=8) == [0] * EVENTS


async def test_lanes_that_have_something_take_turns() -> None:
    fetched = await served(Stream({0, 2}), lanes=4)
    assert 1 not in fetched
    assert fetched.count(0) == fetched.count(2)


async def test_lanes_that_cannot_be_asked_about_are_looked_at() -> None:
    assert set(await served(Stream({0, 1, 2}, away=True), lanes=3)) == {0, 1, 2}

"""A process that ends by force gives back what it holds."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.conformance.loader.events import SentDelivery, pipeline

from qupersync_loader.application.outcome import Ack, Cause
from qupersync_loader.application.rotation import Rotation
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.troubles import Troubles
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.lifecycle import Stop


class Hanging:
    """A target, a feed and a use case: one delivery, and a commit that never returns."""

    def __init__(self) -> None:
        self.delivery = SentDelivery(headers={}, body=b"")
        self.hangs = asyncio.Event()
        self.stop = Stop()
        self.goes_on = asyncio.Event()

    @asynccontextmanager
    async def session(self, _pipeline: Any) -> Any:
        yield self

    async def fetch(self, _pipeline: Any, _lane: Lane, *, wait_seconds: float) -> SentDelivery:
        return self.delivery

    async def __call__(self, *_: Any) -> Any:
        self.hangs.set()
        await self.goes_on.wait()
        return Ack(cause=Cause.APPLIED)

    def slots(self) -> Slots:
        rotation = Rotation(1)
        rotation.add([(pipeline(), Lane(0))])
        anything: Any = self
        return Slots(
            target=anything,
            feed=anything,
            use_cases={pipeline().name: anything},
            rotation=rotation,
            troubles=Troubles(),
            ack_wait_seconds=30,
        )


async def test_a_slot_that_is_cancelled_gives_its_event_back_at_once() -> None:
    hanging = Hanging()
    task = asyncio.create_task(hanging.slots().serve(hanging.stop))
    await asyncio.wait_for(hanging.hangs.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hanging.delivery.ended == ["nak 0"]


async def test_a_slot_that_is_to_stop_finishes_its_event_first() -> None:
    hanging = Hanging()
    task = asyncio.create_task(hanging.slots().serve(hanging.stop))
    await asyncio.wait_for(hanging.hangs.wait(), 10)
    hanging.stop.request()
    hanging.goes_on.set()
    await asyncio.wait_for(task, 10)
    assert hanging.delivery.ended == ["ack"]

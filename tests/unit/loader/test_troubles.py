"""Troubles are told by pipeline, and wake whoever tells them exactly when they change."""

import asyncio

import pytest

from qupersync_loader.application.troubles import STATE, STREAM, TARGET, Troubles, lane_place
from qupersync_shared.kernel.ids import Lane, PipelineName

A, B = PipelineName("a"), PipelineName("b")


async def test_reasons_are_gathered_by_pipeline_the_targets_first() -> None:
    troubles = Troubles()
    troubles.set([A], lane_place(Lane(2)), "lane 2: a gap")
    troubles.set([A, B], TARGET, "connection refused")
    troubles.set([A, B], STATE, "connection refused")
    troubles.set([A], STREAM, "is missing")
    assert troubles.by_pipeline() == {
        "a": "target: connection refused; stream: is missing; lane 2: a gap",
        "b": "target: connection refused",
    }
    for place in (TARGET, STATE, STREAM, lane_place(Lane(2))):
        troubles.set([A, B], place, None)
    assert troubles.by_pipeline() == {}


async def test_many_reasons_are_cut() -> None:
    troubles = Troubles()
    for lane in range(5):
        troubles.set([A], lane_place(Lane(lane)), f"lane {lane}: x{lane}")
    assert troubles.by_pipeline()["a"].endswith("lane 2: x2; and 2 more")
    assert len(troubles.lanes()) == 5


async def test_what_all_lanes_wait_for_is_told_once() -> None:
    troubles = Troubles()
    for lane in range(5):
        troubles.set([A], lane_place(Lane(lane)), f"lane {lane}: x")
    assert troubles.by_pipeline() == {"a": "lanes 0 to 4: x"}


async def test_only_a_change_wakes() -> None:
    troubles = Troubles()
    woken = asyncio.create_task(troubles.changed(60))
    await asyncio.sleep(0)
    troubles.set([A], STATE, None)
    await asyncio.sleep(0)
    assert not woken.done()
    troubles.set([A], STATE, "degraded")
    await asyncio.wait_for(woken, 5)
    again = asyncio.create_task(troubles.changed(60))
    await asyncio.sleep(0)
    troubles.set([A], STATE, "degraded")
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again

"""Lanes at rest leave the rotation and come back: with news, for a look, after an error, and when all ends."""

import asyncio
from collections.abc import Callable

from qupersync_loader.application.quiet import QuietLanes
from qupersync_loader.application.rotation import LaneRef, Rotation
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime.lifecycle import Stop

PIPELINE = TargetPipeline(group=GroupName("main"), name=PipelineName("p"), schema="s", table="t", lanes=2)
LANE: LaneRef = (PIPELINE, Lane(0))


class News:
    def __init__(self, answer: Callable[[], bool] = lambda: False) -> None:
        self.asked: asyncio.Queue[Lane] = asyncio.Queue()
        self.came = asyncio.Event()
        self._answer = answer

    async def news(self, _pipeline: TargetPipeline, lane: Lane, *, wait_seconds: float) -> bool:
        self.asked.put_nowait(lane)
        try:
            async with asyncio.timeout(wait_seconds):
                await self.came.wait()
        except TimeoutError:
            return self._answer()
        return True


def taken(*lanes: LaneRef) -> Rotation:
    """A rotation whose lanes are all being served."""
    rotation = Rotation(1)
    rotation.add(lanes)
    for _ in lanes:
        assert rotation.take() is not None
    return rotation


async def test_a_lane_comes_back_when_it_has_news() -> None:
    news, rotation = News(), taken(LANE)
    quiet = QuietLanes(news, rotation, watch_seconds=60)
    quiet.watch(LANE)
    assert await news.asked.get() == LANE[1]
    assert (rotation.take(), quiet.count) == (None, 1)
    news.came.set()
    await quiet.wait(Stop())
    assert rotation.take() == LANE


async def test_a_lane_without_news_is_asked_about_again_and_looked_at_in_the_end() -> None:
    news, rotation = News(), taken(LANE)
    quiet = QuietLanes(news, rotation, watch_seconds=0.01, look_seconds=0.1)
    quiet.watch(LANE)
    while rotation.take() is None:
        await quiet.wait(Stop())
    assert news.asked.qsize() > 1


async def test_a_lane_comes_back_when_nats_is_away_or_a_defect_shows() -> None:
    for error in (StreamUnavailableError("away"), KeyError("a defect")):

        def fail(raised: Exception = error) -> bool:
            raise raised

        rotation = taken(LANE)
        quiet = QuietLanes(News(fail), rotation, watch_seconds=0.0)
        quiet.watch(LANE)
        while rotation.take() is None:
            await quiet.wait(Stop())


async def test_at_the_end_every_lane_is_given_back() -> None:
    other: LaneRef = (PIPELINE, Lane(1))
    news, rotation = News(), taken(LANE, other)
    quiet = QuietLanes(news, rotation, watch_seconds=60)
    quiet.watch(LANE)
    quiet.watch(other)
    for _ in range(2):
        await news.asked.get()
    await quiet.close()
    assert quiet.count == 0
    assert {rotation.take(), rotation.take()} == {LANE, other}


async def test_nobody_waits_when_the_stop_is_requested() -> None:
    stop = Stop()
    stop.request()
    async with asyncio.timeout(0.5):
        await QuietLanes(News(), taken(LANE)).wait(stop)

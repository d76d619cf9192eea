"""When a group begins again with what the stream holds, and when it gives up lanes that are gone."""

from datetime import UTC, datetime

import pytest
from tests.conformance.loader.events import pipeline

from qupersync_loader.application.claims import LEFT_SECONDS, ClaimKeeper
from qupersync_loader.application.ports import PipelineState
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import Lane, Log, uuid7

PIPELINE = pipeline()


def lanes(*numbers: int) -> frozenset[Lane]:
    return frozenset(map(Lane, numbers))


def begun(count: int, *, without: frozenset[Lane] = frozenset()) -> PipelineState:
    def told(lane: int) -> LaneProgress:
        return LaneProgress(
            group="main",
            pipeline=PIPELINE.name,
            lane=lane,
            lanes=count,
            log=1,
            sequence=1,
            event_id=uuid7(),
            applied_at=datetime.now(UTC),
        )

    known = lanes(*range(count)) - without
    return PipelineState(log=Log(1), lanes=count, watermarks={lane: told(lane) for lane in known})


class Claims:
    def __init__(self) -> None:
        self.again: list[frozenset[Lane]] = []
        self.ended: list[frozenset[Lane]] = []
        self.failing = False

    async def begin_again(self, _pipeline: TargetPipeline, lanes: frozenset[Lane]) -> frozenset[Lane]:
        if self.failing:
            raise StreamUnavailableError("NATS went away half-way")
        self.again.append(lanes)
        return lanes

    async def end(self, _pipeline: TargetPipeline, *, kept: frozenset[Lane]) -> frozenset[Lane]:
        self.ended.append(kept)
        return frozenset()


class Bench:
    def __init__(self) -> None:
        self.now = 0.0
        self.claims = Claims()
        self.keeper = ClaimKeeper(self.claims, monotonic=lambda: self.now)

    async def look(self, found: frozenset[Lane], state: PipelineState | None, *, after: float = 0) -> frozenset[Lane]:
        self.now += after
        await self.keeper.begin_again_where_lost(PIPELINE, found, state)
        return await self.keeper.end_where_left(PIPELINE, found, state)


async def test_a_target_that_knows_nothing_has_the_stream_read_again_once() -> None:
    bench = Bench()
    for _ in range(3):
        await bench.look(lanes(0, 1), None, after=30)
    assert bench.claims.again == [lanes(0, 1)]
    await bench.look(lanes(0, 1), begun(2))
    assert bench.claims.again == [lanes(0, 1)]
    await bench.look(lanes(0, 1), PipelineState(log=Log(1), lanes=2))  # its table was dropped
    assert bench.claims.again == [lanes(0, 1), lanes(0, 1)]


async def test_what_one_attempt_left_undone_another_finishes_though_some_lanes_have_begun_by_then() -> None:
    bench = Bench()
    bench.claims.failing = True
    with pytest.raises(StreamUnavailableError):
        await bench.look(lanes(0, 1, 2), None)
    bench.claims.failing = False
    for _ in range(3):
        await bench.look(lanes(0, 1, 2), begun(3, without=lanes(1, 2)))
    assert bench.claims.again == [lanes(1, 2)], "lane 0 has been read again, the others have not"


async def test_a_target_that_is_lost_soon_after_it_has_begun_is_read_again_another_time() -> None:
    bench = Bench()
    await bench.look(lanes(0, 1), None)
    bench.keeper.saw({PIPELINE.name: begun(2)})
    await bench.look(lanes(0, 1), None)
    assert bench.claims.again == [lanes(0, 1), lanes(0, 1)]


async def test_lanes_that_have_left_are_not_read_again() -> None:
    bench = Bench()
    await bench.look(lanes(0, 1, 2, 3), begun(2))
    assert bench.claims.again == []


async def test_lanes_that_have_left_are_given_up_after_a_while() -> None:
    bench = Bench()
    assert await bench.look(lanes(0, 1, 2, 3), begun(4)) == lanes(0, 1, 2, 3)
    assert await bench.look(lanes(0, 1, 2, 3), begun(2), after=30) == lanes(0, 1, 2, 3), "they are in the stream"
    assert await bench.look(lanes(0, 1), begun(2), after=30) == lanes(0, 1)
    bench.claims.ended.clear()
    assert await bench.look(lanes(0, 1), begun(2), after=LEFT_SECONDS - 1) == lanes(0, 1)
    assert bench.claims.ended == [], "another loader may not have noticed"
    await bench.look(lanes(0, 1), begun(2), after=1)
    await bench.look(lanes(0, 1), begun(2), after=300)
    assert bench.claims.ended == [lanes(0, 1)]


async def test_lanes_of_the_log_that_the_target_is_in_are_kept_whatever_the_file_and_the_stream_say() -> None:
    bench = Bench()
    for _ in range(3):
        assert await bench.look(lanes(0, 1), begun(4), after=300) == lanes(0, 1, 2, 3)
    assert bench.claims.ended == [lanes(0, 1, 2, 3)]


async def test_of_a_target_that_says_nothing_no_lane_is_given_up() -> None:
    bench = Bench()
    for _ in range(3):
        assert await bench.look(lanes(0), None, after=300) == lanes(0)
    assert bench.claims.ended == []

"""The relay's tasks in a running process: they end in order, and no error of any kind stops one of them in silence."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.extractor.application.bench import NAME, Bench

from qupersync_extractor.application import relaying
from qupersync_extractor.application.relaying import Bell, PipelineRelay
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.domain.records import RelayCursor
from qupersync_shared.kernel.errors import DatabaseUnavailableError, StreamFullError
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.retry import Backoff


@pytest.fixture
async def bench() -> Bench:
    bench = await Bench().registered()
    bench.insert(*range(1, 10))
    await bench.use_case().run()
    return bench


def pipeline_relay(bench: Bench, *, lease_seconds: float = 0.15) -> PipelineRelay:
    return PipelineRelay(
        pipeline=NAME,
        owner="serving",
        outbox=bench.outbox,
        cursors=bench.cursors,
        stream=bench.stream,
        bell=Bell(),
        troubles=Troubles(),
        lease_seconds=lease_seconds,
    )


@asynccontextmanager
async def serving(relay: PipelineRelay) -> AsyncIterator[asyncio.Task[None]]:
    stop = Stop()
    task = asyncio.create_task(relay.serve(stop))
    listening = asyncio.create_task(relay.bell.listen(relay.outbox))
    try:
        yield task
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        stop.request()
        relay.bell.ring()
        async with asyncio.timeout(5):
            await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # the adapters in memory have no signal for everything
            await asyncio.sleep(0.01)


def published(bench: Bench) -> bool:
    return all(len(bench.stream.messages(NAME, Lane(lane))) == bench.sequence for lane in range(2))


async def test_every_lane_is_published_and_the_relay_ends_when_asked(bench: Bench) -> None:
    relay = pipeline_relay(bench)
    async with serving(relay) as task:
        await until(lambda: published(bench))
    assert task.done()
    assert task.exception() is None
    assert relay.published == 2 * bench.sequence


async def test_an_unforeseen_error_in_a_lane_is_shown_and_the_lane_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_records = bench.outbox.next_records
    failing = True

    async def broken(*arguments: object, **named: object) -> list[object]:
        if failing and arguments[1] == 1:
            raise ZeroDivisionError("a defect")
        return await next_records(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.outbox, "next_records", broken)
    relay = pipeline_relay(bench)
    async with serving(relay):
        await until(lambda: "a defect" in relay.troubles.by_pipeline().get(NAME, ""))
        await until(lambda: len(bench.stream.messages(NAME, Lane(0))) == bench.sequence)
        failing = False
        await until(lambda: published(bench))
        await until(lambda: relay.troubles.by_pipeline() == {})


async def test_an_unforeseen_error_while_claiming_is_shown_and_claiming_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = bench.cursors.claim
    failing = True

    async def broken(*arguments: object) -> list[RelayCursor]:
        if failing:
            raise KeyError("a defect")
        return await claim(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.cursors, "claim", broken)
    relay = pipeline_relay(bench)
    async with serving(relay) as task:
        await until(lambda: "a defect" in relay.troubles.by_pipeline().get(NAME, ""))
        assert not task.done()
        failing = False
        await until(lambda: published(bench))


async def test_a_relay_that_is_cancelled_ends_although_no_stop_was_requested(bench: Bench) -> None:
    relay = pipeline_relay(bench)
    async with serving(relay) as task:
        await until(lambda: published(bench))
        task.cancel()
        async with asyncio.timeout(2):
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


async def test_a_lane_that_another_relay_took_takes_its_trouble_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_records = bench.outbox.next_records
    failing = True

    async def broken(*arguments: object, **named: object) -> list[object]:
        if failing:
            raise DatabaseUnavailableError("down")
        return await next_records(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.outbox, "next_records", broken)
    relay = pipeline_relay(bench)
    async with serving(relay):
        await until(lambda: "down" in relay.troubles.by_pipeline().get(NAME, ""))
        for row in bench.store.cursors.values():
            row.lease = None
        await bench.cursors.claim(NAME, "another", 60)
        await until(lambda: relay.troubles.by_pipeline() == {})


async def test_a_stream_that_is_gone_is_declared_again(bench: Bench) -> None:
    relay = pipeline_relay(bench)
    use_case = bench.use_case()
    await use_case.run()
    async with serving(relay):
        await until(lambda: published(bench))
        bench.stream.delete(NAME)
        bench.pass_time(timedelta(minutes=2))
        assert await use_case.keep_alive()
        await until(lambda: NAME in bench.stream._streams)
        await until(lambda: len(bench.stream.messages(NAME, Lane(1))) == 1)
        await until(lambda: relay.troubles.by_pipeline() == {})


async def test_a_ring_before_the_first_wait_is_not_lost() -> None:
    bell, event = Bell(), asyncio.Event()
    bell.admit(NAME, event)
    bell.ring()
    async with asyncio.timeout(1):
        await bell.wait(event, 60)


async def test_a_bell_wakes_the_lanes_of_one_pipeline_only() -> None:
    bell, mine, theirs = Bell(), asyncio.Event(), asyncio.Event()
    bell.admit(NAME, mine)
    bell.admit(PipelineName("others"), theirs)
    bell.ring([NAME])
    assert mine.is_set()
    assert not theirs.is_set()
    bell.ring()
    assert theirs.is_set()
    bell.forget(NAME, mine)
    mine.clear()
    bell.ring()
    assert not mine.is_set()


async def test_records_that_nobody_was_told_of_are_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(_: float) -> frozenset[PipelineName]:
        await asyncio.sleep(0.01)
        return frozenset()

    monkeypatch.setattr(relaying, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(bench.outbox, "next_committed", deaf)
    relay = pipeline_relay(bench)
    async with serving(relay):
        await until(lambda: published(bench))
        bench.insert(99)
        bench.pass_time(timedelta(minutes=2))
        await bench.use_case().run()
        await until(lambda: published(bench))


def refusing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """A stream that refuses every event while it is full, and lanes that would wait for an hour then."""
    stream, publish = {"full": True}, bench.stream.publish

    async def publish_if_room(*arguments: Any, **named: Any) -> Any:
        if stream["full"]:
            raise StreamFullError("the stream is full")
        return await publish(*arguments, **named)

    monkeypatch.setattr(bench.stream, "publish", publish_if_room)
    monkeypatch.setattr(relaying, "Backoff", lambda **_: Backoff(first_seconds=3_600, cap_seconds=3_600))
    return stream


async def test_lanes_that_a_full_stream_refused_go_on_when_room_was_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, relay = refusing(bench, monkeypatch), pipeline_relay(bench)
    refused: list[None] = []
    relay.on_full = lambda: refused.append(None)
    async with serving(relay):
        await until(lambda: len(refused) == 2)
        stream["full"] = False
        relay.room_made()
        await until(lambda: published(bench))


async def test_room_that_is_made_while_a_lane_is_refused_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, relay = refusing(bench, monkeypatch), pipeline_relay(bench)

    def room() -> None:
        stream["full"] = False
        relay.room_made()

    relay.on_full = room
    async with serving(relay):
        await until(lambda: published(bench))

"""What the relay reads, and how it is woken."""

import asyncio
from dataclasses import replace
from typing import Any

from qupersync_shared.kernel.ids import EventId, Lane, Log, PipelineName, Sequence, uuid7

PIPELINE = PipelineName("orders")
LONG_SECONDS = 30.0


async def test_records_come_in_order_and_the_next_is_the_next_that_exists(persistence: Any, writer: Any) -> None:
    for lanes in ((0, 1), (1,), (1,), (0, 1), (0, 1)):
        await writer.page(lanes=lanes)
    assert await _sequences(persistence, lane=0) == [1, 4, 5]
    assert await _sequences(persistence, lane=0, after=1) == [4, 5]
    assert await _sequences(persistence, lane=0, after=4) == [5]
    assert await _sequences(persistence, lane=0, after=5) == []
    assert await _sequences(persistence, lane=1, limit=2) == [1, 2]
    assert await _sequences(persistence, lane=1, after=2, limit=2) == [3, 4]
    assert await _sequences(persistence, lane=2) == []
    assert await _sequences(persistence, lane=0, log=2) == []


async def test_bytes_are_bounded_but_one_record_always_comes(persistence: Any, writer: Any) -> None:
    for size in (60_000, 10_000, 50_000, 10_000):
        await writer.page(payload=b"x" * size)
    assert await _sequences(persistence, bytes_max=1) == [1]
    assert await _sequences(persistence, bytes_max=75_000) == [1, 2]
    assert await _sequences(persistence, after=1, bytes_max=75_000) == [2, 3, 4]
    assert await _sequences(persistence, after=1, bytes_max=40_000) == [2]


async def test_a_record_comes_back_as_it_was_written(persistence: Any, writer: Any) -> None:
    payload = bytes(range(256)) * 1000
    (written, _) = await writer.page(payload=payload)
    (found,) = await persistence.outbox.next_records(
        PIPELINE, Lane(0), Log(1), after=Sequence(0), limit=1, bytes_max=1 << 30
    )
    assert found == replace(written, occurred_at=found.occurred_at)
    assert await persistence.outbox.find(written.id) == found
    assert await persistence.outbox.find(EventId(uuid7())) is None


async def test_depth_counts_what_lies_beyond_the_cursors(persistence: Any, writer: Any) -> None:
    assert await persistence.outbox.depth(PipelineName("unknown")) == await persistence.outbox.depth(PIPELINE)
    first = await writer.page(payload=b"x" * 100)
    for _ in range(2):
        await writer.page(payload=b"x" * 100)
    depth = await persistence.outbox.depth(PIPELINE)
    assert (depth.records, depth.bytes) == (6, 600)
    assert depth.oldest == (await persistence.outbox.find(first[0].id)).occurred_at
    cursors = await persistence.cursors.claim(PIPELINE, "relay", 60)
    assert await persistence.cursors.advance(replace(cursors[0], last_sequence=Sequence(2)), "relay")
    assert await persistence.cursors.advance(replace(cursors[1], last_sequence=Sequence(3)), "relay")
    assert (await persistence.outbox.depth(PIPELINE)).records == 1
    await persistence.registry.reset(PIPELINE, lanes=2, reason="reset")
    depth = await persistence.outbox.depth(PIPELINE)
    assert (depth.records, depth.bytes, depth.oldest) == (0, 0, None)  # the old log is published no more
    writer.token = await persistence.registry.acquire(PIPELINE, "writer", 60)
    await writer.page()
    assert (await persistence.outbox.depth(PIPELINE)).records == 2


async def test_a_wait_ends_with_the_commit_and_not_before(persistence: Any, writer: Any) -> None:
    await writer.page()
    await _quiet(persistence)
    waiting = asyncio.create_task(persistence.outbox.wait(LONG_SECONDS))
    async with persistence.unit_of_work() as work:
        await work.extractions.lock(PIPELINE, writer.token)
        await work.outbox.add([writer.record(0, 2)])
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        await work.commit()
    await asyncio.wait_for(waiting, LONG_SECONDS / 3)
    assert await _sequences(persistence, lane=0) == [1, 2]


async def test_a_rollback_wakes_nobody(persistence: Any, writer: Any) -> None:
    await _quiet(persistence)
    waiting = asyncio.create_task(persistence.outbox.wait(LONG_SECONDS))
    async with persistence.unit_of_work() as work:
        await work.extractions.lock(PIPELINE, writer.token)
        await work.outbox.add([writer.record(0, 1)])
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    await writer.page()
    await asyncio.wait_for(waiting, LONG_SECONDS / 3)


async def test_a_commit_just_before_the_wait_is_not_slept_through(persistence: Any, writer: Any) -> None:
    await _quiet(persistence)
    assert await _sequences(persistence, lane=0) == []
    await writer.page()
    await asyncio.wait_for(persistence.outbox.wait(LONG_SECONDS), LONG_SECONDS / 3)
    assert await _sequences(persistence, lane=0) == [1]


async def test_a_wait_ends_by_itself(persistence: Any, writer: Any) -> None:
    await asyncio.wait_for(persistence.outbox.wait(0.01), LONG_SECONDS)


async def test_commits_are_told_by_pipeline_and_once(persistence: Any, writer: Any) -> None:
    async with asyncio.timeout(LONG_SECONDS):
        while await persistence.outbox.next_committed(0.3) != frozenset():
            continue  # until the listener listens, and nothing is left of before
        await writer.page()
        assert await persistence.outbox.next_committed(LONG_SECONDS) == {PIPELINE}
    assert await persistence.outbox.next_committed(0.05) == frozenset()


async def test_a_resend_wakes_the_relay(persistence: Any, writer: Any) -> None:
    await writer.page()
    await persistence.cursors.claim(PIPELINE, "relay", 60)
    async with asyncio.timeout(LONG_SECONDS):
        while await persistence.outbox.next_committed(0.3) != frozenset():
            continue
        assert await persistence.cursors.rewind(PIPELINE, Lane(0), Log(1), from_sequence=Sequence(1)) is not None
        assert await persistence.outbox.next_committed(LONG_SECONDS) == {PIPELINE}


async def test_one_look_finds_the_pipelines_that_are_behind(persistence: Any, writer: Any) -> None:
    outbox, cursors = persistence.outbox, persistence.cursors
    assert await outbox.behind() == frozenset()
    await writer.page()
    claimed = await cursors.claim(PIPELINE, "relay", 60)
    assert await outbox.behind() == {PIPELINE}
    for cursor in claimed:
        assert await cursors.advance(replace(cursor, last_sequence=Sequence(1)), "relay")
    assert await outbox.behind() == frozenset()
    await cursors.rewind(PIPELINE, Lane(1), Log(1), from_sequence=Sequence(1))
    assert await outbox.behind() == {PIPELINE}


async def _quiet(persistence: Any) -> None:
    """Waits until a whole wait passes in which nothing is heard, so that the next one is of the test's making."""
    async with asyncio.timeout(LONG_SECONDS):
        while True:
            waiting = asyncio.create_task(persistence.outbox.wait(LONG_SECONDS))
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            if not done:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                return


async def _sequences(
    persistence: Any, *, lane: int = 0, log: int = 1, after: int = 0, limit: int = 100, bytes_max: int = 1 << 30
) -> list[int]:
    found = await persistence.outbox.next_records(
        PIPELINE, Lane(lane), Log(log), after=Sequence(after), limit=limit, bytes_max=bytes_max
    )
    return [record.sequence for record in found]

"""The relay between a real outbox and a real stream: in order, fenced, and healed after every kind of crash."""

import asyncio

import pytest
from tests.integration.extractor.conftest import Bench, Runner

from qupersync_extractor.application.relay import LaneRelay, answer_resend
from qupersync_extractor.application.relaying import Bell, PipelineRelay
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.domain.records import RelayCursor
from qupersync_shared.contracts.commands import ResendRequest, ResendStatus
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.subjects import lane_subject, stream_name
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.lifecycle import Stop

pytestmark = pytest.mark.integration

ROWS = "INSERT INTO {t} SELECT i, 'x', TIMESTAMP '2026-01-01' FROM generate_series($1::int, $2::int) AS i"
LANE = Lane(0)


async def stored(runner: Runner, lane: Lane = LANE) -> list[BatchEnvelope]:
    """Every message of the lane that stands in the stream, in the stream's order."""
    name = PipelineName(runner.bench.table)
    js = await runner.shop.connection.jetstream()
    found: list[BatchEnvelope] = []
    info = await js.stream_info(stream_name(name))
    for sequence in range(info.state.first_seq, info.state.last_seq + 1):
        message = await js.get_msg(stream_name(name), sequence)
        if message.subject == lane_subject(name, lane):
            found.append(BatchEnvelope.from_headers(message.headers))
    return found


async def lane_relay(runner: Runner, owner: str, cursor: RelayCursor | None = None) -> LaneRelay:
    shop, name = runner.shop, PipelineName(runner.bench.table)
    claimed = {c.lane: c for c in await shop.stores.cursors.claim(name, owner, 30)}
    return LaneRelay(
        pipeline=name,
        cursor=cursor or claimed[LANE],
        owner=owner,
        outbox=shop.stores.outbox,
        cursors=shop.stores.cursors,
        stream=shop.stream,
    )


async def drain(relay: LaneRelay) -> None:
    while not (outcome := await relay.publish_some()).idle:
        if not outcome.stored:
            current = await relay.cursors.read(relay.pipeline, relay.cursor.lane)
            assert current is not None
            relay.cursor = current


async def extracted(bench: Bench, rows: int = 500) -> Runner:
    await bench.execute(ROWS, 1, rows)
    runner = await bench.process()
    await runner.run()
    return runner


async def test_a_lane_is_published_once_and_in_order(bench: Bench) -> None:
    runner = await extracted(bench)
    relay = await lane_relay(runner, "one")
    await drain(relay)
    sequences = [event.sequence for event in await stored(runner)]
    assert sequences == list(range(1, len(sequences) + 1))
    assert len(sequences) >= 5
    await drain(relay)
    assert len(await stored(runner)) == len(sequences)


async def test_a_crash_after_the_ack_and_before_the_cursor_doubles_nothing(bench: Bench) -> None:
    runner = await extracted(bench)
    relay = await lane_relay(runner, "one")
    before = relay.cursor
    await drain(relay)
    count = len(await stored(runner))
    crashed = await lane_relay(runner, "one", before)
    async with runner.shop.stores.engine.begin() as connection:
        await connection.exec_driver_sql(
            "UPDATE qupersync.relay_cursor SET last_sequence = 0, last_stream_sequence = 0 WHERE lane = 0"
        )
    await drain(crashed)
    assert len(await stored(runner)) == count


async def test_a_relay_frozen_past_its_lease_cannot_disturb_its_successor(bench: Bench) -> None:
    runner = await extracted(bench)
    frozen = await lane_relay(runner, "frozen")
    async with runner.shop.stores.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE qupersync.relay_cursor SET lease_until = now() - interval '1 hour'")
    successor = await lane_relay(runner, "successor")
    await drain(successor)
    count = len(await stored(runner))
    outcome = await frozen.publish_some()
    assert outcome.refused
    assert not outcome.stored
    assert len(await stored(runner)) == count
    cursor = await runner.shop.stores.cursors.read(PipelineName(bench.table), LANE)
    assert cursor == successor.cursor


async def test_a_resend_publishes_again_under_the_next_generation(bench: Bench) -> None:
    runner = await extracted(bench)
    relay = await lane_relay(runner, "one")
    await drain(relay)
    count = len(await stored(runner))
    request = ResendRequest(group="main", pipeline=bench.table, lane=0, log=1, from_sequence=2)
    reply = await answer_resend(runner.shop.stores.cursors, request)
    assert reply.status is ResendStatus.REWOUND
    await drain(relay)
    again = (await stored(runner))[count:]
    assert [event.sequence for event in again] == list(range(2, count + 1))
    assert {event.generation for event in again} == {reply.generation}


async def test_what_the_outbox_no_longer_has_is_unavailable(bench: Bench) -> None:
    runner = await extracted(bench)
    await drain(await lane_relay(runner, "one"))
    request = ResendRequest(group="main", pipeline=bench.table, lane=0, log=1, from_sequence=99)
    reply = await answer_resend(runner.shop.stores.cursors, request)
    assert reply.status is ResendStatus.UNAVAILABLE


async def test_a_stream_made_anew_is_gone_on_with(bench: Bench) -> None:
    runner = await extracted(bench)
    relay = await lane_relay(runner, "one")
    await drain(relay)
    name = PipelineName(bench.table)
    js = await runner.shop.connection.jetstream()
    await js.delete_stream(stream_name(name))
    await runner.shop.stream.declare(name)
    await bench.execute(ROWS, 501, 700)
    await runner.run(forced=ForcedMode.SNAPSHOT)
    last = relay.cursor.last_sequence
    await drain(relay)
    assert (await stored(runner))[0].sequence == last + 1


async def test_a_foreign_message_on_a_lane_is_stepped_over(bench: Bench) -> None:
    runner = await extracted(bench)
    client = await runner.shop.connection.client()
    await client.jetstream().publish(lane_subject(PipelineName(bench.table), LANE), b"hello")
    relay = await lane_relay(runner, "one")
    name = PipelineName(bench.table)
    while not (await relay.publish_some()).idle:
        pass
    last = await runner.shop.stream.last_message(name, LANE)
    assert last is not None
    assert last.envelope is not None
    assert last.envelope.sequence == relay.cursor.last_sequence


async def test_all_lanes_are_served_and_new_records_wake_the_relay(bench: Bench) -> None:
    runner = await extracted(bench, rows=50)
    bell, stop = Bell(), Stop()
    relay = PipelineRelay(
        pipeline=PipelineName(bench.table),
        owner="serving",
        outbox=runner.shop.stores.outbox,
        cursors=runner.shop.stores.cursors,
        stream=runner.shop.stream,
        bell=bell,
        troubles=runner.shop.troubles,
        lease_seconds=10,
    )
    serving = asyncio.create_task(relay.serve(stop))
    ringing = asyncio.create_task(bell.listen(runner.shop.stores.outbox))
    try:
        await _until_published(runner)
        await bench.execute(ROWS, 51, 400)
        await runner.run(forced=ForcedMode.SNAPSHOT)
        await _until_published(runner)
    finally:
        stop.request()
        bell.ring()
        ringing.cancel()
        await asyncio.gather(serving, ringing, return_exceptions=True)
    counts = [len(await stored(runner, Lane(lane))) for lane in range(3)]
    assert len(set(counts)) == 1


async def test_a_new_log_is_picked_up_by_a_running_relay(bench: Bench) -> None:
    runner = await extracted(bench, rows=50)
    name = PipelineName(bench.table)
    bell, stop = Bell(), Stop()
    relay = PipelineRelay(
        pipeline=name,
        owner="serving",
        outbox=runner.shop.stores.outbox,
        cursors=runner.shop.stores.cursors,
        stream=runner.shop.stream,
        bell=bell,
        troubles=runner.shop.troubles,
        lease_seconds=1,
    )
    serving = asyncio.create_task(relay.serve(stop))
    ringing = asyncio.create_task(bell.listen(runner.shop.stores.outbox))
    try:
        await _until_published(runner)
        await runner.shop.stores.registry.reset(name, lanes=3, reason="a test")
        await runner.run()
        await _until_published(runner)
    finally:
        stop.request()
        bell.ring()
        ringing.cancel()
        await asyncio.gather(serving, ringing, return_exceptions=True)
    events = await stored(runner)
    assert events[-1].log == 2
    assert [event.sequence for event in events if event.log == 2] == list(range(1, events[-1].sequence + 1))


async def _until_published(runner: Runner) -> None:
    name = PipelineName(runner.bench.table)
    async with asyncio.timeout(20):
        while (await runner.shop.stores.outbox.depth(name)).records:
            await runner.shop.stores.outbox.wait(0.05)

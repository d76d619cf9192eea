"""21: a target that is slow, and slow links between relay, stream and loader: back-pressure, not growth or loss."""

import asyncpg
import nats
import pytest
from tests.e2e.world import Peak, World, eventually, opened
from tests.faults.lane_events import assert_each_once_in_order, lane_events
from tests.faults.routes import routed
from tests.faults.watching import OLD, Audit, consumer, drained, jetstream, meanwhile, parked, redelivered, shown, told

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(21), pytest.mark.integration, pytest.mark.timeout(420)]
MEMORY_BYTES_MAX = 400 << 20
ACK_WAIT_SECONDS = 5
PUBLISH_SECONDS = 5
_SLEEP = """
    CREATE OR REPLACE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN {what}; RETURN NULL; END $$
"""


@pytest.mark.long
async def test_bounded_while_the_target_is_slow(local_stack: ThreadedStack, facts: dict[str, object]) -> None:
    """An event that takes longer than its ack wait is given to nobody else, and no lane has more than one out."""
    async with (
        opened(local_stack, loader={"ack_wait": f"{ACK_WAIT_SECONDS}s"}) as world,
        routed(world, "target") as route,
    ):
        await world.insert(1, 300, moment=OLD)
        await world.migrate()
        await world.services.add("extractor", EXTRACTOR, "run").start()
        for number in (1, 2):
            await world.services.add(f"loader-{number}", LOADER, "run", environment=route.environment).start()
        await drained(world, 300)
        async with Audit.opened(world) as audit, jetstream(world) as js:
            await world.app.execute(_SLEEP.format(what=f"PERFORM pg_sleep({ACK_WAIT_SECONDS * 1.5})"))
            await world.app.execute(
                f"CREATE TRIGGER slow AFTER INSERT ON {world.target} FOR EACH STATEMENT EXECUTE FUNCTION public.slow()"
            )
            route.proxy.bytes_per_second, route.proxy.delay_seconds = 200_000, 0.02
            again = await redelivered(js, world, lanes=3)
            peak, out = Peak(world), 0
            async with meanwhile(peak.look):
                await world.insert(301, 20_300)
                for _ in range(2):
                    await eventually("an event that outlasts its ack wait", lambda: _outlasts(world))
                    out = max([out, *[(await consumer(js, world, lane)).num_ack_pending or 0 for lane in range(3)]])
                assert await redelivered(js, world, lanes=3) == again, "what is being applied was given to another one"
                assert out == 1
                await world.app.execute(_SLEEP.format(what="NULL"))
                route.proxy.bytes_per_second, route.proxy.delay_seconds = None, 0.0
                await drained(world, 20_300)
            marks = await audit.assert_in_order()
        assert max(peak.bytes.values()) < MEMORY_BYTES_MAX, peak.bytes
        assert await parked(world) == (0, 0)
        facts |= {"rows": 20_300, "watermarks": marks, "peak MiB": max(peak.bytes.values()) >> 20}


async def _outlasts(world: World) -> bool:
    """Whether a loader's transaction has lasted longer than an event's ack wait."""
    return bool(
        await world.app.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep' "
            "AND clock_timestamp() - query_start > make_interval(secs => $1)",
            ACK_WAIT_SECONDS * 1.1,
        )
    )


@pytest.mark.long
async def test_bounded_while_the_link_to_the_stream_is_slow(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """The outbox stays at its mark, extraction pauses and says why, and goes on when the link is well again."""
    rows = 60_000
    small = {"QUPERSYNC_OUTBOX__HIGH_WATER_BYTES": "1MiB"}
    async with opened(local_stack, pipeline={"page_rows": 1_000, "lanes": 1}) as world, routed(world, "nats") as route:
        await _insert_incompressible(world, rows)
        await world.migrate()
        route.proxy.bytes_per_second = 20_000
        peak = Peak(world)
        async with meanwhile(peak.look):
            await world.services.add("extract", EXTRACTOR, "extract", environment=small).start()
            await shown(world, "high-water")
            await world.services.add("relay", EXTRACTOR, "relay", environment=route.environment).start()
            await world.services.add("loader", LOADER, "run").start()
            await world.wait_for("events over the slow link", lambda one: one.loaded.events > 1)
            await shown(world, "high-water")
            paused = await world.standing()
            assert 0 < paused.extracted.rows < rows
            route.proxy.bytes_per_second = None
            await drained(world, rows)
        assert max(peak.bytes.values()) < MEMORY_BYTES_MAX, peak.bytes
        assert_each_once_in_order(await lane_events(world))
        facts |= {
            "rows": rows,
            "rows when it paused": paused.extracted.rows,
            "peak MiB": max(peak.bytes.values()) >> 20,
        }


@pytest.mark.long
async def test_no_loss_when_events_travel_for_longer_than_their_ack_wait(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """Given out anew while they are still on their way, events are applied once each, and the lane goes on."""
    rows = 4_000
    async with (
        opened(
            local_stack, pipeline={"page_rows": 2_000, "lanes": 1}, loader={"ack_wait": f"{ACK_WAIT_SECONDS}s"}
        ) as world,
        routed(world, "nats") as route,
    ):
        await _insert_incompressible(world, rows)
        await world.migrate()
        await world.extract_once()
        rate = await _event_bytes(world) / (ACK_WAIT_SECONDS * 1.5)
        async with Audit.opened(world) as audit, jetstream(world) as js:
            route.proxy.bytes_per_second = rate
            await world.services.add("loader", LOADER, "run", environment=route.environment).start()
            await drained(world, rows)
            await audit.assert_in_order()
            again = await redelivered(js, world, lanes=1)
        facts |= {"rows": rows, "redeliveries": again}


async def _insert_incompressible(world: World, rows: int) -> None:
    await world.insert(1, rows, moment=OLD)
    await world.source.execute(f"UPDATE {world.table} SET name = md5(id::text) || md5((id * 7919)::text)")


async def _event_bytes(world: World) -> float:
    """The mean size of the stream's events."""
    connection = await nats.connect(world.configuration["nats"]["servers"][0])
    try:
        state = (await connection.jetstream().stream_info(stream_name(PipelineName(world.name)))).state
        return state.bytes / state.messages
    finally:
        await connection.close()


@pytest.mark.long
async def test_duplicates_are_harmless_when_publishes_outlast_their_time_limit(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """A relay whose link carries an event for longer than it waits for the answer gets on, and repeats no event."""
    rows = 4_000
    async with opened(local_stack, pipeline={"page_rows": 2_000, "lanes": 1}) as world, routed(world, "nats") as route:
        await _insert_incompressible(world, rows)
        await world.migrate()
        await world.services.add("loader", LOADER, "run").start()
        await world.services.add("extract", EXTRACTOR, "extract").start()
        await world.wait_for("both pages in the outbox", lambda one: one.extracted.rows >= rows)
        route.proxy.bytes_per_second = await _record_bytes(world) / (PUBLISH_SECONDS * 1.4)
        relay = world.services.add("relay", EXTRACTOR, "relay", environment=route.environment)
        await relay.start()
        await drained(world, rows, seconds_max=220)
        assert told(relay, "relay_waits"), "every publish was answered in time"
        assert_each_once_in_order(await lane_events(world))
        facts |= {"rows": rows, "connections": route.proxy.connections}


async def _record_bytes(world: World) -> float:
    """The size of the smallest record of the outbox that holds rows."""
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        size = await connection.fetchval(
            "SELECT min(length(payload)) FROM qupersync.outbox WHERE (headers ->> 'ce-rowcount')::int > 0"
        )
        return float(size)
    finally:
        await connection.close()

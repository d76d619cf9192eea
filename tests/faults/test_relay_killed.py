"""8: a relay killed after the stream's acknowledgement and before its cursor moved; an acknowledgement that is lost."""

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.gates import Gate
from tests.faults.lane_events import assert_each_once_in_order, lane_events
from tests.faults.routes import routed
from tests.faults.watching import OLD, Audit, drained

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(8), pytest.mark.integration, pytest.mark.timeout(400)]
MOVED = "NEW.last_sequence > OLD.last_sequence"


@pytest.mark.long
async def test_duplicates_are_harmless_when_a_relay_is_killed_between_ack_and_cursor(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """What the killed relay had published is not published again, nor is anything left out."""
    async with opened(local_stack, extractor={"lease": "2s"}) as world:
        await world.insert(1, 2_000, moment=OLD)
        await world.migrate()
        async with (
            Audit.opened(world) as audit,
            Gate.opened(world.outbox_dsn, "qupersync.relay_cursor", when=MOVED) as gate,
        ):
            await world.services.add("extract", EXTRACTOR, "extract").start()
            await world.services.add("loader", LOADER, "run").start()
            relay = world.services.add("relay", EXTRACTOR, "relay")
            kills = ahead = 0
            for newest in (2_400, 2_800):
                await gate.shut()
                await relay.start()
                sessions = await gate.wait_for_waiting()
                cursors = await _cursors(world)
                known = sum(cursors.values())
                await relay.kill()
                kills += 1
                await gate.open()
                await gate.wait_for_gone(*sessions)
                assert await _cursors(world) == cursors, "the cursor moved in spite of all"
                published = len(await lane_events(world))
                assert published > known, "nothing was in the stream that the cursor does not know"
                ahead += published - known
                await world.insert(newest - 399, newest)
            await relay.start()
            await drained(world, 2_800)
            await audit.assert_in_order()
        assert_each_once_in_order(await lane_events(world))
        facts |= {"rows": 2_800, "kills": kills, "events the cursors did not know": ahead}


async def test_duplicates_are_harmless_when_acknowledgements_of_the_stream_are_lost(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """The connection breaks when the stream has stored an event and its answer is on the way."""
    async with opened(local_stack) as world, routed(world, "nats") as route:
        await world.insert(1, 1_000, moment=OLD)
        await world.migrate()
        answer = f'"stream":"{stream_name(PipelineName(world.name))}"'.encode()
        lost = 0
        async with Audit.opened(world) as audit:
            await world.services.add("extract", EXTRACTOR, "extract").start()
            await world.services.add("loader", LOADER, "run").start()
            relay = world.services.add("relay", EXTRACTOR, "relay", environment=route.environment)
            for newest in (1_100, 1_200):
                route.proxy.swallow(lambda chunk: answer in chunk and b'"seq":' in chunk)
                await relay.start()
                await eventually("an acknowledgement was lost", lambda than=lost: _more(route.proxy.cuts, than))
                lost = route.proxy.cuts
                await world.insert(newest - 99, newest)
            await drained(world, 1_200)
            await audit.assert_in_order()
        assert_each_once_in_order(await lane_events(world))
        facts |= {"rows": 1_200, "acknowledgements lost": lost, "connections": route.proxy.connections}


async def _more(count: int, than: int) -> bool:
    return count > than


async def _cursors(world: World) -> dict[int, int]:
    """How far the relay's cursors say that each lane is published."""
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        rows = await connection.fetch("SELECT lane, last_sequence FROM qupersync.relay_cursor ORDER BY lane")
        return {row["lane"]: row["last_sequence"] for row in rows}
    finally:
        await connection.close()

"""9: a relay frozen past its lease while another one took over; what it had sent arrives late, and it wakes up."""

import signal

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.lane_events import assert_each_once_in_order, lane_events
from tests.faults.routes import Route, routed
from tests.faults.watching import OLD, Audit, drained

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import lane_subject
from qupersync_shared.kernel.ids import Lane, PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(9), pytest.mark.integration, pytest.mark.timeout(400)]
REFUSED = b"wrong last sequence"


async def test_no_stale_overwrite_when_a_relay_wakes_after_another_took_over(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """Its late publish is refused by the stream, and every event stands there once and in order."""
    async with opened(local_stack, pipeline={"lanes": 1}, extractor={"lease": "2s"}) as world:
        async with routed(world, "nats") as route:
            await world.insert(1, 1_000, moment=OLD)
            await world.migrate()
            first = world.services.add("relay-1", EXTRACTOR, "relay", environment=route.environment)
            second = world.services.add("relay-2", EXTRACTOR, "relay")
            async with Audit.opened(world) as audit:
                await world.services.add("extract", EXTRACTOR, "extract").start()
                await world.services.add("loader", LOADER, "run").start()
                await first.start()
                await drained(world, 1_000)
                await _freeze_in_a_publish(world, route, first)
                owner = await _owner(world)
                await second.start()
                await drained(world, 1_300)
                assert await _owner(world) not in (owner, None)
                await _late_publish_arrives(route)
                first.send(signal.SIGCONT)
                await world.source.execute(
                    f"UPDATE {world.table} SET amount = 7, updated_at = timezone('UTC', clock_timestamp())"
                )
                await drained(world, 1_300)
                await second.kill()
                del world.services.processes[second.name]
                await world.insert(1_301, 1_400)
                await drained(world, 1_400)  # by the first one, which is well again
                marks = await audit.assert_in_order()
        assert_each_once_in_order(await lane_events(world))
        facts |= {"rows": 1_400, "take-overs": 2, "late publishes refused": 1, "watermarks": marks}


async def _freeze_in_a_publish(world: World, route: Route, relay: ServiceProcess) -> None:
    """Changes rows, and stops the relay when it has sent an event of them that has not arrived."""
    subject = lane_subject(PipelineName(world.name), Lane(0)).encode()
    route.proxy.hold_at(b"HPUB " + subject)
    await world.insert(1_001, 1_300)

    async def sent() -> bool:
        return b"HPUB " + subject in route.proxy.withheld

    await eventually("a publish on its way", sent, pause_seconds=0.02)
    relay.send(signal.SIGSTOP)


async def _late_publish_arrives(route: Route) -> None:
    answers = bytearray()
    route.proxy.watch = answers.extend
    route.proxy.release()

    async def refused() -> bool:
        return REFUSED in answers

    await eventually("the stream's refusal of the late publish", refused)


async def _owner(world: World) -> str | None:
    """Who may publish lane 0."""
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        found: str | None = await connection.fetchval("SELECT owner FROM qupersync.relay_cursor WHERE lane = 0")
        return found
    finally:
        await connection.close()

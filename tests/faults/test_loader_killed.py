"""13: a loader killed in the middle of its transaction, and after its commit but before its acknowledgement."""

from collections.abc import Mapping

import pytest
from nats.js import JetStreamContext
from tests.e2e.world import World, eventually, opened
from tests.faults.routes import routed
from tests.faults.watching import NOW, OLD, Audit, consumer, drained, jetstream, parked, redelivered, watermark_gate

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(13), pytest.mark.integration]
ONE_LANE = {"lanes": 1}


async def _begin(world: World, environment: Mapping[str, str] | None = None) -> ServiceProcess:
    """The first snapshot is loaded; the loader."""
    await world.insert(1, 300, moment=OLD)
    await world.services.add("extractor", EXTRACTOR, "run").start()
    loader = world.services.add("loader", LOADER, "run", environment=environment)
    await loader.start()
    await world.wait_for_snapshot(None)
    return loader


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_honest_watermark_when_a_loader_is_killed_inside_its_transaction(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline=ONE_LANE) as world:
        await world.migrate()
        async with Audit.opened(world) as audit, watermark_gate(world) as gate:
            loader = await _begin(world)
            kills = 0
            for newest in (500, 700, 900):
                await gate.shut()
                await world.insert(newest - 199, newest)
                backends = await gate.wait_for_waiting()
                before = await audit.marks()
                assert await world.app.fetchval(f"SELECT max(id) FROM {world.target}") < newest, "nothing is in flight"
                await loader.kill()
                kills += 1
                await gate.open()
                await gate.wait_for_gone(*backends)
                assert await audit.marks() == before, "what a killed loader had not committed was committed"
                await loader.start()
            await drained(world, 900)
            await audit.assert_in_order()
        assert await parked(world) == (0, 0)
        async with jetstream(world) as js:
            again = await redelivered(js, world, lanes=1)
        assert again >= kills, "no event was delivered again"
        facts |= {"rows": 900, "kills": kills, "redeliveries": again}


@pytest.mark.timeout(400)
async def test_duplicates_are_harmless_when_a_loader_is_killed_between_commit_and_ack(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline=ONE_LANE) as world, routed(world, "nats") as route:
        await world.migrate()
        async with Audit.opened(world) as audit, watermark_gate(world) as gate, jetstream(world) as js:
            loader = await _begin(world, route.environment)
            await gate.shut()
            await world.insert(301, 500, moment=NOW)
            await gate.wait_for_waiting()
            before = await audit.marks()
            route.proxy.hold()
            await gate.open()
            await eventually("the event in flight was not committed", lambda: _more(audit, len(before)))
            await loader.kill()
            await route.proxy.cut()  # the acknowledgement dies with the connection
            route.proxy.release()
            info = await consumer(js, world, 0)
            assert info.num_ack_pending == 1, "the event that was committed has been acknowledged all the same"
            assert len(await audit.marks()) == len(before) + 1
            await loader.start()
            await drained(world, 500)
            await eventually("the events that came again stay", lambda: _acknowledged(js, world))
            await audit.assert_in_order()
            again = await redelivered(js, world, lanes=1)
        assert again >= 1, "no event was delivered again"
        assert await parked(world) == (0, 0)
        facts |= {"rows": 500, "kills": 1, "redeliveries": again}


async def _more(audit: Audit, than: int) -> bool:
    return len(await audit.marks()) > than


async def _acknowledged(js: JetStreamContext, world: World) -> bool:
    info = await consumer(js, world, 0)
    return not info.num_ack_pending and not info.num_pending

"""4: two extractors on one pipeline; one, frozen or cut off past its lease, comes back with a page it has read."""

import asyncio
import signal

import asyncpg
import pytest
from tests.e2e.world import PATIENCE_SECONDS, World, eventually, opened
from tests.faults.lane_events import assert_each_once_in_order, lane_events
from tests.faults.routes import Route, routed
from tests.faults.watching import OLD, Audit, drained, parked, told

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.standin.faults import stall
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(4), pytest.mark.integration, pytest.mark.timeout(420)]


@pytest.mark.long
@pytest.mark.parametrize("how", ["frozen", "cut off"])
async def test_atomic_extraction_and_honest_watermark_when_an_extractor_loses_its_lease(
    local_stack: ThreadedStack, facts: dict[str, object], *, how: str
) -> None:
    """The page that it had read is not committed, whatever the other one has done meanwhile."""
    async with opened(local_stack, extractor={"lease": "2s"}) as world, routed(world, "outbox") as route:
        await world.insert(1, 1_000, moment=OLD)
        await world.migrate()
        async with Audit.opened(world) as audit:
            await world.services.add("relay", EXTRACTOR, "relay").start()
            await world.services.add("loader", LOADER, "run").start()
            first = world.services.add("extract-1", EXTRACTOR, "extract", environment=route.environment)
            await first.start()
            await drained(world, 1_000)
            token = await _away_with_a_page(world, route, first, frozen=how == "frozen")
            second = world.services.add("extract-2", EXTRACTOR, "extract")
            await second.start()
            await drained(world, 2_500)
            assert await _token(world) > token, "nobody took over"
            await _change_everything(world)
            route.proxy.release()
            first.send(signal.SIGCONT)
            await eventually("the first extractor is told", lambda: _lost(first))
            await drained(world, 2_500)
            await second.kill()
            del world.services.processes[second.name]
            await world.insert(2_501, 2_600)
            await drained(world, 2_600)  # by the first one, which is well again
            marks = await audit.assert_in_order()
        await world.assert_gap_free()
        assert_each_once_in_order(await lane_events(world))
        assert await parked(world) == (0, 0)
        facts |= {"rows": 2_600, "take-overs": 2, "watermarks": marks}


async def _away_with_a_page(world: World, route: Route, extractor: ServiceProcess, *, frozen: bool) -> int:
    """Stops the extractor, or its way to the database, while it reads a page, which it gets to its end afterwards.

    The token of its lease.
    """
    book = world.stack.faults
    order = book.add(stall(rf'"{world.name}".*LIMIT\s+\d+$', seconds=600, after_rows=50))
    try:
        await world.insert(1_001, 2_500)
        await asyncio.to_thread(book.wait_fired, order, timeout_seconds=PATIENCE_SECONDS)
        if frozen:
            extractor.send(signal.SIGSTOP)
        else:
            route.proxy.hold()
        return await _token(world)
    finally:
        book.remove(order)


async def _change_everything(world: World) -> None:
    """The page that was read has the past of these rows now."""
    await world.source.execute(f"UPDATE {world.table} SET amount = 7, updated_at = timezone('UTC', clock_timestamp())")


async def _lost(extractor: ServiceProcess) -> bool:
    return bool(told(extractor, "lease_lost"))


async def _token(world: World) -> int:
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        return int(await connection.fetchval("SELECT token FROM qupersync.extraction"))
    finally:
        await connection.close()


async def test_no_loss_when_two_extractors_share_a_pipeline(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """Only one of them extracts, and the other one goes on when that one is killed."""
    async with opened(local_stack, extractor={"lease": "2s"}) as world:
        await world.insert(1, 2_000, moment=OLD)
        await world.migrate()
        both = [world.services.add(f"extractor-{number}", EXTRACTOR, "run") for number in (1, 2)]
        await world.services.add("loader", LOADER, "run").start()
        for one in both:
            await one.start()
        await world.wait_for("a page", lambda one: one.sequence > 0)
        await both[0].kill()
        del world.services.processes[both[0].name]
        await world.insert(2_001, 2_500)
        await drained(world, 2_500)
        await world.assert_gap_free()
        assert_each_once_in_order(await lane_events(world))
        facts |= {"rows": 2_500, "kills": 1}

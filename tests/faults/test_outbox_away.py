"""7: the disk of the outbox database is full; its server is killed, and restarted."""

import asyncpg
import pytest
from tests.e2e.world import Peak, World, eventually, opened
from tests.faults.lane_events import assert_each_once_in_order, lane_events
from tests.faults.small_disk import server_on_small_disk
from tests.faults.watching import OLD, drained, meanwhile, parked, shown

from qupersync_local.postgres import LocalPostgres
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(7), pytest.mark.integration, pytest.mark.timeout(420)]
DISK_BYTES = 64 << 20
MEMORY_BYTES_MAX = 400 << 20
DATABASE = "outbox"


@pytest.mark.long
async def test_bounded_and_atomic_extraction_while_the_disk_of_the_outbox_is_full(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """Nothing is half stored, memory does not grow, the reason is shown, and with room again all goes on."""
    async with (
        server_on_small_disk(DATABASE, DISK_BYTES) as (server, disk),
        opened(local_stack, outbox={"dsn": server.dsn(DATABASE)}) as world,
    ):
        await world.insert(1, 500, moment=OLD)
        await world.migrate()
        await world.services.run()
        await drained(world, 500)
        peak = Peak(world)
        async with meanwhile(peak.look):
            disk.fill(leave_bytes=128 << 10)
            await world.insert(501, 20_500)
            reason = await shown(world, "No space left on device")
            full = await world.standing()
            assert full.extracted.events == full.lanes * full.sequence, "records and cursor are not of one page"
            assert full.extracted.rows < 20_500
            assert "53100" in reason
            disk.clear()
            await drained(world, 20_500)
        assert max(peak.bytes.values()) < MEMORY_BYTES_MAX, peak.bytes
        await world.assert_gap_free()
        assert_each_once_in_order(await lane_events(world))
        assert await parked(world) == (0, 0)
        facts |= {"rows": 20_500, "peak MiB": max(peak.bytes.values()) >> 20}


@pytest.mark.long
async def test_atomic_extraction_when_the_outbox_is_killed_and_restarted(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """Killed while pages are under way, away until it shows, and restarted in an orderly way, again and again."""
    async with (
        LocalPostgres.start(name="outbox", fast=True) as server,
        opened(local_stack, pipeline={"page_rows": 100}, outbox={"dsn": server.dsn("postgres")}) as world,
    ):
        await world.insert(1, 2_000, moment=OLD)
        await world.migrate()
        await world.services.run()
        newest, kills = 2_000, 0
        for _ in range(3):
            await _pages_under_way(world)
            await server.kill()
            kills += 1
            newest += 1_500
            await world.insert(newest - 1_499, newest)
            if kills == 1:
                await shown(world, "database")
            await server.run()
        await _pages_under_way(world)
        await server.restart()
        await drained(world, newest)
        await world.assert_gap_free()
        assert_each_once_in_order(await lane_events(world))
        assert await parked(world) == (0, 0)
        facts |= {"rows": newest, "kills": kills, "restarts": 1}


async def _pages_under_way(world: World) -> None:
    """Returns when a page was committed a moment ago."""
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        query = "SELECT coalesce(max(sequence), 0) FROM qupersync.extraction"
        before = await connection.fetchval(query)

        async def more() -> bool:
            return bool(await connection.fetchval(query) > before)

        await eventually("one more page", more, pause_seconds=0.02)
    finally:
        await connection.close()

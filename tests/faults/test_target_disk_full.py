"""16: the target's disk is full for a while."""

import pytest
from tests.e2e.world import opened
from tests.faults.small_disk import server_on_small_disk
from tests.faults.watching import OLD, Audit, drained, parked, shown, told_by_all

from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(16), pytest.mark.integration]
DISK_BYTES = 64 << 20
DATABASE = "app"
ROWS = 20_300


@pytest.mark.long
@pytest.mark.timeout(420)
async def test_nothing_parked_while_the_disk_of_the_target_is_full(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with (
        server_on_small_disk(DATABASE, DISK_BYTES) as (server, disk),
        opened(local_stack, target={"dsn": server.dsn(DATABASE)}) as world,
    ):
        await world.insert(1, 300, moment=OLD)
        await world.migrate()
        async with Audit.opened(world) as audit:
            await world.services.run()
            await drained(world, 300)
            disk.fill(leave_bytes=64 << 10)
            await world.insert(301, ROWS)
            await shown(world, "53100")
            loaded = await world.app.fetchval(f"SELECT count(*) FROM {world.target}")
            assert loaded < ROWS, "all of it found room"
            disk.clear()
            await drained(world, ROWS)
            marks = await audit.assert_in_order()
        refused = [one for one in told_by_all(world, "event_not_applied") if "53100" in one["error"]]
        assert refused
        assert await parked(world) == (0, 0)
        facts |= {"rows": ROWS, "events": marks, "events refused for want of room": len(refused)}

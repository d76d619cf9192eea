"""10: nats-server killed again and again while rows keep coming, and run again with its store."""

import asyncio

import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import OLD, Audit, drained, in_source, meanwhile, parked, shown, told_by_all

from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(10), pytest.mark.integration]
FIRST = 500
KILLS = 3


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_and_visible_while_nats_is_killed_and_restarted(
    own_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    server = own_stack.stack.nats
    async with opened(own_stack) as world:
        await world.insert(1, FIRST, moment=OLD)
        await world.migrate()
        async with Audit.opened(world) as audit:
            await world.services.run(loaders=2)
            await world.wait_for_snapshot(None, seconds_max=180)
            source = _Source(world)
            async with meanwhile(source.insert):
                for number in range(KILLS):
                    await _goes_on(audit)
                    await asyncio.to_thread(own_stack.call, server.kill())
                    if number == 0:
                        await shown(world, "nats", "does not answer")
                    await source.gains(200)  # extraction goes on, or waits: rows come all the same
                    await asyncio.to_thread(own_stack.call, server.run())
                await _goes_on(audit)
            rows = await in_source(world)
            await drained(world, rows)
            marks = await audit.assert_in_order()
        lost = told_by_all(world, "nats_disconnected")
        assert len(lost) >= KILLS, "the connections were not lost"
        assert await parked(world) == (0, 0)
        facts |= {"rows": rows, "events": marks, "kills": KILLS, "connections lost": len(lost)}


class _Source:
    """Rows that keep coming."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.newest = FIRST

    async def insert(self) -> None:
        while True:
            await self._world.insert(self.newest + 1, self.newest + 20)
            self.newest += 20
            self._world.services.check()
            await asyncio.sleep(0.1)

    async def gains(self, rows: int) -> None:
        """Returns when so many rows more have come."""
        seen = self.newest

        async def more() -> bool:
            return self.newest >= seen + rows

        await eventually("no rows come any more", more)


async def _goes_on(audit: Audit) -> None:
    """Returns when some more was loaded."""
    seen = await audit.count()

    async def more() -> bool:
        return await audit.count() >= seen + 6

    await eventually("nothing more is loaded", more)

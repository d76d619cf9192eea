"""15: one loader, then eight, then two, while events keep coming."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import OLD, Audit, drained, in_source, meanwhile, parked, retire

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(15), pytest.mark.integration]
LANES = 8
FIRST = 2_000


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_and_no_stale_overwrite_while_loaders_come_and_go(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with (
        opened(
            local_stack,
            pipeline={"lanes": LANES, "page_rows": 50},
            loader={"ack_wait": "5s", "connections": 2},
        ) as world,
        _roles(world, 8) as dsns,
    ):
        await world.insert(1, FIRST, moment=OLD)
        await world.migrate()
        loaders = [
            world.services.add(f"loader-{n}", LOADER, "run", environment={"QUPERSYNC_TARGET__DSN": dsn})
            for n, dsn in enumerate(dsns)
        ]
        async with Audit.opened(world) as audit:
            await world.services.add("extractor", EXTRACTOR, "run").start()
            source = _Source(world)
            async with meanwhile(source.change):
                await loaders[0].start()
                await _at_work(audit, 1, after=0)
                await asyncio.gather(*(loader.start() for loader in loaders[1:]))
                many = await _at_work(audit, 5, after=len(await audit.marks()))
                await _leave(world, loaders[2:])
                left = len(await audit.marks())
                few = await _at_work(audit, 2, after=left)
            rows = await in_source(world)
            await drained(world, rows)
            marks = await audit.assert_in_order()
        assert {name.rpartition("_")[0] for name in few} == {"loader_0", "loader_1"}
        assert await parked(world) == (0, 0)
        facts |= {"rows": rows, "events": marks, "loaders at once": len(many)}


class _Source:
    """Rows that keep coming, and change soon after they came."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.newest = FIRST

    async def change(self) -> None:
        while True:
            await self._world.insert(self.newest + 1, self.newest + 100)
            self.newest += 100
            await self._world.source.execute(
                f"UPDATE {self._world.table} SET amount = amount + 1, "
                "updated_at = timezone('UTC', transaction_timestamp()) WHERE id > $1",
                self.newest - 300,
            )
            self._world.services.check()
            await asyncio.sleep(0.1)


async def _at_work(audit: Audit, least: int, *, after: int) -> set[str]:
    """The loaders that have set a watermark since the `after`-th, as soon as there are so many of them."""
    seen: set[str] = set()

    async def there() -> bool:
        seen.update(mark.who for mark in (await audit.marks())[after:])
        return len(seen) >= least

    await eventually(f"{least} loaders at work", there)
    return seen


async def _leave(world: World, loaders: list[ServiceProcess]) -> None:
    """Half of them are asked to end and do so in order; the others are killed."""
    half = len(loaders) // 2
    await asyncio.gather(*(retire(world, one, kill=number >= half) for number, one in enumerate(loaders)))


@asynccontextmanager
async def _roles(world: World, count: int) -> AsyncIterator[list[str]]:
    """DSNs of the target for roles that differ in name only: the audit tells them apart."""
    postgres = world.stack.stack.postgres
    names = [f"loader_{n}_{uuid4().hex[:8]}" for n in range(count)]
    for name in names:
        script = (
            f"CREATE ROLE {name} LOGIN PASSWORD '{name}' IN ROLE {TARGET_ROLE};"
            f"ALTER ROLE {name} SET role = '{TARGET_ROLE}'"
        )
        await asyncio.to_thread(world.stack.call, postgres.execute(script))
    database = world.services_target_dsn.rpartition("/")[2]
    try:
        yield [postgres.dsn(database, name, name) for name in names]
    finally:
        await world.services.stop()
        for name in names:
            await asyncio.to_thread(world.stack.call, postgres.execute(f"DROP ROLE {name}"))

"""34: extractor database and NATS store are lost altogether; what the loaders have applied decides."""

import asyncio
import shutil
from collections.abc import Iterator

import pytest
from tests.e2e.world import World, opened
from tests.faults.watching import NOW, OLD, Audit, drained, parked, told_by_all

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.stack import OUTBOX_ROLE, StackOptions
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(34), pytest.mark.integration, pytest.mark.timeout(420)]
FIRST = 1_000
ROWS = 1_300
GONE = 50


@pytest.fixture(scope="module")
def losable() -> Iterator[ThreadedStack]:
    """A stack whose NATS may lose everything."""
    with ThreadedStack(options=StackOptions(fast=True)) as stack:
        yield stack


@pytest.mark.long
@pytest.mark.parametrize("loaders", ["alive", "away"])
async def test_no_loss_and_no_stale_overwrite_when_outbox_and_stream_are_lost(
    losable: ThreadedStack, facts: dict[str, object], loaders: str
) -> None:
    async with opened(losable) as world:
        await world.insert(1, FIRST, moment=OLD)
        await world.migrate()
        async with Audit.opened(world) as audit:
            extractor = world.services.add("extractor", EXTRACTOR, "run")
            loader = world.services.add("loader", LOADER, "run")
            await extractor.start()
            await loader.start()
            await world.wait_for_snapshot(None, seconds_max=180)
            before = (await world.wait_for("everything applied", lambda one: one.level, seconds_max=180)).watermarks
            await extractor.kill()
            if loaders == "away":
                await loader.kill()
            await _lose(world)

            await world.source.execute(f"DELETE FROM {world.table} WHERE id <= {GONE}")
            await world.source.execute(f"UPDATE {world.table} SET flag = NOT flag, updated_at = {NOW} WHERE id % 7 = 0")
            await world.insert(FIRST + 1, ROWS)
            await world.migrate()  # a database that is lost is made anew by a person
            await extractor.start()
            if loaders == "away":
                await loader.start()
            await drained(world, ROWS - GONE)
            marks = await audit.assert_in_order()
            last = (await audit.marks())[-1]
        assert (last.log, last.sequence) > max(before.values())
        assert last.log > 1, "the new extraction went on in a log that loaders had been in"
        assert await parked(world) == (0, 0)
        facts |= {"rows": ROWS - GONE, "events": marks, "log": last.log, "forks": len(told_by_all(world, "fork"))}


async def _lose(world: World) -> None:
    """Both are empty, as if somebody had installed them today."""
    stack = world.stack.stack
    name = str(world.configuration["outbox"]["dsn"]).rpartition("/")[2]
    await asyncio.to_thread(world.stack.call, stack.nats.kill())
    await asyncio.to_thread(shutil.rmtree, stack.nats.store)
    await asyncio.to_thread(world.stack.call, stack.nats.run())
    await asyncio.to_thread(world.stack.drop_database, name)
    await asyncio.to_thread(world.stack.create_database, name, owner=OUTBOX_ROLE)

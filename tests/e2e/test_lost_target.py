"""The target database is lost, the stream is not: `migrate` and `run` bring every table back without the source."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from tests.e2e.editing import edit, equal
from tests.e2e.world import PATIENCE_SECONDS, World, eventually, opened
from tests.faults.watching import told

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e

DELETED = "DELETE FROM {table} WHERE id % 10 = 0"
CHANGED = "UPDATE {table} SET name = 'changed', updated_at = timezone('UTC', transaction_timestamp()) WHERE id % 7 = 0"


@asynccontextmanager
async def another_target(world: World) -> AsyncIterator[str]:
    """An empty database in the place of the target, and its DSN in the file."""
    name = f"again_{uuid4().hex[:8]}"
    world.stack.create_database(name, owner=TARGET_ROLE)
    dsn = world.stack.stack.dsn(TARGET_ROLE, name)
    edit(world, lambda tree: tree["target"].update({"dsn": dsn}))
    try:
        yield dsn
    finally:
        await world.services.stop()
        world.stack.drop_database(name)


async def stop(world: World, process: ServiceProcess) -> None:
    del world.services.processes[process.name]
    assert await process.stop() == 0, process.tail()


async def compacted(process: ServiceProcess) -> bool:
    return bool(told(process, "stream_compacted"))


@pytest.mark.timeout(400)
async def test_a_lost_target_comes_back_from_a_compacted_stream_alone(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 900)
        await world.migrate()
        extractor = world.services.add("extractor", EXTRACTOR, "run")
        loader = world.services.add("loader", LOADER, "run")
        for process in (extractor, loader):
            await process.start()
        await equal(world, world.table, world.target, 900)
        await world.source.execute(DELETED.format(table=world.table))
        await world.trigger()
        await equal(world, world.table, world.target, 810)
        await eventually("the stream is compacted", lambda: compacted(extractor))
        await world.source.execute(CHANGED.format(table=world.table))
        await world.insert(901, 950)
        await equal(world, world.table, world.target, 860)
        await stop(world, loader)
        await stop(world, extractor)

        async with another_target(world) as dsn:
            asked = world.stack.faults.executed()
            await world.services.add("loader-migrate", LOADER, "migrate").start()
            assert await world.services.processes["loader-migrate"].wait(PATIENCE_SECONDS) == 0
            again = world.services.add("again", LOADER, "run")
            await again.start()
            await equal(world, world.table, world.target, 860, dsn=dsn)
            assert world.stack.faults.executed() == asked
            assert told(again, "stream_is_read_again")
            assert not told(again, "snapshot_requested")

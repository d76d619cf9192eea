"""Loader groups: one extraction, two targets, each with its own watermarks, lag, quarantine and end."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from tests.e2e.editing import equal
from tests.e2e.world import PATIENCE_SECONDS, World, eventually, opened
from tests.faults.watching import jetstream

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.stream_reading import lane_consumers

pytestmark = pytest.mark.e2e

# Every event takes a while in this target: a trigger on the watermark, where the transaction ends.
SLOW = """
    CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON public.qupersync_watermark
        FOR EACH ROW EXECUTE FUNCTION public.slow();
"""
REFUSING = "ALTER TABLE {target} ADD CONSTRAINT refused CHECK (id <> 1050)"
GROUP = "reports"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """A second target, and the environment that makes a loader load it for a group of its own."""

    dsn: str
    connection: asyncpg.Connection

    @property
    def environment(self) -> dict[str, str]:
        return {"QUPERSYNC_TARGET__DSN": self.dsn, "QUPERSYNC_LOADER__GROUP": GROUP}

    async def begin(self, world: World, name: str = "reports") -> ServiceProcess:
        process = world.services.add(name, LOADER, "run", environment=self.environment)
        await process.start()
        return process

    async def parked(self) -> int:
        return int(
            await self.connection.fetchval("SELECT count(*) FROM qupersync_quarantine WHERE resolved_at IS NULL")
        )


@asynccontextmanager
async def reports(world: World) -> AsyncIterator[Reports]:
    name = f"reports_{uuid4().hex[:8]}"
    world.stack.create_database(name, owner=TARGET_ROLE)
    dsn = world.stack.stack.dsn(TARGET_ROLE, name)
    connection = await asyncpg.connect(dsn)
    try:
        made = Reports(dsn=dsn, connection=connection)
        migrate = world.services.add("reports-migrate", LOADER, "migrate", environment=made.environment)
        await migrate.start()
        assert await migrate.wait(PATIENCE_SECONDS) == 0, migrate.tail()
        yield made
    finally:
        await world.services.stop()
        await connection.close()
        world.stack.drop_database(name)


async def group(world: World, name: str) -> dict[str, Any] | None:
    """What `qupersync groups list` says of the group."""
    answer = await world.operate("groups", "list", "--json")
    assert answer.code == 0, answer
    listed = json.loads(answer.out)["groups"]
    return next((one for one in listed if (one["group"], one["pipeline"]) == (name, world.name)), None)


async def waiting(world: World, name: str) -> int:
    found = await group(world, name)
    return 0 if found is None else int(found["waiting_events"])


async def quarantined(world: World) -> tuple[int, ...]:
    """Rows in quarantine of the two groups, as `qupersync status` tells them."""
    parked = (await world.status())["pipelines"][world.name]["parked"]
    return tuple(parked[name]["quarantined"] if name in parked else 0 for name in ("main", GROUP))


@pytest.mark.timeout(400)
async def test_two_groups_load_two_targets_each_at_its_own_pace_and_with_its_own_trouble(
    local_stack: ThreadedStack,
) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 1_000)
        await world.migrate()
        async with reports(world) as other:
            await world.services.add("extractor", EXTRACTOR, "run").start()
            await world.services.add("loader", LOADER, "run").start()
            loader = await other.begin(world)
            await equal(world, world.table, world.target, 1_000)
            await equal(world, world.table, world.target, 1_000, dsn=other.dsn)

            # A slow one that refuses a row holds nobody up, and degrades nobody else.
            await other.connection.execute(SLOW)
            await other.connection.execute(REFUSING.format(target=world.target))
            await world.insert(1_001, 1_100)
            await equal(world, world.table, world.target, 1_100)
            await eventually("the row is quarantined", lambda: _is(other.parked, 1))
            assert await world.app.fetchval("SELECT count(*) FROM qupersync_quarantine") == 0
            # `status` knows it by the loader's next report.
            await eventually("status tells of it", lambda: _is(lambda: quarantined(world), (0, 1)))
            await other.connection.execute(f"ALTER TABLE {world.target} DROP CONSTRAINT refused")
            await other.connection.execute("DROP TRIGGER slow ON public.qupersync_watermark")

            # A stopped one keeps its place in the stream.
            del world.services.processes[loader.name]
            assert await loader.stop() == 0, loader.tail()
            await world.trigger()
            await world.insert(1_101, 1_300)
            await equal(world, world.table, world.target, 1_300)
            assert await waiting(world, "main") < await waiting(world, GROUP)
            loader = await other.begin(world, "reports-again")
            await equal(world, world.table, world.target, 1_300, dsn=other.dsn)
            await eventually("the row was read again", lambda: _is(other.parked, 0))

            # A removed one has no claim any more; its tables stay, and the other goes on.
            del world.services.processes[loader.name]
            assert await loader.stop() == 0, loader.tail()
            answer = await world.operate("groups", "remove", GROUP, "--yes")
            assert answer.code == 0, answer
            assert await group(world, GROUP) is None
            async with jetstream(world) as js:
                assert {name for name, _ in await lane_consumers(js, PipelineName(world.name))} == {"main"}
            await world.insert(1_301, 1_350)
            await equal(world, world.table, world.target, 1_350)
            assert await other.connection.fetchval(f"SELECT count(*) FROM {world.target}") == 1_300


async def _is(ask: Any, wanted: object) -> bool:
    return bool(await ask() == wanted)

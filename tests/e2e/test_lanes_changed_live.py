"""The number of lanes is changed in the file while everything runs: 4, 2, 6. What waits on old lanes is settled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from tests.e2e.editing import edit, equal
from tests.e2e.world import World, command, eventually, opened
from tests.faults.watching import NOW, jetstream, meanwhile, shown

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.stream_reading import lane_consumers

pytestmark = [pytest.mark.e2e, pytest.mark.long]

_NEWEST = """
    SELECT id FROM qupersync.outbox
    WHERE lane = 3 AND (headers ->> 'ce-rowcount')::int > 0 AND (headers ->> 'ce-sequence')::bigint > $1
    ORDER BY sequence DESC LIMIT 1
"""
_UNRESOLVED = "SELECT count(*) FROM {table} WHERE resolved_at IS NULL"


@pytest.mark.timeout(560)
async def test_lanes_are_changed_under_load_and_nothing_of_the_old_ones_is_left(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, pipeline={"lanes": 4}) as world:
        await world.insert(1, 400)
        await world.migrate()
        relay = world.services.add("relay", EXTRACTOR, "relay")
        for process in (relay, world.services.add("extractor", EXTRACTOR, "extract")):
            await process.start()
        for number in (1, 2):
            await world.services.add(f"loader-{number}", LOADER, "run").start()
        await equal(world, world.table, world.target, 400)
        await _leave_a_row_and_an_event_behind(world, relay)
        rows = [0]
        async with meanwhile(lambda: _write(world, rows)):
            await _change_lanes(world, 4, 2)
            await eventually("the parked event is made good", lambda: _none(world, "dead_letter"), seconds_max=200)
            await world.app.execute(f"ALTER TABLE {world.target} DROP CONSTRAINT refused")
            await world.trigger()
            await eventually("the row is loaded", lambda: _none(world, "quarantine"))
            await eventually("no trace of lanes 2 and 3", lambda: _lanes_are(world, 2), seconds_max=200)
            await _change_lanes(world, 2, 6)
        await equal(world, world.table, world.target, 430 + rows[0])
        await eventually("six lanes", lambda: _lanes_are(world, 6))
        standing = await world.standing()
        assert set(standing.watermarks) == set(range(6))
        await eventually("all is well", lambda: _all_is_well(world), pause_seconds=1)


async def _leave_a_row_and_an_event_behind(world: World, relay: ServiceProcess) -> None:
    """A row that the target refuses, and on lane 3 an event that nobody can read."""
    await world.app.execute(f"ALTER TABLE {world.target} ADD CONSTRAINT refused CHECK (id <> 405)")
    await world.insert(401, 410)
    await eventually("a row in quarantine", lambda: _one(world, "quarantine"))
    await relay.stop()
    async with _outbox(world) as outbox:
        before = await outbox.fetchval("SELECT max(sequence) FROM qupersync.outbox")
        await world.insert(411, 430)
        found: list[Any] = []

        async def extracted() -> bool:
            found[:] = [await outbox.fetchval(_NEWEST, before)]
            return found[0] is not None

        await eventually("an event on lane 3", extracted)
        await outbox.execute("UPDATE qupersync.outbox SET payload = 'no longer what it was' WHERE id = $1", found[0])
    await relay.start()
    await eventually("a parked event", lambda: _one(world, "dead_letter"))


@asynccontextmanager
async def _outbox(world: World) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def _write(world: World, rows: list[int]) -> None:
    """Rows come and change for as long as the lanes do."""
    touched = f"UPDATE {world.table} SET name = $1, updated_at = {NOW} WHERE id % 50 = 0"
    while True:
        first = 10_001 + rows[0]
        rows[0] += 20
        await asyncio.shield(world.insert(first, first + 19))
        await asyncio.shield(world.source.execute(touched, f"at {rows[0]}"))
        await asyncio.sleep(0.5)


async def _change_lanes(world: World, before: int, after: int) -> None:
    edit(world, lambda tree: tree["pipelines"][world.name].update({"lanes": after}))
    await shown(world, f"runs with {before} lanes", f"says {after}", f"qupersync reset {world.name}")
    checked = await command("qupersync", "check", "--json", config=world.services.configuration)
    assert f"goes on with {before}" in checked.out, checked
    answer = await world.operate("reset", world.name, "--yes")
    assert answer.code == 0, answer
    await world.wait_for("a log with other lanes", lambda one: one.lanes == after)


async def _count(world: World, kind: str) -> int:
    return int(await world.app.fetchval(_UNRESOLVED.format(table=f"qupersync_{kind}")))


async def _one(world: World, kind: str) -> bool:
    return await _count(world, kind) == 1


async def _none(world: World, kind: str) -> bool:
    world.services.check()
    return await _count(world, kind) == 0


async def _lanes_are(world: World, lanes: int) -> bool:
    """Whether stream, consumers and bucket know exactly these lanes."""
    world.services.check()
    name, wanted = PipelineName(world.name), set(range(lanes))
    async with jetstream(world) as js:
        info = await js.stream_info(stream_name(name), subjects_filter=">")
        subjects = {int(subject.rpartition(".")[2]) for subject in info.state.subjects or {}}
        consumers = {int(lane) for _, lane in await lane_consumers(js, name)}
        keys = await bucket.read(js._nc, [f"lane.main.{name}.*"])
    return subjects == consumers == {int(key.rpartition(".")[2]) for key in keys} == wanted


async def _all_is_well(world: World) -> bool:
    return (await world.status())["reason"] is None

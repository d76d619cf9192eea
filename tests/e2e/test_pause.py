"""Pausing a pipeline while two extractors and a loader run: nothing new, nothing half, nothing lost."""

import json

import asyncpg
import pytest
from tests.e2e.editing import equal
from tests.e2e.world import PATIENCE_SECONDS, World, assert_one_message, eventually, opened

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(400)
async def test_a_paused_pipeline_extracts_nothing_over_restarts_and_goes_on_where_it_was(
    local_stack: ThreadedStack,
) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 200)
        await world.migrate()
        assert_one_message(await world.operate("pause", world.name), "never run")
        for number in (1, 2):
            await world.services.add(f"extractor-{number}", EXTRACTOR, "run").start()
        await world.services.add("loader", LOADER, "run").start()
        await equal(world, world.table, world.target, 200)

        paused = await world.operate("pause", world.name, "--reason", "month end", "--as", "ann", "--json")
        assert paused.code == 0, paused
        version = json.loads(paused.out)["version"]

        async def state() -> bool:
            entry = (await world.status())["pipelines"][world.name]
            return (entry["state"], entry["control"]["paused"]) == ("paused", True)

        await eventually("status says that it is paused", state)
        reason = (await world.status())["pipelines"][world.name]["reason"]
        assert "paused by ann since" in reason
        assert "month end" in reason
        assert f"qupersync resume {world.name}" in reason

        # Whatever was under way has ended when both have looked; from then on nothing is read.
        await _quiet(world)
        before = await _extracted(world)
        await world.insert(201, 300)
        asked = await world.operate("trigger", world.name, "--mode", "incremental")
        assert asked.code == 0, asked
        for name in ("extractor-1", "extractor-2"):
            process = world.services.processes.pop(name)
            assert await process.stop() == 0, process.tail()
        once = world.services.add("once", EXTRACTOR, "run", "--once")
        await once.start()
        assert await once.wait(PATIENCE_SECONDS) == 0, once.tail()
        assert "pipeline_paused" in once.tail()
        del world.services.processes["once"]
        silent_at = await _silent_for_long(world)
        for number in (3, 4):
            await world.services.add(f"extractor-{number}", EXTRACTOR, "run").start()
        await eventually("a sign of life, paused or not", lambda: _beyond(world, silent_at))
        assert await _extracted(world) == before
        assert await world.app.fetchval(f"SELECT count(*) FROM {world.target}") == 200

        stale = await world.operate("resume", world.name, "--version", str(version - 1))
        assert_one_message(stale, f"at version {version}, not {version - 1}", "ann changed it")
        resumed = await world.operate("resume", world.name, "--version", str(version))
        assert resumed.code == 0, resumed
        await equal(world, world.table, world.target, 300)
        await _listed(world)


async def _quiet(world: World) -> None:
    """No run is under way, and the pipeline's cursor has stood still for the time of several continuous runs."""
    seen: list[object] = []

    async def still() -> bool:
        seen.append(await _extracted(world))
        under_way = await _outbox(world, "SELECT count(*) FROM qupersync.run WHERE pipeline = $1 AND ended_at IS NULL")
        return under_way[0] == 0 and len(seen) > 5 and len({str(one) for one in seen[-6:]}) == 1

    await eventually("nothing is extracted any more", still, pause_seconds=1)


async def _extracted(world: World) -> tuple[object, ...]:
    """Where extraction stands, and how many runs there were; a sign of life changes none of it."""
    row = await _outbox(
        world,
        "SELECT cursor_position, swept_high, snapshot_ended_at, (SELECT count(*) FROM qupersync.run)"
        " FROM qupersync.extraction WHERE pipeline = $1",
    )
    return tuple(row)


async def _outbox(world: World, query: str) -> asyncpg.Record:
    connection = await asyncpg.connect(world.configuration["outbox"]["dsn"])
    try:
        return await connection.fetchrow(query, world.name)
    finally:
        await connection.close()


_SILENT = """
    UPDATE qupersync.extraction SET last_event_at = now() - interval '5 minutes' WHERE pipeline = $1 RETURNING sequence
"""


async def _silent_for_long(world: World) -> int:
    """Nobody runs: the pipeline has been silent for longer than it may be; at which sequence."""
    return int((await _outbox(world, _SILENT))[0])


async def _beyond(world: World, sequence: int) -> bool:
    world.services.check()
    (reached,) = await _outbox(world, "SELECT sequence FROM qupersync.extraction WHERE pipeline = $1")
    return bool(reached > sequence)


async def _listed(world: World) -> None:
    first = json.loads((await world.operate("history", "--limit", "1", "--sort", "started_at", "--json")).out)
    assert (len(first["runs"]), first["runs"][0]["status"]) == (1, "succeeded")
    again = await world.operate(
        "history", "--limit", "1", "--sort", "started_at", "--cursor", first["next_cursor"], "--json"
    )
    assert json.loads(again.out)["runs"][0]["id"] != first["runs"][0]["id"]
    other = await world.operate("history", "--limit", "1", "--cursor", first["next_cursor"])
    assert_one_message(other, "does not belong to this list")
    assert_one_message(await world.operate("history", "--sort", "rows"), "cannot be sorted by 'rows'", "started_at")
    table = await world.operate("history", world.name, "--status", "succeeded", "--since", "1h")
    assert table.code == 0, table
    assert world.name in table.out
    done = json.loads((await world.operate("history", world.name, "--actions", "--json")).out)["actions"]
    told = [(action["action"], action["by"], action["reason"]) for action in done if action["action"] != "trigger"]
    assert told[1:] == [("pause", "ann", "month end")]
    assert told[0][0] == "resume"
    purged = await world.operate("history", "--purge-older-than", "1d", "--yes", "--json")
    assert json.loads(purged.out)["removed"]["runs"] == 0, purged

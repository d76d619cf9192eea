"""Events that are applied again: to the live table, which does not change, and to a table of their own."""

import asyncpg
import nats
import pytest
from tests.e2e.world import World, assert_one_message
from tests.faults.watching import OLD

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_shared.contracts.subjects import durable_name, stream_name
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
ROWS = 2_000


async def _history(world: World) -> None:
    """A snapshot, changes, and a second snapshot after deletes; nothing runs any more."""
    await world.insert(1, ROWS, moment=OLD)
    await world.migrate()
    await world.extract_once()
    await world.source.execute(
        f"UPDATE {world.table} SET amount = -1, updated_at = timezone('UTC', clock_timestamp()) WHERE id % 2 = 0"
    )
    await world.source.execute(f"DELETE FROM {world.table} WHERE id % 10 = 5")
    await world.services.add("extractor", EXTRACTOR, "run").start()
    await world.services.add("loader", LOADER, "run").start()
    await world.wait_for("the first snapshot", lambda one: one.whole)
    before = (await world.standing()).snapshot
    await world.trigger("snapshot")
    await world.wait_for_snapshot(before)
    await world.wait_for("a level target", lambda one: one.level and not one.snapshotting)
    await world.services.stop()
    world.services.processes.clear()
    await world.assert_equal(ROWS * 9 // 10)


async def _content(world: World) -> list[asyncpg.Record]:
    return [
        *await world.app.fetch(f"SELECT xmin::text, * FROM {world.target} ORDER BY id"),
        *await world.app.fetch(
            "SELECT lane, log, sequence, event_id, honest_time FROM qupersync_watermark ORDER BY lane"
        ),
    ]


async def test_duplicates_are_harmless_when_whole_lanes_are_delivered_again(world: World) -> None:
    """Promise D: through fresh durables, the whole history of every lane, to the live table: nothing changes."""
    await _history(world)
    before = await _content(world)
    pipeline = PipelineName(world.name)
    client = await nats.connect(world.configuration["nats"]["servers"][0])
    try:
        js = client.jetstream()
        lanes = (await world.standing()).lanes
        for lane in range(lanes):
            await js.delete_consumer(stream_name(pipeline), durable_name(GroupName("main"), pipeline, Lane(lane)))
        await world.load()
        delivered = 0
        for lane in range(lanes):
            info = await js.consumer_info(stream_name(pipeline), durable_name(GroupName("main"), pipeline, Lane(lane)))
            assert info.delivered is not None
            delivered += info.delivered.consumer_seq
        assert delivered == (await js.stream_info(stream_name(pipeline))).state.messages
    finally:
        await client.close()
    assert delivered > 3 * ROWS / 500
    assert await _content(world) == before


async def test_a_part_of_the_stream_fills_a_table_of_its_own(world: World) -> None:
    await _history(world)
    whole = await world.operate("replay", world.name, "--into", "public.copy")
    assert whole.code == 0, whole
    assert await _same(world, "public.copy")
    first = await world.operate("replay", world.name, "--into", "public.copy", "--to-sequence", "1", "--json")
    assert first.code == 0, first
    assert await world.app.fetchval("SELECT count(*) FROM public.copy") == 500, "it was emptied first"
    assert await world.app.fetch("SELECT group_name FROM qupersync_pipeline") == [("main",)]
    assert await world.app.fetchval("SELECT count(*) FROM qupersync_watermark WHERE group_name <> 'main'") == 0
    some = await world.operate(
        "replay", world.name, "--into", "extra.part", "--from-sequence", "1/2", "--to-sequence", "2"
    )
    assert some.code == 0, some
    assert await world.app.fetchval("SELECT count(*) FROM extra.part") == 500
    assert_one_message(await world.operate("replay", world.name, "--into", world.target), "is the table of pipeline")
    await world.app.execute("CREATE TABLE public.mine AS SELECT 1 AS id")
    assert_one_message(await world.operate("replay", world.name, "--into", "public.mine"), "no replay", "wrote")
    none = await world.operate("replay", world.name, "--into", "public.none", "--from-time", "2999-01-01")
    assert_one_message(none, "no event of the stream lies in that part", "qupersync events")
    assert await world.app.fetchval("SELECT to_regclass('public.none')") is None


async def _same(world: World, table: str) -> bool:
    columns = "id, name, amount, ratio, tags, day, flag, updated_at"
    live, copy = (f"SELECT {columns} FROM {one}" for one in (world.target, table))
    either = f"({live} EXCEPT ALL {copy}) UNION ALL ({copy} EXCEPT ALL {live})"
    return bool(await world.app.fetchval(f"SELECT count(*) = 0 FROM ({either}) AS d"))

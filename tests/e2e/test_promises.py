"""Promises that the other end-to-end tests do not name already, kept by the processes as they are run."""

import asyncio
import json
from typing import Any

import asyncpg
import nats
import pytest
import yaml
from tests.e2e.world import Peak, World, eventually, opened

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import lane_subject, stream_name
from qupersync_shared.kernel.ids import Lane, PipelineName

pytestmark = pytest.mark.e2e
OLD = "timestamp '2024-01-01' + n * interval '1 millisecond'"
MEMORY_BYTES_MAX = 400 << 20


async def test_duplicates_are_harmless_and_no_stale_overwrite(world: World) -> None:
    """Every event ever published, delivered again after newer ones, leaves the same target."""
    await world.insert(1, 2_000, moment=OLD)
    await world.migrate()
    await world.extract_once()
    await world.load()
    await world.source.execute(
        f"UPDATE {world.table} SET amount = -1, updated_at = timezone('UTC', clock_timestamp()) WHERE id % 2 = 0"
    )
    await world.source.execute(f"DELETE FROM {world.table} WHERE id % 10 = 5")
    await _snapshot_with_processes(world)
    await world.assert_equal(rows=1_800)
    before = await _content(world)
    repeated = await _publish_everything_again(world)
    assert repeated > 10
    await world.load()
    assert await _content(world) == before
    await world.assert_equal(rows=1_800)


async def _snapshot_with_processes(world: World) -> None:
    before = (await world.standing()).snapshot
    await world.services.run()
    await world.trigger("snapshot")
    await world.wait_for_snapshot(before)
    await world.wait_for("a level pipeline", lambda one: one.level and not one.snapshotting)
    await world.services.stop()
    world.services.processes.clear()


async def _content(world: World) -> list[asyncpg.Record]:
    rows = await world.app.fetch(f"SELECT * FROM {world.target} ORDER BY id")
    return [
        *rows,
        *await world.app.fetch("SELECT lane, log, sequence, event_id FROM qupersync_watermark ORDER BY lane"),
    ]


async def _publish_everything_again(world: World) -> int:
    connection = await nats.connect(world.configuration["nats"]["servers"][0])
    try:
        stream = connection.jetstream()
        name = stream_name(PipelineName(world.name))
        state = (await stream.stream_info(name)).state
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = await stream.get_msg(name, sequence)
            assert message.subject is not None
            headers = {key: value for key, value in (message.headers or {}).items() if not key.startswith("Nats-")}
            await stream.publish(message.subject, message.data or b"", headers=headers)
        return int(state.messages)
    finally:
        await connection.close()


async def test_poison_is_isolated(world: World) -> None:
    """Rows that the target refuses wait in quarantine, a foreign message moves nothing, and the rest loads."""
    await world.insert(1, 1_000, moment=OLD)
    await world.migrate()
    await world.extract_once()
    await world.load()
    await world.app.execute(f"ALTER TABLE {world.target} ADD CONSTRAINT positive CHECK (amount >= 0)")
    await world.source.execute(
        f"UPDATE {world.table} SET amount = CASE WHEN id % 100 = 0 THEN -5 ELSE 5 END, "
        "updated_at = timezone('UTC', clock_timestamp())"
    )
    await _publish_foreign_message(world)
    await world.services.run()
    await eventually("the good rows", lambda: _loaded_good_rows(world))
    document = await world.status()
    assert document["reason"] is not None
    assert world.name in document["reason"]
    await world.services.stop()
    world.services.processes.clear()
    refused = await world.app.fetch(
        "SELECT (\"row\" ->> 'id')::bigint AS id, reason FROM qupersync_quarantine WHERE resolved_at IS NULL ORDER BY 1"
    )
    assert [row["id"] for row in refused] == [100 * n for n in range(1, 11)]
    assert all("positive" in row["reason"] for row in refused)
    await world.load(code=1)


async def _publish_foreign_message(world: World) -> None:
    connection = await nats.connect(world.configuration["nats"]["servers"][0])
    try:
        await connection.jetstream().publish(lane_subject(PipelineName(world.name), Lane(0)), b"not ours")
    finally:
        await connection.close()


async def _loaded_good_rows(world: World) -> bool:
    world.services.check()
    return bool(await world.app.fetchval(f"SELECT count(*) FROM {world.target} WHERE amount = 5") == 990)


@pytest.mark.timeout(400)
async def test_bounded_outbox_is_back_pressure(local_stack: ThreadedStack) -> None:
    """Without a relay the outbox fills to its mark, extraction pauses and says why, and later all goes on."""
    rows = 150_000
    async with opened(local_stack, pipeline={"page_rows": 10_000}) as world:
        _lower_high_water(world)
        await world.insert(1, rows, moment=OLD)
        await world.migrate()
        extract = world.services.add("extract", EXTRACTOR, "extract")
        await extract.start()
        paused = await _pressure(world)
        assert "outbox" in paused
        held = (await world.standing()).extracted.rows
        assert 0 < held < rows
        for name, arguments in (("relay", (EXTRACTOR, "relay")), ("loader", (LOADER, "run"))):
            await world.services.add(name, *arguments).start()
        peak = Peak(world)
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(peak.look())
            await world.wait_for("the whole snapshot", lambda one: one.whole)
            looking.cancel()
        assert peak.bytes
        assert max(peak.bytes.values()) < MEMORY_BYTES_MAX, peak.bytes
        await world.assert_equal(rows=rows)


def _lower_high_water(world: World) -> None:
    tree = world.configuration
    tree["outbox"]["high_water_bytes"] = "1MiB"
    world.services.configuration.write_text(yaml.safe_dump(tree), encoding="utf-8")


async def _pressure(world: World) -> str:
    """The reason that status gives while extraction waits for room in the outbox."""
    found: list[str] = []

    async def shown() -> bool:
        world.services.check()
        entry: dict[str, Any] = (await world.status())["pipelines"][world.name]
        found[:] = [json.dumps(entry["reason"])] if entry["reason"] and "outbox" in entry["reason"] else []
        return bool(found)

    await eventually("extraction says that the outbox is full", shown)
    return found[0]

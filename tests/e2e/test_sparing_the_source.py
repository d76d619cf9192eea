"""A source that others need, too: a budget that two extractors share, and hours in which nothing is read."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from tests.e2e.editing import another_table, edit, equal, insert
from tests.e2e.world import World, eventually, opened

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e

# A read of these takes a while, once a statement whatever the plan, and the source's engine says so of itself.
_SLOW = "SELECT t.* FROM {table} AS t WHERE (SELECT pg_sleep(0.2))::text IS NOT NULL"
_READING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%' || $1 || '%'"


@pytest.mark.timeout(280)
async def test_two_extractors_with_one_read_between_them_never_read_at_once(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        other = f"{world.name}b"
        await world.insert(1, 1200)
        table = await another_table(world, other, 1200)
        edit(world, lambda tree: _slow_both(tree, world, other, table))
        await world.migrate()
        watch = _Watch(world)
        looking = asyncio.create_task(watch.look())
        try:
            for name in (world.name, other):
                await world.services.add(f"extractor-{name}", EXTRACTOR, "run", "--pipeline", name).start()
            await world.services.add("loader", LOADER, "run").start()
            shown = await _contended(world, {world.name, other})
            await _every_row(world, world.table, world.target, 1200)
            await _every_row(world, table, f"public.{other}", 1200)
            await insert(world, table, 1201, 1400)
            await _every_row(world, table, f"public.{other}", 1400)
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
        assert watch.seen > 0
        assert watch.most == 1
        assert shown["limits"] == {"reads": 1, "rows_per_minute": 1_000_000, "bytes_per_minute": None}
        assert len(shown["reading"]) == 1
        assert "1 of 1 reads under way" in shown["summary"]
        # Whoever is killed in the middle keeps the other one waiting for a lease at the most.
        await world.services.processes.pop(f"extractor-{world.name}").kill()
        await insert(world, table, 1401, 1500)
        await _every_row(world, table, f"public.{other}", 1500)


@pytest.mark.timeout(280)
async def test_in_maintenance_nothing_is_read_and_nothing_is_wrong(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 200)
        await world.migrate()
        await world.extract_once()
        before = await _extracted(world)
        now = datetime.now(UTC)
        window = {"from": f"{now - timedelta(hours=2):%H:%M}", "to": f"{now + timedelta(hours=6):%H:%M}"}
        _maintain(world, [window])
        await world.insert(201, 300)
        await world.services.add("loader", LOADER, "run").start()
        await world.services.add("extractor", EXTRACTOR, "run").start()

        async def told() -> bool:
            document = await world.status()  # a busy machine may keep a server from answering in its time
            notices = str(document["pipelines"][world.name].get("notices"))
            return "maintenance until" in notices and document["reason"] is None and document["maintenance"]["now"]

        await eventually("the pipeline says that it is maintenance, and nothing is wrong", told, seconds_max=90)
        once = world.services.add("once", EXTRACTOR, "run", "--once")
        await once.start()
        assert await once.wait(90) == 0, once.tail()
        assert "pipeline_waits_for_maintenance" in once.tail()
        del world.services.processes["once"]
        assert await _extracted(world) == before

        process = world.services.processes.pop("extractor")
        assert await process.stop() == 0, process.tail()
        _maintain(world, [])
        await world.services.add("extractor", EXTRACTOR, "run").start()
        await _every_row(world, world.table, world.target, 300)


def _slow_both(tree: dict[str, Any], world: World, other: str, table: str) -> None:
    section = tree["pipelines"][world.name]
    del section["from"]
    tree["pipelines"][other] = section | {"query": _SLOW.format(table=table), "into": f"public.{other}"}
    section["query"] = _SLOW.format(table=world.table)
    tree["source"]["budget"] = {"reads": 1, "rows_per_minute": 1_000_000}


class _Watch:
    """How many reads the source's engine was seen at, at most."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seen = 0
        self.most = 0

    async def look(self) -> None:
        """Until cancelled."""
        connection = await asyncpg.connect(self._world.stack.stack.source.admin_dsn)
        try:
            while True:
                found = await connection.fetchval(_READING, self._world.name)
                self.seen += found > 0
                self.most = max(self.most, found)
                await asyncio.sleep(0.02)
        finally:
            await connection.close()


async def _contended(world: World, pipelines: set[str]) -> dict[str, Any]:
    """The budget's section of the status while one of the pipelines reads and the other one waits."""
    shown: dict[str, Any] = {}

    async def both() -> bool:
        shown.update((await world.status())["source_budget"])
        return {read["pipeline"] for read in (*shown["reading"], *shown["waiting"])} == pipelines

    await eventually("one reads while another waits", both, seconds_max=90)
    return shown


async def _every_row(world: World, table: str, target: str, rows: int) -> None:
    await equal(world, table, target, rows, seconds_max=120)


def _maintain(world: World, windows: list[dict[str, str]]) -> None:
    """The file with these windows, which a process takes up at its start."""
    edit(world, lambda tree: tree["source"].update(maintenance=windows))


async def _extracted(world: World) -> tuple[Any, ...]:
    """Where extraction stands; a sign of life changes none of it."""
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        query = "SELECT cursor_position, swept_high, snapshot_ended_at FROM qupersync.extraction WHERE pipeline = $1"
        return tuple(await connection.fetchrow(query, world.name))
    finally:
        await connection.close()

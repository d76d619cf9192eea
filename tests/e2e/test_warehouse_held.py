"""A warehouse file that another process holds: whole services say so, and go on by themselves when it is closed."""

import asyncio
from pathlib import Path

import pytest
from tests.conformance.warehouse.rows import customer
from tests.e2e.world import World, eventually, opened
from tests.integration.warehouse.holding import held

from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.warehouse.customers import DuckDbCustomerRepository
from qupersync_extractor.infrastructure.warehouse.staging import make_tables
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e


async def says(world: World, words: str) -> bool:
    return words in str((await world.status())["pipelines"].get(world.name))


@pytest.mark.timeout(400)
async def test_extraction_waits_for_a_writer_and_beside_a_reader_for_nobody(
    local_stack: ThreadedStack, tmp_path: Path
) -> None:
    path = tmp_path / "warehouse.duckdb"
    await asyncio.to_thread(make_tables, DuckDbFile(path))
    await DuckDbCustomerRepository(DuckDbFile(path)).save_all([customer(f"c{number}") for number in range(500)])
    pipeline = {"from": "raw.customers", "key": ["customer_id"], "cursor": None, "schedule": {"every": "1s"}}
    source = {"kind": "duckdb", "path": str(path)}
    async with opened(local_stack, columns=None, pipeline=pipeline, source=source) as world:
        await world.migrate()
        async with held(path, "writing"):
            await world.services.run()
            await eventually("the lock", lambda: says(world, "it is held by another process"))
        async with held(path, "reading"):
            await world.wait_for_snapshot(None)
            await eventually("no trouble", lambda: _no_trouble(world))
        assert await world.app.fetchval(f"SELECT count(*) FROM {world.target}") == 500


async def _no_trouble(world: World) -> bool:
    return not await says(world, "held by another process")

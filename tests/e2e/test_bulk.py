"""Many rows, and a second look at what has not changed."""

import asyncpg
import pytest
from tests.e2e.world import World, opened

from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e
ONE_MOMENT = "timestamp '2024-05-05 05:05:05.555'"


async def test_a_snapshot_of_unchanged_rows_writes_no_row_version(local_stack: ThreadedStack) -> None:
    rows = 30_000
    async with opened(local_stack, pipeline={"page_rows": 12_000, "snapshot_every": "1s"}) as world:
        await world.insert(1, rows, moment=ONE_MOMENT)
        await world.migrate()
        await world.extract_once()
        await world.load()
        await world.assert_equal(rows=rows)
        versions = await _row_versions(world)
        first = await world.standing()
        await world.extract_once()
        second = await world.standing()
        assert second.snapshot != first.snapshot
        assert second.extracted.rows - first.extracted.rows >= rows
        await world.load()
        assert (await world.standing()).whole
        assert await _row_versions(world) == versions
        await world.assert_equal(rows=rows)


async def _row_versions(world: World) -> asyncpg.Record:
    """Changes when any row is written, be it with the same values."""
    return await world.app.fetchrow(
        f"SELECT count(*), sum(hashtextextended(id || ':' || xmin || ':' || ctid::text, 0)) FROM {world.target}"
    )

"""6: rows deleted at the source. A read by cursor cannot see it; the next snapshot takes them away."""

import asyncio

import asyncpg
import pytest
from tests.e2e.world import PATIENCE_SECONDS, World, eventually, opened
from tests.faults.watching import NOW, OLD, drained

from qupersync_local.standin.faults import stall
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(6), pytest.mark.integration]


@pytest.mark.timeout(400)
async def test_no_loss_rows_deleted_at_the_source_go_with_the_next_snapshot(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world:
        await _begin(world, rows=2_000)
        await _delete(world, "id <= 100 OR id BETWEEN 450 AND 1_100 OR id > 1_990")
        await world.insert(2_001, 2_010)
        await eventually("the rows that came after the deletes", lambda: _target_has(world, "id > 2_000", 10))
        assert await _count(world, "id <= 100 OR id BETWEEN 450 AND 1_100 OR id BETWEEN 1_991 AND 2_000") == 761
        await world.trigger("snapshot")
        await drained(world, 1_249)
        await _delete(world, "true")
        await world.trigger("snapshot")
        await drained(world, 0)
        await world.insert(1, 50)
        await drained(world, 50)
        facts |= {"rows deleted": 761 + 1_249}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_rows_deleted_while_a_snapshot_reads_go_with_it_or_with_the_next(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    book = local_stack.faults
    async with opened(local_stack) as world:
        await _begin(world, rows=2_000)
        before = (await world.standing()).snapshot
        # The snapshot's reads name the table and ask for keys beyond the last page.
        waits = book.add(stall(rf"{world.name}.*WHERE.*\"id\" > ", seconds=120, skip=1))
        try:
            await world.trigger("snapshot")
            await asyncio.to_thread(book.wait_fired, waits, timeout_seconds=PATIENCE_SECONDS)
            await _delete(world, "id <= 50 OR id > 1_900")  # of a page that was read, and of one that was not
        finally:
            book.remove(waits)
        await world.wait_for_snapshot(before)
        assert await _count(world, "id > 1_900") == 0, "the page that was read after the delete still had the rows"
        assert await _count(world, "id <= 50") == 50, "the deletes came before the first page was read"
        await world.trigger("snapshot")
        await drained(world, 1_850)
        facts |= {"rows deleted": 150}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_soft_deletes_mark_rows_and_take_the_mark_back(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline={"deletes": "soft"}) as world:
        await _begin(world, rows=600)
        await _delete(world, "id % 3 = 0")
        await world.trigger("snapshot")
        await drained(world, 400)  # the comparison leaves marked rows out
        assert await _count(world, "_qs_deleted_at IS NOT NULL AND id % 3 = 0") == 200
        await world.source.execute(
            f"INSERT INTO {world.table} (id, name, updated_at) "
            f"SELECT n, 'again', {NOW} FROM generate_series(3, 30, 3) AS n"
        )
        await drained(world, 410)
        assert await _count(world, "_qs_deleted_at IS NOT NULL") == 190
        facts |= {"rows deleted": 200, "rows back": 10}


async def _begin(world: World, *, rows: int) -> None:
    await world.insert(1, rows, moment=OLD)
    await world.migrate()
    await world.services.run()
    await world.wait_for_snapshot(None)


async def _delete(world: World, condition: str) -> None:
    await world.source.execute(f"DELETE FROM {world.table} WHERE {condition}")


async def _count(world: World, condition: str) -> int:
    world.services.check()
    return int(await world.app.fetchval(f"SELECT count(*) FROM {world.target} WHERE {condition}"))


async def _target_has(world: World, condition: str, count: int) -> bool:
    try:
        return await _count(world, condition) == count
    except asyncpg.UndefinedTableError:
        return False

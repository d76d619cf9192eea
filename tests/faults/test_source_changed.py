"""5: the source's columns change while the pipeline runs. What can be followed is; the rest is refused, and alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import yaml
from tests.e2e.world import COLUMNS, ROWS, World, eventually, opened
from tests.faults.watching import NOW, OLD, drained, shown

from qupersync_local.compare import compare_tables
from qupersync_local.compare_sides import PostgresSide
from qupersync_local.services import LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(5), pytest.mark.integration]


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_when_columns_are_added_widened_narrowed_and_dropped(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, columns=f"{COLUMNS}, small smallint") as world:
        await world.source.execute(_rows(world.table, 1, 500, moment=OLD))
        await world.migrate()
        await world.services.run()
        await world.wait_for_snapshot(None)
        changes = (
            # Old rows get a value, and their cursor does not move: only the snapshot that follows brings it.
            ("ADD COLUMN note varchar(40) DEFAULT 'old'", "note", "text"),
            ("ALTER COLUMN amount TYPE numeric(24, 8)", "amount", "numeric(24,8)"),
            ("ALTER COLUMN small TYPE bigint", "small", "bigint"),
            ("ALTER COLUMN amount TYPE numeric(18, 6)", "amount", "numeric(24,8)"),  # narrower: what is wide stays
        )
        rows = 500
        for change, column, becomes in changes:
            await world.source.execute(f"ALTER TABLE {world.table} {change}")
            rows += 1
            await world.source.execute(_rows(world.table, rows, rows))
            await _becomes(world, column, becomes)
            await drained(world, rows)
        await world.source.execute(f"UPDATE {world.table} SET small = 9223372036854775807, updated_at = {NOW}")
        await drained(world, rows)
        await world.source.execute(f"ALTER TABLE {world.table} DROP COLUMN small")
        await world.source.execute(_rows(world.table, rows + 1, rows + 1))
        await drained(world, rows + 1)
        assert await _type(world, "small") == "bigint", "what the source no longer has is not ours to take away"
        assert await world.app.fetchval(f"SELECT small FROM {world.target} WHERE id = {rows + 1}") is None
        facts |= {"rows": rows + 1, "changes": len(changes) + 1}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_poison_is_isolated_when_the_key_column_changes(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world, _neighbour(world) as neighbour:
        await world.source.execute(_rows(world.table, 1, 300, moment=OLD))
        await world.migrate()
        await world.services.run()
        await drained(world, 300)
        await world.source.execute(f"ALTER TABLE {world.table} RENAME COLUMN id TO number")
        missing = await shown(world, world.name, "key column 'id'")
        await world.source.execute(_rows(neighbour, 1, 100))
        await eventually("the neighbour goes on", lambda: _neighbour_has(world, neighbour, 100))
        await world.source.execute(f"ALTER TABLE {world.table} RENAME COLUMN number TO id")
        await world.source.execute(f"UPDATE {world.table} SET name = 'renamed', updated_at = {NOW}")
        await drained(world, 300)

        await world.source.execute(f"ALTER TABLE {world.table} ALTER COLUMN id TYPE varchar(20) USING 'k' || id")
        other = await shown(world, world.name, "column 'id'", "ALTER COLUMN")
        await world.source.execute(_rows(neighbour, 101, 200))
        await eventually("the neighbour goes on", lambda: _neighbour_has(world, neighbour, 200))
        await world.app.execute(f"ALTER TABLE {world.target} ALTER COLUMN id TYPE text")  # the cure that was named
        await drained(world, 300)
        facts |= {"rows": 300, "reasons": f"{missing}; {other}"[:300]}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_poison_is_isolated_when_a_column_becomes_what_the_target_cannot_hold(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world, _neighbour(world) as neighbour:
        await world.source.execute(_rows(world.table, 1, 300, moment=OLD))
        await world.migrate()
        await world.services.run()
        await drained(world, 300)
        await world.source.execute(f"ALTER TABLE {world.table} ALTER COLUMN day TYPE varchar(30) USING 'on ' || day")
        reason = await shown(world, world.name, "column 'day'", "ALTER COLUMN")
        await world.source.execute(_rows(neighbour, 1, 100))
        await eventually("the neighbour goes on", lambda: _neighbour_has(world, neighbour, 100))
        await world.app.execute(f"ALTER TABLE {world.target} ALTER COLUMN day TYPE text")  # the cure that was named
        await drained(world, 300)
        facts |= {"rows": 300, "reason": reason[:200]}


@pytest.mark.timeout(400)
async def test_no_loss_and_no_hand_needed_when_the_source_takes_back_what_the_target_refused(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world:
        await world.source.execute(_rows(world.table, 1, 300, moment=OLD))
        await world.migrate()
        await world.services.run()
        await world.services.add("load-2", LOADER, "run").start()
        await drained(world, 300)
        await world.source.execute(f"ALTER TABLE {world.table} ALTER COLUMN day TYPE varchar(30) USING 'on ' || day")
        reason = await shown(world, world.name, "column 'day'", "ALTER COLUMN")
        await world.source.execute(f"UPDATE {world.table} SET name = 'meanwhile', updated_at = {NOW} WHERE id < 50")
        await world.source.execute(f"DELETE FROM {world.table} WHERE id > 290")
        await world.source.execute(
            f"ALTER TABLE {world.table} ALTER COLUMN day TYPE date USING substring(day FROM 4)::date"
        )
        await drained(world, 290)
        await world.source.execute(_rows(world.table, 301, 320))
        await drained(world, 310)
        facts |= {"rows": 310, "reason": reason[:200]}


@asynccontextmanager
async def _neighbour(world: World) -> AsyncIterator[str]:
    """A second pipeline of the same processes, from a table of this name, with a target of the same columns."""
    table = f"{world.table}_next"
    await world.source.execute(f"CREATE TABLE {table} ({COLUMNS})")
    tree = world.configuration
    other = {"from": table, "into": f"{world.target}_next"}
    tree["pipelines"][f"{world.name}_next"] = {**tree["pipelines"][world.name], **other}
    world.services.configuration.write_text(yaml.safe_dump(tree), encoding="utf-8")
    yield table


async def _neighbour_has(world: World, table: str, rows: int) -> bool:
    """Whether exactly these rows are on both sides of the other pipeline."""
    compared = await compare_tables(
        PostgresSide(dsn=world.stack.stack.source.admin_dsn, table=table),
        PostgresSide(dsn=world.services_target_dsn, table=f"{world.target}_next"),
        key=["id"],
    )
    return compared.same and compared.equal == rows


def _rows(table: str, first: int, last: int, *, moment: str = NOW) -> str:
    """An INSERT of rows by the table's first columns: it may have more behind them."""
    return ROWS.format(table=table, first=first, last=last, moment=moment)


async def _type(world: World, column: str) -> str | None:
    sql = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1::regclass AND attname = $2"
    found: str | None = await world.app.fetchval(sql, world.target, column)
    return found


async def _becomes(world: World, column: str, kind: str) -> None:
    async def seen() -> bool:
        world.services.check()
        return await _type(world, column) == kind

    await eventually(f"{column} does not become {kind}", seen)

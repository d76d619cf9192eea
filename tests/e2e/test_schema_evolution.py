"""The source's columns change while everything runs: at every end the target equals the source, row by row.

Rows are old ones, whose cursor does not move: only the snapshot that a changed schema plans brings what is new in them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from tests.e2e.editing import edit, edit_and_wait
from tests.e2e.test_rebuild import told
from tests.e2e.world import Answer, World, command, eventually, opened
from tests.faults.gates import Gate
from tests.faults.watching import drained, parked, shown

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROWS = 400
COLUMNS = "id bigint NOT NULL, name varchar(40), amount numeric(10,2), count integer, ratio real, updated_at timestamp"
FILL = f"""
    INSERT INTO {{table}} (id, name, amount, count, ratio, updated_at)
    SELECT n, 'name ' || n, n / 4.0, n, n / 8.0::real, timestamp '2024-01-01' + n * interval '1 second'
    FROM generate_series(1, {ROWS}) AS n
"""
TYPES = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""


@asynccontextmanager
async def started(
    stack: ThreadedStack, *, loaders: int = 2, fill: bool = True, **pipeline: Any
) -> AsyncIterator[World]:
    """Everything runs, and the first snapshot is in the target."""
    async with opened(stack, columns=COLUMNS, pipeline=pipeline) as world:
        await world.source.execute(FILL.format(table=world.table))
        await world.migrate()
        await world.services.add("extractor", EXTRACTOR, "run").start()
        for number in range(loaders):
            await world.services.add(f"loader-{number}", LOADER, "run").start()
        await drained(world, ROWS)
        yield world


async def change(world: World, *changes: str) -> None:
    """The source table is altered, all at once."""
    async with world.source.transaction():
        for one in changes:
            await world.source.execute(one.format(table=world.table))


async def types(world: World) -> dict[str, str]:
    return {row[0]: row[1] for row in await world.app.fetch(TYPES, world.target)}


async def left_in(world: World, column: str) -> int:
    """How many rows of the target hold something in the column."""
    return int(await world.app.fetchval(f'SELECT count("{column}") FROM {world.target}'))


async def becomes(world: World, column: str, kind: str) -> None:
    async def there() -> bool:
        world.services.check()
        return (await types(world)).get(column) == kind

    await eventually(f"{column} does not become {kind}", there)


async def emptied(world: World, column: str) -> None:
    async def empty() -> bool:
        world.services.check()
        return await left_in(world, column) == 0

    await eventually(f"{column} is not emptied", empty)


# -------------------------------------------------------------------------------------------------------- followed


async def test_added_dropped_widened_narrowed_renamed_and_moved_columns_are_followed(
    local_stack: ThreadedStack,
) -> None:
    async with started(local_stack) as world:
        await change(
            world,
            "ALTER TABLE {table} ADD COLUMN note varchar(20) DEFAULT 'old'",
            "ALTER TABLE {table} ALTER COLUMN name TYPE varchar(200)",
            "ALTER TABLE {table} ALTER COLUMN amount TYPE numeric(12,2)",
            "ALTER TABLE {table} ALTER COLUMN count TYPE bigint",
            "ALTER TABLE {table} ALTER COLUMN ratio TYPE double precision",
        )
        await becomes(world, "note", "text")
        await drained(world, ROWS)
        found = await types(world)
        assert [found[name] for name in ("name", "amount", "count", "ratio")] == [
            "text",
            "numeric(12,2)",
            "bigint",
            "double precision",
        ]
        await world.app.execute(f"ALTER TABLE {world.target} ADD COLUMN remark text DEFAULT 'mine'")

        # More places behind the point leave fewer before it: the target has room for both.
        await change(
            world,
            "ALTER TABLE {table} DROP COLUMN note",
            "ALTER TABLE {table} RENAME COLUMN count TO number",
            "ALTER TABLE {table} ALTER COLUMN amount TYPE numeric(10,4)",
        )
        await becomes(world, "number", "bigint")
        for column in ("note", "count"):
            await emptied(world, column)
        await drained(world, ROWS)
        found = await types(world)
        assert (found["amount"], found["note"], found["count"]) == ("numeric(14,4)", "text", "bigint")

        # Narrower: what is wide stays wide. And what was dropped, and is empty, comes back as something else.
        await change(
            world,
            "ALTER TABLE {table} ALTER COLUMN number TYPE smallint",
            "ALTER TABLE {table} ALTER COLUMN ratio TYPE real",
            "ALTER TABLE {table} ADD COLUMN note integer DEFAULT 7",
        )
        await becomes(world, "note", "integer")
        await drained(world, ROWS)
        assert (await left_in(world, "note"), (await types(world))["number"]) == (ROWS, "bigint")

        # Another order, in another table of the same name.
        await change(
            world,
            "ALTER TABLE {table} RENAME TO moved",
            "CREATE TABLE {table} AS SELECT updated_at, number, name || ' moved' AS name, id, note, amount, ratio "
            "FROM billing.moved",
            "DROP TABLE billing.moved",
        )
        await drained(world, ROWS)
        assert await left_in(world, "remark") == ROWS, "the owner's column is the owner's"
        await world.assert_gap_free()
        assert await parked(world) == (0, 0)


async def test_lanes_in_different_schemas_at_one_time_end_alike(local_stack: ThreadedStack) -> None:
    """Lane 0 stands still with the first columns, while the others go through all that follow."""
    async with started(local_stack) as world:
        async with _held(world, 0):
            await world.source.execute(
                f"UPDATE {world.table} SET updated_at = timezone('UTC', transaction_timestamp())"
            )
            await eventually("lane 0 waits", lambda: _waits(world))
            behind = (await world.standing()).watermarks[0]
            await change(world, "ALTER TABLE {table} ADD COLUMN extra varchar(10) DEFAULT 'x'")
            await becomes(world, "extra", "text")
            await change(
                world, "ALTER TABLE {table} DROP COLUMN name", "ALTER TABLE {table} ALTER COLUMN count TYPE bigint"
            )
            await becomes(world, "count", "bigint")
            await change(
                world, "ALTER TABLE {table} DROP COLUMN extra", "ALTER TABLE {table} ADD COLUMN name varchar(5)"
            )
            assert (await world.standing()).watermarks[0] == behind, "lane 0 did not stand still"
        await emptied(world, "extra")
        await drained(world, ROWS)
        assert await left_in(world, "name") == 0


@asynccontextmanager
async def _held(world: World, lane: int) -> AsyncIterator[None]:
    """Nobody gets at the lane's watermark: its next event is begun again and again, before it touches the table."""
    holder = await asyncpg.connect(world.services_target_dsn)
    try:
        async with holder.transaction():
            held = await holder.execute("SELECT FROM qupersync_watermark WHERE lane = $1 FOR UPDATE", lane)
            assert held == "SELECT 1", held
            yield
    finally:
        await holder.close()


async def _waits(world: World) -> bool:
    """Whether a loader waits for a lock."""
    world.services.check()
    return bool(
        await world.app.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND application_name LIKE 'qupersync-loader%'"
        )
    )


@pytest.mark.parametrize(
    "changes",
    [
        ["ADD COLUMN extra varchar(9) DEFAULT 'e'", "DROP COLUMN ratio"],
        ["ALTER COLUMN count TYPE bigint USING count * 10000000000", "ALTER COLUMN amount TYPE numeric(18,6)"],
    ],
)
async def test_a_table_that_changes_between_two_pages_of_a_snapshot(
    local_stack: ThreadedStack, changes: Sequence[str]
) -> None:
    async with started(local_stack, page_rows=50) as world:
        before = await _extracted(world)
        async with Gate.opened(world.outbox_dsn, "qupersync.extraction", when=f"NEW.sequence >= {before + 4}") as gate:
            await gate.shut()
            standing = await world.standing()
            await world.trigger()
            await gate.wait_for_waiting(seconds_max=120)
            await change(world, *(f"ALTER TABLE {{table}} {one}" for one in changes))
            await gate.open()
            await world.wait_for_snapshot(standing.snapshot, seconds_max=180)
            if "ratio" in changes[-1]:
                await emptied(world, "ratio")
            else:
                await becomes(world, "count", "bigint")
            await drained(world, ROWS)
        assert await parked(world) == (0, 0)


async def _extracted(world: World) -> int:
    outbox = await asyncpg.connect(world.outbox_dsn)
    try:
        return int(await outbox.fetchval("SELECT max(sequence) FROM qupersync.extraction"))
    finally:
        await outbox.close()


# --------------------------------------------------------------------------------------------------------- refused


async def test_keys_that_are_renamed_or_others_and_names_that_are_reserved_wait_for_what_is_named(
    local_stack: ThreadedStack,
) -> None:
    async with started(local_stack) as world:
        await change(world, "ALTER TABLE {table} ADD COLUMN synced_at timestamp")
        await shown(world, "'synced_at' is reserved", "rename it in a query")
        await change(
            world, "ALTER TABLE {table} DROP COLUMN synced_at", "UPDATE {table} SET name = 'later', updated_at = now()"
        )
        await drained(world, ROWS)

        await change(world, "ALTER TABLE {table} RENAME COLUMN id TO number")
        await shown(world, "key column 'id'")
        _key(world, "number")
        cure = f'ALTER TABLE "public"."{world.name}" RENAME COLUMN "id" TO "number"'
        await shown(world, cure)
        await world.app.execute(cure)
        await drained(world, ROWS)

        await change(world, "DELETE FROM {table} WHERE number > 390", "UPDATE {table} SET count = number % 7")
        _key(world, "count", "number")
        cure = f'DROP CONSTRAINT "{world.name}_pkey", ADD PRIMARY KEY ("count", "number")'
        await shown(world, cure)
        await world.app.execute(f"ALTER TABLE {world.target} {cure}")
        await drained(world, 390)
        assert await parked(world) == (0, 0)


def _key(world: World, *names: str) -> None:
    """The pipeline's key is another one from now on."""
    edit(world, lambda tree: tree["pipelines"][world.name].update({"key": list(names)}))
    world.key[:] = names


async def test_freeze_and_not_null_hold_the_pipeline_until_somebody_decides(local_stack: ThreadedStack) -> None:
    async with started(local_stack, loaders=1) as world:
        table = f'ALTER TABLE "public"."{world.name}"'
        await world.app.execute(f"ALTER TABLE {world.target} ALTER COLUMN ratio SET NOT NULL")
        await change(world, "ALTER TABLE {table} DROP COLUMN ratio")
        await shown(world, f'{table} ALTER COLUMN "ratio" DROP NOT NULL')
        assert await left_in(world, "ratio") == ROWS
        await world.app.execute(f"ALTER TABLE {world.target} ALTER COLUMN ratio DROP NOT NULL")
        await emptied(world, "ratio")

        # A loader that has not read the file yet would add the column, and rightly so.
        await edit_and_wait(world, lambda tree: tree["pipelines"][world.name].update({"schema": "freeze"}))
        await change(world, "UPDATE {table} SET count = count + 1, updated_at = now()")
        await drained(world, ROWS)
        await change(world, "ALTER TABLE {table} ADD COLUMN extra integer DEFAULT 1")
        await shown(world, "ADD COLUMN", "extra", "freeze")
        await change(world, "ALTER TABLE {table} DROP COLUMN extra", "UPDATE {table} SET count = 5, updated_at = now()")
        await drained(world, ROWS)
        await change(world, "ALTER TABLE {table} DROP COLUMN name")
        await shown(world, f'{table} DROP COLUMN "name"', "freeze")
        assert await left_in(world, "name") == ROWS
        await world.app.execute(f"ALTER TABLE {world.target} DROP COLUMN name")
        await drained(world, ROWS)


# --------------------------------------------------------------------------------------------------------- rebuilt

READING = "strpos(NEW.group_name, '~') > 0 AND NEW.sequence = 2"
PHASES = {
    "reading": ("public.qupersync_watermark", READING, "INSERT OR UPDATE"),
    "comparing": ("public.qupersync_rebuild", "NEW.phase = 'comparing'", "UPDATE"),
    "swapping": ("public.qupersync_rebuild", "NEW.phase = 'swapping'", "UPDATE"),
}


@pytest.mark.parametrize("phase", ["before", *PHASES])
async def test_columns_change_across_a_rebuild(local_stack: ThreadedStack, phase: str) -> None:
    async with started(local_stack, loaders=1, page_rows=100) as world:
        changes = (
            "ALTER TABLE {table} DROP COLUMN name",
            "ALTER TABLE {table} ADD COLUMN extra varchar(9) DEFAULT 'e'",
            "ALTER TABLE {table} ALTER COLUMN count TYPE bigint",
        )
        if phase == "before":
            await change(world, *changes)
            await becomes(world, "extra", "text")
            await emptied(world, "name")
            await drained(world, ROWS)
            answer = await _rebuilt(world)
        else:
            table, when, event = PHASES[phase]
            async with Gate.opened(world.services_target_dsn, table, when=when, event=event) as gate:
                await gate.shut()
                rebuilding = asyncio.create_task(_rebuilt(world))
                await gate.wait_for_waiting(seconds_max=180)
                await change(world, *changes)
                if phase != "comparing":  # meanwhile, nothing may alter the table
                    await becomes(world, "extra", "text")
                await gate.open()
                answer = await rebuilding
        assert [end["phase"] for end in told(answer, "ended")] == ["swapped"], answer
        await emptied(world, "name")
        await drained(world, ROWS)
        assert (await types(world))["name"] == "text", "an empty column stays"
        await change(world, "ALTER TABLE {table} ADD COLUMN name varchar(3) DEFAULT 'n'")
        await eventually("name is filled again", lambda: _filled(world, "name"))
        await drained(world, ROWS)


async def _rebuilt(world: World) -> Answer:
    """`qupersync rebuild`, which stands before a gate while the source changes."""
    arguments = ("rebuild", world.name, "--json")
    answer = await command("qupersync", *arguments, config=world.services.configuration, seconds_max=400)
    assert answer.code == 0, answer
    return answer


async def _filled(world: World, column: str) -> bool:
    return await left_in(world, column) == ROWS

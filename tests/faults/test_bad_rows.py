"""18: rows that PostgreSQL or the target's constraints refuse, among good ones, and values that only look bad."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.all_well import all_well
from tests.faults.watching import shown

from qupersync_local.compare import Comparison, compare_tables
from qupersync_local.compare_sides import DuckDbSide, PostgresSide
from qupersync_local.demo_warehouse import opened_for_writing
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(18), pytest.mark.integration]

# DuckDB holds what a warehouse may hold and PostgreSQL may not: text with NUL bytes, days far ahead.
TABLE = (
    "CREATE TABLE main.bad (id BIGINT, name VARCHAR, amount DECIMAL(18, 6), ratio DOUBLE, day DATE, changed TIMESTAMP)"
)
GOOD = """
    INSERT INTO main.bad SELECT n, 'name ' || n, n, n / 7.0, DATE '2024-01-01' + n::INTEGER, TIMESTAMP '2024-01-01'
    FROM range(1, 301) AS t(n)
"""
REFUSED = {
    1_001: "(1001, 'a' || chr(0) || 'b', 1, 0, NULL, get_current_timestamp()::TIMESTAMP)",
    1_002: "(1002, 'far', 1, 0, DATE '5881580-07-10', get_current_timestamp()::TIMESTAMP)",
    1_003: "(1003, 'below zero', -5, 0, NULL, get_current_timestamp()::TIMESTAMP)",
    1_004: "(1004, 'name 17', 1, 0, NULL, get_current_timestamp()::TIMESTAMP)",
}
STRANGE = """
    (1005, 'not a number', 1, 'NaN'::DOUBLE, NULL, get_current_timestamp()::TIMESTAMP),
    (1006, 'endless', 1, 'Infinity'::DOUBLE, NULL, get_current_timestamp()::TIMESTAMP),
    (1007, 'endless', 1, '-Infinity'::DOUBLE, NULL, get_current_timestamp()::TIMESTAMP),
    (1008, 'least', 0, 5e-324, NULL, get_current_timestamp()::TIMESTAMP)
"""
MEND = "UPDATE main.bad SET {what}, changed = get_current_timestamp()::TIMESTAMP WHERE id = {id}"
CONSTRAINTS = """
    ALTER TABLE {table} ADD CONSTRAINT not_below_zero CHECK (amount >= 0);
    CREATE UNIQUE INDEX one_name ON {table} (name) WHERE name LIKE 'name %'
"""
UNRESOLVED = "SELECT (\"row\" ->> 'id')::bigint AS id, reason FROM qupersync_quarantine WHERE resolved_at IS NULL"


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_poison_is_isolated_rows_that_the_target_refuses_wait_while_the_rest_loads(
    local_stack: ThreadedStack, tmp_path: Path, facts: dict[str, object]
) -> None:
    file = _warehouse(tmp_path)
    async with opened(local_stack, columns=None, **_from(file)) as world:
        await _begin(world, file)
        await world.app.execute(CONSTRAINTS.format(table=world.target))
        _write(file, f"INSERT INTO main.bad VALUES {', '.join(REFUSED.values())}, {STRANGE}")
        await eventually("the rows around the bad ones", lambda: _differ(world, file, set(REFUSED)))
        reasons = {row["id"]: row["reason"] for row in await world.app.fetch(UNRESOLVED)}
        assert reasons.keys() == REFUSED.keys()
        assert "not_below_zero" in reasons[1_003]
        assert "one_name" in reasons[1_004]
        assert (await world.status())["pipelines"][world.name]["state"] == "degraded"
        await shown(world, world.name, "quarantine")

        # Mended at the source, they load with the change itself; mended at the target, they must be read again.
        _write(file, MEND.format(what="name = 'without'", id=1_001), MEND.format(what="day = NULL", id=1_002))
        await eventually("the mended rows", lambda: _differ(world, file, {1_003, 1_004}))
        await world.app.execute(f"ALTER TABLE {world.target} DROP CONSTRAINT not_below_zero")
        await world.app.execute("DROP INDEX one_name")
        answer = await world.operate("quarantine", "redrive", "--pipeline", world.name, "--wait", "60")
        assert answer.code == 0, answer
        await eventually("all rows", lambda: _differ(world, file, set()))
        assert await world.app.fetch(UNRESOLVED) == []
        await all_well(world)
        facts |= {"rows": 308, "quarantined": len(REFUSED)}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_poison_is_isolated_a_row_holds_its_own_lane_only_where_that_is_wanted(
    local_stack: ThreadedStack, tmp_path: Path, facts: dict[str, object]
) -> None:
    file = _warehouse(tmp_path)
    async with opened(local_stack, columns=None, **_from(file, on_bad_row="halt")) as world:
        await _begin(world, file)
        await world.app.execute(CONSTRAINTS.format(table=world.target))
        good = [f"({n}, 'later', 1, 0, NULL, get_current_timestamp()::TIMESTAMP)" for n in range(2_000, 2_050)]
        _write(file, f"INSERT INTO main.bad VALUES {REFUSED[1_003]}, {', '.join(good)}")
        await shown(world, world.name, "not_below_zero", "on_bad_row: halt")
        later = "SELECT count(*) FROM {} WHERE name = 'later'"
        loaded = await world.app.fetchval(later.format(world.target))
        assert 0 < loaded < 50, "the other lanes do not go on, or the row's own lane does"
        assert await world.app.fetch(UNRESOLVED) == []
        await world.app.execute(f"ALTER TABLE {world.target} DROP CONSTRAINT not_below_zero")
        await eventually("all rows", lambda: _differ(world, file, set()))
        facts |= {"rows": 351, "rows held back": 50 - loaded}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_poison_is_isolated_nul_bytes_are_removed_and_counted_where_that_is_wanted(
    local_stack: ThreadedStack, tmp_path: Path, facts: dict[str, object]
) -> None:
    file = _warehouse(tmp_path)
    async with opened(local_stack, columns=None, **_from(file, nul_bytes="remove")) as world:
        await _begin(world, file)
        _write(file, f"INSERT INTO main.bad VALUES {REFUSED[1_001]}")
        without = "SELECT * REPLACE (replace(name, chr(0), '') AS name) FROM main.bad"
        await eventually("the row without its NUL", lambda: _differ(world, file, set(), query=without))
        assert await world.app.fetchval(f"SELECT name FROM {world.target} WHERE id = 1001") == "ab"
        assert await world.app.fetch(UNRESOLVED) == []
        await eventually("status does not count the altered row", lambda: _counted(world))
        facts |= {"rows": 301, "rows altered": 1}


def _warehouse(directory: Path) -> Path:
    file = directory / "warehouse.duckdb"
    _write(file, TABLE, GOOD)
    return file


def _write(file: Path, *statements: str) -> None:
    with opened_for_writing(file) as connection:
        for statement in statements:
            connection.execute(statement)


def _from(file: Path, **policies: str) -> dict[str, Any]:
    return {
        "source": {"kind": "duckdb", "path": str(file)},
        "pipeline": {"from": "main.bad", "cursor": "changed", "lanes": 2, **policies},
    }


async def _begin(world: World, file: Path) -> None:
    await world.migrate()
    await world.services.run()
    await eventually("the first snapshot", lambda: _differ(world, file, set()))


async def _counted(world: World) -> bool:
    """Promise V: what was changed on the way is counted in `qupersync status`, each time that it is read again."""
    entry: dict[str, Any] = (await world.status())["pipelines"][world.name]
    return bool(entry["parked"]["main"]["altered"] >= 1)


async def _compare(world: World, file: Path, query: str) -> Comparison:
    return await compare_tables(
        DuckDbSide(path=file, query=query),
        PostgresSide(dsn=world.services_target_dsn, table=world.target),
        key=["id"],
    )


async def _differ(world: World, file: Path, keys: set[int], *, query: str = "SELECT * FROM main.bad") -> bool:
    """Whether all rows are equal but those with these keys, which are missing in the target."""
    world.services.check()
    try:
        compared = await _compare(world, file, query)
    except asyncpg.UndefinedTableError:
        return False
    return {difference.key[0] for difference in compared.differences} == keys

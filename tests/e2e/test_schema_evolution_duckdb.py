"""The columns of tables of a DuckDB file change between two runs: the target equals the source after each.

Rows are old ones, whose cursor does not move: only the snapshot that a changed schema plans brings what is new in them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.e2e.editing import edit
from tests.e2e.world import World, opened

from qupersync_local.compare import compare_tables
from qupersync_local.compare_sides import DuckDbSide, PostgresSide
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROWS = 400
COLUMNS = "id bigint NOT NULL, name varchar(40), amount DECIMAL(10,2), count integer, ratio real, updated_at timestamp"
# How a table changes, and the column of the target that is to be empty then.
CHANGES: dict[str, tuple[Sequence[str], str | None]] = {
    "widened": (["ADD COLUMN extra VARCHAR DEFAULT 'e'", "ALTER amount TYPE DECIMAL(18,4)"], None),
    "dropped": (["DROP COLUMN name"], "name"),
    "renamed": (["RENAME COLUMN name TO title", "ALTER count TYPE BIGINT", "ALTER ratio TYPE DOUBLE"], "name"),
    "recased": (['RENAME COLUMN name TO "Name"'], "name"),
}


async def test_columns_of_tables_of_a_duckdb_file_change(local_stack: ThreadedStack, tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    fill = (
        f"SELECT n, 'name ' || n, n / 4, n, n / 8, TIMESTAMP '2024-01-01' + to_seconds(n) "
        f"FROM range(1, {ROWS + 1}) AS r (n)"
    )
    for table in CHANGES:
        await _written(path, f"CREATE TABLE {table} ({COLUMNS})", f"INSERT INTO {table} {fill}")
    source = {"kind": "duckdb", "path": str(path)}
    async with opened(local_stack, columns=None, pipeline={"from": "main.widened"}, source=source) as world:
        targets = _pipelines(world)
        await world.migrate()
        await world.extract_once()
        await world.load()
        for table, target in targets.items():
            assert await _same(world, path, table, target), table
        for table, (changes, _) in CHANGES.items():
            await _written(path, *(f"ALTER TABLE {table} {one}" for one in changes))
        await world.extract_once()
        await world.load()
        for table, target in targets.items():
            assert await _same(world, path, table, target), table
            empty = CHANGES[table][1]
            if empty is not None:
                assert await world.app.fetchval(f'SELECT count("{empty}") FROM {target}') == 0, table


def _pipelines(world: World) -> dict[str, str]:
    """A pipeline for each table, all with the options of the world's own; the target of each table."""
    names = {table: f"{world.name}_{table}" for table in CHANGES}

    def change(tree: dict[str, Any]) -> None:
        own = tree["pipelines"].pop(world.name)
        for table, name in names.items():
            tree["pipelines"][name] = {**own, "from": f"main.{table}", "into": f"public.{name}"}

    edit(world, change)
    return {table: f"public.{name}" for table, name in names.items()}


async def _written(path: Path, *statements: str) -> None:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


async def _same(world: World, path: Path, table: str, target: str) -> bool:
    compared = await compare_tables(
        DuckDbSide(path=path, table=f"main.{table}"),
        PostgresSide(dsn=world.services_target_dsn, table=target),
        key=["id"],
    )
    return compared.same and compared.equal == ROWS

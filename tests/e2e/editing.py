"""A configuration file that is edited while processes run, and what they say of it."""

import os
from collections.abc import Callable
from typing import Any

import asyncpg
import yaml
from tests.e2e.world import COLUMNS, PATIENCE_SECONDS, ROWS, World, eventually
from tests.faults.watching import told

from qupersync_local.compare import compare_tables
from qupersync_local.compare_sides import PostgresSide


def edit(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    """Replaces the file by rename, as editors and deployments do."""
    tree = world.configuration
    change(tree)
    write(world, yaml.safe_dump(tree, sort_keys=False))


async def edit_and_wait(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    """Edits the file, and returns when every process that runs and watches it goes by it."""
    watching = [process for process in world.services.processes.values() if process.running and process.lasting]
    before = {process.name: len(told(process, "configuration_taken_up")) for process in watching}
    edit(world, change)

    async def taken_up() -> bool:
        world.services.check()
        return all(len(told(process, "configuration_taken_up")) > before[process.name] for process in watching)

    await eventually("the edited file is not taken up", taken_up)


def write(world: World, text: str) -> None:
    """Puts this text in place of the file at once."""
    path = world.services.configuration
    fresh = path.with_suffix(".fresh")
    fresh.touch(mode=0o600)
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)  # noqa: PTH105  # the name of what it does


async def another_table(world: World, name: str, rows: int) -> str:
    """A further source table with so many rows."""
    table = f"billing.{name}"
    await world.source.execute(f"CREATE TABLE {table} ({COLUMNS})")
    await insert(world, table, 1, rows)
    return table


async def insert(world: World, table: str, first: int, last: int) -> None:
    moment = "timezone('UTC', transaction_timestamp())"
    await world.source.execute(ROWS.format(table=table, first=first, last=last, moment=moment))


async def equal(
    world: World, table: str, target: str, rows: int, *, dsn: str | None = None, seconds_max: float = PATIENCE_SECONDS
) -> None:
    """The target table comes to equal the source table, row by row, with so many rows."""
    found: list[Any] = []

    async def there() -> bool:
        world.services.check()
        try:
            compared = await compare_tables(
                PostgresSide(dsn=world.stack.stack.source.admin_dsn, table=table),
                PostgresSide(dsn=dsn or world.services_target_dsn, table=target),
                key=["id"],
                differences_max=5,
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            found[:] = [error]
            return False
        found[:] = [compared.equal, *compared.differences]
        return compared.same and compared.equal == rows

    try:
        await eventually("", there, seconds_max=seconds_max, pause_seconds=0.3)
    except AssertionError:
        raise AssertionError(f"{target} did not come to equal {rows} rows of {table}: {found}") from None

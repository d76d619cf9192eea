"""Migrations: by one process at a time, from a running loop, and never over a newer database."""

import asyncio
import logging
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.schema import (
    SCRIPT_LOCATION,
    VERSION_TABLE,
    migrate_outbox,
    pending_revisions,
)
from qupersync_shared.kernel.errors import DatabaseUnavailableError, TerminalError
from qupersync_shared.runtime.database import connect, create_engine
from qupersync_shared.runtime.migrations import migrate

LOCK = VERSION_TABLE
ALL = ["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010"]


async def test_of_many_at_once_one_migrates(empty_dsn: str) -> None:
    applied = await asyncio.gather(*(migrate_outbox(empty_dsn) for _ in range(4)))
    assert sorted(applied, key=len) == [[], [], [], ALL]


async def test_pending_says_what_migrate_would_do(empty_dsn: str) -> None:
    engine = create_engine(empty_dsn, application_name="qupersync-test", connections=1)
    try:
        assert await pending_revisions(engine) == ALL
        await migrate_outbox(empty_dsn)
        assert await pending_revisions(engine) == []
    finally:
        await engine.dispose()


async def test_logging_stays_as_it_was(empty_dsn: str) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("qupersync").disabled)
    await migrate_outbox(empty_dsn)
    assert (root.level, list(root.handlers), logging.getLogger("qupersync").disabled) == before


async def test_waiting_for_another_migration_ends_with_a_clear_reason(empty_dsn: str) -> None:
    held, done = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        connection = await connect(empty_dsn, application_name="qupersync-test")
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", await _lock_key(empty_dsn))
            held.set()
            await done.wait()
        finally:
            await connection.close()

    holder = asyncio.create_task(hold())
    await held.wait()
    with pytest.raises(DatabaseUnavailableError, match="another migration"):
        await _migrate(empty_dsn, wait_seconds=0.3)
    waiting = asyncio.create_task(_migrate(empty_dsn, wait_seconds=30))
    done.set()
    await holder
    assert await waiting == ALL


async def test_a_newer_database_is_refused(outbox_dsn: str, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(f"UPDATE qupersync.{VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(TerminalError, match="9999"):
        await migrate_outbox(outbox_dsn)
    with pytest.raises(TerminalError, match="9999"):
        await pending_revisions(engine)


async def test_a_failing_migration_leaves_nothing(empty_dsn: str) -> None:
    connection = await connect(empty_dsn, application_name="qupersync-test")
    try:
        await connection.execute("CREATE SCHEMA qupersync; CREATE TABLE qupersync.run (id int)")  # in the way
        with pytest.raises(TerminalError, match="already exists"):
            await migrate_outbox(empty_dsn)
        assert await connection.fetchval("SELECT to_regclass('qupersync.extraction')") is None
        await connection.execute("DROP TABLE qupersync.run")
        assert await migrate_outbox(empty_dsn) == ALL
    finally:
        await connection.close()


async def test_the_tables_are_what_the_code_takes_them_for(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[Any]:
        def ours(_object: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
            return not (kind == "table" and name is not None and (name.startswith("outbox_") or name == VERSION_TABLE))

        options = {
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == tables.SCHEMA,
            "include_object": ours,
            "compare_type": True,
            "compare_server_default": True,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def _migrate(dsn: str, *, wait_seconds: float) -> list[str]:
    return await migrate(
        dsn,
        script_location=SCRIPT_LOCATION,
        version_table=VERSION_TABLE,
        lock_name=LOCK,
        schema=tables.SCHEMA,
        wait_seconds=wait_seconds,
    )


async def _lock_key(dsn: str) -> int:
    """The key that a migration takes, as pg_locks shows it while one runs."""
    watcher = await connect(dsn, application_name="qupersync-test")
    key = "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
    try:
        migration = asyncio.create_task(migrate_outbox(dsn))
        async with asyncio.timeout(30):
            while (found := await watcher.fetchval(key)) is None:
                assert not migration.done()
        await migration
        await watcher.execute("DROP SCHEMA qupersync CASCADE")
    finally:
        await watcher.close()
    return int(found)

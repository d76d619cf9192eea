"""Alembic without its command line: from a running loop, on asyncpg, and by one process at a time.

A service's `migrations/env.py` is two lines: `from alembic import context` and `run_env(context)`; its `versions` are
named by deploy order (`0001_….py`) and use that number as their revision.

Alembic is imported when it is used: every process imports this module, few migrate, and it takes a while.
"""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateSchema

from qupersync_shared.kernel.errors import DatabaseUnavailableError, TerminalError
from qupersync_shared.runtime.database import connect, create_engine, translated

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.util import CommandError

WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_STATEMENT_SECONDS: Final = 3600.0  # an index over a large table takes its time; its locks are waited for only briefly


async def migrate(
    dsn: str,
    *,
    script_location: str,
    version_table: str,
    lock_name: str,
    schema: str | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> list[str]:
    """Brings the database to the newest revision; the revisions applied now, oldest first, none if it was there.

    `script_location` is `package:directory`. `schema` is made if missing and holds the version table. Safe to call from
    several processes at once: they wait for each other, DatabaseUnavailableError after `wait_seconds`. TerminalError if
    the database is newer than this program.
    """
    from alembic import command

    engine = create_engine(
        dsn, application_name="qupersync-migrate", connections=0, statement_timeout_seconds=_STATEMENT_SECONDS
    )
    applied: list[str] = []

    def upgrade(connection: Connection) -> None:
        if schema is not None:
            _make_schema(connection, schema)
        command.upgrade(_configuration(script_location, connection, version_table, schema, applied.append), "head")

    try:
        async with _only_one(dsn, lock_name, wait_seconds):
            await _with_connection(engine, upgrade)
    finally:
        await engine.dispose()
    return applied


async def pending(
    engine: AsyncEngine, *, script_location: str, version_table: str, schema: str | None = None
) -> list[str]:
    """The revisions that `migrate` would apply, oldest first; changes nothing."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_plain_configuration(script_location))
    known = [revision.revision for revision in reversed(list(script.walk_revisions()))]
    current: list[str] = []

    def read(connection: Connection) -> None:
        quote = connection.dialect.identifier_preparer.quote
        name = f"{quote(schema)}.{quote(version_table)}" if schema is not None else quote(version_table)
        if connection.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is not None:
            current.extend(connection.scalars(text(f"SELECT version_num FROM {name}")))  # noqa: S608  # quoted above

    await _with_connection(engine, read)
    if current and current[0] not in known:
        raise _too_new(current[0])
    return known[known.index(current[0]) + 1 :] if current else known


def run_env(context: Any) -> None:
    """What a service's env.py calls with `alembic.context`; TerminalError unless `migrate` started it."""
    attributes = context.config.attributes
    if "connection" not in attributes:
        raise TerminalError("migrations run through `migrate` alone", cure="Run `qupersync-… migrate`")
    context.configure(
        connection=attributes["connection"],
        version_table=attributes["version_table"],
        version_table_schema=attributes["schema"],
        on_version_apply=lambda *, step, **_: attributes["applied"](step.up_revision_id),
    )
    with context.begin_transaction():
        context.run_migrations()


def _configuration(
    script_location: str,
    connection: Connection,
    version_table: str,
    schema: str | None,
    applied: Callable[[str], None],
) -> "Config":
    configuration = _plain_configuration(script_location)
    configuration.attributes.update(connection=connection, version_table=version_table, schema=schema, applied=applied)
    return configuration


def _plain_configuration(script_location: str) -> "Config":
    """No file, so Alembic has no logging to set up, and nothing goes to standard output."""
    from alembic.config import Config

    configuration = Config(stdout=io.StringIO())
    configuration.set_main_option("script_location", script_location.replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    return configuration


def _make_schema(connection: Connection, schema: str) -> None:
    # CREATE SCHEMA IF NOT EXISTS wants the right to create one even where it exists.
    if connection.scalar(text("SELECT to_regnamespace(quote_ident(:name))"), {"name": schema}) is None:
        connection.execute(CreateSchema(schema))
    connection.commit()


async def _with_connection(engine: AsyncEngine, work: Callable[[Connection], None]) -> None:
    from alembic.util import CommandError

    with translated():
        try:
            async with engine.connect() as connection:
                await connection.run_sync(work)
        except CommandError as error:
            raise _refusal(error) from error


def _refusal(error: "CommandError") -> TerminalError:
    words = str(error)
    if "Can't locate revision" in words:
        return _too_new(words.rpartition("by ")[2].strip("'\""))
    return TerminalError(f"the migration cannot run: {words}")


def _too_new(revision: str) -> TerminalError:
    return TerminalError(
        f"the database stands at revision {revision}, which this program does not know",
        cure="A newer version migrated it: install that version or a later one",
    )


@asynccontextmanager
async def _only_one(dsn: str, lock_name: str, wait_seconds: float) -> AsyncIterator[None]:
    """Holds an advisory lock on a connection of its own; asks again and again instead of waiting in the server, where
    a waiting session would hold a snapshot against CREATE INDEX CONCURRENTLY.
    """
    key = int.from_bytes(hashlib.sha256(f"qupersync:{lock_name}".encode()).digest()[:8], "big", signed=True)
    connection = await connect(dsn, application_name="qupersync-migrate")
    try:
        await _acquire(connection, key, wait_seconds)
        yield
    finally:
        with translated():
            await connection.close(timeout=5)  # ends the lock with the session


async def _acquire(connection: asyncpg.Connection, key: int, wait_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    with translated():
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
            if loop.time() >= deadline:
                raise DatabaseUnavailableError(
                    f"another migration has been running for over {wait_seconds:g} s",
                    cure="Wait until it ends; pg_stat_activity shows it as qupersync-migrate",
                )
            await asyncio.sleep(_POLL_SECONDS)


def execute_script(connection: Connection, path: Path) -> None:
    """Runs a file of statements inside the migration's transaction; for a revision that is plain SQL."""
    script = path.read_text(encoding="utf-8")

    async def execute(driver: asyncpg.Connection) -> None:
        if not driver.is_in_transaction():
            raise RuntimeError("not inside the migration's transaction")
        await driver.execute(script)

    dbapi_connection: Any = connection.connection.dbapi_connection
    dbapi_connection.run_async(execute)

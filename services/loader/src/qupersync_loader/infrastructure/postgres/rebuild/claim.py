"""The claim: one rebuild of a pipeline at a time, for as long as its process lives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.rebuild.naming import claim_key
from qupersync_loader.infrastructure.postgres.rebuild.registry import who
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.errors import ConflictError, DatabaseUnavailableError, LeaseLostError
from qupersync_shared.runtime.database import connect, translated

_NAME_BYTES_MAX: Final = 63
_CLOSE_SECONDS: Final = 5.0
_HALF: Final = 0xFFFF_FFFF


class Claim:
    """A session lock on a connection of its own, which says when it has died."""

    def __init__(self, connection: asyncpg.Connection, pipeline: TargetPipeline) -> None:
        self._connection = connection
        self._pipeline = pipeline
        self._process = connection.get_server_pid()

    def check(self) -> None:
        """LeaseLostError once the connection is known to be gone, and the lock with it."""
        if self._connection.is_closed():
            raise self._lost()

    async def prove(self, driver: asyncpg.Connection) -> None:
        """LeaseLostError unless the server itself says that the lock is held."""
        for row in await driver.fetch(statement("claimant"), *_halves(self._pipeline)):
            if row["process"] == self._process:
                return
        raise self._lost()

    def _lost(self) -> LeaseLostError:
        return LeaseLostError(
            f"the claim on the rebuild of {self._pipeline.name} was lost with its connection",
            cure="Begin the rebuild again: it goes on with what is there",
        )


@asynccontextmanager
async def claimed(dsn: str, pipeline: TargetPipeline) -> AsyncIterator[Claim]:
    """The only claim of the pipeline; ConflictError, naming who has it, while there is another."""
    async with session(dsn) as connection:
        with translated():
            await connection.execute("SELECT set_config('idle_session_timeout', '0', false)")
            if await connection.fetchval("SELECT to_regclass('public.qupersync_rebuild') IS NULL"):
                raise DatabaseUnavailableError(
                    "the target database has no table for rebuilds", cure="Run `qupersync-loader migrate`"
                )
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", claim_key(pipeline)):
                raise await _conflict(connection, pipeline)
        yield Claim(connection, pipeline)


@asynccontextmanager
async def session(dsn: str, **limits: Any) -> AsyncIterator[asyncpg.Connection]:
    """A connection for one piece of work, whose statements take as long as there are rows unless `limits` forbid it."""
    name = f"qupersync-rebuild {who()}".encode()[:_NAME_BYTES_MAX].decode(errors="ignore")
    limits.setdefault("statement_timeout_seconds", 0)
    connection = await connect(dsn, name="target", application_name=name, **limits)
    try:
        yield connection
    finally:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            # Whatever still runs there is ended: nobody waits for it any more.
            await connection.close(timeout=_CLOSE_SECONDS)


async def _conflict(connection: asyncpg.Connection, pipeline: TargetPipeline) -> ConflictError:
    row = await connection.fetchrow(statement("claimant"), *_halves(pipeline))
    words = "another process"
    if row is not None and row["name"]:
        words = row["name"].removeprefix("qupersync-rebuild ")
    if row is not None and row["since"] is not None:  # the server keeps it from other roles
        words += f" since {row['since']:%Y-%m-%d %H:%M:%S} UTC"
    return ConflictError(
        f"pipeline {pipeline.name} is being rebuilt by {words}",
        cure="Wait for it, or end that process: there is only one",
    )


def _halves(pipeline: TargetPipeline) -> tuple[int, int]:
    """The lock's key as `pg_locks` shows it."""
    key = claim_key(pipeline)
    return (key >> 32) & _HALF, key & _HALF

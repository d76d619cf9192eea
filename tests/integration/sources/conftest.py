"""Sources over the stand-in of the session's stack, and tables in it."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from qupersync_extractor.domain.pipeline import SourceTable
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_extractor.infrastructure.sources.redshift_connection import RedshiftOptions
from qupersync_local.standin import FaultBook, RedshiftStandin
from qupersync_local.threaded import ThreadedStack

SCHEMA = "sources"


@pytest.fixture
def standin(local_stack: ThreadedStack) -> RedshiftStandin:
    return local_stack.stack.source


@pytest.fixture
def faults(standin: RedshiftStandin) -> Iterator[FaultBook]:
    standin.faults.clear()
    standin.faults.forget()
    yield standin.faults
    standin.faults.clear()


@pytest.fixture
async def admin(standin: RedshiftStandin) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(standin.admin_dsn)
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    await connection.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {standin.user}")
    yield connection
    await connection.close()


@pytest.fixture
async def make_source(standin: RedshiftStandin, faults: FaultBook) -> AsyncIterator[Callable[..., RedshiftSource]]:
    made: list[RedshiftSource] = []

    def make(**changes: Any) -> RedshiftSource:
        given: dict[str, Any] = {
            "host": standin.host,
            "port": standin.port,
            "database": standin.database,
            "user": standin.user,
            "password": standin.password,
            "sslmode": "disable",
            "connections": 1,
            "connect_timeout_seconds": 20,
            "statement_timeout_seconds": 60,
        }
        made.append(RedshiftSource(RedshiftOptions(**{**given, **changes})))
        return made[-1]

    yield make
    for source in made:
        await source.close()


@pytest.fixture
async def source(make_source: Callable[..., RedshiftSource]) -> RedshiftSource:
    return make_source()


class Tables:
    """Makes tables in the stand-in that the reading role may read."""

    def __init__(self, admin: asyncpg.Connection, user: str) -> None:
        self.admin = admin
        self.user = user

    async def make(self, sql: str, *, granted: bool = True) -> SourceTable:
        """`CREATE TABLE … AS` this SELECT."""
        table = SourceTable(SCHEMA, f"t_{uuid4().hex}")
        await self.admin.execute(f"CREATE TABLE {table} AS {sql}")
        if granted:
            await self.grant(table)
        return table

    async def grant(self, table: SourceTable) -> None:
        await self.admin.execute(f"GRANT SELECT ON {table} TO {self.user}")

    async def numbers(self, count: int) -> SourceTable:
        return await self.make(
            f"SELECT n::int AS id, repeat('x', 100)::varchar AS word FROM generate_series(1, {count}) n"
        )


@pytest.fixture
def tables(admin: asyncpg.Connection, standin: RedshiftStandin) -> Tables:
    return Tables(admin, standin.user)

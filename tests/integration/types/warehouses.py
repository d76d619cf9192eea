"""Real sources with a table `id, c` of any type, filled by SQL expressions of the test's own."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import asyncpg
import duckdb
from tests.conformance.source.conftest import redshift_options

from qupersync_extractor.application.ports import Source
from qupersync_extractor.domain.pipeline import SourceTable
from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_local.standin import RedshiftStandin


class DuckDbWarehouse:
    """A file, written by connections of its own between reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.table = SourceTable("main", "t")
        self.source: Source = DuckDbSource(path)

    async def fill(self, kind: str, expressions: Sequence[str]) -> list[int]:
        """The table anew, with a row for each expression that DuckDB takes; their ids, which are their places."""
        rows = [f"({place}, CAST({one} AS {kind}))" for place, one in enumerate(expressions)]
        with duckdb.connect(str(self._path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"CREATE OR REPLACE TABLE t (id BIGINT, c {kind})")
            try:
                connection.execute(f"INSERT INTO t VALUES {', '.join(rows)}")
            except duckdb.Error:
                return [place for place, row in enumerate(rows) if self._takes(connection, row)]
        return list(range(len(rows)))

    @staticmethod
    def _takes(connection: duckdb.DuckDBPyConnection, row: str) -> bool:
        try:
            connection.execute(f"INSERT INTO t VALUES {row}")
        except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException):
            return False
        return True

    async def texts(self, expression: str) -> dict[int, str | None]:
        """What DuckDB itself says of every row, by id."""
        with duckdb.connect(str(self._path), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return dict(connection.execute(f"SELECT id, {expression} FROM t").fetchall())


class RedshiftWarehouse:
    """The stand-in, read by the real driver and written by plain PostgreSQL."""

    def __init__(self, source: Source, admin: asyncpg.Connection, user: str) -> None:
        self.source = source
        self.table = SourceTable("billing", f"t_{uuid4().hex[:12]}")
        self._admin = admin
        self._user = user

    @classmethod
    async def opened(cls, standin: RedshiftStandin, admin: asyncpg.Connection) -> "RedshiftWarehouse":
        await admin.execute("SET timezone TO 'UTC'")
        return cls(RedshiftSource(redshift_options(standin, connections=1)), admin, standin.user)

    async def fill(self, kind: str, expressions: Sequence[str]) -> list[int]:
        """The table anew, with a row for each expression that the server takes; their ids, which are their places."""
        rows = [f"({place}, CAST({one} AS {kind}))" for place, one in enumerate(expressions)]
        async with self._admin.transaction():
            await self._admin.execute(f"DROP TABLE IF EXISTS {self.table}")
            await self._admin.execute(f"CREATE TABLE {self.table} (id bigint, c {kind})")
            await self._admin.execute(f"GRANT SELECT ON {self.table} TO {self._user}")
        try:
            await self._admin.execute(f"INSERT INTO {self.table} VALUES {', '.join(rows)}")
        except asyncpg.PostgresError:
            return [place for place, row in enumerate(rows) if await self._takes(row)]
        return list(range(len(rows)))

    async def _takes(self, row: str) -> bool:
        try:
            await self._admin.execute(f"INSERT INTO {self.table} VALUES {row}")
        except (asyncpg.DataError, asyncpg.ProgramLimitExceededError):
            return False
        return True

    async def texts(self, expression: str) -> dict[int, str | None]:
        """What the server itself says of every row, by id."""
        return {row[0]: row[1] for row in await self._admin.fetch(f"SELECT id, {expression} FROM {self.table}")}

    async def close(self) -> None:
        await self.source.close()
        await self._admin.execute(f"DROP TABLE IF EXISTS {self.table}")

"""The port `ReplayTables` on PostgreSQL: tables that replays make, empty and mark as their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import asyncpg

from qupersync_loader.application.rebuild.replay import LeftOut
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import quote_table
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.errors import ConflictError, DatabaseUnavailableError, QupersyncError
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.database import connect, translated

# No loader group can be named so: `~` is in no name that a configuration may hold.
_GROUP: Final = "~replay~"
_TABLE_KINDS: Final = frozenset({"r", "p"})
_RESERVED: Final = ("qupersync_", "_qs_")
_FORGETTING: Final = ("forget_shadow_rows", "forget_shadow_letters", "forget_shadow")


class PostgresReplayTable:
    """The port `ReplayTable`, on a connection of its own."""

    def __init__(self, driver: asyncpg.Connection, pipeline: TargetPipeline) -> None:
        self._driver = driver
        self.pipeline = replace(pipeline, group=GroupName(f"{pipeline.group}{_GROUP}{pipeline.target}"))

    @property
    def _mark(self) -> str:
        return f"Made by `qupersync replay {self.pipeline.name}`; the next one into it empties it first"

    async def make_way(self) -> None:
        with translated():
            async with self._driver.transaction():
                unfinished = await self._forget_unfinished()
                table = await self._table()
                if table is None:
                    return
                if table["kind"] not in _TABLE_KINDS:
                    raise _refused(f"{self.pipeline.target} is not a table")
                name = quote_table(self.pipeline.schema, self.pipeline.table)
                filled = await self._driver.fetchval(f"SELECT EXISTS (SELECT FROM {name})")  # noqa: S608  # quoted
                if filled and table["comment"] != self._mark and not unfinished:
                    raise _refused(f"{self.pipeline.target} has rows that no replay of {self.pipeline.name} wrote")
                if filled:
                    await self._driver.execute(f"TRUNCATE {name}")

    async def _forget_unfinished(self) -> bool:
        """Whether a replay into the table was begun and not ended; QupersyncError if it is a pipeline's own."""
        pipeline = self.pipeline
        if pipeline.table.startswith(_RESERVED):
            raise _refused(f"the name of {pipeline.target} is reserved")
        owner = await self._driver.fetchrow(statement("owner"), pipeline.schema, pipeline.table)
        if owner is not None and _GROUP not in owner["group_name"]:
            raise _refused(f"{pipeline.target} is the table of pipeline {owner['pipeline']}")
        await self._forget(pipeline.group, pipeline.name)
        if owner is not None:
            await self._forget(owner["group_name"], owner["pipeline"])
        return owner is not None

    async def finish(self) -> LeftOut:
        names = (self.pipeline.group, self.pipeline.name)
        with translated():
            async with self._driver.transaction():
                row = await self._driver.fetchrow(statement("replay_left_out"), *names)
                await self._forget(*names)
                table = await self._table()
                if table is not None and table["comment"] is None:
                    name = quote_table(self.pipeline.schema, self.pipeline.table)
                    comment = await self._driver.fetchval("SELECT quote_literal($1::text)", self._mark)
                    await self._driver.execute(f"COMMENT ON TABLE {name} IS {comment}")
        return LeftOut(rows=row["rows"], events=row["events"], reasons=tuple(row["reasons"]))

    async def _forget(self, group: str, pipeline: str) -> None:
        for name in _FORGETTING:
            await self._driver.execute(statement(name), group, pipeline)

    async def _table(self) -> Any:
        return await self._driver.fetchrow(statement("replay_table"), self.pipeline.schema, self.pipeline.table)


class PostgresReplayTables:
    """Of one target database."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    @asynccontextmanager
    async def claim(self, pipeline: TargetPipeline) -> AsyncIterator[PostgresReplayTable]:
        driver = await connect(
            self._dsn, name="target", application_name="qupersync-replay-claim", statement_timeout_seconds=600
        )
        try:
            with translated():
                if await driver.fetchval("SELECT to_regclass('public.qupersync_rebuild') IS NULL"):
                    raise DatabaseUnavailableError(
                        "the target database lacks tables of this version's loader",
                        cure="Run `qupersync-loader migrate`",
                    )
                if not await driver.fetchval(
                    "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", f"qupersync replay {pipeline.target}"
                ):
                    raise ConflictError(
                        f"another process replays into {pipeline.target}", cure="Wait for it, or name another table"
                    )
            yield PostgresReplayTable(driver, pipeline)
        finally:
            await driver.close()


def _refused(why: str) -> QupersyncError:
    return QupersyncError(why, cure="Name another table in --into, one that is not there yet")

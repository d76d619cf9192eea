"""The port `Target` on PostgreSQL: sessions, what lanes have applied, and what waits for a person."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_loader.application.ports import DueReread, PipelineState
from qupersync_loader.domain.filled import Place
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.knowledge import Knowledge
from qupersync_loader.infrastructure.postgres.staging import StagingTables
from qupersync_loader.infrastructure.postgres.states import states
from qupersync_loader.infrastructure.postgres.target_table import TargetTable
from qupersync_loader.infrastructure.postgres.upkeep import due_rereads, saw_asked, tidy
from qupersync_loader.infrastructure.postgres.work import PostgresWork
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import DatabaseUnavailableError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime.database import raw_connection, sqlstate, translated

_PING: Final = text("SELECT 1")
_STAGING: Final = "qupersync_staging"
# The table is not what it was when it was looked at: gone, or without a column, an index or a cast.
_CHANGED: Final = frozenset({"42P01", "42703", "42704", "42P10", "42804", "0A000"})


class PostgresSession:
    """The port `TargetSession` on one connection."""

    def __init__(self, connection: AsyncConnection, pipeline: TargetPipeline, knowledge: Knowledge) -> None:
        self._connection = connection
        self._pipeline = pipeline
        self._knowledge = knowledge

    @property
    def _staging(self) -> StagingTables:
        tables: StagingTables = self._connection.info.setdefault(_STAGING, StagingTables())
        return tables

    def is_prepared(self, schema: RowSchema) -> bool:
        known = self._knowledge.statements(self._pipeline, schema) in self._staging
        return known and self._knowledge.fits(self._pipeline, schema)

    async def prepare(self, schema: RowSchema, at: Place) -> None:
        with translated():
            if not self._knowledge.fits(self._pipeline, schema):
                async with self._transaction():
                    marks = await TargetTable(await raw_connection(self._connection), self._pipeline).fit(schema, at)
                    await self._connection.commit()
                self._knowledge.saw_fit(self._pipeline, schema, marks=marks)
            async with self._transaction():
                driver = await raw_connection(self._connection)
                await self._staging.make(driver, self._knowledge.statements(self._pipeline, schema))
                await self._connection.commit()

    @asynccontextmanager
    async def work(self, lane: Lane) -> AsyncIterator[PostgresWork]:
        with translated():
            try:
                async with self._rolled_back():
                    yield PostgresWork(self._connection, self._pipeline, lane, self._knowledge)
            except Exception as error:
                if sqlstate(error) in _CHANGED:
                    self._knowledge.forget(self._pipeline)
                raise

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        async with self._rolled_back():
            await self._connection.execute(_PING)
            yield

    @asynccontextmanager
    async def _rolled_back(self) -> AsyncIterator[None]:
        """Whatever is not committed is rolled back; a connection that cannot even do that is thrown away."""
        try:
            yield
        finally:
            try:
                await self._connection.rollback()
            except Exception:
                await self._connection.invalidate()
                raise


class PostgresTarget:
    """Owns the engine's pool: one connection for every slot, and some for whoever looks on."""

    def __init__(self, engine: AsyncEngine, knowledge: Knowledge | None = None) -> None:
        self._engine = engine
        self._knowledge = knowledge or Knowledge()

    @asynccontextmanager
    async def session(self, pipeline: TargetPipeline) -> AsyncIterator[PostgresSession]:
        with translated():
            async with self._engine.connect() as connection:
                driver = (await connection.get_raw_connection()).driver_connection
                if driver is None:
                    raise DatabaseUnavailableError("the pool handed out a connection that is closed")
                # The driver's own statement: no transaction is begun for it.
                if await driver.fetchval("SELECT to_regclass('public.qupersync_watermark') IS NULL"):
                    raise _not_migrated()
                yield PostgresSession(connection, pipeline, self._knowledge)

    async def states(self, group: GroupName) -> Mapping[PipelineName, PipelineState]:
        return await states(self._engine, group)

    async def due_rereads(self, pipelines: Sequence[TargetPipeline]) -> Sequence[DueReread]:
        with translated():
            async with self._engine.connect() as connection:
                return await due_rereads(connection, pipelines)

    async def saw_asked(self, due: DueReread) -> None:
        with translated():
            async with self._engine.begin() as connection:
                await saw_asked(connection, due)

    async def tidy(self, pipelines: Sequence[TargetPipeline], *, keep_days: int) -> None:
        with translated():
            async with self._engine.begin() as connection:
                await tidy(connection, pipelines, keep_days=keep_days)

    async def close(self) -> None:
        await self._engine.dispose()


def _not_migrated() -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        "the target database has none of the loader's tables", cure="Run `qupersync-loader migrate`"
    )

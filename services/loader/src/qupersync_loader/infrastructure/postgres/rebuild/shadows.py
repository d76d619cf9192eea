"""The ports `Shadows` and `Shadow` on PostgreSQL."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from qupersync_loader.application.shadows import LanePair, Obstacle, Phase, ShadowState
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import quote_table
from qupersync_loader.infrastructure.postgres.rebuild.claim import Claim, claimed, session
from qupersync_loader.infrastructure.postgres.rebuild.clone import bring_up, create
from qupersync_loader.infrastructure.postgres.rebuild.hold import Patience, PostgresHeld, held
from qupersync_loader.infrastructure.postgres.rebuild.naming import shadow_of
from qupersync_loader.infrastructure.postgres.rebuild.obstacles import catalogue_obstacles, content_obstacles
from qupersync_loader.infrastructure.postgres.rebuild.references import validate
from qupersync_loader.infrastructure.postgres.rebuild.registry import Registry
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.database import translated

_GROWN: Final = 1.1  # by so much since the last VACUUM that another is worth its while


class PostgresShadow:
    """One rebuild; every piece of work has a connection of its own, for none of them may wait for another."""

    def __init__(self, dsn: str, live: TargetPipeline, claim: Claim, patience: Patience) -> None:
        self._dsn = dsn
        self._live = live
        self._claim = claim
        self._patience = patience
        self._pipeline = shadow_of(live)
        self._registry = Registry(live, self._pipeline, uuid4())
        self._id: UUID | None = None
        self._vacuumed_bytes = 0

    @property
    def pipeline(self) -> TargetPipeline:
        return self._pipeline

    async def obstacles(self, schema: RowSchema) -> Sequence[Obstacle]:
        async with self._transaction() as driver:
            await self._registry.is_registered(driver)
            found = await catalogue_obstacles(driver, self._live)
            return found + await content_obstacles(driver, self._live, schema)

    async def found(self) -> ShadowState | None:
        async with self._transaction() as driver:
            return await self._found(driver)

    async def make(self) -> ShadowState:
        async with self._transaction() as driver:
            state = await self._found(driver)
            if state is not None:
                await self._claim.prove(driver)
                await self._registry.take(driver, state.id)
                self._id = state.id
                return state
            await self._claim.prove(driver)
            await self._remove(driver)
            await create(driver, self._live, self._pipeline)
            self._id = await self._registry.begin(driver)
            self._vacuumed_bytes = 0
        return ShadowState(id=self._id, phase=Phase.READING, table=self._pipeline.target)

    async def prepare(self) -> None:
        async with self._transaction() as driver:
            await self._registry.lock(driver)
            made = await bring_up(driver, self._live, self._pipeline)
        async with self._transaction() as driver:
            await validate(driver, self._live, self._pipeline)
            size = await driver.fetchval("SELECT pg_relation_size(to_regclass($1))", self._table)
        if made or size > self._vacuumed_bytes * _GROWN:
            async with self._session() as driver:
                # Readers of the new table find what the planner and index-only scans need.
                await driver.execute(f"VACUUM (ANALYZE) {self._table}")
            self._vacuumed_bytes = size

    async def discard(self) -> None:
        async with self._transaction() as driver:
            await self._claim.prove(driver)
            await self._remove(driver)
        self._id = None

    async def lanes(self) -> Mapping[Lane, LanePair]:
        async with self._session() as driver:
            return await self._registry.lanes(driver)

    async def note(self, phase: Phase, *, rows: int = 0, detail: str = "") -> None:
        if self._id is not None:
            async with self._session() as driver:
                await self._registry.note(driver, self._id, phase, rows, detail)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[PostgresHeld]:
        self._claim.check()
        async with held(self._dsn, self._live, self._pipeline, self._registry, self._patience) as lanes:
            yield lanes

    # --------------------------------------------------------------------------------------------------------

    @property
    def _table(self) -> str:
        return quote_table(self._pipeline.schema, self._pipeline.table)

    async def _found(self, driver: asyncpg.Connection) -> ShadowState | None:
        known = await self._registry.open(driver)
        registered = await self._registry.is_registered(driver)
        if known is None or not registered or not await self._exists(driver):
            return None
        id_, phase = known
        return ShadowState(id=id_, phase=phase, table=self._pipeline.target, lanes=await self._registry.lanes(driver))

    async def _exists(self, driver: asyncpg.Connection) -> bool:
        found = await driver.fetchrow(statement("relation"), self._pipeline.schema, self._pipeline.table)
        return found is not None

    async def _remove(self, driver: asyncpg.Connection) -> None:
        known = await self._registry.open(driver)
        if known is None and not await self._registry.is_registered(driver):
            return
        for table in {self._table, *await self._registry.left(driver)}:
            await driver.execute(f"DROP TABLE IF EXISTS {table}")
        await self._registry.end(driver, Phase.DISCARDED)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[asyncpg.Connection]:
        self._claim.check()
        async with session(self._dsn) as driver:
            with translated():
                yield driver

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._session() as driver, driver.transaction():
            yield driver


class PostgresShadows:
    """The target, as far as rebuilds go. Connects when something is claimed, with connections of its own."""

    def __init__(self, dsn: str, patience: Patience | None = None) -> None:
        self._dsn = dsn
        self._patience = patience or Patience()

    @asynccontextmanager
    async def claim(self, pipeline: TargetPipeline) -> AsyncIterator[PostgresShadow]:
        async with claimed(self._dsn, pipeline) as claim:
            yield PostgresShadow(self._dsn, pipeline, claim, self._patience)

"""The hold: all lanes of the live table locked, for moments, and what is done meanwhile."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from qupersync_loader.application.shadows import Comparison, HinderedError, LanePair, Phase, Swapped, Way
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import quote_table
from qupersync_loader.infrastructure.postgres.rebuild.claim import session
from qupersync_loader.infrastructure.postgres.rebuild.compare import RowComparison, row_statements
from qupersync_loader.infrastructure.postgres.rebuild.merge import Merged, merge
from qupersync_loader.infrastructure.postgres.rebuild.obstacles import catalogue_obstacles, relation
from qupersync_loader.infrastructure.postgres.rebuild.refused import excepted_keys, keep, refused, settle
from qupersync_loader.infrastructure.postgres.rebuild.registry import Registry
from qupersync_loader.infrastructure.postgres.rebuild.swap import Swap
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.infrastructure.postgres.target_table import lock_name
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.database import translate, translated

HOLD_SECONDS: Final = 30.0  # for so long a process that froze may keep loaders waiting
_TRY_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited for loaders to finish the events at hand, and for readers to let go of the table."""

    loaders_seconds: float = 5.0
    readers_seconds: float = 5.0


class PostgresMoment:
    """The port `Moment`: a transaction that sees both tables as they were when it began."""

    def __init__(self, driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline, lanes: int) -> None:
        self._driver = driver
        self._live = live
        self._shadow = shadow
        self._lanes = lanes

    async def compare(self, schema: RowSchema) -> Comparison:
        with translated():
            return await RowComparison(self._driver, self._live, self._shadow, schema)(self._lanes)


class PostgresHeld:
    """The port `Held` on the one transaction that has the locks."""

    def __init__(
        self,
        driver: asyncpg.Connection,
        dsn: str,
        live: TargetPipeline,
        shadow: TargetPipeline,
        registry: Registry,
        patience: Patience,
        lanes: Mapping[Lane, LanePair],
    ) -> None:
        self._driver = driver
        self._dsn = dsn
        self._live = live
        self._shadow = shadow
        self._registry = registry
        self._patience = patience
        self._lanes = lanes
        self._since = time.monotonic()

    @property
    def lanes(self) -> Mapping[Lane, LanePair]:
        return self._lanes

    async def look(self) -> Mapping[Lane, LanePair]:
        with translated():
            self._lanes = await self._registry.lanes(self._driver)
        return self._lanes

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[PostgresMoment]:
        """The two tables cannot be dropped or altered until it is left; everything else goes on."""
        lanes = max((pair.live.lanes for pair in self._lanes.values() if pair.live is not None), default=1)
        tables = ", ".join(quote_table(each.schema, each.table) for each in (self._live, self._shadow))
        async with session(self._dsn, idle_in_transaction_seconds=0) as driver:
            with translated():
                await driver.execute(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL row_security = off; "
                    f"LOCK TABLE {tables} IN ACCESS SHARE MODE"
                )
                await driver.fetchval("SELECT 1")  # the snapshot is taken now
            yield PostgresMoment(driver, self._live, self._shadow, lanes)

    async def put_in_place(self, way: Way, schema: RowSchema) -> Swapped:
        with translated():
            await self._registry.lock(self._driver)
            await self._registry.check_level(self._driver)
            open_ = await self._registry.open(self._driver)
            # A loader that makes the table fit another schema holds this lock, and may wait for what is held here.
            for pipeline in (self._live, self._shadow):
                if not await self._driver.fetchval(_TRY_LOCK, lock_name(pipeline)):
                    raise TransientError(f"{pipeline.target} is being made to fit another schema", cure="Try again")
            rows = await self._rows(exact=way is Way.MERGE)
            keys = await excepted_keys(self._driver, self._live, self._shadow, schema)
            statements = await row_statements(self._driver, self._live, self._shadow, schema, excepts=bool(keys))
            waiting = await refused(self._driver, self._live, self._shadow, statements)
            await settle(self._driver, self._shadow, waiting.loaded)
            began, merged = None, Merged(written=0, removed=0)
            if way is Way.MERGE:
                merged = await merge(self._driver, statements, waiting)
                await self._leave_shadow(Phase.MERGED, rows, settles=not merged.left_out)
                await self._driver.execute(f"DROP TABLE {statements.shadow.name}")
            else:
                obstacles = await catalogue_obstacles(self._driver, self._live)
                if obstacles:
                    raise HinderedError(self._live.target, obstacles)
                await keep(self._driver, statements, waiting)
                await self._leave_shadow(Phase.SWAPPED, rows)
                swap = Swap(self._driver, self._live, self._shadow)
                began = await swap(readers_seconds=self._patience.readers_seconds)
        await self._commit(None if open_ is None else open_[0])
        now = time.monotonic()
        return Swapped(
            way=way,
            rows=rows,
            locked_seconds=0.0 if began is None else now - began,
            paused_seconds=now - self._since,
            written=merged.written,
            removed=merged.removed,
        )

    async def _leave_shadow(self, phase: Phase, rows: int, *, settles: bool = True) -> None:
        await self._registry.inherit(self._driver, settles_rows=settles)
        await self._registry.end(self._driver, phase, rows)

    async def _rows(self, *, exact: bool) -> int:
        """As of the last ANALYZE, unless `exact`: counting takes as long as there are rows, and all loaders wait."""
        if exact:
            table = quote_table(self._shadow.schema, self._shadow.table)
            return int(await self._driver.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608  # quoted
        oid = await relation(self._driver, self._shadow)
        estimate = await self._driver.fetchval("SELECT reltuples::bigint FROM pg_class WHERE oid = $1", oid)
        return max(0, int(estimate))

    async def _commit(self, id_: UUID | None) -> None:
        """A commit whose answer was lost is looked up."""
        try:
            await self._driver.execute("COMMIT")
        except Exception as error:
            with translated():
                async with session(self._dsn) as driver:
                    phase = await driver.fetchval(statement("rebuild_phase"), id_)
            if phase not in (Phase.SWAPPED, Phase.MERGED):
                raise translate(error) from error


@asynccontextmanager
async def held(
    dsn: str, live: TargetPipeline, shadow: TargetPipeline, registry: Registry, patience: Patience
) -> AsyncIterator[PostgresHeld]:
    """Waits for the event that each lane is at, and lets none begin another. TransientError if that takes too long.

    The pipeline's row is shared with loaders, who lock it before their lane's: they never wait for a lane while they
    hold another, so nobody can wait in a circle.
    """
    names = (live.group, live.name)
    milliseconds = int(patience.loaders_seconds * 1000)
    async with session(dsn, idle_in_transaction_seconds=HOLD_SECONDS) as driver:
        try:
            with translated():
                await driver.execute(
                    f"BEGIN; SET LOCAL lock_timeout = {milliseconds}; SET LOCAL statement_timeout = {milliseconds}"
                )
                await driver.fetchrow(statement("lock_pipeline_shared"), *names)
                await driver.fetch(statement("hold_lanes"), *names)
                await driver.execute("SET LOCAL statement_timeout = 0")
                lanes = await registry.lanes(driver)
        except TransientError as error:
            raise TransientError(
                f"the loaders of {live.name} do not let go of its lanes ({error.message})", cure="Try again"
            ) from error
        try:
            yield PostgresHeld(driver, dsn, live, shadow, registry, patience, lanes)
        finally:
            if not driver.is_closed() and driver.is_in_transaction():
                with translated():
                    await driver.execute("ROLLBACK")

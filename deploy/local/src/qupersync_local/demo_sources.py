"""What the demo reads from: how it is filled, changed while it is read, and compared in the end."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

import asyncpg

from qupersync_local.compare_sides import PostgresSide, Side
from qupersync_local.demo_data import (
    COST_USAGE,
    QUERY_HISTORY,
    Changes,
    Churn,
    register_facts,
    seed_cost_usage,
    seed_query_history,
)
from qupersync_local.demo_tables import query_rows, redshift_pipelines
from qupersync_local.stack import LocalStack

_STEP_PAUSE_SECONDS = 0.03
_OPEN_SECONDS = (1.2, 2.5)  # longer than the safety lag, shorter than the lookback
_Going = Callable[[], bool]
_PASSING = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class DemoSource(Protocol):
    """One kind of source, with its pipelines."""

    @property
    def pipelines(self) -> dict[str, dict[str, Any]]: ...

    @property
    def sections(self) -> dict[str, Any]:
        """What the configuration says besides the pipelines, and in place of what it says of the stack."""
        ...

    @property
    def rows(self) -> int:
        """How many rows the first snapshot reads."""
        ...

    async def fill(self) -> None: ...

    async def change(self, going: _Going) -> Changes:
        """Change rows until `going` says no; every transaction has ended then."""
        ...

    def side(self, pipeline: str) -> Side: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RedshiftDemo:
    """The stand-in: small transactions one after the other, and beside them some that commit late."""

    stack: LocalStack
    size: int
    seed: int

    @property
    def pipelines(self) -> dict[str, dict[str, Any]]:
        return redshift_pipelines()

    @property
    def sections(self) -> dict[str, Any]:
        return {}

    @property
    def rows(self) -> int:
        return self.size + query_rows(self.size)

    async def fill(self) -> None:
        connection = await asyncpg.connect(self.stack.source.owner_dsn)
        try:
            await seed_cost_usage(connection, rows=self.size, seed=self.seed)
            await seed_query_history(connection, rows=query_rows(self.size), seed=self.seed)
        finally:
            await connection.close()
        admin = await asyncpg.connect(self.stack.source.admin_dsn)
        try:
            await register_facts(admin)
        finally:
            await admin.close()

    async def change(self, going: _Going) -> Changes:
        small, late = await asyncio.gather(self._small(going), self._late(going))
        return Changes(
            inserted=small.inserted, updated=small.updated + late.updated, deleted=small.deleted + late.deleted
        )

    async def _small(self, going: _Going) -> Changes:
        churn = Churn(seed=self.seed)
        inserted = updated = deleted = 0
        connection = await self._connect()
        try:
            while going():
                try:
                    done = await churn.step(connection, inserts=5, updates=10, deletes=2)
                    await connection.execute(_sql("query_history_more", QUERY_HISTORY), 2)
                except _PASSING:
                    continue
                inserted += done.inserted + 2
                updated += done.updated
                deleted += done.deleted
                await asyncio.sleep(_STEP_PAUSE_SECONDS)
        finally:
            await connection.close()
        return Changes(inserted=inserted, updated=updated, deleted=deleted)

    async def _late(self, going: _Going) -> Changes:
        """Transactions that write at their beginning and commit when newer rows have long been read."""
        chance = random.Random(self.seed)  # noqa: S311 - reproducible, not secret
        updated = deleted = 0
        connection = await self._connect()
        try:
            while going():
                first = chance.randint(1, max(1, self.size - 20))
                try:
                    async with connection.transaction():
                        tag = await connection.execute(_sql("late_rows", COST_USAGE), first, 20)
                        gone = await connection.execute(f"DELETE FROM {QUERY_HISTORY} WHERE query_id = $1", first)  # noqa: S608
                        await asyncio.sleep(chance.uniform(*_OPEN_SECONDS))
                except _PASSING:
                    continue
                updated += int(tag.rpartition(" ")[2])
                deleted += int(gone.rpartition(" ")[2])
        finally:
            await connection.close()
        return Changes(updated=updated, deleted=deleted)

    async def _connect(self) -> asyncpg.Connection:
        # Writers meet on rows: under the stand-in's repeatable read one of them would have to begin again.
        return await asyncpg.connect(
            self.stack.source.owner_dsn, server_settings={"default_transaction_isolation": "read committed"}
        )

    def side(self, pipeline: str) -> Side:
        return PostgresSide(dsn=self.stack.source.admin_dsn, table=self.pipelines[pipeline]["from"])


def _sql(name: str, table: str) -> str:
    return (files(__package__) / "demo_sql" / f"{name}.sql").read_text("utf-8").replace("{table}", table)

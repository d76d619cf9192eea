"""Random changes at the source: inserts, ties, updates, deletes, rows the target refuses, commits that come late."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
from tests.soak.options import Rhythm
from tests.soak.tables import BAD, NOW, SourceTable

_PASSING = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_BAD_AT_ONCE_MAX = 5
_BAD_SHARE = 0.05
_HEAL_SHARE = 0.3


@dataclass(slots=True, kw_only=True)
class Tally:
    """Rows changed so far, by what happened to them."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    late: int = 0
    spoiled: int = 0
    healed: int = 0
    given_up: int = 0  # late transactions that a stalled machine kept open too long, rolled back

    @property
    def changed(self) -> int:
        return self.inserted + self.updated + self.deleted + self.late + self.spoiled + self.healed


@dataclass(slots=True, kw_only=True)
class Changes:
    """The writers of a run. Every table is changed by one transaction at a time, but for those that come late."""

    dsn: str
    tables: Sequence[SourceTable]
    rhythm: Rhythm
    tally: Tally = field(default_factory=Tally)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def _lock(self, table: SourceTable) -> asyncio.Lock:
        return self._locks.setdefault(table.name, asyncio.Lock())

    async def write(self, chance: random.Random, going: Callable[[], bool]) -> None:
        """Small transactions one after the other until `going` says no."""
        connection = await self._connect()
        try:
            while going():
                table = chance.choice(self.tables)
                async with self._lock(table):
                    with suppress(*_PASSING):
                        await self._change(connection, table, chance)
                await asyncio.sleep(chance.uniform(*self.rhythm.change_pause))
        finally:
            await connection.close()

    async def commit_late(self, chance: random.Random, going: Callable[[], bool]) -> None:
        """Transactions that stay open while newer rows are read, and end within the lookback."""
        connection = await self._connect()
        tables = [table for table in self.tables if table.has_moments]
        longest = self.rhythm.commit_within
        try:
            while going():
                table, many = chance.choice(tables), chance.randint(1, 10)
                began = time.monotonic()
                transaction = connection.transaction()
                await transaction.start()
                await table.insert_below(connection, many)
                await asyncio.sleep(chance.uniform(0.1, 0.6) * longest)
                if time.monotonic() - began < longest:
                    await transaction.commit()
                    self.tally.late += many
                else:
                    await transaction.rollback()
                    self.tally.given_up += 1
        finally:
            await connection.close()

    async def heal(self) -> None:
        """Mend every row that the target refuses."""
        connection = await self._connect()
        try:
            for table in self.tables:
                async with self._lock(table), connection.transaction():
                    await self._mend(connection, table, sorted(table.bad))
        finally:
            await connection.close()

    async def _change(self, connection: asyncpg.Connection, table: SourceTable, chance: random.Random) -> None:
        counted = Tally()
        before = table.bad, table.newest, table.version
        try:
            async with connection.transaction():
                many = chance.choice((1, 5, 20, 700) if chance.random() < 0.1 else (1, 5, 20))
                await table.insert(connection, many)
                counted.inserted = many
                counted.updated = await self._update(connection, table, table.some(chance, chance.randint(1, 30)))
                gone = table.some(chance, chance.randint(0, many))
                counted.deleted = await table.delete(connection, gone)
                table.bad = {one for one in table.bad - set(gone) if one >= table.kept_from}
                if chance.random() < _BAD_SHARE and len(table.bad) < _BAD_AT_ONCE_MAX:
                    counted.spoiled = await self._spoil(connection, table, table.some(chance, 2))
                if table.bad and chance.random() < _HEAL_SHARE:
                    counted.healed = await self._mend(connection, table, sorted(table.bad)[:2])
        except BaseException:
            table.bad, table.newest, table.version = before
            raise
        for name in ("inserted", "updated", "deleted", "spoiled", "healed"):
            setattr(self.tally, name, getattr(self.tally, name) + getattr(counted, name))

    async def _update(self, connection: asyncpg.Connection, table: SourceTable, some: list[int]) -> int:
        table.version += 1
        return _count(
            await connection.execute(
                f"UPDATE {table.table} SET amount = amount + 1, flag = NOT flag, version = $2, updated_at = {NOW} "
                "WHERE id = ANY($1)",
                some,
                table.version,
            )
        )

    async def _spoil(self, connection: asyncpg.Connection, table: SourceTable, some: list[int]) -> int:
        table.version += 1
        table.bad = table.bad | set(some)
        return await self._rename(connection, table, some, BAD)

    async def _mend(self, connection: asyncpg.Connection, table: SourceTable, some: list[int]) -> int:
        table.version += 1
        table.bad = table.bad - set(some)
        return await self._rename(connection, table, some, "mended")

    @staticmethod
    async def _rename(connection: asyncpg.Connection, table: SourceTable, some: list[int], name: str) -> int:
        return _count(
            await connection.execute(
                f"UPDATE {table.table} SET name = $3, version = $2, updated_at = {NOW} WHERE id = ANY($1)",
                some,
                table.version,
                name,
            )
        )

    async def _connect(self) -> asyncpg.Connection:
        # Writers meet on rows: under the stand-in's repeatable read one of them would have to begin again.
        return await asyncpg.connect(self.dsn, server_settings={"default_transaction_isolation": "read committed"})


def _count(tag: str) -> int:
    return int(tag.rpartition(" ")[2])

"""A gate in a database: sessions that change a row wait before it while it is shut, or inside their COMMIT."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from tests.e2e.world import PATIENCE_SECONDS, eventually

_FUNCTION = """
    CREATE FUNCTION public.gate_{number}() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared({number}); RETURN NEW; END $$
"""
_BEFORE = """
    CREATE TRIGGER gate_{number} BEFORE {event} ON {table}
    FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION public.gate_{number}()
"""
_AT_COMMIT = """
    CREATE CONSTRAINT TRIGGER gate_{number} AFTER {event} ON {table} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION public.gate_{number}()
"""
_WAITING = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND NOT granted AND mode = 'ShareLock' AND objid = $1::bigint::oid
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY pid
"""


@dataclass(frozen=True, slots=True)
class Gate:
    """Shut and opened by the test. `lock_timeout` does not apply to who waits here; the other time limits do."""

    connection: asyncpg.Connection
    number: int

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, dsn: str, table: str, *, when: str, event: str = "UPDATE", at_commit: bool = False
    ) -> AsyncIterator["Gate"]:
        """An open gate for rows of which `when` (over OLD and NEW) holds; `dsn` is that of the table's owner."""
        connection = await asyncpg.connect(dsn)
        try:
            number = random.randrange(1 << 30)
            trigger = _AT_COMMIT if at_commit else _BEFORE
            async with connection.transaction():
                await connection.execute(_FUNCTION.format(number=number))
                await connection.execute(trigger.format(number=number, event=event, table=table, when=when))
            yield cls(connection, number)
        finally:
            await connection.close()  # which opens it, too

    async def shut(self) -> None:
        """Whoever comes from now on waits."""
        await self.connection.execute("SELECT pg_advisory_lock($1)", self.number)

    async def open(self) -> None:
        await self.connection.execute("SELECT pg_advisory_unlock($1)", self.number)

    async def waiting(self) -> list[int]:
        """The sessions that stand before the gate, by their process numbers."""
        return [row["pid"] for row in await self.connection.fetch(_WAITING, self.number)]

    async def wait_for_waiting(self, count: int = 1, *, seconds_max: float = PATIENCE_SECONDS) -> list[int]:
        """Returns when so many sessions stand before the gate."""
        found: list[int] = []

        async def enough() -> bool:
            found[:] = await self.waiting()
            return len(found) >= count

        await eventually(f"{count} sessions before the gate", enough, seconds_max=seconds_max, pause_seconds=0.05)
        return found

    async def end(self, *sessions: int) -> None:
        """Ends sessions of this role, as a failing server would."""
        await self.connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM unnest($1::int[]) AS pid", list(sessions)
        )

    async def wait_for_gone(self, *sessions: int, seconds_max: float = PATIENCE_SECONDS) -> None:
        """Returns when these sessions have ended: what they were doing is committed by then, or never will be."""

        async def gone() -> bool:
            alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::int[])"
            return await self.connection.fetchval(alive, list(sessions)) == 0

        await eventually("the end of the sessions", gone, seconds_max=seconds_max)

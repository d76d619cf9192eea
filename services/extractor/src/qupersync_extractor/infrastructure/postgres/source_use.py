"""The source budget's books on PostgreSQL: tables `source_use` and `source_read`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.application.leasing import LEASE_MAX
from qupersync_extractor.application.source_use import WAITING_SECONDS, EndedRead, ListedRead, Own, SourceStanding
from qupersync_extractor.domain.source_budget import Amount, MinuteUse, SourceLimits, may_begin, this_minute
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import Row, plain
from qupersync_extractor.infrastructure.postgres.signals import SOURCE_CHANNEL, PostgresSignals
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.database import translated

_FORGOTTEN_AFTER: Final = timedelta(hours=1)
_MINUTES_KEPT: Final = timedelta(days=1)
_use: Final = tables.source_use
_read: Final = tables.source_read
# In a statement of its own: what comes after it sees what the one before has committed.
_TURN: Final = sa.text("SELECT pg_advisory_xact_lock(hashtext('qupersync.source_use'))")
_NOW: Final = sa.select(sa.func.clock_timestamp())
_NOTIFY: Final = sa.text("SELECT pg_notify(:channel, '')")


class PostgresSourceUse:
    """The books of an outbox database. One step takes its turn after those of other processes, by an advisory lock."""

    def __init__(self, engine: AsyncEngine, signals: PostgresSignals) -> None:
        self._engine = engine
        self._signals = signals

    async def settle(self, owner: str, own: Own, limits: SourceLimits, *, seconds: float) -> SourceStanding:
        owner = plain(owner)
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(_TURN)
                now: datetime = (await connection.execute(_NOW)).scalar_one()
                last = await _last_minute(connection)
                minute = this_minute(last, now, limits)
                for ended in await _taken_out(connection, owner, own.ended):
                    minute = minute.taking(ended.took)
                await _store_minute(connection, minute, last)
                await _forget(connection, owner, own, now)
                await _keep(connection, owner, own, now, seconds)
                before = SourceStanding(now=now, minute=minute, reads=await _unexpired(connection, now))
                if begun := _begins(before, owner, limits):
                    await connection.execute(
                        sa.update(_read)
                        .where(_read.c.id.in_(begun))
                        .values(began_at=now, expires_at=now + timedelta(seconds=seconds))
                    )
                after = SourceStanding(now=now, minute=minute, reads=await _unexpired(connection, now))
                if own.ended and after.waiting:
                    await connection.execute(_NOTIFY, {"channel": SOURCE_CHANNEL})
        return after

    async def standing(self, limits: SourceLimits) -> SourceStanding:
        with translated():
            async with self._engine.connect() as connection:
                return await standing_of(connection, limits)

    async def changed(self, seconds: float) -> None:
        await self._signals.wait(SOURCE_CHANNEL, seconds)


async def standing_of(connection: AsyncConnection, limits: SourceLimits) -> SourceStanding:
    """The standing, as this connection's transaction sees it."""
    now: datetime = (await connection.execute(_NOW)).scalar_one()
    minute = this_minute(await _last_minute(connection), now, limits)
    return SourceStanding(now=now, minute=minute, reads=await _unexpired(connection, now))


def _begins(standing: SourceStanding, owner: str, limits: SourceLimits) -> list[UUID]:
    waiting = standing.waiting
    free = may_begin(
        limits,
        standing.minute,
        reading=[read.expected for read in standing.reading],
        waiting=[read.expected for read in waiting],
    )
    return [read.id for read in waiting[:free] if read.owner == owner]


async def _last_minute(connection: AsyncConnection) -> MinuteUse | None:
    found = await connection.execute(sa.select(_use).order_by(_use.c.minute.desc()).limit(1))
    row = found.one_or_none()
    if row is None:
        return None
    return MinuteUse(
        minute=row.minute,
        used=Amount(rows=row.rows, bytes=row.bytes),
        carried=Amount(rows=row.carried_rows, bytes=row.carried_bytes),
    )


async def _store_minute(connection: AsyncConnection, minute: MinuteUse, last: MinuteUse | None) -> None:
    """The minute in force is the latest in the table: what a clock that was put back has left behind it goes."""
    if minute == last or (last is None and minute.used == Amount()):
        return
    values = {
        "rows": minute.used.rows,
        "bytes": minute.used.bytes,
        "carried_rows": minute.carried.rows,
        "carried_bytes": minute.carried.bytes,
    }
    written = insert(_use).values(minute=minute.minute, **values)
    await connection.execute(written.on_conflict_do_update(index_elements=[_use.c.minute], set_=values))
    if last is not None and last.minute != minute.minute:
        old = sa.or_(_use.c.minute > minute.minute, _use.c.minute < minute.minute - _MINUTES_KEPT)
        await connection.execute(sa.delete(_use).where(old))


async def _taken_out(connection: AsyncConnection, owner: str, ended: Sequence[EndedRead]) -> list[EndedRead]:
    """Those that had not been booked before."""
    if not ended:
        return []
    mine = (_read.c.owner == owner, _read.c.id.in_([one.id for one in ended]))
    found = {row.id for row in await connection.execute(sa.delete(_read).where(*mine).returning(_read.c.id))}
    return [one for one in ended if one.id in found]


async def _forget(connection: AsyncConnection, owner: str, own: Own, now: datetime) -> None:
    kept = [read.id for read in (*own.waiting, *own.reading)]
    over = sa.and_(_read.c.owner == owner, _read.c.id.not_in(kept))
    await connection.execute(sa.delete(_read).where(sa.or_(over, _read.c.expires_at < now - _FORGOTTEN_AFTER)))


async def _keep(connection: AsyncConnection, owner: str, own: Own, now: datetime, seconds: float) -> None:
    waiting_until = now + timedelta(seconds=min(seconds, WAITING_SECONDS))
    rows: list[dict[str, Any]] = [
        {
            "id": read.id,
            "pipeline": read.pipeline,
            "owner": owner,
            "asked_at": now,
            "began_at": began_at,
            "expires_at": expires_at,
            "expected_rows": read.expected.rows,
            "expected_bytes": read.expected.bytes,
        }
        for began_at, expires_at, reads in (
            (None, waiting_until, own.waiting),
            (now, now + timedelta(seconds=seconds), own.reading),
        )
        for read in reads
    ]
    if rows:
        written = insert(_read).values(rows)
        again = written.on_conflict_do_update(
            index_elements=[_read.c.id], set_={"expires_at": written.excluded.expires_at}
        )
        await connection.execute(again)


async def _unexpired(connection: AsyncConnection, now: datetime) -> tuple[ListedRead, ...]:
    held = (_read.c.expires_at > now, _read.c.expires_at <= now + LEASE_MAX)
    query = sa.select(_read).where(*held).order_by(_read.c.asked_at, _read.c.id)
    return tuple(_listed(row) for row in await connection.execute(query))


def _listed(row: Row) -> ListedRead:
    return ListedRead(
        id=row.id,
        pipeline=PipelineName(row.pipeline),
        owner=row.owner,
        asked_at=row.asked_at,
        began_at=row.began_at,
        expected=Amount(rows=row.expected_rows, bytes=row.expected_bytes),
    )

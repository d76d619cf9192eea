"""The history of comparisons on PostgreSQL; each call is a transaction of its own."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.application.verifying.records import (
    INTERRUPTED,
    KEYS_KEPT,
    SCHEDULE,
    Verification,
    VerificationCounts,
)
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import Row, plain
from qupersync_shared.kernel.ids import GroupName, PipelineName
from qupersync_shared.runtime.database import translated

_table: Final = tables.verification
_now: Final = sa.func.clock_timestamp()
_latest_first: Final = (_table.c.started_at.desc(), _table.c.id.desc())
_told: Final = sa.and_(_table.c.ended_at.is_not(None), _table.c.error.is_(None))


class PostgresVerifications:
    """The table `verification`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin(self, verification: UUID, pipeline: PipelineName, group: GroupName, *, cause: str) -> None:
        with translated():
            async with self._engine.begin() as connection:
                await _begin(connection, verification, pipeline, group, cause)

    async def claim(self, verification: UUID, pipeline: PipelineName, group: GroupName, *, last: UUID | None) -> bool:
        name = sa.func.hashtextextended(f"qupersync verification {group} {pipeline}", 0)
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(name)))
                known = await _last(connection, pipeline, group, SCHEDULE)
                if (None if known is None else known.id) != last:
                    return False
                await _begin(connection, verification, pipeline, group, SCHEDULE)
        return True

    async def end(self, verification: UUID, *, counts: VerificationCounts, error: str | None = None) -> None:
        values = {
            "source_rows": counts.source_rows,
            "target_rows": counts.target_rows,
            "ranges": counts.ranges,
            "bytes_moved": counts.bytes_moved,
            "differing": counts.differing,
            "in_motion": counts.in_motion,
            "repaired": counts.repaired,
            "keys": [plain(key) for key in counts.keys[:KEYS_KEPT]],
            "ended_at": _now,
            "error": None if error is None else plain(error),
        }
        await self._count(
            sa.update(_table).where(_table.c.id == verification, _table.c.ended_at.is_(None)).values(values)
        )

    async def last(self, pipeline: PipelineName, group: GroupName, *, cause: str | None = None) -> Verification | None:
        with translated():
            async with self._engine.connect() as connection:
                return await _last(connection, pipeline, group, cause)

    async def standing(self, pipelines: Sequence[PipelineName]) -> list[Verification]:
        with translated():
            async with self._engine.connect() as connection:
                return await standing_verifications(connection, pipelines)

    async def forget(self, *, older_than: timedelta) -> int:
        kept = sa.select(_table.c.id).where(_told).distinct(_table.c.pipeline, _table.c.loader_group)
        newest = kept.order_by(_table.c.pipeline, _table.c.loader_group, *_latest_first)
        old = (_table.c.ended_at.is_not(None), _table.c.started_at < _now - older_than)
        return await self._count(sa.delete(_table).where(*old, _table.c.id.not_in(newest)))

    async def _count(self, query: sa.Executable) -> int:
        with translated():
            async with self._engine.begin() as connection:
                result: sa.CursorResult[Any] = await connection.execute(query)
                return result.rowcount


async def standing_verifications(connection: AsyncConnection, pipelines: Sequence[PipelineName]) -> list[Verification]:
    """Of each pipeline and group the last comparison that says something; its `differing` is the drift there is."""
    query = (
        sa.select(_table)
        .where(_table.c.pipeline.in_(pipelines), _told)
        .distinct(_table.c.pipeline, _table.c.loader_group)
        .order_by(_table.c.pipeline, _table.c.loader_group, *_latest_first)
    )
    return [_verification_of(row) for row in await connection.execute(query)]


async def _begin(
    connection: AsyncConnection, verification: UUID, pipeline: PipelineName, group: GroupName, cause: str
) -> None:
    left = (_table.c.pipeline == pipeline, _table.c.loader_group == group, _table.c.ended_at.is_(None))
    await connection.execute(sa.update(_table).where(*left).values(ended_at=_now, error=INTERRUPTED))
    values = {"id": verification, "pipeline": pipeline, "loader_group": group, "cause": cause}
    await connection.execute(sa.insert(_table).values(values))


async def _last(
    connection: AsyncConnection, pipeline: PipelineName, group: GroupName, cause: str | None
) -> Verification | None:
    query = sa.select(_table).where(_table.c.pipeline == pipeline, _table.c.loader_group == group)
    if cause is not None:
        query = query.where(_table.c.cause == cause)
    row = (await connection.execute(query.order_by(*_latest_first).limit(1))).one_or_none()
    return None if row is None else _verification_of(row)


def _verification_of(row: Row) -> Verification:
    return Verification(
        id=row.id,
        pipeline=PipelineName(row.pipeline),
        group=GroupName(row.loader_group),
        cause=row.cause,
        started_at=row.started_at,
        counts=VerificationCounts(
            source_rows=row.source_rows,
            target_rows=row.target_rows,
            ranges=row.ranges,
            bytes_moved=row.bytes_moved,
            differing=row.differing,
            in_motion=row.in_motion,
            repaired=row.repaired,
            keys=tuple(row.keys),
        ),
        ended_at=row.ended_at,
        error=row.error,
    )

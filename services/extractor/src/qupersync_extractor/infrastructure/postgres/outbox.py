"""The outbox as the relay reads it on PostgreSQL."""

from collections.abc import Sequence as SequenceOf
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.application.ports import OutboxDepth
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import RECORD, record_of
from qupersync_extractor.infrastructure.postgres.signals import OUTBOX_CHANNEL, PostgresSignals
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import EventId, Lane, Log, PipelineName, Sequence
from qupersync_shared.runtime.database import translated

EMPTY: Final = OutboxDepth(records=0, bytes=0, oldest=None)


async def depths(connection: AsyncConnection, pipelines: SequenceOf[PipelineName]) -> dict[PipelineName, OutboxDepth]:
    """What waits for the relay, of each pipeline that the database knows."""
    rows = await connection.execute(statement("depths"), {"pipelines": list(pipelines)})
    return {
        PipelineName(row.pipeline): OutboxDepth(records=row.records, bytes=row.bytes, oldest=row.oldest) for row in rows
    }


class PostgresOutboxReader:
    """Reads without locks; each call is a transaction of its own."""

    def __init__(self, engine: AsyncEngine, signals: PostgresSignals) -> None:
        self._engine = engine
        self._signals = signals

    async def next_records(
        self, pipeline: PipelineName, lane: Lane, log: Log, *, after: Sequence, limit: int, bytes_max: int
    ) -> list[OutboxRecord]:
        values = {
            "pipeline": pipeline,
            "lane": lane,
            "log": log,
            "after": after,
            "limit": limit,
            "bytes_max": bytes_max,
        }
        with translated():
            async with self._engine.connect() as connection:
                await connection.execute(statement("by_index"))
                rows = (await connection.execute(statement("next_records"), values)).all()
        return [record_of(row) for row in rows]

    async def find(self, event_id: EventId) -> OutboxRecord | None:
        with translated():
            async with self._engine.connect() as connection:
                query = sa.select(*RECORD).where(tables.outbox.c.id == event_id)
                row = (await connection.execute(query)).first()
        return record_of(row) if row is not None else None

    async def depth(self, pipeline: PipelineName) -> OutboxDepth:
        with translated():
            async with self._engine.connect() as connection:
                await connection.execute(statement("by_index"))
                return (await depths(connection, [pipeline])).get(pipeline, EMPTY)

    async def wait(self, seconds: float) -> None:
        await self._signals.wait(OUTBOX_CHANNEL, seconds)

    async def next_committed(self, seconds: float) -> frozenset[PipelineName] | None:
        names = await self._signals.named(OUTBOX_CHANNEL, seconds)
        return None if names is None else frozenset(map(PipelineName, names))

    async def behind(self) -> frozenset[PipelineName]:
        with translated():
            async with self._engine.connect() as connection:
                found = (await connection.execute(statement("behind"))).scalars().all()
        return frozenset(map(PipelineName, found))

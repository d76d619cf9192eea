"""The outbox as the relay reads it on PostgreSQL."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.ports import OutboxDepth
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import RECORD, record_of
from qupersync_extractor.infrastructure.postgres.signals import OUTBOX_CHANNEL, PostgresSignals
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import EventId, Lane, Log, PipelineName, Sequence
from qupersync_shared.runtime.database import translated


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
                row = (await connection.execute(statement("depth"), {"pipeline": pipeline})).one()
        return OutboxDepth(records=row.records, bytes=row.bytes, oldest=row.oldest)

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

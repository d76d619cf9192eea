"""Records of an outbox, and its partitions by time."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.domain.records import OutboxRecord
from qupersync_shared.kernel.ids import EventId, Lane, Log, PipelineName, RunId, Sequence, uuid7

_DROPS = text(
    "SELECT format('DROP TABLE qupersync.%I', relname) FROM pg_inherits JOIN pg_class ON oid = inhrelid "
    "WHERE inhparent = 'qupersync.outbox'::regclass"
)
_ALL_OLDER = text("SELECT max(occurred_at) < clock_timestamp() - make_interval(secs => :seconds) FROM qupersync.outbox")


def record(pipeline: PipelineName, sequence: int = 1, *, payload: bytes = b"rows") -> OutboxRecord:
    """One of lane 0 in the first log."""
    return OutboxRecord(
        id=EventId(uuid7()),
        pipeline=pipeline,
        lane=Lane(0),
        log=Log(1),
        sequence=Sequence(sequence),
        occurred_at=datetime.now(UTC),
        correlation_id=RunId(uuid7()),
        headers={},
        payload=payload,
        event_type="qupersync.batch.v1",
        event_version=1,
    )


async def drop_partitions(engine: AsyncEngine) -> None:
    """All of them: the migration makes some for the default retention."""
    async with engine.begin() as connection:
        for drop in (await connection.execute(_DROPS)).scalars().all():
            await connection.exec_driver_sql(drop)


async def all_older(engine: AsyncEngine, age: timedelta) -> None:
    """Returns when every record is older, by the database's clock."""
    async with engine.connect() as connection, asyncio.timeout(60):
        while not (await connection.execute(_ALL_OLDER, {"seconds": age.total_seconds()})).scalar_one():  # noqa: ASYNC110  # a clock has no signal
            await asyncio.sleep(0.2)

"""Over many retentions the outbox stays as large as one of them: partitions come, are published, and go."""

import asyncio
import time
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.integration.persistence.outbox import all_older, drop_partitions, record

from qupersync_extractor.infrastructure.postgres.outbox import PostgresOutboxReader
from qupersync_extractor.infrastructure.postgres.partitions import OutboxPartitions, partition_width
from qupersync_extractor.infrastructure.postgres.registry import PostgresRegistry
from qupersync_extractor.infrastructure.postgres.relay_cursors import PostgresRelayCursors
from qupersync_extractor.infrastructure.postgres.signals import PostgresSignals
from qupersync_extractor.infrastructure.postgres.unit_of_work import PostgresUnitOfWorkFactory
from qupersync_shared.kernel.ids import Lane, Log, PipelineName, Sequence

PIPELINE = PipelineName("orders")
RETENTION = timedelta(seconds=2)
CYCLES = 5
PAYLOAD = 40_000

_BOUNDS = text(
    "SELECT bound.at[1]::timestamptz AS lower, bound.at[2]::timestamptz AS upper FROM pg_inherits "
    "JOIN pg_class AS c ON c.oid = inhrelid, regexp_match(pg_get_expr(c.relpartbound, c.oid), "
    "'FROM \\(''(.+)''\\) TO \\(''(.+)''\\)') AS bound (at) WHERE inhparent = 'qupersync.outbox'::regclass ORDER BY 1"
)


@pytest.mark.parametrize(
    ("retention", "width"),
    [
        (timedelta(days=30), timedelta(hours=6)),
        (timedelta(hours=72), timedelta(hours=6)),
        (timedelta(hours=24), timedelta(hours=1)),
        (timedelta(hours=1), timedelta(minutes=5)),
        (timedelta(minutes=10), timedelta(seconds=30)),
        (timedelta(minutes=1), timedelta(seconds=5)),
        (timedelta(seconds=10), timedelta(seconds=1)),
        (timedelta(seconds=1), timedelta(seconds=1)),
    ],
)
def test_the_width_follows_the_retention(retention: timedelta, width: timedelta) -> None:
    assert partition_width(retention) == width


async def test_the_outbox_is_bounded_over_many_cycles(engine: AsyncEngine, signals: PostgresSignals) -> None:
    await drop_partitions(engine)
    registry = PostgresRegistry(engine, signals)
    await registry.register(PIPELINE, 1)
    partitions = OutboxPartitions(engine, RETENTION)
    await partitions.ensure_ahead()
    work = PostgresUnitOfWorkFactory(engine, partitions)
    cursors = PostgresRelayCursors(engine)
    most = (RETENTION + partitions.ahead) / partitions.width + 4
    sequence, end = 0, time.monotonic() + CYCLES * RETENTION.total_seconds()
    while time.monotonic() < end:
        sequence += 1
        async with work() as page:
            await page.outbox.add([record(PIPELINE, sequence, payload=b"x" * PAYLOAD)])
            await page.commit()
        [cursor] = await cursors.claim(PIPELINE, "relay", 60)
        assert await cursors.advance(replace(cursor, last_sequence=Sequence(sequence)), "relay")
        await partitions.ensure_ahead()
        now = await _now(engine)
        await partitions.drop_published()
        bounds = await _bounds(engine)
        assert bounds[0][1] > now - RETENTION, "nothing older than the retention stays"
        assert len(bounds) <= most
        await asyncio.sleep(0.05)  # the rate of a source

    outbox = PostgresOutboxReader(engine, signals)
    kept = await outbox.next_records(PIPELINE, Lane(0), Log(1), after=Sequence(0), limit=1, bytes_max=1)
    assert kept[0].sequence > 1, "the first records are gone"


async def test_what_is_not_published_stays_over_all_cycles(engine: AsyncEngine, signals: PostgresSignals) -> None:
    await drop_partitions(engine)
    await PostgresRegistry(engine, signals).register(PIPELINE, 1)
    partitions = OutboxPartitions(engine, timedelta(seconds=1))
    async with PostgresUnitOfWorkFactory(engine, partitions)() as page:
        await page.outbox.add([record(PIPELINE, 1, payload=b"x" * PAYLOAD)])
        await page.commit()
    await all_older(engine, timedelta(seconds=3))
    await partitions.drop_published()
    outbox = PostgresOutboxReader(engine, signals)
    assert (await outbox.depth(PIPELINE)).records == 1


@pytest.mark.parametrize("changes", [("72h", "1m", "72h"), ("1m", "1h", "24h"), ("24h", "10s", "10m")])
async def test_another_retention_goes_on_where_the_partitions_end(
    engine: AsyncEngine, changes: tuple[str, ...]
) -> None:
    await drop_partitions(engine)
    lengths = {"72h": 259_200, "24h": 86_400, "1h": 3600, "10m": 600, "1m": 60, "10s": 10}
    for change in changes:
        partitions = OutboxPartitions(engine, timedelta(seconds=lengths[change]))
        now = await _now(engine)
        await partitions.ensure_ahead()
        bounds = await _bounds(engine)
        assert bounds[0][0] <= now
        ahead = [bound for bound in bounds if bound[1] > now]
        assert all(one[1] == other[0] for one, other in pairwise(ahead)), "no hole"
        assert bounds[-1][1] >= now + partitions.ahead


async def _now(engine: AsyncEngine) -> datetime:
    async with engine.connect() as connection:
        now: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return now


async def _bounds(engine: AsyncEngine) -> list[tuple[datetime, datetime]]:
    """Every partition's, the oldest first."""
    async with engine.connect() as connection:
        return [(row.lower, row.upper) for row in await connection.execute(_BOUNDS)]

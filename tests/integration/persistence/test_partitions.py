"""Partitions are made ahead and dropped only when nothing in them is left to publish."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.integration.persistence.outbox import record

from qupersync_extractor.infrastructure.postgres.partitions import OutboxPartitions
from qupersync_extractor.infrastructure.postgres.registry import PostgresRegistry
from qupersync_extractor.infrastructure.postgres.relay_cursors import PostgresRelayCursors
from qupersync_extractor.infrastructure.postgres.signals import PostgresSignals
from qupersync_extractor.infrastructure.postgres.unit_of_work import PostgresUnitOfWorkFactory
from qupersync_shared.kernel.errors import DatabaseUnavailableError
from qupersync_shared.kernel.ids import Lane, Log, PipelineName, Sequence
from qupersync_shared.runtime.database import create_engine

PIPELINE = PipelineName("orders")
RETENTION = timedelta(hours=72)
OLD = "outbox_20240101_0600"

_INSERT = text(
    """
    INSERT INTO qupersync.outbox (id, pipeline, lane, log, sequence, occurred_at, event_type, event_version,
                                  correlation_id, headers, payload)
    VALUES (gen_random_uuid(), 'orders', :lane, :log, :sequence, :at, 't', 1, gen_random_uuid(), '{}', '')
    """
)
_NAMES = text(
    "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
    "WHERE inhparent = 'qupersync.outbox'::regclass ORDER BY 1"
)
_MAKE_OLD = text(
    "CREATE TABLE qupersync.outbox_20240101_0600 PARTITION OF qupersync.outbox "
    "FOR VALUES FROM ('2024-01-01 06:00+00') TO ('2024-01-01 12:00+00')"
)


@pytest.fixture
async def registry(engine: AsyncEngine, outbox_dsn: str) -> AsyncIterator[PostgresRegistry]:
    signals = PostgresSignals(outbox_dsn)
    yield PostgresRegistry(engine, signals)
    await signals.close()


@pytest.fixture
async def published(engine: AsyncEngine, registry: PostgresRegistry) -> PostgresRelayCursors:
    """Two lanes, each with one record in an old partition, both published."""
    await registry.register(PIPELINE, 2)
    await _old_records(engine, (0, 1, 5), (1, 1, 5))
    cursors = PostgresRelayCursors(engine)
    for cursor in await cursors.claim(PIPELINE, "relay", 60):
        assert await cursors.advance(replace(cursor, last_sequence=Sequence(5)), "relay")
    return cursors


async def test_partitions_reach_two_days_ahead_and_one_back(engine: AsyncEngine) -> None:
    names = await _names(engine)
    partitions = OutboxPartitions(engine)
    assert (partitions.width, partitions.ahead) == (timedelta(hours=6), timedelta(days=2))
    assert len(names) == partitions.ahead / partitions.width + 2
    async with engine.connect() as connection:
        covered = text(
            "SELECT count(*) FROM generate_series(now() - interval '6h', now() + interval '2d', interval '6h') AS at, "
            "LATERAL (SELECT 'outbox_' || to_char(date_bin('6h', at, '2000-01-01+00') AT TIME ZONE 'UTC', "
            "'YYYYMMDD_HH24MI') AS name) AS wanted WHERE to_regclass('qupersync.' || wanted.name) IS NULL"
        )
        assert (await connection.execute(covered)).scalar_one() == 0


async def test_ensuring_at_once_makes_each_partition_once(engine: AsyncEngine) -> None:
    before = await _names(engine)
    async with engine.begin() as connection:
        for name in before[-3:]:
            await connection.exec_driver_sql(f"DROP TABLE qupersync.{name}")
    ran = await asyncio.gather(*(OutboxPartitions(engine).ensure_ahead() for _ in range(4)))
    assert sorted(len(statements) for statements in ran) == [0, 0, 0, 6]
    assert await _names(engine) == before


async def test_ensuring_does_not_wait_for_writers(engine: AsyncEngine, registry: PostgresRegistry) -> None:
    last = (await _names(engine))[-1]
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"DROP TABLE qupersync.{last}")
    async with engine.connect() as writer:
        await writer.execute(text("LOCK TABLE ONLY qupersync.outbox IN ROW EXCLUSIVE MODE"))  # as an insert does
        assert len(await asyncio.wait_for(OutboxPartitions(engine).ensure_ahead(), 4)) == 2


async def test_payloads_are_not_compressed_again(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        storage = text(
            "SELECT DISTINCT attstorage::text FROM pg_attribute JOIN pg_class ON oid = attrelid "
            "WHERE relname LIKE 'outbox%' AND relkind IN ('r', 'p') AND attname = 'payload'"
        )
        assert (await connection.execute(storage)).scalars().all() == ["e"]


async def test_a_published_old_partition_is_dropped(engine: AsyncEngine, published: PostgresRelayCursors) -> None:
    partitions = OutboxPartitions(engine)
    assert await partitions.drop_published(timedelta(days=36_500)) == []
    assert await partitions.drop_published(RETENTION) == [OLD]
    assert OLD not in await _names(engine)
    assert await published.rewind(PIPELINE, Lane(0), Log(1), from_sequence=Sequence(5)) is None


async def test_what_is_not_published_stays(engine: AsyncEngine, published: PostgresRelayCursors) -> None:
    assert await published.rewind(PIPELINE, Lane(1), Log(1), from_sequence=Sequence(5)) == 1
    assert await OutboxPartitions(engine).drop_published(RETENTION) == []
    assert OLD in await _names(engine)


async def test_a_lane_that_no_relay_has_claimed_is_not_published(
    engine: AsyncEngine, registry: PostgresRegistry
) -> None:
    await registry.register(PIPELINE, 1)
    await _old_records(engine, (0, 1, 1))
    assert await OutboxPartitions(engine).drop_published(RETENTION) == []
    await registry.reset(PIPELINE, lanes=1, reason="the old log is published no more")
    assert await OutboxPartitions(engine).drop_published(RETENTION) == [OLD]


async def test_dropping_gives_way_to_those_who_work(engine: AsyncEngine, published: PostgresRelayCursors) -> None:
    async with engine.connect() as reader:
        await reader.execute(text("SELECT count(*) FROM qupersync.outbox"))
        assert await OutboxPartitions(engine).drop_published(RETENTION) == []
    assert await OutboxPartitions(engine).drop_published(RETENTION) == [OLD]


async def test_a_page_makes_the_partitions_it_needs(engine: AsyncEngine, registry: PostgresRegistry) -> None:
    await _drop_all(engine)
    async with PostgresUnitOfWorkFactory(engine)():
        assert len(await _names(engine)) > 1


async def test_a_record_without_partition_is_transient_and_heals(
    engine: AsyncEngine, registry: PostgresRegistry
) -> None:
    """The server's clock jumped over everything that was made ahead."""
    factory = PostgresUnitOfWorkFactory(engine)
    async with factory():
        pass  # partitions are not due again for an hour
    await _drop_all(engine)
    async with factory() as work:
        with pytest.raises(DatabaseUnavailableError, match="no partition"):
            await work.outbox.add([record(PIPELINE)])
    async with factory() as work:
        await work.outbox.add([record(PIPELINE)])
        await work.commit()


async def test_partitions_that_cannot_be_made_ahead_stop_nothing_yet(engine: AsyncEngine, outbox_dsn: str) -> None:
    impatient = create_engine(outbox_dsn, application_name="qupersync-test", connections=2, lock_timeout_seconds=0.2)
    partitions = OutboxPartitions(impatient)
    last = (await _names(engine))[-1]
    try:
        async with engine.begin() as blocker:
            await blocker.exec_driver_sql(f"DROP TABLE qupersync.{last}")
        async with engine.connect() as blocker:
            await blocker.execute(text("LOCK TABLE ONLY qupersync.outbox IN SHARE UPDATE EXCLUSIVE MODE"))  # as VACUUM
            async with PostgresUnitOfWorkFactory(impatient, partitions)() as work:
                await work.outbox.add([record(PIPELINE)])
                await work.commit()
            partitions.mark_missed()
            with pytest.raises(DatabaseUnavailableError, match="lock timeout"):
                await partitions.ensure_if_due()
        await partitions.ensure_if_due()
        assert last in await _names(engine)
    finally:
        await impatient.dispose()


async def _drop_all(engine: AsyncEngine) -> None:
    names = await _names(engine)
    async with engine.begin() as connection:
        for name in names:
            await connection.exec_driver_sql(f"DROP TABLE qupersync.{name}")


async def _names(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list((await connection.execute(_NAMES)).scalars())


async def _old_records(engine: AsyncEngine, *places: tuple[int, int, int]) -> None:
    async with engine.begin() as connection:
        await connection.execute(_MAKE_OLD)
        at = (await connection.execute(text("SELECT timestamptz '2024-01-01 07:00+00'"))).scalar_one()
        for lane, log, sequence in places:
            await connection.execute(_INSERT, {"lane": lane, "log": log, "sequence": sequence, "at": at})

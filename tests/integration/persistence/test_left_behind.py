"""A pipeline that was removed while its records wait: it pins the outbox, `status` says so, and `retire` ends it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from qupersync_extractor.domain.records import OutboxRecord
from qupersync_extractor.infrastructure.postgres.outbox import PostgresOutboxReader
from qupersync_extractor.infrastructure.postgres.overview import left_behind
from qupersync_extractor.infrastructure.postgres.partitions import OutboxPartitions
from qupersync_extractor.infrastructure.postgres.registry import PostgresRegistry
from qupersync_extractor.infrastructure.postgres.signals import PostgresSignals
from qupersync_extractor.infrastructure.postgres.unit_of_work import PostgresUnitOfWorkFactory
from qupersync_extractor.interface.plugin import plugin
from qupersync_extractor.interface.status import extractor_status
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.kernel.ids import EventId, Lane, Log, PipelineName, RunId, Sequence, uuid7
from qupersync_shared.runtime.cli.app import build_app
from qupersync_shared.runtime.plugins import Plugins
from qupersync_shared.runtime.settings import load

KEPT, REMOVED = PipelineName("kept"), PipelineName("removed")
RETENTION = timedelta(seconds=10)
_WIDE = text(  # made by the migration, for the default retention
    "SELECT format('DROP TABLE qupersync.%I', relname) FROM pg_inherits JOIN pg_class ON oid = inhrelid "
    "WHERE inhparent = 'qupersync.outbox'::regclass"
)


@pytest.fixture
async def signals(outbox_dsn: str) -> AsyncIterator[PostgresSignals]:
    made = PostgresSignals(outbox_dsn)
    yield made
    await made.close()


@pytest.fixture
def config(outbox_dsn: str, tmp_path: Path) -> Path:
    path = tmp_path / "qupersync.yaml"
    tree = {
        "source": {"kind": "duckdb", "path": str(tmp_path / "none.duckdb")},
        "outbox": {"dsn": outbox_dsn, "retention": "10s"},
        "nats": {"servers": ["nats://127.0.0.1:1"]},
        "pipelines": {KEPT: {"from": "main.kept", "into": "public.kept", "key": ["id"]}},
    }
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def record(pipeline: PipelineName, sequence: int) -> OutboxRecord:
    return OutboxRecord(
        id=EventId(uuid7()),
        pipeline=pipeline,
        lane=Lane(0),
        log=Log(1),
        sequence=Sequence(sequence),
        occurred_at=datetime.now(UTC),
        correlation_id=RunId(uuid7()),
        headers={},
        payload=b"x",
        event_type="qupersync.batch.v1",
        event_version=1,
    )


async def extracted(engine: AsyncEngine, signals: PostgresSignals, *pipelines: PipelineName) -> OutboxPartitions:
    """One record of each pipeline waits to be published, in a partition that is over the next moment."""
    async with engine.begin() as connection:
        for drop in (await connection.execute(_WIDE)).scalars().all():
            await connection.exec_driver_sql(drop)
    partitions = OutboxPartitions(engine, timedelta(seconds=1))
    await partitions.ensure_ahead()
    for pipeline in pipelines:
        await PostgresRegistry(engine, signals).register(pipeline, 2)
        async with PostgresUnitOfWorkFactory(engine, partitions)() as page:
            await page.outbox.add([record(pipeline, 1)])
            await page.commit()
    return partitions


async def until_old(engine: AsyncEngine, age: timedelta) -> None:
    old = text("SELECT max(occurred_at) < clock_timestamp() - make_interval(secs => :age) FROM qupersync.outbox")
    async with engine.connect() as connection, asyncio.timeout(60):
        while not (await connection.execute(old, {"age": age.total_seconds()})).scalar_one():  # noqa: ASYNC110  # a clock has no signal
            await asyncio.sleep(0.2)


async def told(engine: AsyncEngine, signals: PostgresSignals, pipeline: PipelineName) -> int:
    found = await PostgresOutboxReader(engine, signals).next_records(
        pipeline, Lane(0), Log(1), after=Sequence(0), limit=10, bytes_max=1000
    )
    return len(found)


async def command(config: Path, *arguments: str) -> Result:
    app = build_app(Plugins(whole=(plugin,)))
    return await asyncio.to_thread(CliRunner().invoke, app, ["--config", str(config), *arguments])


async def test_what_is_left_of_a_removed_pipeline_pins_the_outbox_until_it_is_retired(
    engine: AsyncEngine, signals: PostgresSignals, config: Path
) -> None:
    partitions = await extracted(engine, signals, REMOVED)
    await until_old(engine, RETENTION)
    await partitions.drop_published()
    assert await told(engine, signals, REMOVED) == 1, "what was never published is not dropped by itself"
    reasons = " ".join((await extractor_status(load(config, {}))).reasons)
    assert "removed is not configured here" in reasons
    assert "`qupersync retire removed`" in reasons

    answer = await command(config, "retire", REMOVED, "--yes")
    assert answer.exit_code == 0, answer.output
    assert "gave up 1 records of removed" in answer.output
    await partitions.drop_published()
    assert await told(engine, signals, REMOVED) == 0
    assert "retire" not in " ".join((await extractor_status(load(config, {}))).reasons)
    known = await PostgresRegistry(engine, signals).get(REMOVED)
    assert known is not None
    assert (known.state.log, known.lanes) == (2, 2), "written again, it begins a greater log"
    assert known.state.snapshot_wish is not None


async def test_only_what_waits_for_long_and_is_not_configured_is_named(
    engine: AsyncEngine, signals: PostgresSignals
) -> None:
    await extracted(engine, signals, KEPT, REMOVED)
    assert list(await left_behind(engine, [KEPT], longer_than=timedelta(0))) == [REMOVED]
    assert await left_behind(engine, [KEPT], longer_than=timedelta(hours=1)) == {}
    assert await left_behind(engine, [KEPT, REMOVED], longer_than=timedelta(0)) == {}


async def test_a_pipeline_that_is_configured_or_unknown_is_not_retired(
    engine: AsyncEngine, signals: PostgresSignals, config: Path
) -> None:
    await extracted(engine, signals, KEPT)
    answer = await command(config, "retire", KEPT, "--yes")
    assert isinstance(answer.exception, ConfigurationError)
    assert "qupersync reset kept" in answer.exception.cure
    answer = await command(config, "retire", "nobody", "--yes")
    assert isinstance(answer.exception, QupersyncError)
    known = await PostgresRegistry(engine, signals).get(KEPT)
    assert known is not None
    assert known.state.log == 1

"""A pipeline that was removed while its records wait: it pins the outbox, `status` says so, and `retire` ends it."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.integration.persistence.outbox import all_older, drop_partitions, record
from typer.testing import CliRunner

from qupersync_extractor.infrastructure.postgres.outbox import PostgresOutboxReader
from qupersync_extractor.infrastructure.postgres.overview import left_behind
from qupersync_extractor.infrastructure.postgres.partitions import OutboxPartitions
from qupersync_extractor.infrastructure.postgres.registry import PostgresRegistry
from qupersync_extractor.infrastructure.postgres.signals import PostgresSignals
from qupersync_extractor.infrastructure.postgres.unit_of_work import PostgresUnitOfWorkFactory
from qupersync_extractor.interface.plugin import plugin
from qupersync_extractor.interface.status import extractor_status
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.kernel.ids import Lane, Log, PipelineName, Sequence
from qupersync_shared.runtime.cli.app import build_app
from qupersync_shared.runtime.plugins import Plugins
from qupersync_shared.runtime.settings import load

KEPT, REMOVED = PipelineName("kept"), PipelineName("removed")
RETENTION = timedelta(seconds=10)


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


async def extracted(engine: AsyncEngine, signals: PostgresSignals, *pipelines: PipelineName) -> OutboxPartitions:
    """One record of each pipeline waits to be published, in a partition that is over the next moment."""
    await drop_partitions(engine)
    partitions = OutboxPartitions(engine, timedelta(seconds=1))
    await partitions.ensure_ahead()
    for pipeline in pipelines:
        await PostgresRegistry(engine, signals).register(pipeline, 2)
        async with PostgresUnitOfWorkFactory(engine, partitions)() as page:
            await page.outbox.add([record(pipeline, 1)])
            await page.commit()
    return partitions


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
    await all_older(engine, RETENTION)
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

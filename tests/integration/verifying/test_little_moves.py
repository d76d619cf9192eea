"""Real engines on both sides and NATS between them: what is equal moves almost nothing, and loaders come and go."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import asyncpg
import duckdb
import pytest
from tests.conformance.digests.targets import PostgresTargetHarness, opened_postgres
from tests.conformance.loader.events import pipeline as target_pipeline

from qupersync_extractor.application.verifying.records import REQUEST
from qupersync_extractor.application.verifying.verify import Outcome, VerificationPorts, Verify
from qupersync_extractor.domain.pipeline import DeletePolicy, Pipeline, SourceTable
from qupersync_extractor.infrastructure.jetstream.verification import NatsLoaders
from qupersync_extractor.infrastructure.memory.verifications import MemoryVerifications
from qupersync_extractor.infrastructure.sources.digests.opening import open_digests
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.nats.verification import VerificationServer
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.kernel.errors import TerminalError, TransientError
from qupersync_shared.kernel.ids import PipelineName, uuid7
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.settings import NatsSection
from qupersync_shared.runtime.settings.model import DuckDbSource

pytestmark = pytest.mark.integration

ROWS = int(os.environ.get("QUPERSYNC_VERIFY_ROWS", "100000"))
ROW_BYTES = 100
SOURCE = f"""
    CREATE TABLE facts AS
    SELECT n::BIGINT AS id, 'name ' || n || repeat('x', {ROW_BYTES}) AS name,
           (n * 7919 % 1000003)::DECIMAL(18, 2) AS amount, TIMESTAMP '2024-01-01' + n * INTERVAL 1 SECOND AS at,
           n / 7.0::DOUBLE AS ratio
    FROM range(1, {ROWS} + 1) AS r (n)
"""
TARGET = f"""
    CREATE TABLE public.facts AS
    SELECT n AS id, 'name ' || n || repeat('x', {ROW_BYTES}) AS name, (n * 7919 % 1000003)::numeric(18, 2) AS amount,
           timestamp '2024-01-01' + n * interval '1 second' AS at, n / 7.0::double precision AS ratio,
           now() AS synced_at, 1::bigint AS _qs_sequence, 0::smallint AS _qs_slot
    FROM generate_series(1::bigint, {ROWS}) AS n;
    ALTER TABLE public.facts ADD PRIMARY KEY (id);
"""


@dataclass(kw_only=True)
class Both:
    """A source in DuckDB and a target in PostgreSQL, which nobody changes but the test."""

    target: PostgresTargetHarness
    pipeline: TargetPipeline
    section: DuckDbSource
    nats: NatsSection

    @asynccontextmanager
    async def loader(self) -> AsyncIterator[None]:
        """One that answers."""
        connection = Connection(self.nats, name="test-loader")
        server = VerificationServer(connection, self.target.digests)
        await server.serve([self.pipeline])
        await server.start()
        await connection.client()
        try:
            yield
        finally:
            await server.stop()
            await connection.close()

    async def verify(self, *, patience_seconds: float = 10, deletes: DeletePolicy = DeletePolicy.APPLY) -> Outcome:
        source, digests = open_digests(self.section)
        connection = Connection(self.nats, name="test-extractor")
        loaders = NatsLoaders(
            connection, self.pipeline.group, self.pipeline.name, patience_seconds=patience_seconds, answer_seconds=60
        )
        idle: Any = SimpleNamespace(request_run=self._run)
        kept = MemoryVerifications(SystemClock().now)
        definition = Pipeline(
            name=self.pipeline.name,
            relation=SourceTable("main", "facts"),
            key=("id",),
            cursor="at",
            lookback=timedelta(0),
            safety_lag=timedelta(0),
            page_rows=100,
            lanes=1,
            snapshot_every=None,
            deletes=deletes,
        )
        verify = Verify(
            pipeline=definition,
            group=self.pipeline.group,
            ports=VerificationPorts(
                source=source, digests=digests, loaders=loaders, registry=idle, rereads=idle, verifications=kept
            ),
            withheld=frozenset(),
            seconds=30,
        )
        one = uuid7()
        await kept.begin(one, self.pipeline.name, self.pipeline.group, cause=REQUEST)
        try:
            return await verify(one, repair=False)
        finally:
            await connection.close()
            await source.close()

    async def _run(self, *_: object) -> None:
        """The pipeline has passed this moment."""
        await self.execute(
            "UPDATE public.qupersync_watermark SET honest_time = clock_timestamp() WHERE pipeline = $1",
            self.pipeline.name,
        )

    async def execute(self, sql: str, *values: Any) -> None:
        connection = await asyncpg.connect(self.target.dsn)
        try:
            await connection.execute(sql, *values)
        finally:
            await connection.close()


@pytest.fixture
async def both(local_stack: ThreadedStack, tmp_path: Path) -> AsyncIterator[Both]:
    path = tmp_path / "facts.duckdb"
    with duckdb.connect(str(path)) as warehouse:
        warehouse.execute(SOURCE)
    async with opened_postgres(local_stack) as target:
        name = PipelineName(f"p{uuid4().hex[:10]}")
        made = Both(
            target=target,
            pipeline=replace(target_pipeline(), name=name, table="facts"),
            section=DuckDbSource(kind="duckdb", path=path),
            nats=NatsSection(servers=[local_stack.stack.nats.url]),
        )
        await made.execute(TARGET)
        await made.execute(
            "INSERT INTO public.qupersync_pipeline "
            "(group_name, pipeline, target_schema, target_table, made, log, lanes) "
            "VALUES ($1, $2, 'public', 'facts', true, 1, 1)",
            made.pipeline.group,
            name,
        )
        await made.execute(
            "INSERT INTO public.qupersync_watermark (group_name, pipeline, lane, lanes, log, sequence, event_id) "
            "VALUES ($1, $2, 0, 1, 1, 1, gen_random_uuid())",
            made.pipeline.group,
            name,
        )
        yield made


async def test_of_equal_rows_less_than_one_percent_moves(both: Both) -> None:
    async with both.loader():
        outcome = await both.verify()
    assert outcome.equal
    assert outcome.counts().source_rows == outcome.counts().target_rows == ROWS
    assert 0 < outcome.bytes_moved < ROWS * ROW_BYTES / 100, outcome.bytes_moved


async def test_few_differences_among_many_rows_are_found_for_little(both: Both) -> None:
    await both.execute("UPDATE facts SET ratio = ratio + 1 WHERE id = 54321")
    await both.execute("DELETE FROM facts WHERE id IN (1, 99999)")
    async with both.loader():
        outcome = await both.verify()
    assert [(one.key[0].text, one.columns) for one in outcome.drift] == [
        ("1", ()),
        ("54321", ("ratio",)),
        ("99999", ()),
    ]
    assert outcome.bytes_moved < ROWS * ROW_BYTES / 50


async def test_a_loader_that_comes_late_is_waited_for_and_none_is_said(both: Both) -> None:
    with pytest.raises(TransientError, match=f"no loader of group main answers for {both.pipeline.name}"):
        await both.verify(patience_seconds=0.5)
    asking = asyncio.create_task(both.verify(patience_seconds=30))
    async with both.loader():
        assert (await asking).equal


async def test_a_loader_that_fails_says_so_instead_of_being_taken_for_none(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(both.target.digests, "opened", fail)
    async with both.loader():
        with pytest.raises(TerminalError, match="could not answer") as raised:
            await asyncio.wait_for(both.verify(), 60)
    assert "verification_failed" in raised.value.cure


async def test_a_keeping_target_has_any_number_of_rows_before_the_first_key_of_its_source(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are looked at where the source has some; the rest never outgrows a statement."""
    monkeypatch.setattr("qupersync_loader.infrastructure.postgres.digests.RANGE_ROWS_MAX", 20_000)
    await both.execute(
        "INSERT INTO facts SELECT -id, name, amount, at, ratio, synced_at, 1, 0 FROM facts WHERE id <= 40000"
    )
    await both.execute("UPDATE facts SET ratio = ratio + 1 WHERE id = 77")
    async with both.loader():
        outcome = await both.verify(deletes=DeletePolicy.KEEP)
    assert [(one.key[0].text, one.columns) for one in outcome.drift] == [("77", ("ratio",))]

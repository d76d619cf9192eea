"""An extractor over the real source stand-in, outbox database and NATS, one database and table of its own per test."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from tests.integration.extractor.folding import Fold

from qupersync_extractor.application.running import RunHooks, RunReport
from qupersync_extractor.bootstrap import Workshop, workshop
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_local.stack import OUTBOX_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.ids import Lane, Log, PipelineName, Sequence
from qupersync_shared.runtime.settings import Configuration


@dataclass
class Bench:
    """One pipeline on a workbench: its source table, its extractor, and what its events add up to."""

    stack: ThreadedStack
    table: str
    outbox_dsn: str
    options: dict[str, Any]
    closing: AsyncExitStack
    source: asyncpg.Connection
    fold: Fold = field(default_factory=Fold)
    folded: dict[int, int] = field(default_factory=dict)

    async def process(self, **changes: Any) -> "Runner":
        """An extractor process of its own (in this one), with other options of the pipeline if given."""
        described = self.stack.describe()
        configuration = Configuration.model_validate(
            {
                "source": described["source"],
                "outbox": {"dsn": self.outbox_dsn},
                "nats": described["nats"],
                "pipelines": {self.table: self.options | changes},
            }
        )
        shop = await self.closing.enter_async_context(workshop(configuration, role="extractor"))
        source = shop.source()
        self.closing.push_async_callback(source.close)
        pipeline = shop.settings.pipelines[0]
        await shop.stream.declare(pipeline.name)
        await shop.stores.registry.register(pipeline.name, pipeline.lanes)
        return Runner(bench=self, shop=shop, use=shop.service(pipeline, source).use_case)

    async def execute(self, sql: str, *arguments: Any) -> None:
        await self.source.execute(sql.replace("{t}", f"bench.{self.table}"), *arguments)

    async def ids(self) -> dict[int, str | None]:
        found = await self.source.fetch(f"SELECT id, note FROM bench.{self.table} WHERE id IS NOT NULL")
        return {row["id"]: row["note"] for row in found}

    def folded_ids(self) -> dict[int, str | None]:
        return {int(row["id"]): row["note"] for row in self.fold.rows.values()}


@dataclass
class Runner:
    """Runs the pipeline and folds what came of it."""

    bench: Bench
    shop: Workshop
    use: Any

    async def run(
        self, *, forced: ForcedMode | None = None, incremental_due: Callable[[], bool] = lambda: False
    ) -> RunReport:
        report: RunReport = await self.use.run(forced=forced, hooks=RunHooks(incremental_due=incremental_due))
        await self.collect()
        return report

    async def collect(self) -> None:
        """Feeds the fold with every record of the current log that it has not seen."""
        name = PipelineName(self.bench.table)
        registration = await self.shop.stores.registry.get(name)
        assert registration is not None
        log = Log(registration.state.log)
        records: list[OutboxRecord] = []
        for lane in range(registration.lanes):
            after = Sequence(self.bench.folded.get(log, 0))
            while found := await self.shop.stores.outbox.next_records(
                name, Lane(lane), log, after=after, limit=100, bytes_max=1 << 26
            ):
                records += found
                after = found[-1].sequence
        self.bench.fold.feed(records)
        if records:
            self.bench.folded[log] = max(record.sequence for record in records)


@pytest.fixture(scope="session")
def bench_schema(local_stack: ThreadedStack) -> None:
    local_stack.execute_source("CREATE SCHEMA IF NOT EXISTS bench; GRANT USAGE ON SCHEMA bench TO PUBLIC")


@pytest.fixture
async def bench(local_stack: ThreadedStack, outbox_template: str, bench_schema: None) -> AsyncIterator[Bench]:
    """A table (id, note, updated_at) of the test's own and a pipeline over it: pages of 100 rows, 3 lanes."""
    table = f"t{uuid4().hex[:12]}"
    local_stack.create_database(table, owner=OUTBOX_ROLE, template=outbox_template)
    connection = await asyncpg.connect(local_stack.describe()["source_postgresql"]["dsn"])
    await connection.execute(f"CREATE TABLE bench.{table} (id bigint, note varchar(60000), updated_at timestamp)")
    await connection.execute(f"GRANT SELECT ON bench.{table} TO PUBLIC")
    options: dict[str, Any] = {
        "from": f"bench.{table}",
        "into": f"public.{table}",
        "key": ["id"],
        "cursor": "updated_at",
        "lanes": 3,
        "page_rows": 100,
        "safety_lag": timedelta(0),
        "lookback": timedelta(minutes=10),
        "schedule": "continuous",
    }
    async with AsyncExitStack() as closing:
        yield Bench(
            stack=local_stack,
            table=table,
            outbox_dsn=local_stack.stack.dsn(OUTBOX_ROLE, table),
            options=options,
            closing=closing,
            source=connection,
        )
    await connection.close()
    local_stack.faults.clear()
    local_stack.drop_database(table)

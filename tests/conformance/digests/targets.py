"""Both adapters of target digests, filled the ordinary way: by an event of every row."""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pyarrow as pa
from tests.conformance.loader.asking import MovedClock, NotedCommands
from tests.conformance.loader.events import Event, Extractor, delivery, pipeline
from tests.conformance.source.conftest import DuckDbHarness

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.digests import TargetDigests
from qupersync_loader.application.outcome import Ack
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.memory.digests import MemoryDigests
from qupersync_loader.infrastructure.postgres.digests import PostgresDigests
from qupersync_loader.infrastructure.postgres.schema import migrate_target
from qupersync_loader.infrastructure.postgres.target import PostgresTarget
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.schema import SLOT_COLUMN, RowSchema
from qupersync_shared.contracts.slots import canonical_keys, slots_of
from qupersync_shared.contracts.verification import Standing
from qupersync_shared.kernel.ids import Lane, uuid7
from qupersync_shared.runtime.database import create_engine


class TargetHarness(Protocol):
    digests: TargetDigests
    pipeline: TargetPipeline
    standing: Standing

    async def load(self, schema: RowSchema, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        """Rows, whose values are texts, into the table; as a warehouse's adapter reads them."""
        ...


async def read_back(schema: RowSchema, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """The rows in Arrow, exactly, by way of DuckDB."""
    with tempfile.TemporaryDirectory() as directory:
        warehouse = DuckDbHarness(Path(directory) / "values.duckdb")
        try:
            relation = await warehouse.create(schema.columns, rows)
            request = ReadRequest(relation=relation, schema=schema, range=KeyRange(after=None), limit=100_000)
            return await warehouse.source.read(request)
        finally:
            await warehouse.source.close()


def snapshot_of(source: Extractor, batch: pa.RecordBatch) -> list[Event]:
    """A whole snapshot in one page."""
    source.sequence += 1
    source.clock += timedelta(minutes=1)
    slots = slots_of(canonical_keys(batch, source.schema))
    slotted = batch.append_column(pa.field(SLOT_COLUMN, pa.int16(), nullable=False), pa.array(slots, pa.int16()))
    facts = {"snapshot_id": uuid7(), "snapshot_first": True, "snapshot_last": True}
    return [source._event(slotted, slots, Lane(lane), Mode.SNAPSHOT, facts) for lane in range(source.lanes)]


class MemoryTargetHarness:
    def __init__(self) -> None:
        self.pipeline = pipeline()
        self.memory = MemoryDigests(standing=Standing(log=1, sequence=1))
        self.digests: TargetDigests = self.memory

    @property
    def standing(self) -> Standing:
        return self.memory.standing

    async def load(self, schema: RowSchema, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        self.memory.batch = await read_back(schema, rows)
        return self.memory.batch


class PostgresTargetHarness:
    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.pipeline = pipeline(lanes=2)
        self.target = PostgresTarget(create_engine(dsn, application_name="qupersync-test", connections=2))
        self._own = PostgresDigests(create_engine(dsn, application_name="qupersync-test", connections=1))
        self.digests: TargetDigests = self._own
        self.standing = Standing()

    async def load(self, schema: RowSchema, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        batch = await read_back(schema, rows)
        source = Extractor(schema, lanes=2)
        use_case = ApplyEvent(self.pipeline, NotedCommands(), MovedClock())
        for event in snapshot_of(source, batch):
            async with self.target.session(self.pipeline) as session:
                outcome = await use_case(Lane(event.envelope.lane), delivery(event), session)
            assert isinstance(outcome, Ack), outcome
            assert outcome.applied.quarantined == 0
        self.standing = Standing(log=1, sequence=1, honest_time=source.clock)
        return batch

    async def close(self) -> None:
        await self.target.close()
        await self._own.close()


@asynccontextmanager
async def opened_postgres(stack: ThreadedStack) -> AsyncIterator[PostgresTargetHarness]:
    """A migrated target database of its own."""
    name = f"digests_{uuid4().hex[:12]}"
    stack.create_database(name, owner=TARGET_ROLE)
    dsn = stack.stack.dsn(TARGET_ROLE, name)
    stack.call(migrate_target(dsn))
    harness = PostgresTargetHarness(dsn)
    try:
        yield harness
    finally:
        await harness.close()
        stack.drop_database(name)

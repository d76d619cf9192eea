"""Both adapters of the extractor's persistence, behind one harness that says what tests do besides the ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

import pytest

from qupersync_extractor.application.actions import Actions
from qupersync_extractor.application.appointments import LastRuns
from qupersync_extractor.application.control import ControlWorkFactory
from qupersync_extractor.application.idempotency import Requests
from qupersync_extractor.application.ledger import Ledger
from qupersync_extractor.application.observing import LedgerMarks
from qupersync_extractor.application.ports import OutboxReader, Registry, RelayCursors, UnitOfWorkFactory
from qupersync_extractor.application.quarantine import WithheldRows
from qupersync_extractor.application.rereads import Rereads
from qupersync_extractor.application.runs import Runs
from qupersync_extractor.application.verifying.records import Verifications
from qupersync_extractor.domain.extraction import HeartbeatPage, commit_page
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_extractor.infrastructure.memory.actions import MemoryActions
from qupersync_extractor.infrastructure.memory.control import MemoryControlWork
from qupersync_extractor.infrastructure.memory.idempotency import MemoryRequests
from qupersync_extractor.infrastructure.memory.last_runs import MemoryLastRuns
from qupersync_extractor.infrastructure.memory.ledger import MemoryLedger
from qupersync_extractor.infrastructure.memory.outbox import MemoryOutboxReader
from qupersync_extractor.infrastructure.memory.quarantine import MemoryWithheldRows
from qupersync_extractor.infrastructure.memory.registry import MemoryRegistry
from qupersync_extractor.infrastructure.memory.relay_cursors import MemoryRelayCursors
from qupersync_extractor.infrastructure.memory.rereads import MemoryRereads
from qupersync_extractor.infrastructure.memory.runs import MemoryRuns
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_extractor.infrastructure.memory.unit_of_work import MemoryUnitOfWorkFactory
from qupersync_extractor.infrastructure.memory.verifications import MemoryVerifications
from qupersync_extractor.infrastructure.postgres.actions import PostgresActions
from qupersync_extractor.infrastructure.postgres.control import PostgresControlWork
from qupersync_extractor.infrastructure.postgres.idempotency import PostgresRequests
from qupersync_extractor.infrastructure.postgres.last_runs import PostgresLastRuns
from qupersync_extractor.infrastructure.postgres.ledger import PostgresLedger
from qupersync_extractor.infrastructure.postgres.ledger_marks import PostgresLedgerMarks
from qupersync_extractor.infrastructure.postgres.outbox import PostgresOutboxReader
from qupersync_extractor.infrastructure.postgres.quarantine import PostgresWithheldRows
from qupersync_extractor.infrastructure.postgres.registry import PostgresRegistry
from qupersync_extractor.infrastructure.postgres.relay_cursors import PostgresRelayCursors
from qupersync_extractor.infrastructure.postgres.rereads import PostgresRereads
from qupersync_extractor.infrastructure.postgres.runs import PostgresRuns
from qupersync_extractor.infrastructure.postgres.signals import PostgresSignals
from qupersync_extractor.infrastructure.postgres.unit_of_work import PostgresUnitOfWorkFactory
from qupersync_extractor.infrastructure.postgres.verifications import PostgresVerifications
from qupersync_local.stack import OUTBOX_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.ids import EventId, FencingToken, Lane, Log, PipelineName, RunId, Sequence, uuid7
from qupersync_shared.runtime.database import connect, create_engine

LANES = 2
PIPELINE = PipelineName("orders")


class Harness(Protocol):
    unit_of_work: UnitOfWorkFactory
    registry: Registry
    outbox: OutboxReader
    cursors: RelayCursors
    runs: Runs
    ledger: Ledger
    marks: LedgerMarks
    last_runs: LastRuns
    actions: Actions
    requests: Requests
    verifications: Verifications
    controls: ControlWorkFactory
    rereads: Rereads
    quarantine: WithheldRows

    async def pass_time(self, seconds: float) -> None:
        """Lets leases, runs, done rereads and settled rows become older by so much."""
        ...

    async def drop_records(self, upto: Sequence) -> None:
        """Takes records away as dropped partitions do."""
        ...

    async def withheld(self) -> list[tuple[str, str, EventId]]: ...


class MemoryHarness:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.unit_of_work: UnitOfWorkFactory = MemoryUnitOfWorkFactory(self.store)
        self.registry: Registry = MemoryRegistry(self.store)
        self.outbox: OutboxReader = MemoryOutboxReader(self.store)
        self.cursors: RelayCursors = MemoryRelayCursors(self.store)
        self.runs: Runs = MemoryRuns(self.store)
        self.ledger = MemoryLedger(self.store)
        self.marks: LedgerMarks = self.ledger
        self.last_runs: LastRuns = MemoryLastRuns(self.store)
        self.actions: Actions = MemoryActions(self.store)
        self.requests: Requests = MemoryRequests(self.store.now)
        self.verifications: Verifications = MemoryVerifications(self.store.now)
        self.controls: ControlWorkFactory = lambda: MemoryControlWork(self.store)
        self.rereads: Rereads = MemoryRereads(self.store)
        self.quarantine: WithheldRows = MemoryWithheldRows(self.store)

    async def pass_time(self, seconds: float) -> None:
        self.store.advance(seconds)

    async def drop_records(self, upto: Sequence) -> None:
        self.store.drop_records(upto=upto)

    async def withheld(self) -> list[tuple[str, str, EventId]]:
        return sorted((row.key, row.reason, row.event_id) for row in self.store.withheld.values())


class PostgresHarness:
    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.engine = create_engine(dsn, application_name="qupersync-test", connections=8, lock_timeout_seconds=5)
        self.signals = PostgresSignals(dsn)
        self.unit_of_work: UnitOfWorkFactory = PostgresUnitOfWorkFactory(self.engine)
        self.registry: Registry = PostgresRegistry(self.engine, self.signals)
        self.outbox: OutboxReader = PostgresOutboxReader(self.engine, self.signals)
        self.cursors: RelayCursors = PostgresRelayCursors(self.engine)
        self.runs: Runs = PostgresRuns(self.engine)
        self.ledger: Ledger = PostgresLedger(self.engine)
        self.marks: LedgerMarks = PostgresLedgerMarks(self.engine)
        self.last_runs: LastRuns = PostgresLastRuns(self.engine)
        self.actions: Actions = PostgresActions(self.engine)
        self.requests: Requests = PostgresRequests(self.engine)
        self.verifications: Verifications = PostgresVerifications(self.engine)
        self.controls: ControlWorkFactory = lambda: PostgresControlWork(self.engine)
        self.rereads: Rereads = PostgresRereads(self.engine)
        self.quarantine: WithheldRows = PostgresWithheldRows(self.engine)

    async def pass_time(self, seconds: float) -> None:
        await self.execute(
            "UPDATE qupersync.extraction SET lease_until = lease_until - $1::float8 * interval '1s'", seconds
        )
        await self.execute(
            "UPDATE qupersync.relay_cursor SET lease_until = lease_until - $1::float8 * interval '1s'", seconds
        )
        for table in ("run", "verification"):
            await self.execute(
                f"UPDATE qupersync.{table} SET started_at = started_at - $1::float8 * interval '1s',"
                " ended_at = ended_at - $1::float8 * interval '1s'",
                seconds,
            )
        for table, column in (("ledger_page", "extracted_at"), ("ledger_mark", "reached_at")):
            await self.execute(
                f"UPDATE qupersync.{table} SET {column} = {column} - $1::float8 * interval '1s'", seconds
            )
        await self.execute(
            "UPDATE qupersync.reread_request SET done_at = done_at - $1::float8 * interval '1s'", seconds
        )
        await self.execute(
            "UPDATE qupersync.source_quarantine SET resolved_at = resolved_at - $1::float8 * interval '1s'", seconds
        )
        await self.execute("UPDATE qupersync.idempotency SET made_at = made_at - $1::float8 * interval '1s'", seconds)
        await self.execute("UPDATE qupersync.action SET at = at - $1::float8 * interval '1s'", seconds)
        await self.execute("UPDATE qupersync.remembered SET used_at = used_at - $1::float8 * interval '1s'", seconds)

    async def drop_records(self, upto: Sequence) -> None:
        await self.execute("DELETE FROM qupersync.outbox WHERE sequence <= $1", upto)

    async def withheld(self) -> list[tuple[str, str, EventId]]:
        connection = await connect(self.dsn, application_name="qupersync-test")
        try:
            rows = await connection.fetch("SELECT key, reason, event_id FROM qupersync.source_quarantine ORDER BY key")
        finally:
            await connection.close()
        return [(row["key"], row["reason"], EventId(row["event_id"])) for row in rows]

    async def execute(self, sql: str, *values: object) -> None:
        connection = await connect(self.dsn, application_name="qupersync-test")
        try:
            await connection.execute(sql, *values)
        finally:
            await connection.close()

    async def close(self) -> None:
        await self.signals.close()
        await self.engine.dispose()


@asynccontextmanager
async def _postgres(stack: ThreadedStack, template: str) -> AsyncIterator[PostgresHarness]:
    name = f"persistence_{uuid4().hex[:12]}"
    stack.create_database(name, owner=OUTBOX_ROLE, template=template)
    harness = PostgresHarness(stack.stack.dsn(OUTBOX_ROLE, name))
    try:
        yield harness
    finally:
        await harness.close()
        stack.drop_database(name)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def persistence(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    if request.param == "memory":
        yield MemoryHarness()
        return
    async with _postgres(request.getfixturevalue("local_stack"), request.getfixturevalue("outbox_template")) as made:
        yield made


class Writer:
    """Commits pages as the extractor does, one after the other."""

    def __init__(self, persistence: Harness, token: FencingToken) -> None:
        self.persistence = persistence
        self.token = token

    @staticmethod
    def record(lane: int, sequence: int, *, log: int = 1, payload: bytes = b"rows") -> OutboxRecord:
        return record(lane, sequence, log=log, payload=payload)

    async def page(self, *, payload: bytes = b"rows", lanes: tuple[int, ...] | None = None) -> list[OutboxRecord]:
        """One committed page: a record on every lane, or on those named (a hole on the others)."""
        async with self.persistence.unit_of_work() as work:
            before = await work.extractions.lock(PIPELINE, self.token)
            ids = {Lane(lane): EventId(uuid7()) for lane in range(before.lanes)}
            state = commit_page(before, HeartbeatPage(), event_ids=ids, at=datetime.now(UTC))
            records = [
                record(lane, state.sequence, log=state.log, event_id=ids[lane], payload=payload)
                for lane in ids
                if lanes is None or lane in lanes
            ]
            await work.outbox.add(records)
            await work.extractions.save(state)
            await work.commit()
        return records


@pytest.fixture
async def writer(persistence: Harness) -> Writer:
    await persistence.registry.register(PIPELINE, LANES)
    token = await persistence.registry.acquire(PIPELINE, "writer", 600)
    assert token is not None
    return Writer(persistence, token)


def record(
    lane: int,
    sequence: int,
    *,
    log: int = 1,
    event_id: EventId | None = None,
    payload: bytes = b"rows",
    pipeline: PipelineName = PIPELINE,
) -> OutboxRecord:
    return OutboxRecord(
        id=event_id or EventId(uuid7()),
        pipeline=pipeline,
        lane=Lane(lane),
        log=Log(log),
        sequence=Sequence(sequence),
        occurred_at=datetime(2001, 1, 1, tzinfo=UTC),
        correlation_id=RunId(uuid7()),
        headers={"ce-id": "x", "ce-rangefrom": "%7B%22v%22%3A1%7D"},
        payload=payload,
        event_type="qupersync.batch.v1",
        event_version=1,
        causation_id=EventId(uuid7()),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )

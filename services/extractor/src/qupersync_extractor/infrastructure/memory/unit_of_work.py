"""The page transaction in memory: everything is staged, and kept only by the commit."""

import asyncio
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from types import TracebackType
from typing import Self
from uuid import UUID

from qupersync_extractor.application.quarantine import Resolution, WithheldRow
from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.domain.records import LedgerLine, OutboxRecord
from qupersync_extractor.domain.rereads import Reread
from qupersync_extractor.infrastructure.memory.quarantine import resolve, unresolved, withhold
from qupersync_extractor.infrastructure.memory.rereads import WAITING_AT_ONCE, keep, waiting_of
from qupersync_extractor.infrastructure.memory.store import CommitFault, MemoryStore, RecordKey
from qupersync_shared.kernel.errors import DatabaseUnavailableError, LeaseLostError, TerminalError
from qupersync_shared.kernel.ids import FencingToken, PipelineName


class MemoryUnitOfWork:
    """One transaction on a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._open = False
        self._failed = False
        self._locks: dict[PipelineName, asyncio.Lock] = {}
        self._states: dict[PipelineName, Extraction] = {}
        self._records: dict[RecordKey, OutboxRecord] = {}
        self._lines: list[LedgerLine] = []
        self._withheld: list[WithheldRow] = []
        self._settled: list[tuple[PipelineName, Mapping[str, Resolution]]] = []
        self._reread: dict[UUID, Reread] = {}
        self._extractions = _Extractions(self)
        self._outbox = _OutboxWriter(self)
        self._quarantine = _SourceQuarantine(self)
        self._rereads = _RereadQueue(self)

    @property
    def extractions(self) -> "_Extractions":
        return self._extractions

    @property
    def outbox(self) -> "_OutboxWriter":
        return self._outbox

    @property
    def quarantine(self) -> "_SourceQuarantine":
        return self._quarantine

    @property
    def rereads(self) -> "_RereadQueue":
        return self._rereads

    async def commit(self) -> None:
        if self._failed:
            raise DatabaseUnavailableError("a statement of this transaction failed before: nothing is committed")
        self._working()
        self._failed = True  # a unit of work commits once
        fault, self._store.commit_fault = self._store.commit_fault, None
        if fault is not CommitFault.LOST:
            await self._keep()
        if fault is not None:
            raise DatabaseUnavailableError("the connection was lost during the commit")

    async def __aenter__(self) -> Self:
        self._store.check()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()

    async def lock(self, pipeline: PipelineName, token: FencingToken) -> Extraction:
        self._working()
        if pipeline not in self._locks:
            self._locks[pipeline] = await self._store.lock(pipeline)
        row = self._store.pipelines.get(pipeline)
        if row is None:
            raise LeaseLostError(f"{pipeline} is no longer registered in the outbox database")
        if row.token != token or row.lease is None:
            holder = row.lease.owner if row.lease else "nobody"
            raise LeaseLostError(f"the lease of {pipeline} is held by {holder} under another token")
        return self._states.get(pipeline, row.state)

    def stage_state(self, state: Extraction) -> None:
        self._working()
        if state.pipeline not in self._locks:
            raise RuntimeError(f"{state.pipeline} was not locked in this unit of work")
        self._states[state.pipeline] = state

    def stage_records(self, records: SequenceOf[OutboxRecord]) -> None:
        self._working()
        for record in records:
            key = (record.pipeline, record.lane, record.log, record.sequence)
            if record.lane < 0 or record.sequence < 1 or record.log < 1:
                self._failed = True
                raise TerminalError(f"the outbox refuses lane {record.lane}, log {record.log}, {record.sequence}")
            self._records[key] = replace(record, headers=dict(record.headers), occurred_at=self._store.now())

    def stage_line(self, line: LedgerLine) -> None:
        self._working()
        self._lines.append(line)

    def stage_withheld(self, rows: SequenceOf[WithheldRow]) -> None:
        self._working()
        self._withheld.extend(rows)

    def stage_settled(self, pipeline: PipelineName, settled: Mapping[str, Resolution]) -> None:
        self._working()
        self._settled.append((pipeline, settled))

    def stage_rereads(self, rereads: SequenceOf[Reread]) -> None:
        self._working()
        self._reread.update({reread.id: reread for reread in rereads})

    def seen(self) -> MemoryStore:
        """What is committed."""
        self._working()
        return self._store

    async def _keep(self) -> None:
        store = self._store
        for pipeline, state in self._states.items():
            store.pipelines[pipeline].state = state
        store.outbox.update(self._records)
        for line in self._lines:
            store.write_line(line)
        for pipeline, settled in self._settled:
            resolve(store, pipeline, settled)
        withhold(store, self._withheld)
        keep(store, list(self._reread.values()))
        if self._records:
            await store.ring({record.pipeline for record in self._records.values()})

    def _working(self) -> None:
        if not self._open:
            raise RuntimeError("the unit of work was not entered, or has ended")
        self._store.check()


class MemoryUnitOfWorkFactory:
    """Makes units of work on one MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __call__(self) -> MemoryUnitOfWork:
        return MemoryUnitOfWork(self._store)


class _Extractions:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def lock(self, pipeline: PipelineName, token: FencingToken) -> Extraction:
        return await self._work.lock(pipeline, token)

    async def save(self, state: Extraction) -> None:
        self._work.stage_state(state)


class _OutboxWriter:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def add(self, records: SequenceOf[OutboxRecord], line: LedgerLine | None = None) -> None:
        self._work.stage_records(records)
        if line is not None:
            self._work.stage_line(line)


class _SourceQuarantine:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def add(self, rows: SequenceOf[WithheldRow]) -> None:
        self._work.stage_withheld(rows)

    async def unresolved(self, pipeline: PipelineName) -> list[str]:
        return unresolved(self._work.seen(), pipeline)

    async def resolve(self, pipeline: PipelineName, settled: Mapping[str, Resolution]) -> None:
        self._work.stage_settled(pipeline, settled)


class _RereadQueue:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def waiting(self, pipeline: PipelineName) -> list[Reread]:
        return waiting_of(self._work.seen(), pipeline)[:WAITING_AT_ONCE]

    async def save(self, rereads: SequenceOf[Reread]) -> None:
        self._work.stage_rereads(rereads)

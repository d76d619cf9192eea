"""The extractor's database in memory: what the twins of the PostgreSQL adapters share, with its locks and its clock."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import count
from typing import Final
from uuid import UUID

from qupersync_extractor.application.actions import Action
from qupersync_extractor.application.appointments import LastRun
from qupersync_extractor.application.control import PipelineControl
from qupersync_extractor.application.leasing import LEASE_MAX
from qupersync_extractor.application.quarantine import Resolution, WithheldRow
from qupersync_extractor.application.remembering import Facts
from qupersync_extractor.application.runs import RunRecord
from qupersync_extractor.application.source_use import ListedRead
from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.domain.records import LedgerLine, OutboxRecord, RelayCursor
from qupersync_extractor.domain.rereads import Reread
from qupersync_extractor.domain.source_budget import MinuteUse
from qupersync_extractor.domain.whereabouts import Reached
from qupersync_shared.kernel.errors import DatabaseUnavailableError
from qupersync_shared.kernel.ids import FencingToken, GroupName, Lane, Log, PipelineName, RunId, Sequence

NO_TOKEN: Final = FencingToken(0)
RecordKey = tuple[PipelineName, Lane, Log, Sequence]


class CommitFault(Enum):
    """What happens to a commit whose answer never arrives."""

    LOST = "lost"
    KEPT = "kept"


@dataclass(slots=True, kw_only=True)
class Lease:
    owner: str
    until: datetime

    def holds(self, now: datetime) -> bool:
        """Whether it keeps others away."""
        return now < self.until <= now + LEASE_MAX


@dataclass(slots=True, kw_only=True)
class PipelineRow:
    """One pipeline: its committed state and everything around it."""

    state: Extraction
    token: FencingToken = NO_TOKEN
    lease: Lease | None = None
    trouble: str | None = None
    run_requested: bool = False
    run_mode: str | None = None
    run_ticket: int = 0
    forked_log: Log | None = None


@dataclass(slots=True, kw_only=True)
class CursorRow:
    cursor: RelayCursor
    lease: Lease | None = None


@dataclass(slots=True, kw_only=True)
class RereadRow:
    reread: Reread
    requested_at: datetime
    done_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class RememberedRow:
    facts: Facts
    used_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReadRow:
    read: ListedRead
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPage:
    line: LedgerLine
    number: int
    extracted_at: datetime


@dataclass(slots=True, kw_only=True)
class LedgerRows:
    """The ledger's three tables. The name of a mark's group is empty for what was published."""

    pages: dict[tuple[PipelineName, Log, Sequence], LedgerPage] = field(default_factory=dict)
    marks: dict[tuple[PipelineName, Log, str, Sequence], datetime] = field(default_factory=dict)
    reach: dict[tuple[PipelineName, GroupName], Reached] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))


@dataclass(slots=True, kw_only=True)
class WithheldState:
    """What became of a withheld row."""

    first_seen_at: datetime
    last_seen_at: datetime
    times: int = 0
    resolved_at: datetime | None = None
    resolution: Resolution | None = None


@dataclass(slots=True, kw_only=True)
class MemoryStore:
    """Rows, row locks, a clock that tests may move, and faults that tests may set.

    `unavailable` makes every call fail as if the server were down; `commit_fault` loses the answer of the next commit.
    """

    lock_timeout_seconds: float = 10.0
    pipelines: dict[PipelineName, PipelineRow] = field(default_factory=dict)
    outbox: dict[RecordKey, OutboxRecord] = field(default_factory=dict)
    cursors: dict[tuple[PipelineName, Lane], CursorRow] = field(default_factory=dict)
    withheld: dict[tuple[PipelineName, str], WithheldRow] = field(default_factory=dict)
    withheld_states: dict[tuple[PipelineName, str], WithheldState] = field(default_factory=dict)
    rereads: dict[UUID, RereadRow] = field(default_factory=dict)
    runs: dict[RunId, RunRecord] = field(default_factory=dict)
    ledger: LedgerRows = field(default_factory=LedgerRows)
    remembered: dict[tuple[str, str], RememberedRow] = field(default_factory=dict)
    controls: dict[PipelineName, PipelineControl] = field(default_factory=dict)
    actions: dict[UUID, Action] = field(default_factory=dict)
    last_runs: dict[PipelineName, LastRun] = field(default_factory=dict)
    source_reads: dict[UUID, SourceReadRow] = field(default_factory=dict)
    source_minute: MinuteUse | None = None
    unavailable: str | None = None
    commit_fault: CommitFault | None = None
    _ahead: timedelta = timedelta(0)
    _locks: defaultdict[PipelineName, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _committed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _commits: int = 0
    _seen: int = 0
    _written: set[PipelineName] = field(default_factory=set)
    _requests: int = 0
    _seen_requests: int = 0
    _source_reads_ended: int = 0

    def now(self) -> datetime:
        """The database's clock."""
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        """Moves the database's clock."""
        self._ahead += timedelta(seconds=seconds)

    def check(self) -> None:
        """DatabaseUnavailableError while the store is made unavailable."""
        if self.unavailable is not None:
            raise DatabaseUnavailableError(self.unavailable)

    def write_line(self, line: LedgerLine) -> None:
        """A page's line in the ledger; one that is there already stays."""
        page = LedgerPage(line=line, number=next(self.ledger.numbers), extracted_at=self.now())
        self.ledger.pages.setdefault((line.pipeline, line.log, line.sequence), page)

    def drop_records(self, *, upto: Sequence) -> None:
        """Forgets records as dropped partitions would."""
        for key in [key for key in self.outbox if key[3] <= upto]:
            del self.outbox[key]

    async def lock(self, pipeline: PipelineName) -> asyncio.Lock:
        """The pipeline's row lock, acquired; DatabaseUnavailableError after the lock timeout."""
        self.check()
        lock = self._locks[pipeline]
        try:
            await asyncio.wait_for(lock.acquire(), self.lock_timeout_seconds)
        except TimeoutError:
            raise DatabaseUnavailableError(f"the row of {pipeline} stayed locked") from None
        return lock

    @asynccontextmanager
    async def locked(self, pipeline: PipelineName) -> AsyncIterator[PipelineRow | None]:
        """The pipeline's row under its lock; None if there is none."""
        lock = await self.lock(pipeline)
        try:
            yield self.pipelines.get(pipeline)
        finally:
            lock.release()

    async def ring(self, pipelines: Iterable[PipelineName] = ()) -> None:
        """Wakes whoever waits for records; they are of these pipelines."""
        async with self._committed:
            self._commits += 1
            self._written.update(pipelines)
            self._committed.notify_all()

    async def ring_request(self) -> None:
        """Wakes whoever waits for requests."""
        async with self._committed:
            self._requests += 1
            self._committed.notify_all()

    async def ring_source(self) -> None:
        """Wakes whoever waits for the source budget."""
        async with self._committed:
            self._source_reads_ended += 1
            self._committed.notify_all()

    async def wait_source(self, seconds: float) -> None:
        """Returns when a read ends, or after `seconds`."""
        before = self._source_reads_ended
        await self._until(lambda: self._source_reads_ended != before, seconds)

    async def next_written(self, seconds: float) -> frozenset[PipelineName]:
        """The pipelines that got records since the last call, or none after `seconds`."""
        await self._until(lambda: bool(self._written), seconds)
        found = frozenset(self._written)
        self._written.clear()
        return found

    async def wait_asked(self, seconds: float) -> None:
        """Returns when something was asked for since the last wait ended, or after `seconds`."""
        await self._until(lambda: self._requests != self._seen_requests, seconds)
        self._seen_requests = self._requests

    async def _until(self, holds: Callable[[], bool], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._committed:
                await self._committed.wait_for(holds)

    async def wait(self, seconds: float) -> None:
        """Returns when records were committed since the last wait ended, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds), self._committed:
                await self._committed.wait_for(lambda: self._commits != self._seen)
        except TimeoutError:
            return
        self._seen = self._commits

"""The extractor's database in memory: what the twins of the PostgreSQL adapters share, with its locks and its clock."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from qupersync_extractor.application.ports import WithheldRow
from qupersync_extractor.application.runs import RunRecord
from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.domain.records import OutboxRecord, RelayCursor
from qupersync_shared.kernel.errors import DatabaseUnavailableError
from qupersync_shared.kernel.ids import FencingToken, Lane, Log, PipelineName, RunId, Sequence

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


@dataclass(slots=True, kw_only=True)
class PipelineRow:
    """One pipeline: its committed state and everything around it."""

    state: Extraction
    token: FencingToken = NO_TOKEN
    lease: Lease | None = None
    trouble: str | None = None
    run_requested: bool = False
    run_mode: str | None = None
    forked_log: Log | None = None


@dataclass(slots=True, kw_only=True)
class CursorRow:
    cursor: RelayCursor
    lease: Lease | None = None


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
    runs: dict[RunId, RunRecord] = field(default_factory=dict)
    unavailable: str | None = None
    commit_fault: CommitFault | None = None
    _ahead: timedelta = timedelta(0)
    _locks: defaultdict[PipelineName, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _committed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _commits: int = 0
    _seen: int = 0

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

    async def ring(self) -> None:
        """Wakes whoever waits for records."""
        async with self._committed:
            self._commits += 1
            self._committed.notify_all()

    async def wait(self, seconds: float) -> None:
        """Returns when records were committed since the last wait ended, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds), self._committed:
                await self._committed.wait_for(lambda: self._commits != self._seen)
        except TimeoutError:
            return
        self._seen = self._commits

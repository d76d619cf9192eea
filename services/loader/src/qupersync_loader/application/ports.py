"""What the use cases need from outside. The target has an in-memory twin; one conformance suite holds both."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.filled import Place
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.domain.watermark import SnapshotSeen, Watermark
from qupersync_shared.contracts.commands import ForkReport, RereadRequest, ResendReply, ResendRequest, SnapshotRequest
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.ids import GroupName, Lane, Log, PipelineName, SnapshotId

if TYPE_CHECKING:
    from qupersync_loader.application.content import Batch

# --- target ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """Where a pipeline and one of its lanes stand. `parked`: the lane has unresolved dead letters, of whatever log."""

    log: Log | None = None
    lanes: int | None = None
    watermark: Watermark | None = None
    parked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What one event did. `written`: rows inserted or really changed; `removed`: rows deleted or marked deleted;
    `altered`: rows that NUL bytes were taken out of, because the owner chose so.
    """

    rows: int = 0
    written: int = 0
    removed: int = 0
    quarantined: int = 0
    resolved: int = 0
    altered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """What became of a lane's dead letters. `held`: some of the event's log still wait, and hold the honest time."""

    resolved: int = 0
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An authentic event that cannot be decoded or applied."""

    envelope: BatchEnvelope
    headers: Mapping[str, str]
    body: bytes
    reason: str


class TargetWork(Protocol):
    """One transaction for one event: nothing is kept unless `commit` was awaited.

    The order of calls is `look`, `stage`, `lock`, then `apply` or `park`, `save` and `commit`: staging comes before the
    locks, because no timeout of the server ends a COPY whose client has frozen. A commit that fails may have happened:
    the event is judged again.
    """

    async def look(self) -> LaneState:
        """The committed state, without a lock."""
        ...

    async def stage(self, batch: "Batch") -> None:
        """Brings the rows to the target's side; rows that cannot even get there are remembered as refused."""
        ...

    async def lock(self, *, exclusive: bool) -> LaneState:
        """The state, locked until the end: the pipeline shared, or `exclusive` to begin a lane or change the log."""
        ...

    async def apply(self) -> Applied:
        """Rows, deletes and quarantine of the staged batch. RowsRefusedError where the policy is to halt;
        EventRefusedError if the batch as such cannot be applied; NotPreparedError if the table must be looked at again.
        """
        ...

    async def park(self, letter: DeadLetter) -> None:
        """Keeps the event as a dead letter."""
        ...

    async def settle_letters(
        self, envelope: BatchEnvelope, *, redriven: Collection[UUID], snapshot: SnapshotSeen | None
    ) -> Letters:
        """Resolves the lane's dead letters that were redriven, and those from before the snapshot if it is over and
        none of its own pages is parked or was discarded. Sources that forget (`deletes: keep`) do not say it again.

        Redriven letters of a log with another number of lanes are resolved by the last lane that applies the page.
        """
        ...

    async def save(self, watermark: Watermark, envelope: BatchEnvelope) -> None:
        """Stores the lane's watermark, and the pipeline's log and lanes if they are others now."""
        ...

    async def commit(self) -> None: ...


class NotPreparedError(Exception):
    """The target table must be made to fit before the event can be applied."""


class TargetSession(Protocol):
    """One connection to the target: the slot without which nothing is fetched."""

    def is_prepared(self, schema: RowSchema) -> bool:
        """Whether the target table is known to fit events of this schema."""
        ...

    async def prepare(self, schema: RowSchema, at: Place) -> None:
        """Makes the target table fit the event at this place, in a transaction of its own; SchemaRefusedError, with the
        cure, if it may not. Remembers which columns are filled, and which of them the source has dropped.

        A table that was missing though lanes had watermarks takes them away: they would claim what is not there.
        """
        ...

    def work(self, lane: Lane) -> AbstractAsyncContextManager[TargetWork]:
        """A transaction for one event of the lane; leaving it without `commit` rolls back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """What waits for a person: unresolved rows in quarantine and dead letters."""

    quarantined: int = 0
    dead_letters: int = 0

    @property
    def nothing(self) -> bool:
        return not (self.quarantined or self.dead_letters)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineState:
    """Where all lanes of a pipeline stand; `lanes` without a watermark are absent from `watermarks`."""

    log: Log | None = None
    lanes: int | None = None
    watermarks: Mapping[Lane, LaneProgress] = field(default_factory=dict)
    parked: Parked = Parked()


@dataclass(frozen=True, slots=True, kw_only=True)
class DueReread:
    """Quarantined keys of one lane, encoded, by row, that are to be read again now that a snapshot is over."""

    group: GroupName
    pipeline: PipelineName
    lane: Lane
    snapshot: SnapshotId
    rows: Mapping[int, str]


class Target(Protocol):
    """The target database. DatabaseUnavailableError (transient), with the reason, where it cannot take part."""

    def session(self, pipeline: TargetPipeline) -> AbstractAsyncContextManager[TargetSession]:
        """A connection that answered just now, for one pipeline's events."""
        ...

    async def states(self, group: GroupName) -> Mapping[PipelineName, PipelineState]:
        """Every pipeline of the group that the target knows."""
        ...

    async def due_rereads(self, pipelines: Sequence[TargetPipeline]) -> Sequence[DueReread]:
        """Keys that were last refused before their lane's last snapshot ended, and that nobody asked for since; the
        first few thousand.
        """
        ...

    async def saw_asked(self, due: DueReread) -> None:
        """These keys were asked for: not again before the next snapshot has ended."""
        ...

    async def tidy(self, pipelines: Sequence[TargetPipeline], *, keep_days: int) -> None:
        """Forgets what was resolved longer ago than this, and resolves dead letters of lanes that a pipeline no longer
        has, once all of its lanes have had a snapshot since.
        """
        ...

    async def close(self) -> None: ...


# --- stream ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineAhead:
    """The first page of a snapshot that stands further on a lane, and the fingerprint of its columns."""

    event: EventFacts
    fingerprint: str


class Delivery(Protocol):
    """One delivery of one message; exactly one of `ack` and `nak` ends it.

    `attempt` counts from 1; `pending` is how many messages of the lane the consumer has yet to see after this one.
    """

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...
    @property
    def attempt(self) -> int: ...
    @property
    def pending(self) -> int: ...

    async def ack(self) -> None: ...

    async def nak(self, delay_seconds: float) -> None:
        """The lane stays blocked and gets the message again after the delay."""
        ...

    async def in_progress(self) -> None:
        """The work goes on: the ack wait begins anew."""
        ...

    async def baselines_ahead(self) -> Sequence[BaselineAhead]:
        """Where the lane could begin behind this message: the last such page of each fingerprint, in their order.

        What stands far ahead may be seen by a later look only. StreamUnavailableError where none can be taken.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What the durable consumer of a lane has before it."""

    pending: int
    unacknowledged: int

    @property
    def drained(self) -> bool:
        return not (self.pending or self.unacknowledged)


class LaneFeed(Protocol):
    """The lanes' durable consumers. StreamUnavailableError, with the reason, where NATS cannot take part."""

    async def discover(self, pipeline: TargetPipeline) -> frozenset[Lane]:
        """Declares the consumers of all lanes there are (the configured ones and those on the stream); returns them."""
        ...

    async def fetch(self, pipeline: TargetPipeline, lane: Lane, *, wait_seconds: float) -> Delivery | None:
        """The lane's next message, waited for so long; None if there is none, or another process has it."""
        ...

    async def backlog(self, pipeline: TargetPipeline, lane: Lane) -> Backlog: ...


class Commands(Protocol):
    """Requests to the extractor's side; None or False where nobody answered in time."""

    async def request_resend(self, request: ResendRequest) -> ResendReply | None: ...

    async def request_snapshot(self, request: SnapshotRequest) -> bool: ...

    async def request_reread(self, request: RereadRequest) -> bool: ...

    async def report_fork(self, report: ForkReport) -> bool: ...


class ProgressBoard(Protocol):
    """The bucket `qupersync_progress`, as far as the loader writes it; StreamUnavailableError where it cannot be."""

    async def publish(self, heartbeat: ProcessHeartbeat, lanes: list[LaneProgress]) -> None: ...

    async def withdraw(self, heartbeat: ProcessHeartbeat) -> None:
        """Removes the heartbeat of a process that ends in order."""
        ...

"""What the use cases need from outside. Each port has an in-memory adapter and one conformance suite."""

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from qupersync_extractor.application.quarantine import SourceQuarantine
from qupersync_extractor.application.rereads import RereadQueue
from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.domain.records import LedgerLine, OutboxRecord, RelayCursor
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.kernel.ids import (
    EventId,
    FencingToken,
    Generation,
    Lane,
    Log,
    PipelineName,
    Sequence,
    StreamSequence,
)
from qupersync_shared.kernel.positions import Key, Position, Scalar

if TYPE_CHECKING:
    import pyarrow as pa

# --- source ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceClock:
    """The source's time, and the start of its oldest open writing transaction where that is visible; both in UTC."""

    now: datetime
    oldest_open: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorRange:
    """(after, upto]: rows in (cursor, key) order whose cursor is not NULL. `after` None is minus infinity."""

    cursor: str
    after: Position | None
    upto: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRange:
    """(after, upto]: rows in key order. None is minus or plus infinity."""

    after: Key | None
    upto: Key | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyList:
    """Just the rows with these keys."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """One bounded read: at most `limit` rows of `relation`, `key IS NOT NULL`, in the order the range says."""

    relation: Relation
    schema: RowSchema
    range: CursorRange | KeyRange | KeyList
    limit: int

    @property
    def cursor(self) -> str | None:
        """The column that comes first in the order, where that is a cursor."""
        return self.range.cursor if isinstance(self.range, CursorRange) else None


class Source(Protocol):
    """A warehouse, read-only. Each read is a transaction of its own, begun when `read` is called.

    TransientError (SourceUnavailableError for lost connections, aborts, time-outs, missing grants and tables) when a
    later try may succeed; TerminalError when the relation itself cannot be read by qupersync.
    """

    async def describe(self, relation: Relation) -> tuple[Column, ...]:
        """The columns with logical types, in the source's order; TerminalError names a column that cannot travel."""
        ...

    async def clock(self) -> SourceClock:
        """The source's time now, never ahead of what a transaction beginning now would say."""
        ...

    async def highest(self, relation: Relation, column: Column) -> Scalar | None:
        """The greatest value of a cursor column; None where there is none."""
        ...

    async def count_nulls(self, relation: Relation, columns: SequenceOf[str]) -> dict[str, int]:
        """How many rows hold NULL in each of these columns."""
        ...

    async def count_duplicate_keys(self, relation: Relation, key: SequenceOf[str]) -> int:
        """How many keys stand in more than one row."""
        ...

    async def read(self, request: ReadRequest) -> "pa.RecordBatch":
        """The rows, with exactly the columns and Arrow types of `request.schema.arrow()`; values exact.

        Rows with a value that cannot be so are told in one more column (`refused`); TerminalError where key or cursor
        of a row is such a value.
        """
        ...

    async def close(self) -> None:
        """Closes every connection; further calls are errors."""
        ...


# --- unit of work ----------------------------------------------------------------------------------------


class Extractions(Protocol):
    """The extraction rows, inside a unit of work."""

    async def lock(self, pipeline: PipelineName, token: FencingToken) -> Extraction:
        """The committed state, locked until the unit of work ends; LeaseLostError if `token` is not the lease's."""
        ...

    async def save(self, state: Extraction) -> None:
        """Stores the state; it was locked in this unit of work."""
        ...


class OutboxWriter(Protocol):
    """The outbox, inside a unit of work."""

    async def add(self, records: SequenceOf[OutboxRecord], line: LedgerLine | None = None) -> None:
        """Stores a page's records and its line in the ledger; the relays are notified when the unit of work commits."""
        ...


class UnitOfWork(Protocol):
    """One transaction: nothing is kept unless `commit` was awaited; leaving without it rolls back.

    DatabaseUnavailableError (transient) where the database is the reason. A commit that fails may have happened:
    read the state again.
    """

    @property
    def extractions(self) -> Extractions: ...
    @property
    def outbox(self) -> OutboxWriter: ...
    @property
    def quarantine(self) -> SourceQuarantine: ...
    @property
    def rereads(self) -> RereadQueue: ...

    async def commit(self) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class UnitOfWorkFactory(Protocol):
    def __call__(self) -> UnitOfWork: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A pipeline as the database knows it."""

    pipeline: PipelineName
    lanes: int
    token: FencingToken
    owner: str | None
    trouble: str | None
    state: Extraction


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run that was asked for, in this mode (incremental, snapshot or None); `ticket` tells it from later ones."""

    mode: str | None
    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a pipeline and has not been done yet; `paused`: a run is none of it."""

    run: bool = False
    rereads: bool = False
    paused: bool = False


class Registry(Protocol):
    """Pipelines, their leases, troubles and requests; each call is a transaction of its own."""

    async def register(self, pipeline: PipelineName, lanes: int) -> Registration:
        """Makes the pipeline's row if there is none; the row as it is then (its lanes may differ from `lanes`)."""
        ...

    async def get(self, pipeline: PipelineName) -> Registration | None: ...

    async def acquire(self, pipeline: PipelineName, owner: str, seconds: float) -> FencingToken | None:
        """The lease under a new, greater token if it is free, expired or this owner's; else None."""
        ...

    async def renew(self, pipeline: PipelineName, token: FencingToken, seconds: float) -> bool:
        """Whether the token is still the lease's, which now lasts `seconds` more."""
        ...

    async def release(self, pipeline: PipelineName, token: FencingToken) -> None:
        """Ends the lease if the token is still its."""
        ...

    async def set_trouble(self, pipeline: PipelineName, reason: str | None) -> None:
        """What keeps the pipeline from extracting, for `qupersync status`; None when nothing does."""
        ...

    async def request_run(self, pipeline: PipelineName, mode: str | None) -> None:
        """Asks for a run now; `mode` is incremental, snapshot or None. Wakes the extractors."""
        ...

    async def run_request(self, pipeline: PipelineName) -> RunRequest | None:
        """The run that was asked for and has not been made yet."""
        ...

    async def run_made(self, pipeline: PipelineName, request: RunRequest) -> None:
        """Forgets the request, unless another one came since."""
        ...

    async def asked_for(self) -> Mapping[PipelineName, Asked]:
        """What is asked of which pipelines, and which are paused: one cheap query for all of them."""
        ...

    async def wait_for_request(self, seconds: float) -> None:
        """Returns when something was asked of any pipeline since the last wait ended, or after `seconds`.

        For one caller: what it was woken for wakes nobody again.
        """
        ...

    async def wish_snapshot(self, pipeline: PipelineName, *, reason: str, restart: bool) -> bool:
        """Records a loader's or operator's wish for a snapshot (domain rule `wish_snapshot`); False if unknown."""
        ...

    async def report_fork(self, pipeline: PipelineName, log: Log) -> None:
        """Remembers that a loader saw a fork in this log; the next run opens a greater one."""
        ...

    async def forked_log(self, pipeline: PipelineName) -> Log | None:
        """The greatest log in which a fork was reported."""
        ...

    async def reset(self, pipeline: PipelineName, *, lanes: int, reason: str) -> Log:
        """Opens the next log with this number of lanes, under the row's lock and a new token; returns it."""
        ...


# --- relay -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxDepth:
    """What waits for the relay."""

    records: int
    bytes: int
    oldest: datetime | None


class OutboxReader(Protocol):
    """What the relay reads; each call is a transaction of its own."""

    async def next_records(
        self, pipeline: PipelineName, lane: Lane, log: Log, *, after: Sequence, limit: int, bytes_max: int
    ) -> list[OutboxRecord]:
        """The lane's next existing records in sequence order, at least one if there is one."""
        ...

    async def find(self, event_id: EventId) -> OutboxRecord | None:
        """The record with this id, if the outbox still has it."""
        ...

    async def depth(self, pipeline: PipelineName) -> OutboxDepth:
        """Records beyond the lanes' relay cursors."""
        ...

    async def wait(self, seconds: float) -> None:
        """Returns when new records were committed, or after `seconds`."""
        ...

    async def next_committed(self, seconds: float) -> frozenset[PipelineName] | None:
        """The pipelines that got records since the last call; none after `seconds`, None where that is not known.

        One caller a process: what it is told is not told again.
        """
        ...

    async def behind(self) -> frozenset[PipelineName]:
        """The pipelines with a lane whose relay cursor is not at the log's end; one cheap query for all of them."""
        ...


class RelayCursors(Protocol):
    """Progress and leases of lanes; each call is a transaction of its own."""

    async def claim(self, pipeline: PipelineName, owner: str, seconds: float) -> list[RelayCursor]:
        """Leases every lane of the pipeline's current log that is free, expired or this owner's; makes missing rows."""
        ...

    async def renew(self, owner: str, seconds: float) -> None:
        """Prolongs every lease this owner still holds."""
        ...

    async def advance(self, cursor: RelayCursor, owner: str) -> bool:
        """Stores the cursor if owner, log and generation are still the row's; False if not."""
        ...

    async def read(self, pipeline: PipelineName, lane: Lane) -> RelayCursor | None: ...

    async def rewind(
        self, pipeline: PipelineName, lane: Lane, log: Log, *, from_sequence: Sequence
    ) -> Generation | None:
        """`last_sequence = min(last_sequence, from_sequence - 1)` and the next generation; None, and nothing changed,
        if the outbox no longer has `from_sequence` or the log is another. Any process may call it, owner or not.
        """
        ...

    async def release(self, owner: str, pipeline: PipelineName | None = None) -> None:
        """Ends every lease of this owner, or those on one pipeline's lanes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LastMessage:
    """The newest message on a lane's subject; `envelope` is None for a foreign one."""

    stream_sequence: StreamSequence
    envelope: BatchEnvelope | None


class WrongLastSequenceError(Exception):
    """The stream refused: the lane's last message is not the expected one."""


class Stream(Protocol):
    """A pipeline's stream. StreamUnavailableError and StreamFullError (both transient) where it cannot take part."""

    async def declare(self, pipeline: PipelineName) -> None:
        """Makes or updates the pipeline's stream; safe to call again."""
        ...

    async def publish(
        self, record: OutboxRecord, generation: Generation, *, expected: StreamSequence
    ) -> StreamSequence:
        """Appends the record if the lane's last message is `expected` (0: none); WrongLastSequenceError if not."""
        ...

    async def last_message(self, pipeline: PipelineName, lane: Lane) -> LastMessage | None:
        """The lane's newest message, read from the leader; None if there is none."""
        ...

    async def max_payload(self) -> int:
        """The server's limit for headers and body together, in bytes."""
        ...


class Progress(Protocol):
    """The bucket `qupersync_progress`: what loader groups say of themselves."""

    async def lanes(self, pipeline: PipelineName) -> list[LaneProgress]:
        """Every group's lanes of one pipeline; may be empty or stale."""
        ...

    async def beat(self, heartbeat: ProcessHeartbeat) -> None: ...

    async def leave(self, role: str, instance: str) -> None:
        """Takes the process's heartbeat away: it ended in order and is not missed."""
        ...

    async def processes(self) -> list[ProcessHeartbeat]: ...

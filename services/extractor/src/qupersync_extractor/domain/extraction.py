"""The extraction of one pipeline: log, sequence, cursor, sweep mark and snapshot, and how pages move them.

Every transition is pure: it takes the state that was locked and returns the state to be stored in the same transaction
as the page's records.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from qupersync_extractor.domain.ordering import position_order
from qupersync_shared.kernel.ids import EventId, Lane, Log, PipelineName, Sequence, SnapshotId
from qupersync_shared.kernel.positions import Key, KeyBound, Position, Scalar

FIRST_LOG: Final = Log(1)
NO_SEQUENCE: Final = Sequence(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepMark:
    """Where the last completed sweep ended (its `high`, a cursor value) and when it began, by the source's clock."""

    high: Scalar
    began_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot under way: keys up to `after` are committed; None before its first page."""

    id: SnapshotId
    began_at: datetime
    after: Key | None = None
    first: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotWish:
    """A snapshot that somebody asked for. `restart`: one under way whose first page is committed does not serve."""

    reason: str
    restart: bool = False


class Health(StrEnum):
    """A pipeline's state as `qupersync status` shows it."""

    NEW = "new"
    SNAPSHOTTING = "snapshotting"
    LIVE = "live"
    RETRYING = "retrying"
    PAUSED = "paused"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The committed state of a pipeline's extraction. `lane_ids` holds each lane's last event id.

    `cursor` is None until the first snapshot began; `completed_at` (source clock) is what `honest_time` of the next
    event says: everything committed at the source before it has been read.
    """

    pipeline: PipelineName
    lanes: int
    log: Log = FIRST_LOG
    sequence: Sequence = NO_SEQUENCE
    lane_ids: Mapping[Lane, EventId] = field(default_factory=dict)
    cursor: Position | None = None
    swept: SweepMark | None = None
    snapshot: Snapshot | None = None
    snapshot_wish: SnapshotWish | None = SnapshotWish(reason="first snapshot")
    snapshot_ended_at: datetime | None = None
    completed_at: datetime | None = None
    schema_fingerprint: str | None = None
    last_event_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.log < 1 or self.sequence < 0 or self.lanes < 1:
            raise ValueError("log and lanes are at least 1, sequence is not negative")

    @property
    def between_pages(self) -> bool:
        """Whether an incremental run has committed pages and not its last one: that leaves no key in the cursor."""
        return self.cursor is not None and not isinstance(self.cursor.key, KeyBound)


def begin_snapshot(
    state: Extraction, *, snapshot_id: SnapshotId, began_at: datetime, high: Scalar | None, fingerprint: str
) -> Extraction:
    """A new snapshot is planned. Before the very first one `high` becomes the cursor; later ones never touch it.

    A fingerprint's part after the slash is about the cursor: when that differs, the cursor's old values mean nothing
    any more, and this snapshot is the first again.
    """
    cursor, swept = state.cursor, state.swept
    if state.schema_fingerprint is not None and state.schema_fingerprint != fingerprint:
        if state.schema_fingerprint.partition("/")[2] != fingerprint.partition("/")[2]:
            cursor = swept = None
        elif cursor is not None and not isinstance(cursor.key, KeyBound):
            cursor = Position.before(cursor.cursor)  # the key may have other columns now
    if cursor is None and high is not None:
        cursor = Position.after(high)
    return replace(
        state,
        snapshot=Snapshot(id=snapshot_id, began_at=began_at),
        snapshot_wish=None,
        cursor=cursor,
        swept=swept,
        schema_fingerprint=fingerprint,
    )


def open_log(state: Extraction, *, log: Log, lanes: int, reason: str) -> Extraction:
    """A greater log: everything begins anew, with a snapshot. ValueError unless it is greater."""
    if log <= state.log:
        raise ValueError(f"log {log} is not greater than {state.log}")
    return Extraction(pipeline=state.pipeline, lanes=lanes, log=log, snapshot_wish=SnapshotWish(reason=reason))


def wish_snapshot(state: Extraction, *, reason: str, restart: bool) -> Extraction:
    """Somebody asks for a snapshot; a loader without a baseline asks with `restart`.

    A snapshot under way whose first page is yet to come serves everybody; one that is further on serves no baseline.
    """
    under_way = state.snapshot
    if under_way is not None and (under_way.first or not restart):
        return state
    return replace(state, snapshot_wish=SnapshotWish(reason=reason, restart=restart))


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPage:
    """A page read by key: the complete content of (after, upto]; `upto` None is the end of the table."""

    snapshot_id: SnapshotId
    after: Key | None
    upto: Key | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalPage:
    """A page read by (cursor, key): everything in (after, upto]; `after` None is the beginning. `sweep` is set on the
    last page of a sweep; `cursor` names the cursor column where the page may have to be cut.

    `completes_at` stands on the last page of a run over a source that promises no late commits, or of a sweep: every
    change committed before it has been read.
    """

    upto: Position
    after: Position | None = None
    cursor: str | None = None
    sweep: SweepMark | None = None
    completes_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RereadPage:
    """Read again because somebody asked; moves nothing but the sequence.

    `complete`: the page is the complete content of (after, upto] by key. `redrives`: dead letters that it makes good.
    """

    complete: bool = False
    after: Key | None = None
    upto: Key | None = None
    redrives: tuple[UUID, ...] = ()

    def __post_init__(self) -> None:
        if not self.complete and (self.after is not None or self.upto is not None):
            raise ValueError("only a page that says the complete content of a key range has one")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatPage:
    """An empty page of an idle pipeline: keeps freshness honest and lets losses be noticed."""


PageKind = SnapshotPage | IncrementalPage | RereadPage | HeartbeatPage


def is_as_left(found: Extraction, known: Extraction) -> bool:
    """Whether a run finds its pipeline as its last page left it. Wishes may have come since; pages may not have gone.

    A database that went back to a backup of the same lease gives the run its row: with pages missing that the run has
    sent, and after which it goes on reading.
    """
    return (found.log, found.sequence, found.lane_ids) == (known.log, known.sequence, known.lane_ids)


def commit_page(state: Extraction, page: PageKind, *, event_ids: Mapping[Lane, EventId], at: datetime) -> Extraction:
    """The state after a page: the next sequence, and cursor or snapshot moved, never backwards.

    ValueError when the page does not continue this state: a snapshot page of another snapshot or not adjoining the
    last one. Such a page was read before something else happened and must be thrown away.
    """
    if set(event_ids) != {Lane(lane) for lane in range(state.lanes)}:
        raise ValueError("every lane gets exactly one event per page")
    moved = replace(state, sequence=Sequence(state.sequence + 1), lane_ids=dict(event_ids), last_event_at=at)
    match page:
        case SnapshotPage():
            return _commit_snapshot_page(moved, page, at)
        case IncrementalPage():
            return advance(moved, page)
        case RereadPage() | HeartbeatPage():
            return moved


def advance(state: Extraction, page: IncrementalPage) -> Extraction:
    """The cursor after an incremental page; also used alone, at the end of a run that found nothing."""
    cursor = page.upto if state.cursor is None or position_after(page.upto, state.cursor) else state.cursor
    completed = state.completed_at
    if page.completes_at is not None:
        completed = page.completes_at if completed is None else max(completed, page.completes_at)
    return replace(state, cursor=cursor, swept=page.sweep or state.swept, completed_at=completed)


def _commit_snapshot_page(state: Extraction, page: SnapshotPage, at: datetime) -> Extraction:
    under_way = state.snapshot
    if under_way is None or under_way.id != page.snapshot_id or under_way.after != page.after:
        raise ValueError("the page does not continue the snapshot under way")
    if under_way.first != (page.after is None):
        raise ValueError("only the first page of a snapshot reaches down to minus infinity")
    if page.upto is not None:
        return replace(state, snapshot=replace(under_way, after=page.upto, first=False))
    completed = under_way.began_at if state.completed_at is None else max(state.completed_at, under_way.began_at)
    return replace(state, snapshot=None, snapshot_ended_at=at, completed_at=completed)


def position_after(one: Position, other: Position) -> bool:
    """Whether `one` lies after `other`; cursor values of one pipeline are of one kind."""
    return position_order(one) > position_order(other)

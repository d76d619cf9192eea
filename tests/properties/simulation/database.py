"""The extractor's database: state, lease, outbox and relay cursors; each method is one transaction."""

from dataclasses import dataclass, field, replace
from typing import Final

from tests.properties.simulation.events import BrokenPromiseError, Event
from tests.properties.simulation.options import PIPELINE
from tests.properties.simulation.rules import Rules

from qupersync_extractor.domain.extraction import Extraction, PageKind, open_log
from qupersync_extractor.domain.ordering import position_order
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.domain.records import RelayCursor
from qupersync_shared.kernel.ids import EventId, FencingToken, Generation, Lane, Log, Sequence

LEASE_TICKS = 6
_NO_TOKEN: Final = FencingToken(0)


class RunFailedError(Exception):
    """A run or transaction ends here; what was committed stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayRow:
    """One lane's row of `relay_cursor`."""

    cursor: RelayCursor
    owner: str
    until: int


@dataclass(slots=True, kw_only=True)
class ExtractorDatabase:
    """All values are immutable, so a backup is a copy of the dictionaries."""

    rules: Rules
    state: Extraction
    token: FencingToken = _NO_TOKEN
    owner: str | None = None
    until: int = 0
    forked: Log | None = None
    requested: ForcedMode | None = None
    outbox: dict[tuple[Log, Lane, Sequence], Event] = field(default_factory=dict)
    by_id: dict[EventId, Event] = field(default_factory=dict)
    relay: dict[Lane, RelayRow] = field(default_factory=dict)

    @classmethod
    def empty(cls, rules: Rules, lanes: int) -> "ExtractorDatabase":
        return cls(rules=rules, state=Extraction(pipeline=PIPELINE, lanes=lanes))

    def copy(self) -> "ExtractorDatabase":
        return replace(self, outbox=dict(self.outbox), by_id=dict(self.by_id), relay=dict(self.relay))

    # --------------------------------------------------------------------------------------------------- registry

    def acquire(self, owner: str, now: int, *, stamp: int, steal: bool) -> FencingToken | None:
        """The lease under a greater token if it is free, expired, this owner's, or stolen by a fault.

        `stamp` is the clock, finely: a token that a database gave before it was restored never comes again.
        """
        if not steal and self.owner not in (None, owner) and now < self.until:
            return None
        self.token = FencingToken(max(self.token + 1, stamp))
        self.owner, self.until = owner, now + LEASE_TICKS
        return self.token

    def release(self, token: FencingToken) -> None:
        if token == self.token:
            self.owner = None

    def wish_snapshot(self, *, reason: str, restart: bool) -> None:
        self.state = self.rules.wish_snapshot(self.state, reason=reason, restart=restart)

    def report_fork(self, log: Log) -> None:
        self.forked = log if self.forked is None else max(self.forked, log)

    def reset(self, lanes: int) -> None:
        """Another number of lanes: the next log, and no running process may commit in the old one."""
        self.token = FencingToken(self.token + 1)
        self.owner = None
        self.state = open_log(self.state, log=Log(self.state.log + 1), lanes=lanes, reason="lanes changed")

    # ----------------------------------------------------------------------------------------------- page transaction

    def lock(self, token: FencingToken) -> Extraction:
        if self.rules.fencing_token and token != self.token:
            raise RunFailedError("the lease is lost")
        return self.state

    def save(self, state: Extraction) -> None:
        """Stores the state; promise O: within a log and for one schema, cursor and sequence never retreat."""
        before = self.state
        if before.log == state.log:
            retreats = state.sequence < before.sequence
            if before.cursor is not None and state.schema_fingerprint == before.schema_fingerprint:
                retreats |= state.cursor is None or position_order(state.cursor) < position_order(before.cursor)
            if retreats:
                raise BrokenPromiseError(f"O: the extraction goes back from {before} to {state}")
        self.state = state

    def commit_page(self, kind: PageKind, *, event_ids: dict[Lane, EventId], at: int, now: int) -> Extraction:
        """The state after the page; the caller adds the records in the same step."""
        try:
            after = self.rules.commit_page(self.state, kind, event_ids=event_ids, at=self.rules.moment(at))
        except ValueError as error:
            raise RunFailedError(str(error)) from error
        self.until = now + LEASE_TICKS
        return after

    def add(self, events: list[Event]) -> None:
        """Stores a page's records; promise O: each is the lane's next, and names its predecessor."""
        for event in events:
            key = (event.log, event.lane, event.sequence)
            if key in self.outbox:
                raise BrokenPromiseError(f"O: the outbox has two events for {event}")
            before = [e for e in self._chain(event.log, event.lane) if e.sequence < event.sequence]
            expected = before[-1].id if before else None
            dropped = (not before and event.sequence > 1) or (before and before[-1].sequence != event.sequence - 1)
            if dropped and not self._was_dropped(event):
                raise BrokenPromiseError(f"O: the outbox has a hole before {event}")
            if not dropped and event.previous_id != expected:
                raise BrokenPromiseError(f"O: {event} names {event.previous_id}, not its predecessor {expected}")
            self.outbox[key] = event
            self.by_id[event.id] = event

    def _chain(self, log: Log, lane: Lane) -> list[Event]:
        return [e for (other, one, _), e in self.outbox.items() if other == log and one == lane]

    def _was_dropped(self, event: Event) -> bool:
        row = self.relay.get(event.lane)
        return row is not None and row.cursor.log == event.log and row.cursor.last_sequence >= event.sequence - 1

    def drop_published(self) -> int:
        """Drops the oldest records that every lane has published; how many."""
        published = {lane: row.cursor for lane, row in self.relay.items()}
        gone = [
            key
            for key in self.outbox
            if key[0] < self.state.log
            or (key[1] in published and published[key[1]].log == key[0] and key[2] <= published[key[1]].last_sequence)
        ]
        for key in gone:
            del self.by_id[self.outbox.pop(key).id]
        return len(gone)

    # ---------------------------------------------------------------------------------------------------- relay cursors

    def claim(self, lane: Lane, owner: str, now: int, *, steal: bool) -> RelayCursor | None:
        row = self.relay.get(lane)
        log = self.state.log
        if row is not None and row.cursor.log == log:
            if not steal and row.owner != owner and now < row.until:
                return None
            cursor = row.cursor
        elif row is None:
            cursor = RelayCursor(pipeline=PIPELINE, lane=lane, log=log)
        else:
            cursor = replace(
                row.cursor, log=log, last_sequence=Sequence(0), generation=Generation(row.cursor.generation + 1)
            )
        self.relay[lane] = RelayRow(cursor=cursor, owner=owner, until=now + LEASE_TICKS)
        return cursor

    def advance(self, cursor: RelayCursor, owner: str, now: int) -> bool:
        """Compare-and-set on owner, log and generation."""
        row = self.relay.get(cursor.lane)
        if row is None or row.cursor.log != cursor.log:
            return False
        if self.rules.cursor_is_compared and (row.owner, row.cursor.generation) != (owner, cursor.generation):
            return False
        self.relay[cursor.lane] = RelayRow(cursor=cursor, owner=row.owner, until=now + LEASE_TICKS)
        return True

    def rewind(self, lane: Lane, log: Log, from_sequence: Sequence) -> Generation | None:
        row = self.relay.get(lane)
        if (
            row is None
            or row.cursor.log != log
            or self.state.log != log
            or (log, lane, from_sequence) not in self.outbox
        ):
            return None
        cursor = replace(
            row.cursor,
            last_sequence=min(Sequence(from_sequence - 1), row.cursor.last_sequence),
            generation=Generation(row.cursor.generation + 1),
        )
        self.relay[lane] = replace(row, cursor=cursor)
        return cursor.generation

    def next_record(self, lane: Lane, log: Log, after: Sequence) -> Event | None:
        """The lane's next record that exists."""
        found = [seq for (one_log, one, seq) in self.outbox if one_log == log and one == lane and seq > after]
        return self.outbox[log, lane, min(found)] if found else None

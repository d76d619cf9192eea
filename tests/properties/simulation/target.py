"""A loader group's target: rows with their slots, and watermarks. `apply` is one transaction."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tests.properties.simulation.events import BrokenPromiseError, Event, Message, Row, lane_of, slot
from tests.properties.simulation.options import KEYS
from tests.properties.simulation.rules import Rules
from tests.properties.simulation.source import within

from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.judge import AlreadyApplied, Apply, Verdict
from qupersync_loader.domain.watermark import Watermark
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.slots import lane_of_slot
from qupersync_shared.kernel.ids import EventId, Lane, Log


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row, its stored slot, and the lane that wrote it (which no rule may ask for)."""

    row: Row
    slot: int
    written_by: Lane


@dataclass(slots=True, kw_only=True)
class Target:
    """The last three are the referee's: the look each key reflects, since when a lane's deletes are in, and every event
    that was ever applied here (a restore does not undo that).
    """

    rules: Rules
    log: Log | None = None
    lanes: int | None = None
    watermarks: dict[Lane, Watermark] = field(default_factory=dict)
    table: dict[int, StoredRow] = field(default_factory=dict)
    looked: dict[int, int] = field(default_factory=dict)
    cleaned: dict[Lane, tuple[int, datetime]] = field(default_factory=dict)
    handled: dict[EventId, Event] = field(default_factory=dict)

    def copy(self) -> "Target":
        return replace(
            self,
            watermarks=dict(self.watermarks),
            table=dict(self.table),
            looked=dict(self.looked),
            cleaned=dict(self.cleaned),
        )

    def judge(self, message: Message) -> Verdict:
        event = message.event
        watermark = self.watermarks.get(event.lane)
        log, lanes = self.log, self.lanes
        if not self.rules.log_is_left_by_all_lanes:
            log, lanes = (watermark.log, watermark.lanes) if watermark else (None, None)
        verdict: Verdict = self.rules.judge(
            pipeline_log=log, watermark=watermark, event=facts(message), pipeline_lanes=lanes
        )
        return verdict

    def apply(self, message: Message) -> Verdict:
        """Judges the event, and does to rows and watermark what it says; all of it or nothing."""
        verdict = self.judge(message)
        if isinstance(verdict, Apply):
            self.write_rows(message.event)
            self.write_watermark(message)
        if isinstance(verdict, Apply | AlreadyApplied):
            self.handled[message.event.id] = message.event
        return verdict

    def write_watermark(self, message: Message) -> None:
        event = message.event
        before = self.watermarks.get(event.lane)
        after: Watermark = self.rules.next_watermark(before, facts(message))
        _check_watermark(event.lane, before, after)
        self.watermarks[event.lane] = after
        if self.log is None or event.log > self.log:
            self.log, self.lanes = event.log, event.lanes
        if event.last and after.snapshot_whole == event.snapshot_id and event.snapshot_began is not None:
            self.cleaned[event.lane] = (event.lanes, event.snapshot_began)

    def write_rows(self, event: Event) -> None:
        for number, row in event.rows.items():
            stored = StoredRow(row, slot(number), event.lane)
            before = self.table.get(number)
            if before is None or before.row != row:
                self._check_look(number, event)
            self.table[number] = stored
        if event.mode is Mode.SNAPSHOT:
            self._delete_absent(event)
        self._remember_look(event)

    def _delete_absent(self, event: Event) -> None:
        for number, stored in list(self.table.items()):
            lane = lane_of_slot(stored.slot, event.lanes) if self.rules.slots_are_stored else stored.written_by
            inside = within(number, event.range_from, event.range_to) or not self.rules.deletes_keep_to_the_range
            if lane == event.lane and inside and number not in event.rows:
                self._check_look(number, event)
                del self.table[number]

    def _check_look(self, number: int, event: Event) -> None:
        """Promise S: what an earlier look saw never replaces what a later one saw."""
        if event.look < self.looked.get(number, 0):
            raise BrokenPromiseError(
                f"S: key {number}, last seen by look {self.looked[number]}, is changed by look {event.look} ({event})"
            )

    def _remember_look(self, event: Event) -> None:
        for number in range(len(KEYS)):
            covered = event.mode is Mode.SNAPSHOT and within(number, event.range_from, event.range_to)
            if lane_of(number, event.lanes) == event.lane and (covered or number in event.rows):
                self.looked[number] = max(self.looked.get(number, 0), event.look)

    def content(self) -> dict[int, Row]:
        return {number: stored.row for number, stored in self.table.items()}


def facts(message: Message) -> EventFacts:
    """What the judge may know of an event."""
    event = message.event
    known: dict[str, Any] = {}
    if event.snapshot_id is not None:
        known = {"snapshot_id": event.snapshot_id, "snapshot_first": event.first, "snapshot_last": event.last}
    return EventFacts(
        event_id=event.id,
        lane=event.lane,
        lanes=event.lanes,
        log=event.log,
        sequence=event.sequence,
        previous_id=event.previous_id,
        generation=message.generation,
        honest_time=event.honest_time,
        **known,
    )


def _check_watermark(lane: Lane, before: Watermark | None, after: Watermark) -> None:
    """Promise W, first half: a watermark never retreats."""
    if before is None:
        return
    if (after.log, after.sequence) <= (before.log, before.sequence):
        raise BrokenPromiseError(f"W: lane {lane} retreats from {before} to {after}")
    if before.honest_time is None or before.lanes != after.lanes:
        return
    if after.honest_time is None or after.honest_time < before.honest_time:
        raise BrokenPromiseError(f"W: the honest time of lane {lane} retreats from {before} to {after}")

"""The referee looks after every commit and every step: promises O, W, S, D and order; at the end, L.

It knows what no part of the protocol may know: when each row was committed at the source, and what was applied where.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from tests.properties.protocol.world import KEYS, NAME, Group, World

from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.domain.ordering import position_order
from qupersync_loader.domain.watermark import Watermark
from qupersync_shared.contracts.envelope import GENERATION_HEADER
from qupersync_shared.contracts.slots import lane_of_slot, slot_of_key
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.kernel.positions import Scalar, ScalarKind

_SLOTS: Final = [slot_of_key((Scalar(ScalarKind.INT, str(number)),)) for number in range(KEYS)]
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class BrokenPromiseError(AssertionError):
    """The message begins with the promise's letter."""


@dataclass(slots=True)
class _Applied:
    """What one group's target has seen; goes back with it when it is restored."""

    watermarks: dict[Lane, Watermark] = field(default_factory=dict)
    events: set[UUID] = field(default_factory=set)
    content: dict[int, int] = field(default_factory=dict)
    newest: dict[int, int] = field(default_factory=dict)
    cleaned: dict[Lane, tuple[int, datetime]] = field(default_factory=dict)
    table: Any = None

    def copy(self) -> "_Applied":
        return _Applied(
            dict(self.watermarks),
            set(self.events),
            dict(self.content),
            dict(self.newest),
            dict(self.cleaned),
            self.table,
        )


class Referee:
    """`lossless` until something outside the processes loses or rolls back anything; `fenced` until something does, or
    somebody else publishes on a lane.
    """

    def __init__(self, world: World, tell: Callable[[str], None]) -> None:
        self.lossless = True
        self.fenced = True
        self.tell = tell
        self.broken: BrokenPromiseError | None = None
        self._world = world
        self._extraction: Extraction | None = None
        self._stored = 0
        self._published: dict[tuple[int, int, int], int] = {}  # (lane, log, sequence) → the latest generation
        self._seen = 0
        self._rewinds: list[tuple[Lane, int, int, int]] = []
        self._groups = {group.name: _Applied() for group in world.groups}
        self._snapshots: dict[UUID, datetime] = {}
        self._versions = 0
        self._committed: dict[int, datetime] = {}
        self._gone: dict[int, datetime] = {}
        self._latest = world.source.now

    # ------------------------------------------------------------------------------------------------------ the source

    def next_version(self) -> int:
        self._versions += 1
        return self._versions

    def note_commit(self, number: int, version: int | None) -> None:
        """A row was committed, or deleted, at a moment that no clock of the source has shown before."""
        self.note_clock()
        if version is None:
            self._gone.setdefault(number, self._latest)
        else:
            self._gone.pop(number, None)
            self._committed[version] = self._latest

    def note_clock(self) -> None:
        """The source's clock shows this now, and may be put back: what is committed then is committed later."""
        self._latest = max(self._latest, self._world.source.now)

    @property
    def changed_at(self) -> datetime:
        return max(self._latest, self._world.source.now)

    # ----------------------------------------------------------------------------------------------------- after a step

    def kept(self) -> None:
        """Something was committed. Never raises: the code that is watched might swallow it."""
        try:
            self.look()
        except BrokenPromiseError as broken:
            self.broken = self.broken or broken

    def break_promise(self, text: str) -> None:
        self.broken = self.broken or BrokenPromiseError(text)

    def look(self) -> None:
        """BrokenPromiseError if a promise does not hold."""
        if self.broken is not None:
            raise self.broken
        self._look_at_extraction()
        self._look_at_stream()
        for group in self._world.groups:
            self._look_at_target(group)

    def note_rewind(self, lane: Lane, log: int, sequence: int, generation: int) -> None:
        """A loader was told that the lane's events from `sequence` on follow under this generation."""
        self._rewinds.append((lane, log, sequence, generation))

    def extractor_restored(self) -> None:
        self._rewinds.clear()
        row = self._world.store.pipelines.get(NAME)
        self._extraction = row.state if row is not None else None

    def back_up(self, group: Group) -> _Applied:
        return self._groups[group.name].copy()

    def target_restored(self, group: Group, backup: _Applied) -> None:
        self._groups[group.name] = backup.copy()
        applied = self._groups[group.name]
        applied.table = group.target.store.tables.get("public.orders")
        known = group.target.store.pipelines.get(NAME)
        applied.watermarks = dict(known.watermarks) if known is not None else {}

    # ------------------------------------------------------------------------------------------------------- promise O

    def _look_at_extraction(self) -> None:
        row = self._world.store.pipelines.get(NAME)
        before, state = self._extraction, row.state if row is not None else None
        stored = len(self._world.store.outbox)
        if state is None or (state is before and stored == self._stored):
            return
        self._extraction, self._stored = state, stored
        if state.snapshot is not None:
            self._snapshots.setdefault(state.snapshot.id, state.snapshot.began_at)
        self._tell_page(state)
        if before is None:
            return
        if state.log < before.log:
            raise BrokenPromiseError(f"O: the extraction goes back from log {before.log} to {state.log}")
        records = {key[1:]: record for key, record in self._world.store.outbox.items() if key[2] == state.log}
        beyond = [key for key in records if key[2] > state.sequence]
        if beyond:
            raise BrokenPromiseError(f"O: the outbox holds {beyond} beyond sequence {state.sequence}")
        if state.log == before.log and state is not before:
            self._check_page(before, state, records)

    def _tell_page(self, state: Extraction) -> None:
        """What the schedule's reader wants to know of a commit."""
        rows = {
            key[1]: f"{record.headers['ce-mode']} of {record.headers['ce-rowcount']}"
            for key, record in self._world.store.outbox.items()
            if key[2:] == (state.log, state.sequence)
        }
        cursor = state.cursor.cursor.text[11:19] if state.cursor is not None else "-"
        self.tell(f"  extraction: {state.log}/{state.sequence}, cursor {cursor}, {rows}")

    @staticmethod
    def _check_page(before: Extraction, state: Extraction, records: dict[Any, Any]) -> None:
        if state.sequence not in (before.sequence, before.sequence + 1):
            raise BrokenPromiseError(f"O: sequence {before.sequence} is followed by {state.sequence}")
        if before.cursor is not None and (
            state.cursor is None or position_order(state.cursor) < position_order(before.cursor)
        ):
            raise BrokenPromiseError(f"O: the cursor goes back from {before.cursor} to {state.cursor}")
        if state.sequence == before.sequence:
            return
        for number in range(state.lanes):
            record = records.get((number, state.log, state.sequence))
            if record is None:
                raise BrokenPromiseError(f"O: sequence {state.sequence} has no record on lane {number}")
            previous = before.lane_ids.get(Lane(number))
            named = record.headers.get("ce-previousid")
            if named != (str(previous) if previous else None) or record.id != state.lane_ids[Lane(number)]:
                raise BrokenPromiseError(f"O: the record of lane {number} names {named}, not {previous}")

    # ----------------------------------------------------------------------------------------------------------- order

    def _look_at_stream(self) -> None:
        """Without losses an event is published once; and what was promised to be sent again is not passed over."""
        ever = self._world.stream.ever
        for message in ever[self._seen :]:
            if "ce-sequence" in message.headers:
                place = message.lane, int(message.headers["ce-log"]), int(message.headers["ce-sequence"])
                generation = int(message.headers[GENERATION_HEADER])
                if self.fenced and self._published.get(place, -1) >= generation:
                    raise BrokenPromiseError(f"order: event {place} stands in the stream twice")
                self._published[place] = generation
        self._seen = len(ever)
        self._rewinds = [rewind for rewind in self._rewinds if not self._is_sent(*rewind)]

    def _is_sent(self, lane: Lane, log: int, sequence: int, generation: int) -> bool:
        """Whether the event came again, or can come no more."""
        if self._published.get((lane, log, sequence), -1) >= generation:
            return True
        if (NAME, lane, log, sequence) not in self._world.store.outbox:
            return True
        row = self._world.store.cursors.get((NAME, lane))
        if row is not None and row.cursor.log == log and row.cursor.last_sequence >= sequence:
            raise BrokenPromiseError(
                f"order: lane {lane} goes on after {row.cursor.last_sequence}, though {sequence} of log {log} was to "
                f"come again under generation {generation}"
            )
        return False

    # ------------------------------------------------------------------------------------------------- promises W, S, D

    def _look_at_target(self, group: Group) -> None:
        applied = self._groups[group.name]
        known = group.target.store.pipelines.get(NAME)
        marks = known.watermarks if known is not None else {}
        changed = [lane for lane, mark in marks.items() if applied.watermarks.get(lane) is not mark]
        table = group.target.store.tables.get("public.orders")
        if table is not applied.table:
            applied.table = table
            self._check_versions(group, applied)
        for lane in changed:
            self._check_watermark(group, applied, Lane(lane), marks[lane])
        gone = [lane for lane in applied.watermarks if lane not in marks and known is not None and lane < known.lanes]
        if gone:
            raise BrokenPromiseError(f"W: group {group.name} has lost the watermarks of lanes {gone}")
        applied.watermarks = dict(marks)

    def _check_versions(self, group: Group, applied: _Applied) -> None:
        """Promise S: no version comes back over a newer one, nor after its row was removed."""
        content = self._world.content(group)
        for number, version in content.items():
            before = applied.content.get(number)
            newest = applied.newest.get(number, 0)
            if version < newest or (before is None and version == newest):
                raise BrokenPromiseError(
                    f"S: group {group.name}, key {number}: version {version} comes after {before or 'its removal'}, "
                    f"the newest was {newest}"
                )
            applied.newest[number] = version
        applied.content = content

    def _check_watermark(self, group: Group, applied: _Applied, lane: Lane, mark: Watermark) -> None:
        before = applied.watermarks.get(lane)
        self.tell(f"  {group.name}/{lane}: {mark.log}/{mark.sequence}, honest {mark.honest_time}: {applied.content}")
        if mark.event_id in applied.events:
            raise BrokenPromiseError(f"D: group {group.name} applies event {mark.log}/{mark.sequence} twice")
        applied.events.add(mark.event_id)
        if before is not None:
            if (mark.log, mark.sequence) <= (before.log, before.sequence):
                raise BrokenPromiseError(f"W: group {group.name}, lane {lane}: {mark} comes after {before}")
            if before.lanes == mark.lanes and before.honest_time is not None:
                later = mark.honest_time is not None and mark.honest_time >= before.honest_time
                if not later:
                    raise BrokenPromiseError(f"W: the honest time retreats from {before} to {mark}")
        whole = mark.snapshot_whole
        if whole is not None and whole in self._snapshots and (before is None or before.snapshot_whole != whole):
            applied.cleaned[lane] = mark.lanes, self._snapshots[whole]
        self._check_claims(group, applied, lane, mark)

    def _check_claims(self, group: Group, applied: _Applied, lane: Lane, mark: Watermark) -> None:
        """Promise W: what was committed before the honest time stands in the target; what was deleted before the last
        whole snapshot began does not.
        """
        content = applied.content
        if mark.honest_time is not None:
            for row in self._world.table.rows:
                number, version = row["id"], row["version"]
                mine = lane_of_slot(_SLOTS[number], mark.lanes) == lane
                if mine and self._committed[version] < mark.honest_time and content.get(number) != version:
                    raise BrokenPromiseError(
                        f"W: group {group.name}, lane {lane} claims {mark.honest_time:%H:%M:%S}, but key {number} is "
                        f"{content.get(number)}, not {version} of {self._committed[version]:%H:%M:%S}"
                    )
        lanes, cleaned = applied.cleaned.get(lane, (0, None))
        if cleaned is not None and lanes == mark.lanes:
            for number in content:
                mine = lane_of_slot(_SLOTS[number], mark.lanes) == lane
                if mine and self._gone.get(number, _NEVER) < cleaned:
                    raise BrokenPromiseError(
                        f"W: group {group.name}: key {number}, gone before a whole snapshot began, is there"
                    )

    # --------------------------------------------------------------------------------------------------------- the end

    def check_equal(self, *, deletes: bool) -> None:
        """Promise L: every row of the source stands in every target; after a snapshot, nothing else does."""
        wanted = self._world.wanted()
        for group in self._world.groups:
            content = self._world.content(group)
            wrong = {key: (have, content.get(key)) for key, have in wanted.items() if content.get(key) != have}
            if wrong:
                raise BrokenPromiseError(f"L: group {group.name}: key → (source, target): {wrong}")
            extra = sorted(set(content) - set(wanted))
            if deletes and extra:
                raise BrokenPromiseError(f"L: group {group.name} keeps deleted keys {extra}")

    def at_rest(self, *, since: datetime, deletes: bool) -> bool:
        """Every lane of every group claims all that was written; and its deletes, if asked for."""
        state = self._world.store.pipelines[NAME].state
        if state.snapshot_wish is not None:
            return False
        for group in self._world.groups:
            applied = self._groups[group.name]
            for lane in self._world.lanes:
                mark = applied.watermarks.get(lane)
                if mark is None or mark.log != state.log or mark.honest_time is None or mark.honest_time <= since:
                    return False
                lanes, cleaned = applied.cleaned.get(lane, (0, None))
                if deletes and (cleaned is None or lanes != state.lanes or cleaned <= since):
                    return False
        return True

    def claims(self) -> list[str]:
        """Where the lanes stand, for whoever reads a failure."""
        return [
            f"{group.name}/{lane}: {mark.log}/{mark.sequence} of {mark.lanes} lanes, claims {mark.honest_time}"
            for group in self._world.groups
            for lane, mark in sorted(self._groups[group.name].watermarks.items())
        ]

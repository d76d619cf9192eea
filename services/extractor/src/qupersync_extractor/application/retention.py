"""Keeps a pipeline's stream within its limit: purges what nobody needs, and wishes for snapshots that let more go."""

import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from qupersync_extractor.application.ports import Progress, Registration, Registry, RelayCursors
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.domain.pipeline import DeletePolicy
from qupersync_extractor.domain.retention import (
    PLAN_SHARE,
    RELIEF_SHARE,
    Claim,
    SeenEvent,
    SnapshotPlace,
    StreamKnowledge,
    compacted,
    compaction,
    compaction_bounds,
    cut,
    holding,
    learn,
    rebuildable_from,
    relief_bounds,
    wanted_snapshot,
)
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.places import SnapshotPlaceEntry, StreamPlaces
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.ids import GroupName, Lane, Log, PipelineName, Sequence, SnapshotId, StreamSequence
from qupersync_shared.runtime.logs import get_logger

LOOK_SECONDS: Final = 5.0
IDLE_LOOK_SECONDS: Final = 30.0
SCAN_MAX: Final = 20_000
_RELIEF_STEPS: Final = (0.25, 0.5, 0.75, 1.0)
_PART: Final = "stream"
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMeasure:
    """A stream's size at `at` (its server's clock); `made_at` tells it from another of the same name."""

    made_at: datetime
    at: datetime
    messages: int
    bytes: int
    bytes_max: int
    first: StreamSequence
    last: StreamSequence

    @property
    def share(self) -> float:
        """How much of the limit is used; 0 where there is none."""
        return self.bytes / self.bytes_max if self.bytes_max > 0 else 0.0


class RetainedStream(Protocol):
    """A pipeline's stream, as its keeper sees it. StreamUnavailableError where it cannot take part."""

    async def measure(self, pipeline: PipelineName) -> StreamMeasure: ...

    async def tops(self, pipeline: PipelineName) -> Mapping[Lane, StreamSequence]:
        """The stream sequence of the last message of every lane that has one."""
        ...

    async def acknowledged(self, pipeline: PipelineName) -> Mapping[tuple[GroupName, Lane], StreamSequence]:
        """Up to which sequence each loader group has acknowledged each of its lanes, without a hole."""
        ...

    async def events(
        self, pipeline: PipelineName, *, after: StreamSequence, upto: StreamSequence, limit: int
    ) -> tuple[list[SeenEvent], StreamSequence]:
        """The next events by their headers, at most `limit` of them, and up to where the stream was looked at.

        `upto` is a last sequence that the stream is known to have reached.
        """
        ...

    async def event_at(self, pipeline: PipelineName, lane: Lane, sequence: StreamSequence) -> BatchEnvelope | None:
        """The own event of the lane that stands there; None for anything else."""
        ...

    async def purge(self, pipeline: PipelineName, lane: Lane, *, below: StreamSequence) -> None:
        """Removes the lane's messages below a stream sequence."""
        ...


class PlaceBoard(Protocol):
    """The bucket's entry on a pipeline's stream."""

    async def places(self, pipeline: PipelineName) -> StreamPlaces | None: ...

    async def put_places(self, places: StreamPlaces) -> None: ...


@dataclass(slots=True, kw_only=True)
class StreamKeeper:
    """The keeper of one pipeline's stream. Two of them at once do no harm: purges are checked and idempotent."""

    pipeline: PipelineName
    deletes: DeletePolicy
    stream: RetainedStream
    board: PlaceBoard
    progress: Progress
    registry: Registry
    cursors: RelayCursors
    troubles: Troubles
    replay_retention: timedelta = timedelta(0)
    on_room: Callable[[], None] = lambda: None
    _knowledge: StreamKnowledge = field(default_factory=StreamKnowledge)
    _told: StreamPlaces | None = None
    _made_at: datetime | None = None
    _seen: StreamMeasure | None = None
    _purged_below: SnapshotId | None = None
    _quiet_since: tuple[Log, datetime | None, Sequence] | None = None
    _held_by: tuple[GroupName, ...] = ()
    _refused: bool = False
    _due_at: float = field(default=float("-inf"))

    async def look_if_due(self) -> None:
        """`look`, every few seconds while the stream changes or is short of room, else twice a minute."""
        now = time.monotonic()
        if now < self._due_at:
            measure = await self.stream.measure(self.pipeline)
            if self._seen is not None and _same(measure, self._seen) and measure.share < PLAN_SHARE:
                return
        self._due_at = now + IDLE_LOOK_SECONDS
        await self.look()

    def hurry(self) -> None:
        """The next `look_if_due` looks, and makes room: the stream has refused an event."""
        self._refused, self._due_at = True, float("-inf")

    @property
    def hurried(self) -> bool:
        """Whether the stream has refused an event that it has not been looked at for."""
        return self._refused

    def rest(self) -> None:
        """Somebody else keeps the stream now. What they purge stands in the bucket alone: it is read before a look."""
        self._made_at, self._seen, self._due_at = None, None, float("-inf")

    async def look(self) -> None:
        """One look: learns what was published, purges what may go, and wishes for a snapshot where that helps."""
        registration = await self.registry.get(self.pipeline)
        if registration is None:
            return
        log, lanes = registration.state.log, registration.lanes
        relayed = await self._relayed(registration)
        measure = await self.stream.measure(self.pipeline)
        if not await self._learn(measure):
            return  # there is more to read first
        claims = await self._claims(lanes)
        await self._compact(claims, log, measure)
        short = measure.share >= RELIEF_SHARE
        if short or self._refused:
            before, measure = measure, await self._relieve(claims, log)
            # A large event may find no room in a stream that is far from full.
            short = measure.share >= RELIEF_SHARE or (self._refused and measure.bytes >= before.bytes)
            self._refused = False
        self._held_by = await self._show_pressure(claims, measure) if short else self._without_pressure()
        if relayed:
            await self._plan(claims, log, measure)
        await self._tell(log)
        self._seen = measure

    # ------------------------------------------------------------------------------------------------- learning

    async def _learn(self, measure: StreamMeasure) -> bool:
        """Brings the knowledge up to the stream's end; False when that takes another look."""
        if self._made_at is None:
            self._restore(await self.board.places(self.pipeline))
        if self._made_at != measure.made_at or self._knowledge.upto > measure.last:
            self._forget(measure)  # another stream, or an older store of it
        knowledge = self._knowledge
        if knowledge.upto < measure.last:
            after = StreamSequence(max(knowledge.upto, measure.first - 1))
            events, upto = await self.stream.events(self.pipeline, after=after, upto=measure.last, limit=SCAN_MAX)
            knowledge = learn(knowledge, events, upto=upto)
        # Lanes are purged apart, but what lies below the stream's first message is gone for every one of them.
        gone = {lane: measure.first for place in knowledge.places for lane in place.first}
        self._knowledge = cut(knowledge, gone)
        return self._knowledge.upto >= measure.last

    def _restore(self, kept: StreamPlaces | None) -> None:
        if kept is not None:
            self._made_at, self._told = kept.stream_made_at, kept
            self._knowledge = StreamKnowledge(
                upto=StreamSequence(kept.upto),
                places=tuple(_place(entry) for entry in kept.places),
                bytes_since=kept.bytes_since,
            )

    def _forget(self, measure: StreamMeasure) -> None:
        self._made_at = measure.made_at
        self._knowledge = StreamKnowledge()
        self._purged_below = None

    async def _claims(self, lanes: int) -> list[Claim]:
        """One for each registered group and lane; a group is registered by its progress or by its consumers."""
        done = await self.stream.acknowledged(self.pipeline)
        told = {(GroupName(p.group), Lane(p.lane)): p for p in await self.progress.lanes(self.pipeline)}
        groups = {group for group, _ in (*done, *told)}
        return [
            Claim(
                group=group,
                lane=lane,
                done=done.get((group, lane), StreamSequence(0)),
                whole=_whole(told.get((group, lane))),
            )
            for group in sorted(groups)
            for lane in map(Lane, range(lanes))
        ]

    # ------------------------------------------------------------------------------------------------- purging

    async def _compact(self, claims: SequenceOf[Claim], log: Log, measure: StreamMeasure) -> None:
        if self.deletes is DeletePolicy.KEEP:
            return  # the source forgets: a snapshot alone would not bring back what it purges
        place = compaction(self._knowledge, claims, log=log, now=measure.at, replay_retention=self.replay_retention)
        if place is None or place.id == self._purged_below:
            return
        for lane, sequence in place.first.items():
            event = await self.stream.event_at(self.pipeline, lane, sequence)
            if event is None or event.snapshot_id != place.id or not event.snapshot_first:
                _log.warning("snapshot_not_where_it_was", pipeline=self.pipeline, snapshot=place.id, lane=lane)
                self._forget(measure)
                return
        await self._purge(compaction_bounds(self._knowledge, place, await self.stream.tops(self.pipeline)))
        self._knowledge = compacted(self._knowledge, place)
        self._purged_below = place.id
        _log.info("stream_compacted", pipeline=self.pipeline, snapshot=place.id)

    async def _relieve(self, claims: SequenceOf[Claim], log: Log) -> StreamMeasure:
        """Loading outranks replay: what every group has applied goes, oldest first, until there is room."""
        measure = await self.stream.measure(self.pipeline)
        tops = await self.stream.tops(self.pipeline)
        first, before, goal = measure.first, measure.bytes, 0.0 if self._refused else RELIEF_SHARE
        for share in _RELIEF_STEPS:
            if measure.share < goal:
                break
            bounds = relief_bounds(claims, tops, first=first, share=share)
            if max(bounds.values(), default=first) <= first:
                continue  # of few events, a part may be none
            # Told before it is done: whoever dies in between must not leave a snapshot that only seems whole.
            self._knowledge = cut(self._knowledge, bounds)
            await self._tell(log)
            await self._purge(bounds)
            measure = await self.stream.measure(self.pipeline)
            goal = PLAN_SHARE if measure.bytes < before else goal
        if measure.bytes < before:
            _log.warning("stream_relieved", pipeline=self.pipeline, bytes=before - measure.bytes, share=measure.share)
        return measure

    async def _purge(self, bounds: Mapping[Lane, StreamSequence]) -> None:
        for lane, below in sorted(bounds.items()):
            if below > 1:
                await self.stream.purge(self.pipeline, lane, below=below)
        self.on_room()

    def _without_pressure(self) -> tuple[GroupName, ...]:
        self.troubles.clear(self.pipeline, _PART)
        return ()

    async def _show_pressure(self, claims: SequenceOf[Claim], measure: StreamMeasure) -> tuple[GroupName, ...]:
        held_by = holding(claims, await self.stream.tops(self.pipeline), first=measure.first)
        full = f"its stream has used {measure.bytes} of {measure.bytes_max} bytes"
        if not claims:
            reason = f"{full}, and no loader group has applied anything: start a loader"
        elif held_by:
            names = ", ".join(held_by)
            reason = (
                f"{full}, held by what loader group {names} has not applied: start its loaders, or end its claim with "
                f"`qupersync groups remove {held_by[0]}`"
            )
        else:
            reason = f"{full}: loaders do not keep up, or nats.stream_bytes_max is too small"
        if self.troubles.set(self.pipeline, _PART, reason):
            _log.warning("stream_is_short_of_room", pipeline=self.pipeline, reason=reason)
        return held_by

    # ------------------------------------------------------------------------------------------------ planning

    async def _relayed(self, registration: Registration) -> bool:
        """Whether everything is in the stream that was extracted before the last snapshot was seen to have ended.

        A snapshot whose events wait in the outbox is not in the stream, and yet another one is no cure for that.
        """
        state = registration.state
        if state.snapshot is not None or state.snapshot_wish is not None:
            self._quiet_since = None
            return False
        if self._quiet_since is None or self._quiet_since[:2] != (state.log, state.snapshot_ended_at):
            self._quiet_since = (state.log, state.snapshot_ended_at, state.sequence)
        log, _, sequence = self._quiet_since
        for lane in map(Lane, range(registration.lanes)):
            cursor = await self.cursors.read(self.pipeline, lane)
            if cursor is None or cursor.log != log or cursor.last_sequence < sequence:
                return False
        return True

    async def _plan(self, claims: SequenceOf[Claim], log: Log, measure: StreamMeasure) -> None:
        if self.deletes is DeletePolicy.KEEP:
            return
        reason = wanted_snapshot(
            self._knowledge, claims, log=log, bytes_used=measure.bytes, bytes_max=measure.bytes_max
        )
        if reason is not None and await self.registry.wish_snapshot(self.pipeline, reason=reason, restart=False):
            await self.registry.request_run(self.pipeline, None)
            self._quiet_since = None
            _log.info("snapshot_planned", pipeline=self.pipeline, reason=reason)

    # -------------------------------------------------------------------------------------------------- telling

    async def _tell(self, log: Log) -> None:
        knowledge = self._knowledge
        base = rebuildable_from(knowledge, log=log)
        why = None
        if base is None:
            was = any(place.cut for place in knowledge.places)
            why = (
                "what a whole snapshot needs was purged to make room; the next one mends it"
                if was
                else "the stream holds no whole snapshot yet"
            )
        if self.deletes is DeletePolicy.KEEP:
            base, why = None, "its source forgets rows (deletes: keep), so no snapshot says everything"
        if self._made_at is None:
            return
        places = StreamPlaces(
            pipeline=self.pipeline,
            stream_made_at=self._made_at,
            upto=knowledge.upto,
            places=tuple(_entry(place) for place in knowledge.places),
            bytes_since=knowledge.bytes_since,
            replayable_since=base.first_at if base is not None else None,
            not_rebuildable=why,
            held_by=self._held_by,
        )
        if places != self._told:
            await self.board.put_places(places)
            self._told = places


def _same(one: StreamMeasure, other: StreamMeasure) -> bool:
    return (one.made_at, one.first, one.last, one.bytes) == (other.made_at, other.first, other.last, other.bytes)


def _whole(told: LaneProgress | None) -> SnapshotId | None:
    return SnapshotId(told.snapshot_whole) if told is not None and told.snapshot_whole is not None else None


def _place(entry: SnapshotPlaceEntry) -> SnapshotPlace:
    return SnapshotPlace(
        id=SnapshotId(entry.id),
        log=Log(entry.log),
        lanes=entry.lanes,
        first_at=entry.first_at,
        first={Lane(lane): StreamSequence(sequence) for lane, sequence in entry.first.items()},
        last={Lane(lane): StreamSequence(sequence) for lane, sequence in entry.last.items()},
        bytes=entry.bytes,
        cut=entry.cut,
    )


def _entry(place: SnapshotPlace) -> SnapshotPlaceEntry:
    return SnapshotPlaceEntry(
        id=place.id,
        log=place.log,
        lanes=place.lanes,
        first=dict(place.first),
        last=dict(place.last),
        first_at=place.first_at,
        bytes=place.bytes,
        cut=place.cut,
    )

"""What of a pipeline's stream may go, and when a snapshot is worth having so that more of it may go. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from qupersync_shared.kernel.ids import GroupName, Lane, Log, SnapshotId, StreamSequence

PLAN_SHARE: Final = 0.6
RELIEF_SHARE: Final = 0.8
_PLACES_MAX: Final = 50
_NOTHING: Final = StreamSequence(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPlace:
    """Where a snapshot stands in the stream, by lane. `bytes`: of all events from its first to its last page.

    `cut`: something of it was purged, so nothing can be rebuilt from it.
    """

    id: SnapshotId
    log: Log
    lanes: int
    first_at: datetime
    first: Mapping[Lane, StreamSequence] = field(default_factory=dict)
    last: Mapping[Lane, StreamSequence] = field(default_factory=dict)
    bytes: int = 0
    cut: bool = False

    @property
    def ended(self) -> bool:
        """Whether every lane has its first and its last page."""
        lanes = {Lane(lane) for lane in range(self.lanes)}
        return set(self.first) >= lanes and set(self.last) >= lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEvent:
    """An event of the stream, as far as its headers tell; `snapshot` only where it is a snapshot's page."""

    sequence: StreamSequence
    lane: Lane
    log: Log
    lanes: int
    at: datetime
    bytes: int
    snapshot: SnapshotId | None = None
    first: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamKnowledge:
    """The stream up to a sequence: its snapshots in order, and the bytes published after the last one that ended."""

    upto: StreamSequence = _NOTHING
    places: tuple[SnapshotPlace, ...] = ()
    bytes_since: int = 0


def learn(knowledge: StreamKnowledge, events: Iterable[SeenEvent], *, upto: StreamSequence) -> StreamKnowledge:
    """The knowledge after further events, in the order of the stream, up to `upto`."""
    for event in events:
        knowledge = _learn_one(knowledge, event)
    return replace(knowledge, upto=max(knowledge.upto, upto))


def _learn_one(knowledge: StreamKnowledge, event: SeenEvent) -> StreamKnowledge:
    places = list(knowledge.places)
    if event.first and event.snapshot is not None and all(place.id != event.snapshot for place in places):
        if places and not places[-1].ended:
            places.pop()  # a snapshot that was begun anew never ends
        places.append(SnapshotPlace(id=event.snapshot, log=event.log, lanes=event.lanes, first_at=event.at))
    since = knowledge.bytes_since
    if places and not places[-1].ended:
        places[-1] = replace(places[-1], bytes=places[-1].bytes + event.bytes)
    else:
        since += event.bytes
    for number, place in enumerate(places):
        if place.id == event.snapshot:
            places[number] = _with_page(place, event)
            if places[number].ended and not place.ended:
                since = 0
    return replace(knowledge, places=tuple(places[-_PLACES_MAX:]), bytes_since=since)


def _with_page(place: SnapshotPlace, event: SeenEvent) -> SnapshotPlace:
    # Of pages that were sent again the first copy counts for the beginning, and the last one for the end.
    first = {event.lane: event.sequence, **place.first} if event.first else place.first
    last = {**place.last, event.lane: event.sequence} if event.last else place.last
    return replace(place, first=first, last=last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one loader group still wants of one lane: everything after `done`, the stream sequence it acknowledged.

    `whole` is the last snapshot that it applied from first to last page.
    """

    group: GroupName
    lane: Lane
    done: StreamSequence
    whole: SnapshotId | None = None


def rebuildable_from(knowledge: StreamKnowledge, *, log: Log) -> SnapshotPlace | None:
    """The newest snapshot that a rebuild may begin with."""
    return next((p for p in reversed(knowledge.places) if p.ended and not p.cut and p.log == log), None)


def compaction(
    knowledge: StreamKnowledge, claims: Sequence[Claim], *, log: Log, now: datetime, replay_retention: timedelta
) -> SnapshotPlace | None:
    """The newest snapshot whose first page everything may be purged below: every group has applied it whole, and it
    began `replay_retention` ago. None without loader groups: nobody has applied anything.
    """
    order = {place.id: number for number, place in enumerate(knowledge.places)}
    for number, place in reversed(list(enumerate(knowledge.places))):
        if not place.ended or place.cut or place.log != log or place.first_at > now - replay_retention:
            continue
        own = [claim for claim in claims if claim.lane < place.lanes]
        if own and all(claim.whole is not None and order.get(claim.whole, -1) >= number for claim in own):
            return place
    return None


def compacted(knowledge: StreamKnowledge, place: SnapshotPlace) -> StreamKnowledge:
    """The knowledge when everything below the snapshot is purged."""
    at = [known.id for known in knowledge.places].index(place.id)
    return replace(knowledge, places=knowledge.places[at:])


def compaction_bounds(
    knowledge: StreamKnowledge, place: SnapshotPlace, tops: Mapping[Lane, StreamSequence]
) -> dict[Lane, StreamSequence]:
    """Below which sequence each lane is purged. Of lanes that the snapshot's log no longer has nothing stays: every
    group has left the log that they belong to. What was published since the stream was looked at is another matter.
    """
    bounds = {lane: min(place.first.get(lane, top), top) for lane, top in tops.items()}
    for lane, top in tops.items():
        if lane >= place.lanes:
            later = [known.first[lane] for known in knowledge.places if known.log > place.log and lane in known.first]
            bounds[lane] = min([StreamSequence(min(top, knowledge.upto) + 1), *later])
    return bounds


def relief_bounds(
    claims: Sequence[Claim], tops: Mapping[Lane, StreamSequence], *, first: StreamSequence, share: float
) -> dict[Lane, StreamSequence]:
    """Below which sequence each lane is purged when loading outranks replay: the oldest `share` of what every group
    has done with, never a lane's last message. Nothing without loader groups.
    """
    if not claims:
        return {}
    bounds: dict[Lane, StreamSequence] = {}
    for lane, top in tops.items():
        done = [claim.done for claim in claims if claim.lane == lane]
        bounds[lane] = StreamSequence(min([top, *(sequence + 1 for sequence in done)]))
    greatest = max(bounds.values(), default=first)
    limit = StreamSequence(first + round((greatest - first) * share))
    return {lane: min(bound, limit) for lane, bound in bounds.items()}


def cut(knowledge: StreamKnowledge, bounds: Mapping[Lane, StreamSequence]) -> StreamKnowledge:
    """The knowledge when the lanes are purged below these bounds."""
    places = tuple(
        replace(place, cut=True) if any(bounds.get(lane, 0) > first for lane, first in place.first.items()) else place
        for place in knowledge.places
    )
    # Of those that are cut only the newest is of use: its size tells whether another one is worth having.
    kept = tuple(place for number, place in enumerate(places) if not place.cut or number == len(places) - 1)
    return replace(knowledge, places=kept)


def holding(
    claims: Sequence[Claim], tops: Mapping[Lane, StreamSequence], *, first: StreamSequence
) -> tuple[GroupName, ...]:
    """The loader groups that hold most of the stream: half of it or more waits for them.

    What all have done with is purged before this is asked. Of a lane that the log no longer has, the last message stays
    until the next compaction, and says nothing of where the stream begins.
    """
    first = max(first, min((claim.done for claim in claims), default=first))
    half = first + (max(tops.values(), default=first) - first) / 2
    behind = {c.group for c in claims if c.done < min(tops.get(c.lane, _NOTHING), half)}
    return tuple(sorted(behind))


def wanted_snapshot(
    knowledge: StreamKnowledge, claims: Sequence[Claim], *, log: Log, bytes_used: int, bytes_max: int
) -> str | None:
    """The reason to plan a snapshot, seen from the stream alone; None where it would help nobody.

    After a snapshot the stream must have grown by as much again: one that fills the stream by itself would be read
    from the source for ever. One that a group has yet to pass frees nothing when another follows it. And none is
    planned where there is no room for it.
    """
    if not claims or (bytes_max > 0 and bytes_used >= RELIEF_SHARE * bytes_max):
        return None
    newest = next((place for place in reversed(knowledge.places) if place.log == log), None)
    if newest is not None:
        passed = all(claim.done >= newest.last.get(claim.lane, claim.done) for claim in claims)
        if not newest.ended or not passed or knowledge.bytes_since < newest.bytes:
            return None
    if newest is not None and rebuildable_from(knowledge, log=log) is None:
        return "the stream no longer holds a whole snapshot"
    if bytes_max > 0 and bytes_used >= PLAN_SHARE * bytes_max:
        return f"the stream has used {100 * bytes_used // bytes_max} % of its bytes"
    return None

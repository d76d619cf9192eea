"""The watermark of a lane: what it applied last, and which time it may honestly claim."""

from dataclasses import dataclass, replace
from datetime import datetime

from qupersync_loader.domain.events import EventFacts
from qupersync_shared.kernel.ids import EventId, Log, Sequence, SnapshotId


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSeen:
    """A snapshot of a lane's log: the sequences of its first page, and of its last one once that has passed."""

    id: SnapshotId
    first: Sequence
    last: Sequence | None = None

    @property
    def over(self) -> bool:
        return self.last is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """The last event a lane durably applied. The sequence orders; the honest time is what people are shown.

    `building` is the snapshot whose end the honest time waits for; None when the lane is whole. `snapshot_whole` is
    the last snapshot that the lane applied from its first to its last page. `snapshot` is the newest one whose first
    page the lane took.
    """

    lanes: int
    log: Log
    sequence: Sequence
    event_id: EventId
    building: SnapshotId | None = None
    snapshot_whole: SnapshotId | None = None
    snapshot: SnapshotSeen | None = None
    honest_time: datetime | None = None


def next_watermark(watermark: Watermark | None, event: EventFacts, *, held: bool = False) -> Watermark:
    """The watermark after an event that `judge` said to apply.

    `held`: the lane has parked events of this log, so the honest time stays, and no snapshot counts as whole.
    """
    follows = watermark is not None and follows_on(watermark, event)
    building = _building(watermark.building if watermark is not None and follows else event.snapshot_id, event)
    whole = watermark.snapshot_whole if watermark is not None else None
    if event.snapshot_last and building is None and not held:
        whole = event.snapshot_id
    # What was complete up to a moment stays so: rows only get newer. Other lanes are other keys, though.
    honest = watermark.honest_time if watermark is not None and watermark.lanes == event.lanes else None
    if building is None and not held and event.honest_time is not None:
        honest = event.honest_time if honest is None else max(honest, event.honest_time)
    return Watermark(
        lanes=event.lanes,
        log=event.log,
        sequence=event.sequence,
        event_id=event.event_id,
        building=building,
        snapshot_whole=whole,
        snapshot=seen_snapshot(watermark, event),
        honest_time=honest,
    )


def seen_snapshot(watermark: Watermark | None, event: EventFacts) -> SnapshotSeen | None:
    """The newest snapshot of the event's log that the lane has met, after the event.

    Once it is over, whatever was parked before its first page has been said again, unless one of its own pages was
    parked too.
    """
    if event.snapshot_first and event.snapshot_id is not None:
        last = event.sequence if event.snapshot_last else None
        return SnapshotSeen(id=event.snapshot_id, first=event.sequence, last=last)
    seen = watermark.snapshot if watermark is not None and watermark.log == event.log else None
    if seen is not None and event.snapshot_last and event.snapshot_id == seen.id:
        return replace(seen, last=event.sequence)
    return seen


def follows_on(watermark: Watermark, event: EventFacts) -> bool:
    """Whether the event was made right after the watermark's, in the same log with the same lanes."""
    same = (watermark.log, watermark.lanes, watermark.event_id) == (event.log, event.lanes, event.previous_id)
    return same and event.sequence == watermark.sequence + 1


def _building(building: SnapshotId | None, event: EventFacts) -> SnapshotId | None:
    """Which snapshot is still awaited: a newer one that begins takes the place of one that never ended."""
    if building is not None and event.snapshot_first:
        building = event.snapshot_id
    return None if event.snapshot_last and building == event.snapshot_id else building

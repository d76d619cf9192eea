"""The facts of an event that decide what a lane does with it."""

from dataclasses import dataclass
from datetime import datetime

from qupersync_loader.domain.filled import Place
from qupersync_shared.kernel.ids import EventId, Generation, Lane, Log, Sequence, SnapshotId

_FIRST = Generation(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFacts:
    """One batch event as a lane sees it; `snapshot_id` is None except on the pages of a snapshot.

    `honest_time`: every change committed at the source before it is in this or earlier events of the lane.
    """

    event_id: EventId
    lane: Lane
    lanes: int
    log: Log
    sequence: Sequence
    previous_id: EventId | None = None
    generation: Generation = _FIRST
    snapshot_id: SnapshotId | None = None
    snapshot_first: bool = False
    snapshot_last: bool = False
    honest_time: datetime | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.lane < self.lanes and self.log >= 1 and self.sequence >= 1):
            raise ValueError(f"lane {self.lane} of {self.lanes}, log {self.log}, sequence {self.sequence}")
        if self.snapshot_id is None and (self.snapshot_first or self.snapshot_last):
            raise ValueError("only a page of a snapshot is its first or last")

    @property
    def place(self) -> Place:
        return (self.log, self.sequence)

    @property
    def is_baseline(self) -> bool:
        """Whether a lane may begin here."""
        return self.snapshot_first

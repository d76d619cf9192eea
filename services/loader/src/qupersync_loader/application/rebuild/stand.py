"""Where the lanes of a table that is being filled stand, as this process knows it, and how far each may go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from qupersync_loader.application.ports import LaneState
from qupersync_loader.application.shadows import LanePair
from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.judge import Verdict, judge
from qupersync_loader.domain.watermark import Watermark, next_watermark
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.ids import Lane, Log


class Ended(StrEnum):
    """Why a lane was read no further: it is where it is to be; the next event that fits lies beyond that; or nothing
    that stands in the stream fits.
    """

    THERE = "there"
    BEYOND = "beyond"
    SHORT = "short"


class Reach(Protocol):
    """How far a lane is to be read."""

    def there(self, mark: Watermark | None, place: int) -> bool:
        """Whether a lane with this watermark, which reads on from this place, is where it is to be."""
        ...

    def beyond(self, event: EventFacts) -> bool:
        """Whether the event is not to be applied yet."""
        ...

    def wants(self, event: EventFacts) -> bool:
        """Whether the event has anything to do with it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveReach:
    """Exactly as far as the live lane has come; `newest` is the log that the live table is in."""

    live: Watermark
    newest: Log

    def there(self, mark: Watermark | None, place: int) -> bool:  # noqa: ARG002  # the watermark says it all
        return mark is not None and LanePair(live=self.live, shadow=mark).level

    def beyond(self, event: EventFacts) -> bool:
        """What is of a log that the live table has left was passed by all of its lanes."""
        if event.log < self.newest:
            return False
        return (event.log, event.sequence) > (self.live.log, self.live.sequence)

    def wants(self, event: EventFacts) -> bool:  # noqa: ARG002  # all that it has not applied
        return True


def live_reaches(pairs: Mapping[Lane, LanePair]) -> dict[Lane, LiveReach]:
    """How far each lane of the live table's log has come."""
    live = {lane: pair.live for lane, pair in pairs.items() if pair.live is not None}
    newest = max((mark.log for mark in live.values()), default=Log(0))
    return {lane: LiveReach(live=mark, newest=newest) for lane, mark in live.items()}


@dataclass(slots=True)
class Stand:
    """The watermarks of a table that nobody else writes to: true without asking, until the process ends."""

    log: Log | None = None
    lanes: int | None = None
    marks: dict[Lane, Watermark] = field(default_factory=dict)
    schema: RowSchema | None = None
    _schema_at: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, pairs: Mapping[Lane, LanePair], *, schema: RowSchema) -> "Stand":
        """As the shadow's watermarks say; `schema` is that of the source as far as is known yet."""
        marks = {lane: pair.shadow for lane, pair in pairs.items() if pair.shadow is not None}
        newest = max(marks.values(), key=lambda mark: mark.log, default=None)
        return cls(
            log=newest.log if newest is not None else None,
            lanes=newest.lanes if newest is not None else None,
            marks=marks,
            schema=schema,
        )

    @property
    def known_schema(self) -> RowSchema:
        """The source's columns as the newest event that was applied has them."""
        if self.schema is None:
            raise RuntimeError("nothing is known of the source's columns")
        return self.schema

    def saw_schema(self, event: EventFacts, schema: RowSchema) -> None:
        """The event that was applied has these columns."""
        if (event.log, event.sequence) >= self._schema_at:
            self.schema, self._schema_at = schema, (event.log, event.sequence)

    def judge(self, event: EventFacts) -> Verdict:
        """What the table will do with the event."""
        return judge(
            pipeline_log=self.log, pipeline_lanes=self.lanes, watermark=self.marks.get(event.lane), event=event
        )

    def went(self, event: EventFacts) -> None:
        """The event was applied, or parked."""
        if (self.log, self.lanes) != (event.log, event.lanes):
            self.log, self.lanes = event.log, event.lanes
            self.marks = {lane: mark for lane, mark in self.marks.items() if lane < event.lanes}
        self.marks[event.lane] = next_watermark(self.marks.get(event.lane), event)

    def saw(self, lane: Lane, state: LaneState) -> None:
        """The table says otherwise, and knows better."""
        self.log, self.lanes = state.log, state.lanes
        if state.watermark is None:
            self.marks.pop(lane, None)
        else:
            self.marks[lane] = state.watermark

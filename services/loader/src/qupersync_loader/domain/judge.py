"""The judge: what a lane does with an event, decided from the pipeline's log and the lane's watermark alone."""

from dataclasses import dataclass
from typing import Protocol

from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.watermark import Watermark
from qupersync_shared.kernel.ids import Log, Sequence


@dataclass(frozen=True, slots=True)
class Apply:
    """It is the lane's next event, or a baseline. `changes_log`: all lanes of the pipeline leave their log with it."""

    changes_log: bool = False


@dataclass(frozen=True, slots=True)
class AlreadyApplied:
    """It is not beyond the watermark, or of a log that the pipeline has left."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The stream lost what lies between the watermark and this event."""

    expected: Sequence


@dataclass(frozen=True, slots=True)
class Fork:
    """Somebody's database was rolled back: the lane's sequence goes on from another predecessor, or other lanes."""


@dataclass(frozen=True, slots=True)
class AwaitBaseline:
    """The lane has not begun in this log and this is no baseline: nothing can be made of it."""


Verdict = Apply | AlreadyApplied | Gap | Fork | AwaitBaseline


def judge(
    *, pipeline_log: Log | None, watermark: Watermark | None, event: EventFacts, pipeline_lanes: int | None = None
) -> Verdict:
    """What the lane does with the event; `pipeline_log` is None as long as no lane of the pipeline has begun.

    `pipeline_lanes`, where known, is the number of lanes of the pipeline's log: a log never changes it.
    """
    newest = max(pipeline_log or 0, watermark.log if watermark is not None else 0)
    if event.log < newest:
        return AlreadyApplied()
    if pipeline_lanes is not None and event.log == pipeline_log and event.lanes != pipeline_lanes:
        return Fork()
    if watermark is None or watermark.log < event.log:
        return Apply(changes_log=event.log != pipeline_log) if event.is_baseline else AwaitBaseline()
    return _judge_in_log(watermark, event)


def _judge_in_log(watermark: Watermark, event: EventFacts) -> Verdict:
    if event.lanes != watermark.lanes:
        return Fork()
    if event.sequence <= watermark.sequence:
        other = event.sequence == watermark.sequence and event.event_id != watermark.event_id
        return Fork() if other else AlreadyApplied()
    if event.is_baseline:
        return Apply()
    if event.sequence > watermark.sequence + 1:
        return Gap(Sequence(watermark.sequence + 1))
    return Apply() if event.previous_id == watermark.event_id else Fork()


class OfLog(Protocol):
    """A watermark, or what is told of one."""

    @property
    def log(self) -> int: ...

    @property
    def lanes(self) -> int: ...


def has_begun(*, pipeline_log: Log | None, pipeline_lanes: int | None, watermark: OfLog | None) -> bool:
    """Whether the lane has a watermark in the pipeline's log; one without waits for a baseline."""
    return watermark is not None and watermark.log == pipeline_log and watermark.lanes == pipeline_lanes

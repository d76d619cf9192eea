"""Timetables as the configuration words them: every so often, by cron, or as soon as the last run has ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from qupersync_extractor.application.appointments import LastRun, Timetable, due_at, spread
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.settings import Schedule
from qupersync_shared.runtime.settings.units import format_duration

CONTINUOUS: Final = timedelta(seconds=1)
_NO_JITTER: Final = timedelta(0)
_MOMENTS_LOOKED_AT: Final = 100


class NeverComesError(ValueError):
    """A crontab expression asks for a day that there never is."""


@dataclass(frozen=True, slots=True)
class Every:
    """So long after the last run's end; a run that nobody could make is made up for however late."""

    interval: timedelta
    jitter: timedelta = _NO_JITTER
    grace: None = None
    remembered: bool = True

    def next_after(self, moment: datetime) -> datetime:
        return moment + self.interval

    def after(self, last: LastRun) -> datetime:
        return last.ended_at + self.interval


@dataclass(frozen=True, slots=True)
class Continuous:
    """As soon as the last run has ended, a second after its beginning at the earliest."""

    jitter: timedelta = _NO_JITTER
    grace: None = None
    remembered: bool = False

    def next_after(self, moment: datetime) -> datetime:
        return moment + CONTINUOUS

    def after(self, last: LastRun) -> datetime:
        return max(last.ended_at, last.covers + CONTINUOUS)


def timetable(schedule: Schedule) -> Timetable:
    """The timetable that the schedule means; ValueError for a malformed crontab expression."""
    if schedule.cron is not None:
        from qupersync_extractor.infrastructure.scheduling.crontab import Crontab

        return Crontab(
            schedule.cron, time_zone=schedule.time_zone, jitter=schedule.jitter, grace=schedule.misfire_grace
        )
    if schedule.every is not None:
        return Every(schedule.every, jitter=schedule.jitter)
    return Continuous(jitter=schedule.jitter)


def check_schedule(schedule: Schedule, *, place: str, now: datetime) -> None:
    """ConfigurationError for a crontab expression that nobody can follow, and for runs that jitter would mix up."""
    try:
        found = timetable(schedule)
        shortest = _shortest(found, now) if schedule.jitter else None
    except NeverComesError:
        raise ConfigurationError(
            f"{schedule.cron!r} never comes: no day is ever like that",
            place=f"{place}.cron",
            cure="Write a day of the month that the month has",
        ) from None
    except ValueError as error:
        raise ConfigurationError(
            f"{schedule.cron!r} is not a crontab expression: {error}",
            place=f"{place}.cron",
            cure='Write five fields, such as "*/5 * * * *"',
        ) from None
    if shortest is not None and schedule.jitter >= shortest:
        raise ConfigurationError(
            f"a run may come {format_duration(schedule.jitter)} late, and the next one is due after "
            f"{format_duration(shortest)}",
            place=f"{place}.jitter",
            cure=f"Write less than {format_duration(shortest)}",
        )


def _shortest(found: Timetable, now: datetime) -> timedelta:
    """The shortest time between two of its next moments."""
    moments = [found.next_after(now)]
    while len(moments) < _MOMENTS_LOOKED_AT:
        moments.append(found.next_after(moments[-1]))
    return min(later - earlier for earlier, later in pairwise(moments))


def next_run(schedule: Schedule, pipeline: PipelineName, last: LastRun | None, now: datetime) -> datetime:
    """When the pipeline is due next, whoever runs it: a moment of the past where a run is overdue.

    `schedule` is one that `check_schedule` has let pass.
    """
    found = timetable(schedule)
    if last is None and not found.remembered:
        return now
    return spread(found, pipeline, due_at(found, last, now))


def schedule_text(schedule: Schedule) -> str:
    """The schedule as people read it: `every 15m`, `cron */5 * * * * (Europe/Berlin)`, `continuous`."""
    text = "continuous"
    if schedule.every is not None:
        text = f"every {format_duration(schedule.every)}"
    elif schedule.cron is not None:
        text = f"cron {schedule.cron} ({schedule.time_zone})"
    return f"{text}, jitter {format_duration(schedule.jitter)}" if schedule.jitter else text

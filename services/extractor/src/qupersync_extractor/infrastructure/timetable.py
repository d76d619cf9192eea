"""Timetables: every so often, by cron (APScheduler's parser), or as soon as the last run has ended."""

from datetime import UTC, datetime, timedelta

from apscheduler.triggers.cron import CronTrigger

from qupersync_extractor.application.serving import Timetable
from qupersync_shared.runtime.settings import Schedule

CONTINUOUS_SECONDS = 1


class Every:
    """So long after the last run's end; a run that took longer than the interval is followed at once."""

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval

    def next_after(self, moment: datetime) -> datetime:
        return moment + self._interval


class Cron:
    """At the moments of a crontab expression, in UTC. ValueError for a malformed one."""

    def __init__(self, expression: str) -> None:
        self._trigger = CronTrigger.from_crontab(expression, timezone=UTC)

    def next_after(self, moment: datetime) -> datetime:
        found: datetime | None = self._trigger.get_next_fire_time(None, moment)
        return found if found is not None else moment + timedelta(days=1)


def timetable(schedule: Schedule) -> Timetable:
    """The timetable that the schedule means."""
    if schedule.cron is not None:
        return Cron(schedule.cron)
    return Every(schedule.every or timedelta(seconds=CONTINUOUS_SECONDS))

"""The agenda of a process: one AsyncIOScheduler of APScheduler, one entry a pipeline."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apscheduler.events import EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from qupersync_extractor.application.appointments import Timetable, following, spread
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.lifecycle import end_tasks
from qupersync_shared.runtime.logs import get_logger

AT_ONCE_APART: Final = timedelta(milliseconds=50)
CLOCK_LOOK_SECONDS: Final = 5.0
CLOCK_JUMP_SECONDS: Final = 1.0

_log = get_logger(__name__)


class TimetableTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """A timetable as APScheduler asks for it."""

    def __init__(self, pipeline: PipelineName, timetable: Timetable) -> None:
        self.pipeline = pipeline
        self.timetable = timetable

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """When the entry comes next; asked more than once for the same moment, it says the same."""
        return following(self.timetable, self.pipeline, previous_fire_time or now, now)


class ScheduledAgenda:
    """Rings by the wall clock, from the first entry on; a clock that is put back puts nothing off.

    Entries that are due at once begin a twentieth of a second after each other: a process that starts with a hundred
    pipelines does not fall upon the source with all of them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._scheduler.add_listener(_tell_missed, EVENT_JOB_MISSED)
        logging.getLogger("apscheduler.executors.default").setLevel(logging.ERROR)  # which says the same, in its words
        self._watching: asyncio.Task[None] | None = None
        self._last_begun = datetime.min.replace(tzinfo=UTC)

    def enter(self, pipeline: PipelineName, timetable: Timetable, due: datetime, ring: Callable[[], None]) -> None:
        """Calls `ring` when `due` has come (spread by the jitter), and at every later moment of the timetable."""
        self._start()

        async def reminded() -> None:  # a coroutine stays in the event loop, a function would be put into a thread
            ring()

        self._scheduler.add_job(
            reminded,
            TimetableTrigger(pipeline, timetable),
            id=pipeline,
            name=pipeline,
            replace_existing=True,
            misfire_grace_time=_whole_seconds(timetable.grace),
            next_run_time=self._place(spread(timetable, pipeline, due)),
        )

    def move(self, pipeline: PipelineName, due: datetime) -> None:
        """The entry comes next when `due` has come; nothing happens where there is no entry."""
        entry: Job | None = self._scheduler.get_job(pipeline)
        if entry is not None:
            trigger: TimetableTrigger = entry.trigger
            moment = spread(trigger.timetable, pipeline, due)
            self._scheduler.modify_job(pipeline, next_run_time=max(moment, self._clock.now()))

    def strike(self, pipeline: PipelineName) -> None:
        """Takes the entry away, if there is one."""
        if self._scheduler.get_job(pipeline) is not None:
            self._scheduler.remove_job(pipeline)

    async def close(self) -> None:
        """Nothing rings any more."""
        if self._watching is not None:
            await end_tasks([self._watching])
            self._watching = None
            self._scheduler.shutdown(wait=False)
            await asyncio.sleep(0)  # APScheduler ends itself in a later turn of the event loop

    def _start(self) -> None:
        if self._watching is None:
            self._scheduler.start()
            self._watching = asyncio.create_task(self._watch_clock(), name="agenda-clock")

    def _place(self, moment: datetime) -> datetime:
        """The moment, or, where it has come already, the next free one from now on."""
        now = self._clock.now()
        if moment > now:
            return moment
        if self._last_begun - now > timedelta(minutes=1):
            self._last_begun = now  # the clock was put back
        self._last_begun = max(now, self._last_begun + AT_ONCE_APART)
        return self._last_begun

    async def _watch_clock(self) -> None:
        """Timers go by a clock that nobody sets: whenever the wall clock was set, they are set anew."""
        seen, counted = self._clock.now(), time.monotonic()
        while True:
            await asyncio.sleep(CLOCK_LOOK_SECONDS)
            now, count = self._clock.now(), time.monotonic()
            jump = (now - seen).total_seconds() - (count - counted)
            seen, counted = now, count
            if abs(jump) > CLOCK_JUMP_SECONDS:
                _log.info("clock_was_set", seconds=round(jump, 1))
                self._clock_was_set(now)

    def _clock_was_set(self, now: datetime) -> None:
        for entry in self._scheduler.get_jobs():
            trigger: TimetableTrigger = entry.trigger
            soonest = following(trigger.timetable, trigger.pipeline, now, now)
            if soonest < entry.next_run_time:
                self._scheduler.modify_job(entry.id, next_run_time=soonest)
        self._scheduler.wakeup()


def _whole_seconds(grace: timedelta | None) -> int | None:
    return None if grace is None else max(1, round(grace.total_seconds()))


def _tell_missed(event: JobExecutionEvent) -> None:
    fields: dict[str, Any] = {"pipeline": event.job_id, "due": event.scheduled_run_time.astimezone(UTC).isoformat()}
    _log.warning("run_left_out", **fields, reason="nobody could make it within misfire_grace")

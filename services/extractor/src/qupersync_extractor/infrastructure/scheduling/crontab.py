"""Crontab expressions as crontab(5) means them, over APScheduler's cron fields."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from qupersync_extractor.application.appointments import LastRun
from qupersync_extractor.infrastructure.scheduling.timetables import NeverComesError

_NO_JITTER: Final = timedelta(0)
_FIELDS: Final = 5
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WEEKDAY_PART: Final = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")
_TICK: Final = timedelta(microseconds=1)
_CHANGE_MAX: Final = timedelta(hours=1)  # by so much clocks are put forward or back


class Crontab:
    """At the moments of a crontab expression, in its time zone. ValueError for one that is malformed or never comes.

    Five fields, or six with the seconds first. As crontab(5) has it, 0 and 7 are Sunday, and days of the month and days
    of the week that are both restricted are alternatives. Where every hour is meant (`*`), time runs on as if no clock
    were ever set. Any other hour comes once a day: later by what clocks are put forward where that leaves it out, and
    the first time only where they are put back.
    """

    remembered: Final = True

    def __init__(
        self,
        expression: str,
        *,
        time_zone: str = "UTC",
        jitter: timedelta = _NO_JITTER,
        grace: timedelta | None = None,
    ) -> None:
        self.jitter = jitter
        self.grace = grace
        self._zone = ZoneInfo(time_zone)
        fields = expression.split()
        if len(fields) not in (_FIELDS, _FIELDS + 1):
            raise ValueError(f"it has {len(fields)} fields and not {_FIELDS}")
        second, minute, hour, day, month, weekday = ["0", *fields] if len(fields) == _FIELDS else fields
        self._every_hour = hour == "*"
        weekday = _weekdays(weekday)
        both = not day.startswith("*") and weekday != "*"
        # On the face of the zone's clock, which is told as UTC: across clock changes APScheduler leaves runs out.
        faces = partial(CronTrigger, second=second, minute=minute, hour=hour, month=month, timezone=UTC)
        self._faces = (
            [faces(day=day, day_of_week="*"), faces(day="*", day_of_week=weekday)]
            if both
            else [faces(day=day, day_of_week=weekday)]
        )
        if self._next_face(datetime.now(UTC)) is None:
            raise NeverComesError

    def next_after(self, moment: datetime) -> datetime:
        """The first of its moments that lies after this one, in UTC."""
        face = self._next_face(self._face_at(moment))
        while face is not None:
            found = self._moments(face)
            if found and found[0] > moment and not self._changes_near(moment) and not self._changes_near(found[0]):
                return found[0]
            around = self._around(face, moment)
            if around:
                return min(around)
            face = self._next_face(face)
        raise NeverComesError

    def after(self, last: LastRun) -> datetime:
        return self.next_after(last.covers)

    def _around(self, first: datetime, moment: datetime) -> list[datetime]:
        """The moments after `moment` of whatever the clock shows then and for a while after `first`: where it is set,
        what it shows later may come earlier.
        """
        found: list[datetime] = []
        face = self._next_face(self._face_at(moment) - 2 * _CHANGE_MAX)
        while face is not None and face <= first + _CHANGE_MAX:
            found += [one for one in self._moments(face) if one > moment]
            face = self._next_face(face)
        return found

    def _moments(self, face: datetime) -> list[datetime]:
        """When the zone's clock shows this, as far as the expression means it: once, twice, or never."""
        shown = face.replace(tzinfo=self._zone)
        first, second = shown.astimezone(UTC), shown.replace(fold=1).astimezone(UTC)
        if not self._every_hour:
            return [first]
        if self._face_at(first) != face:
            return []  # left out
        return sorted({first, second})

    def _changes_near(self, moment: datetime) -> bool:
        """Whether the zone's clocks are set about then."""
        before, after = moment - 2 * _CHANGE_MAX, moment + 2 * _CHANGE_MAX
        return before.astimezone(self._zone).utcoffset() != after.astimezone(self._zone).utcoffset()

    def _face_at(self, moment: datetime) -> datetime:
        return moment.astimezone(self._zone).replace(tzinfo=UTC, fold=0)

    def _next_face(self, face: datetime) -> datetime | None:
        found = [one.get_next_fire_time(None, face + _TICK) for one in self._faces]
        return min((one for one in found if one is not None), default=None)


def _weekdays(field: str) -> str:
    """The field in the names that APScheduler knows: its numbers begin with Monday, those of cron with Sunday."""
    if field == "*":
        return field
    days = sorted({day for part in field.lower().split(",") for day in _days(part)})
    return ",".join(_WEEKDAYS[day] for day in days)


def _days(part: str) -> list[int]:
    match = _WEEKDAY_PART.fullmatch(part)
    step = int(match["step"] or 1) if match is not None else 0
    if match is None or step == 0:
        raise ValueError(f"{part!r} is no day of the week")
    if match["first"] is None:
        first, last = 0, 6
    else:
        first = _day(match["first"])
        last = _day(match["last"]) if match["last"] is not None else 6 if match["step"] else first
    if last < first:
        last += 7  # fri-mon
    return [day % 7 for day in range(first, last + 1, step)]


def _day(text: str) -> int:
    if text in _WEEKDAYS:
        return _WEEKDAYS.index(text)
    if text.isdecimal() and int(text) <= 7:  # noqa: PLR2004  # Sunday, once more
        return int(text)
    raise ValueError(f"{text!r} is no day of the week")

"""Maintenance windows: when nothing may be read from the source, told on walls' clocks, in zones that change theirs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

EVERY_DAY: Final = frozenset(range(7))
AHEAD: Final = timedelta(days=8)  # every window begins once a week at least
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From one time of the day to another, over midnight where `ends` is not later than `begins` (00:00 to 00:00 is a
    whole day). `days` (0 is Monday) are those on which it begins.

    A time that the clocks jump over, or show twice, is taken so that the window is as long as it can be.
    """

    begins: time
    ends: time
    zone: ZoneInfo
    days: frozenset[int] = EVERY_DAY

    def __post_init__(self) -> None:
        if not self.days or not self.days <= EVERY_DAY:
            raise ValueError(f"days are numbers from 0 (Monday) to 6, not {sorted(self.days)}")

    def spans(self, around: datetime) -> Iterator["Span"]:
        """The times at which it is open, from before `around` to `AHEAD` of it."""
        first = around.astimezone(self.zone).date() - 2 * _DAY
        for number in range(AHEAD.days + 4):
            day = first + number * _DAY
            if day.weekday() in self.days:
                yield self._span(day)

    def _span(self, day: date) -> "Span":
        last = day if self.ends > self.begins else day + _DAY
        return Span(
            begins=min(_moments(day, self.begins, self.zone)),
            ends=max(_moments(last, self.ends, self.zone)),
            zone=self.zone,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """[begins, ends), in UTC, and the zone in which people speak of it."""

    begins: datetime
    ends: datetime
    zone: ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """It is maintenance until `ends`, which is None where no end is in sight; `zone` is that of the window that ends
    last.
    """

    ends: datetime | None
    zone: ZoneInfo

    def words(self, now: datetime) -> str:
        """For people: `maintenance until 03:30 Europe/Berlin`, with the day where that is not today."""
        if self.ends is None:
            return "maintenance, without an end in sight: its windows leave no time to read"
        end = self.ends.astimezone(self.zone)
        today = end.date() == now.astimezone(self.zone).date()
        return f"maintenance until {end:{'%H:%M' if today else '%a %H:%M'}} {self.zone.key}"


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of a source; those that overlap or touch are one."""

    windows: tuple[Window, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.windows)

    def at(self, now: datetime) -> Maintenance | None:
        """Whether nothing may be read now, and until when."""
        if not self.windows:
            return None
        spans = self._spans(now)
        last = max((span for span in spans if span.begins <= now < span.ends), key=_end, default=None)
        if last is None:
            return None
        for span in spans:  # in the order in which they begin
            if span.begins <= last.ends < span.ends:
                last = span
        return Maintenance(ends=None if last.ends - now >= AHEAD else last.ends, zone=last.zone)

    def next_from(self, now: datetime) -> datetime | None:
        """When the next maintenance begins that has not begun yet; None where there is none."""
        under_way = self.at(now)
        if under_way is not None and under_way.ends is None:
            return None
        after = now if under_way is None else under_way.ends or now
        return min((span.begins for span in self._spans(now) if span.begins > after), default=None)

    def _spans(self, now: datetime) -> list[Span]:
        return sorted((span for window in self.windows for span in window.spans(now)), key=lambda span: span.begins)


def _end(span: Span) -> datetime:
    return span.ends


def _moments(day: date, wall: time, zone: ZoneInfo) -> list[datetime]:
    """What a wall's clock may mean: two moments where clocks are put forward or back."""
    return [datetime.combine(day, wall, zone).replace(fold=fold).astimezone(UTC) for fold in (0, 1)]

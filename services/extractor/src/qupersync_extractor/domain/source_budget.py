"""The source budget: how many reads at once, and how much in a minute, over all extractors. Pure: who may begin now.

A minute has its share. A read may begin while anything of it is left, counting what reads under way may still take;
what it takes beyond the share is carried into the minutes that follow, and what is left over is not saved. So reads
take, in any k minutes that follow each other, at most k shares and one page more; a page that turns out greater than
was expected (a group of equal keys, rows wider than those before) adds what it is greater by.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What was, or may be, taken from the source."""

    rows: int = 0
    bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(rows=self.rows + other.rows, bytes=self.bytes + other.bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLimits:
    """The budget; None is no bound."""

    reads: int | None = None
    rows_per_minute: int | None = None
    bytes_per_minute: int | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.reads, self.rows_per_minute, self.bytes_per_minute))


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteUse:
    """What was taken in the minute that began at `minute`, and what was carried into it."""

    minute: datetime
    used: Amount = Amount()
    carried: Amount = Amount()

    def taking(self, amount: Amount) -> "MinuteUse":
        return replace(self, used=self.used + amount)


def minute_of(moment: datetime) -> datetime:
    """The beginning of the moment's minute."""
    return moment.replace(second=0, microsecond=0)


def this_minute(last: MinuteUse | None, now: datetime, limits: SourceLimits) -> MinuteUse:
    """The minute of `now`, after the last one that anything was taken in.

    A clock that was put back begins one minute anew, and no more: nobody waits until it has caught up.
    """
    minute = minute_of(now)
    if last is None:
        return MinuteUse(minute=minute)
    if last.minute == minute:
        return last
    passed = max(1, (minute - last.minute) // MINUTE)
    taken = last.carried + last.used
    return MinuteUse(
        minute=minute,
        carried=Amount(
            rows=_beyond(taken.rows, limits.rows_per_minute, passed),
            bytes=_beyond(taken.bytes, limits.bytes_per_minute, passed),
        ),
    )


def may_begin(limits: SourceLimits, minute: MinuteUse, *, reading: Sequence[Amount], waiting: Iterable[Amount]) -> int:
    """How many of those who wait may begin, in their order: nobody is overtaken, or who wants much would wait for ever.

    `reading` is what reads under way may still take.
    """
    taken = sum([*reading, minute.used], start=minute.carried)
    begun = 0
    for expected in waiting:
        if exhausted(limits, reads=len(reading) + begun, taken=taken) is not None:
            break
        taken, begun = taken + expected, begun + 1
    return begun


def exhausted(limits: SourceLimits, *, reads: int, taken: Amount) -> str | None:
    """The limit that keeps a further read from beginning, by its name; None where there is none."""
    if limits.reads is not None and reads >= limits.reads:
        return "reads"
    if limits.rows_per_minute is not None and taken.rows >= limits.rows_per_minute:
        return "rows_per_minute"
    if limits.bytes_per_minute is not None and taken.bytes >= limits.bytes_per_minute:
        return "bytes_per_minute"
    return None


def _beyond(taken: int, limit: int | None, minutes: int) -> int:
    return 0 if limit is None else max(0, taken - limit * minutes)

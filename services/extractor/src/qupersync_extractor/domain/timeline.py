"""Cursor values and time: how far a run may read, and where a sweep begins."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from qupersync_shared.kernel.positions import Position, Scalar, ScalarKind

TEMPORAL = frozenset({ScalarKind.TIMESTAMP, ScalarKind.TIMESTAMPTZ, ScalarKind.DATE})
CURSOR_KINDS = TEMPORAL | {ScalarKind.INT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """How far a run reads: `high`, inclusive, and the source's time when the run began.

    `settled` is where the cursor stands at the run's end: below `high` only while a clock that was put back repeats an
    hour (values up to the hour's end are there, and more of them are still to come); None where it is `high`.
    """

    high: Scalar
    began_at: datetime
    settled: Scalar | None = None

    @property
    def reached(self) -> Scalar:
        """The cursor value at the run's end."""
        return self.high if self.settled is None else self.settled


def horizon(
    kind: ScalarKind, *, now: datetime, oldest_open: datetime | None, safety_lag: timedelta, time_zone: str
) -> Horizon:
    """The high of a temporal cursor: the source's clock, or its oldest open writer's start, minus the safety lag."""
    limit = (now if oldest_open is None else min(now, oldest_open)) - safety_lag
    reached = scalar_of_time(kind, limit, time_zone)
    if kind is ScalarKind.TIMESTAMP:
        local = limit.astimezone(ZoneInfo(time_zone))
        repeated = _repeated(local.replace(tzinfo=None), ZoneInfo(time_zone))
        if repeated is not None and local.fold:
            last = repeated[1] - timedelta(microseconds=1)  # the hour's end itself comes once, and is yet to come
            return Horizon(high=Scalar(kind, _stamp(last)), began_at=now, settled=reached)
    return Horizon(high=reached, began_at=now)


def scalar_of_time(kind: ScalarKind, moment: datetime, time_zone: str) -> Scalar:
    """A moment as a cursor value: in the cursor's zone for timestamps without zone and dates."""
    match kind:
        case ScalarKind.TIMESTAMPTZ:
            return Scalar(kind, _stamp(moment.astimezone(UTC)) + "Z")
        case ScalarKind.TIMESTAMP:
            return Scalar(kind, _stamp(moment.astimezone(ZoneInfo(time_zone))))
        case ScalarKind.DATE:
            return Scalar(kind, moment.astimezone(ZoneInfo(time_zone)).date().isoformat())
        case _:
            raise ValueError(f"a {kind} cursor has no time")


def minus(value: Scalar, *, lookback: timedelta, units: int, time_zone: str = "UTC") -> Scalar:
    """The cursor value that lies the lookback before `value`; days are rounded up, years stop at 1.

    In a zone whose clocks are put forward and back the lookback is real time: nothing written within it bears less.
    """
    match value.kind:
        case ScalarKind.INT:
            return Scalar(value.kind, str(int(value.text) - units))
        case ScalarKind.DATE:
            short_day = timedelta(0) if time_zone == "UTC" or not lookback else timedelta(hours=1)
            days = math.ceil((lookback + short_day) / timedelta(days=1))
            try:
                earlier = date.fromisoformat(value.text) - timedelta(days=days)
            except (OverflowError, ValueError):
                earlier = date.min
            return Scalar(value.kind, earlier.isoformat())
        case ScalarKind.TIMESTAMP | ScalarKind.TIMESTAMPTZ:
            zone = "Z" if value.kind is ScalarKind.TIMESTAMPTZ else ""
            try:
                stamp = datetime.fromisoformat(value.text.removesuffix("Z"))
                earlier_stamp = stamp - lookback
                if not zone:
                    earlier_stamp = min(earlier_stamp, _really_before(stamp, lookback, ZoneInfo(time_zone)))
            except (OverflowError, ValueError):
                earlier_stamp = datetime.min  # noqa: DTZ901  # naive on purpose: the text carries the zone
            return Scalar(value.kind, _stamp(earlier_stamp) + zone)
        case _:
            raise ValueError(f"a {value.kind} cannot be a cursor")


def resumed(cursor: Position, time_zone: str) -> Position:
    """Where reading goes on after a cursor. A day, or an hour that the clocks repeat, may have been read in part, by
    pages or by its rows' being written later: it is read again whole.
    """
    value = cursor.cursor
    if value.kind is ScalarKind.DATE:
        return Position.before(value)
    if value.kind is ScalarKind.TIMESTAMP and time_zone != "UTC":
        try:
            repeated = _repeated(datetime.fromisoformat(value.text), ZoneInfo(time_zone))
        except (OverflowError, ValueError):
            return cursor
        if repeated is not None:
            return Position.before(Scalar(value.kind, _stamp(repeated[0])))
    return cursor


def end_of_run(high: Scalar) -> Position:
    """Where the cursor stands once everything up to `high` was read. The day of a date is read again."""
    return Position.before(high) if high.kind is ScalarKind.DATE else Position.after(high)


def _stamp(moment: datetime) -> str:
    return f"{moment.year:04d}-{moment:%m-%d %H:%M:%S.%f}"


def _really_before(local: datetime, lookback: timedelta, zone: ZoneInfo) -> datetime:
    """The least local time that any moment from `lookback` before `local` on can have."""
    moment = local.replace(tzinfo=zone).astimezone(UTC) - lookback
    earlier = moment.astimezone(zone).replace(tzinfo=None)
    repeated = _repeated(earlier, zone)
    return earlier if repeated is None else repeated[0]


def _repeated(local: datetime, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """Beginning and end of the local hour (or so) around `local` that comes twice; None where it comes once."""
    first = local.replace(tzinfo=zone, fold=0).utcoffset() or timedelta(0)
    second = local.replace(tzinfo=zone, fold=1).utcoffset() or timedelta(0)
    if first <= second:
        return None
    second_of = local.replace(microsecond=0)
    before, after = second_of - first, second_of - second  # in UTC: the clocks are put back between them
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if (middle.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta(0)) == second:
            after = middle
        else:
            before = middle
    return after + second, after + first

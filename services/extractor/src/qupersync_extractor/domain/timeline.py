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
    """How far a run reads: `high`, inclusive, and the source's time when the run began."""

    high: Scalar
    began_at: datetime


def horizon(
    kind: ScalarKind, *, now: datetime, oldest_open: datetime | None, safety_lag: timedelta, time_zone: str
) -> Horizon:
    """The high of a temporal cursor: the source's clock, or its oldest open writer's start, minus the safety lag."""
    limit = (now if oldest_open is None else min(now, oldest_open)) - safety_lag
    return Horizon(high=scalar_of_time(kind, limit, time_zone), began_at=now)


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


def minus(value: Scalar, *, lookback: timedelta, units: int) -> Scalar:
    """The cursor value that lies the lookback before `value`; days are rounded up, years stop at 1."""
    match value.kind:
        case ScalarKind.INT:
            return Scalar(value.kind, str(int(value.text) - units))
        case ScalarKind.DATE:
            days = math.ceil(lookback / timedelta(days=1))
            try:
                earlier = date.fromisoformat(value.text) - timedelta(days=days)
            except OverflowError:
                earlier = date.min
            return Scalar(value.kind, earlier.isoformat())
        case ScalarKind.TIMESTAMP | ScalarKind.TIMESTAMPTZ:
            zone = "Z" if value.kind is ScalarKind.TIMESTAMPTZ else ""
            try:
                earlier_stamp = datetime.fromisoformat(value.text.removesuffix("Z")) - lookback
            except OverflowError:
                earlier_stamp = datetime.min  # noqa: DTZ901  # naive on purpose: the text carries the zone
            return Scalar(value.kind, _stamp(earlier_stamp) + zone)
        case _:
            raise ValueError(f"a {value.kind} cannot be a cursor")


def end_of_run(high: Scalar) -> Position:
    """Where the cursor stands once everything up to `high` was read. The day of a date is read again."""
    return Position.before(high) if high.kind is ScalarKind.DATE else Position.after(high)


def _stamp(moment: datetime) -> str:
    return f"{moment.year:04d}-{moment:%m-%d %H:%M:%S.%f}"

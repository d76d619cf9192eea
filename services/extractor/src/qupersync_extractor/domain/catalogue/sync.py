"""What an application sees of the sync itself: how far a target table is, and how a run ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncWatermark:
    """A row of the target's view `qupersync_state`: everything up to `last_sync_time` is in the table.

    None while the first snapshot is not complete. Both moments have a time zone; ValueError otherwise.
    """

    table_name: str
    last_sync_time: datetime | None
    updated_at: datetime | None

    def __post_init__(self) -> None:
        if not self.table_name:
            raise ValueError("a sync watermark needs the name of its target table")
        for name in ("last_sync_time", "updated_at"):
            _check_zone(name, getattr(self, name))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The watermark in a row of the view."""
        return cls(table_name=row["table_name"], last_sync_time=row["last_sync_time"], updated_at=row["updated_at"])

    def lag(self, now: datetime) -> timedelta | None:
        """How far behind `now` the table may be; None while nothing is promised."""
        return None if self.last_sync_time is None else max(now - self.last_sync_time, timedelta(0))

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, as JSON can hold them."""
        return {
            "table_name": self.table_name,
            "last_sync_time": _iso(self.last_sync_time),
            "updated_at": _iso(self.updated_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """How one run of a pipeline ended: what it read and put into the outbox, and its error if it failed."""

    pipeline: str
    mode: str
    pages: int
    rows: int
    bytes: int
    started_at: datetime
    ended_at: datetime
    error: str | None = None
    trace_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("pages", "rows", "bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} of a run are not negative")
        for name in ("started_at", "ended_at"):
            _check_zone(name, getattr(self, name))
        if self.ended_at < self.started_at:
            raise ValueError("a run does not end before it began")

    @property
    def succeeded(self) -> bool:
        """Whether the run ended without an error."""
        return self.error is None

    @property
    def duration_seconds(self) -> float:
        """From its start to its end."""
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def rows_per_second(self) -> float:
        """`rows / duration_seconds`; 0 for a run that took no measurable time."""
        return self.rows / self.duration_seconds if self.duration_seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Fields and derived numbers, as JSON can hold them."""
        return {
            "pipeline": self.pipeline,
            "mode": self.mode,
            "pages": self.pages,
            "rows": self.rows,
            "bytes": self.bytes,
            "started_at": _iso(self.started_at),
            "ended_at": _iso(self.ended_at),
            "error": self.error,
            "trace_id": self.trace_id,
            "succeeded": self.succeeded,
            "duration_seconds": self.duration_seconds,
            "rows_per_second": self.rows_per_second,
        }


def _check_zone(name: str, moment: datetime | None) -> None:
    if moment is not None and moment.tzinfo is None:
        raise ValueError(f"{name} has no time zone: give a moment in UTC")


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()

"""Time as a port, so that tests can own it."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the wall clock's time; nothing that orders events may depend on it."""

    def now(self) -> datetime:
        """The current time, in UTC, with zone."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

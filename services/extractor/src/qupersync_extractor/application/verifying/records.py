"""Comparisons as they are remembered, and what of them the status, and whoever counts drift, shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from qupersync_shared.kernel.ids import GroupName, PipelineName

KEYS_KEPT: Final = 1_000
INTERRUPTED: Final = "interrupted: the process ended without a word"
SCHEDULE: Final = "schedule"
REQUEST: Final = "request"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationCounts:
    """What was looked at, how much moved for it, and what came of it.

    `differing`: keys that drift, after any repair. `in_motion`: keys of which nothing could be said for sure.
    """

    source_rows: int = 0
    target_rows: int = 0
    ranges: int = 0
    bytes_moved: int = 0
    differing: int = 0
    in_motion: int = 0
    repaired: int = 0
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One comparison by the outbox database's clock; `ended_at` None while it works, `error` None unless it failed."""

    id: UUID
    pipeline: PipelineName
    group: GroupName
    cause: str
    started_at: datetime
    counts: VerificationCounts = VerificationCounts()
    ended_at: datetime | None = None
    error: str | None = None

    @property
    def told(self) -> bool:
        """Whether it came to an end that says something of the tables."""
        return self.ended_at is not None and self.error is None


class Verifications(Protocol):
    """The history of comparisons; each call is a transaction of its own."""

    async def begin(self, verification: UUID, pipeline: PipelineName, group: GroupName, *, cause: str) -> None:
        """Records a beginning. One of the pipeline and group that never ended is ended now, as interrupted."""
        ...

    async def claim(self, verification: UUID, pipeline: PipelineName, group: GroupName, *, last: UUID | None) -> bool:
        """The same for a scheduled one, if `last` is still the last scheduled one; False if somebody was faster."""
        ...

    async def end(self, verification: UUID, *, counts: VerificationCounts, error: str | None = None) -> None:
        """Records the end; nothing happens if it is unknown or has ended."""
        ...

    async def last(self, pipeline: PipelineName, group: GroupName, *, cause: str | None = None) -> Verification | None:
        """The one that began last, for this cause if one is named."""
        ...

    async def standing(self, pipelines: Sequence[PipelineName]) -> Sequence[Verification]:
        """Of each pipeline and group the last one that says something: their `differing` is the drift there is."""
        ...

    async def forget(self, *, older_than: timedelta) -> int:
        """Removes those that began longer ago, but for what `standing` tells; how many there were."""
        ...

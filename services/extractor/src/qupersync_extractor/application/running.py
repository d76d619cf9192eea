"""What a run asks while it works, what it tells of itself, and when silence is to be broken."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from qupersync_extractor.domain.extraction import Extraction
from qupersync_shared.kernel.ids import RunId

IDLE_EVENT_EVERY: Final = timedelta(minutes=1)


@dataclass(slots=True, kw_only=True)
class RunReport:
    """What a run did. `leased_elsewhere`: nothing, because another extractor is at it.

    `trouble` is what the database said, when the run began, of what keeps the pipeline from extracting.
    `run_needed` and `rereads_left` are said by rereads alone: that a run must come first, that more of them wait.
    `writer_open_since` is set when a transaction at the source has held the cursor back for longer than is usual.
    """

    run: RunId
    started_at: datetime
    leased_elsewhere: bool = False
    stopped: bool = False
    run_needed: bool = False
    rereads_left: bool = False
    trouble: str | None = None
    writer_open_since: datetime | None = None
    pages: int = 0
    rows: int = 0
    bytes: int = 0
    duplicates: int = 0
    modes: list[str] = field(default_factory=list)


async def _nobody_listens(_: RunReport) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHooks:
    """What a run asks and tells between its pages.

    `incremental_due` is asked between the pages of a snapshot, so that a long one does not stop freshness; an answer of
    yes is acted on. `served` says of the moment when the last snapshot ended whether a pipeline that has no cursor may
    rest.
    """

    incremental_due: Callable[[], bool] = lambda: False
    served: Callable[[datetime], bool] = lambda _: False
    progressed: Callable[[RunReport], Awaitable[None]] = _nobody_listens


def is_silent(state: Extraction, now: datetime) -> bool:
    """Whether an empty batch is due: nothing for a minute. A moment ahead of `now` was told by another clock."""
    return state.last_event_at is None or abs(now - state.last_event_at) >= IDLE_EVENT_EVERY

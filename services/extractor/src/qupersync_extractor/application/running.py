"""What a run asks while it works, what it tells of itself, and when silence is to be broken."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from qupersync_extractor.application.runs import RunSpan
from qupersync_extractor.domain.extraction import Extraction
from qupersync_shared.kernel.ids import Log, RunId, Sequence

IDLE_EVENT_EVERY: Final = timedelta(minutes=1)


@dataclass(slots=True, kw_only=True)
class RunReport:
    """What a run did. `leased_elsewhere`: nothing, because another extractor is at it; `made_before`: nothing, because
    another one has made this run.

    `trouble` is what the database said, when the run began, of what keeps the pipeline from extracting.
    `run_needed` and `rereads_left` are said by rereads alone: that a run must come first, that more of them wait.
    `writer_open_since` is set when a transaction at the source has held the cursor back for longer than is usual.
    """

    run: RunId
    started_at: datetime
    leased_elsewhere: bool = False
    made_before: bool = False
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
    span: RunSpan | None = None

    def wrote(self, log: Log, sequence: Sequence) -> None:
        """A page of the run was committed. A run that opens another log tells of that one."""
        if self.span is None or self.span.log != log:
            self.span = RunSpan(log=log, first=sequence, last=sequence)
        else:
            self.span = replace(self.span, last=sequence)


async def _nobody_listens(_: RunReport) -> None:
    pass


async def _nobody_knows() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHooks:
    """What a run asks and tells, under its lease.

    `made_before` is asked first: whether the run has been made by another extractor. `over` is told of a whole run.
    `incremental_due` is asked between the pages of a snapshot, so that a long one does not stop freshness; an answer of
    yes is acted on. `served` says of the moment when the last snapshot ended whether a pipeline that has no cursor may
    rest.
    """

    made_before: Callable[[], Awaitable[bool]] = _nobody_knows
    incremental_due: Callable[[], bool] = lambda: False
    served: Callable[[datetime], bool] = lambda _: False
    progressed: Callable[[RunReport], Awaitable[None]] = _nobody_listens
    over: Callable[[RunReport], Awaitable[None]] = _nobody_listens


def is_silent(state: Extraction, now: datetime) -> bool:
    """Whether an empty batch is due: nothing for a minute. A moment ahead of `now` was told by another clock."""
    return state.last_event_at is None or abs(now - state.last_event_at) >= IDLE_EVENT_EVERY

"""Runs as they are remembered: what was read, why, how long it took and how it ended."""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import Final, Protocol
from uuid import UUID

from qupersync_shared.kernel.ids import Log, PipelineName, RunId, Sequence
from qupersync_shared.runtime.records import Field, Listing, Match, Page, Query

KEPT_MAX: Final = 10_000  # of a pipeline: one that runs all the time must not fill the database
INTERRUPTED: Final = "interrupted: the process ended without a word"
STREAK_RECORDS_MAX: Final = 5  # of runs that fail before their first page, one after the other


class RunStatus(StrEnum):
    """What became of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


LISTING: Final = Listing(
    name="runs",
    filters={
        "id": Field(attribute="id", parse=UUID),
        "pipeline": Field(attribute="pipeline"),
        "status": Field(attribute="status", parse=RunStatus),
        "cause": Field(attribute="cause"),
        "since": Field(attribute="started_at", match=Match.SINCE, parse=datetime.fromisoformat),
        "before": Field(attribute="started_at", match=Match.BEFORE, parse=datetime.fromisoformat),
    },
    sorts={"started_at": ("started_at",), "pipeline": ("pipeline", "started_at")},
    identity="id",
    default_sort="-started_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """What the pages of a run held so far."""

    pages: int = 0
    rows: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        if min(self.pages, self.rows, self.bytes) < 0:
            raise ValueError("counts are not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpan:
    """The sequences that a run has written in one log."""

    log: Log
    first: Sequence
    last: Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run by the outbox database's clock; `ended_at` None while it works, `error` None unless it failed.

    `attempts` are more than one where runs failed one after the other, each before its first page: `started_at` is the
    first one's, `ended_at` the last one's. `span` is None where no page was written.
    """

    id: RunId
    pipeline: PipelineName
    mode: str
    cause: str
    started_at: datetime
    counts: RunCounts = RunCounts()
    ended_at: datetime | None = None
    error: str | None = None
    trace_id: str | None = None
    span: RunSpan | None = None
    attempts: int = 1

    @property
    def status(self) -> RunStatus:
        """What became of it."""
        if self.ended_at is None:
            return RunStatus.RUNNING
        return RunStatus.SUCCEEDED if self.error is None else RunStatus.FAILED

    @property
    def fruitless(self) -> bool:
        """Whether it failed before its first page."""
        return self.error not in (None, INTERRUPTED) and self.span is None and not self.counts.pages


def prolonged(newest: SequenceOf[RunRecord], error: str) -> RunId | None:
    """Of a pipeline's newest runs, the latest first, the one that another fruitless run of this error prolongs."""
    streak = list(takewhile(lambda run: run.fruitless, newest))
    same = next((run.id for run in streak if run.error == error), None)
    if same is None and len(streak) >= STREAK_RECORDS_MAX:
        return streak[0].id
    return same


class Runs(Protocol):
    """The history of runs; each call is a transaction of its own."""

    async def start(
        self,
        run: RunId,
        pipeline: PipelineName,
        *,
        mode: str,
        cause: str,
        trace_id: str | None = None,
        seconds: float = 0.0,
        span: RunSpan | None = None,
    ) -> None:
        """Records a run that began `seconds` ago. One of the pipeline that never ended is ended now, as interrupted."""
        ...

    async def advance(self, run: RunId, *, counts: RunCounts, mode: str, span: RunSpan | None = None) -> None:
        """Records how far a run under way has come; nothing happens if it is unknown or has ended."""
        ...

    async def end(
        self,
        run: RunId,
        *,
        counts: RunCounts,
        error: str | None = None,
        mode: str | None = None,
        span: RunSpan | None = None,
    ) -> None:
        """Records a run's end, and the modes of its pages; nothing happens if it is unknown or has ended."""
        ...

    async def fail(
        self, run: RunId, pipeline: PipelineName, *, mode: str, cause: str, error: str, seconds: float = 0.0
    ) -> None:
        """Records a run that began `seconds` ago and failed before its first page.

        Where the pipeline's newest runs failed so, the one of the same error is prolonged, and otherwise the newest of
        `STREAK_RECORDS_MAX`: what is tried again for days does not fill the history.
        """
        ...

    async def page(self, query: Query) -> Page[RunRecord]:
        """Runs as `LISTING` allows to ask for them; those of removed pipelines only where their pipeline is named."""
        ...

    async def forget(self, *, older_than: timedelta, newest: int = KEPT_MAX) -> int:
        """Removes runs that ended longer ago, or are not among their pipeline's newest; how many there were."""
        ...

"""Runs as they are remembered: what was read, why, how long it took and how it ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from qupersync_shared.kernel.ids import PipelineName, RunId
from qupersync_shared.runtime.records import Field, Listing, Match, Page, Query

KEPT_MAX: Final = 10_000  # of a pipeline: one that runs all the time must not fill the database
INTERRUPTED: Final = "interrupted: the process ended without a word"


class RunStatus(StrEnum):
    """What became of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


LISTING: Final = Listing(
    name="runs",
    filters={
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
class RunRecord:
    """One run by the outbox database's clock; `ended_at` None while it works, `error` None unless it failed."""

    id: RunId
    pipeline: PipelineName
    mode: str
    cause: str
    started_at: datetime
    counts: RunCounts = RunCounts()
    ended_at: datetime | None = None
    error: str | None = None
    trace_id: str | None = None

    @property
    def status(self) -> RunStatus:
        """What became of it."""
        if self.ended_at is None:
            return RunStatus.RUNNING
        return RunStatus.SUCCEEDED if self.error is None else RunStatus.FAILED


class Runs(Protocol):
    """The history of runs; each call is a transaction of its own."""

    async def start(
        self, run: RunId, pipeline: PipelineName, *, mode: str, cause: str, trace_id: str | None = None
    ) -> None:
        """Records a run's beginning. A run of the pipeline that never ended is ended now, as interrupted."""
        ...

    async def end(self, run: RunId, *, counts: RunCounts, error: str | None = None) -> None:
        """Records a run's end; nothing happens if it is unknown or has ended."""
        ...

    async def page(self, query: Query) -> Page[RunRecord]:
        """Runs as `LISTING` allows to ask for them; those of removed pipelines only where their pipeline is named."""
        ...

    async def forget(self, *, older_than: timedelta, newest: int = KEPT_MAX) -> int:
        """Removes ended runs that began longer ago, or are not among their pipeline's newest; how many there were."""
        ...

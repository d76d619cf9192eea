"""What the history of runs keeps of one pipeline's runs, in this process."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from qupersync_extractor.application.running import RunReport
from qupersync_extractor.application.runs import RunCounts, Runs
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import PipelineName, RunId, uuid7

TELL_SECONDS: Final = 5.0


@dataclass(slots=True, kw_only=True)
class RunRecorder:
    """Records runs from their first page on, and those that fail before it.

    Runs that find nothing leave no record, and a history that cannot be written stops no run.
    """

    pipeline: PipelineName
    runs: Runs
    clock: Clock
    _cause: str = ""
    _mode: str = ""
    _began_at: datetime = field(init=False)
    _report: RunReport | None = None
    _told_at: float = 0.0

    def __post_init__(self) -> None:
        self._began_at = self.clock.now()

    def begin(self, *, cause: str, mode: str = "") -> None:
        """A run begins; `mode` is the one that was asked for."""
        self._cause, self._mode, self._report, self._began_at = cause, mode, None, self.clock.now()

    async def progressed(self, report: RunReport) -> None:
        """A page of it was committed."""
        if self._report is not None:
            await self._tell_if_due(report)
            return
        self._report, self._told_at = report, time.monotonic()
        with suppress(QupersyncError):
            await self.runs.start(
                report.run,
                self.pipeline,
                mode=",".join(report.modes),
                cause=self._cause,
                seconds=self._seconds(),
                span=report.span,
            )

    async def _tell_if_due(self, report: RunReport) -> None:
        """A long run is followed while it works; one whose process dies has said nearly all."""
        if time.monotonic() - self._told_at < TELL_SECONDS:
            return
        self._told_at = time.monotonic()
        with suppress(QupersyncError):
            await self.runs.advance(report.run, counts=_counts(report), mode=",".join(report.modes), span=report.span)

    async def ended(self, error: str | None = None) -> None:
        """It is over: well, or with an error that is nobody's fault, and which no run without pages is recorded for."""
        report = self._report
        if report is None:
            return
        with suppress(QupersyncError):
            await self.runs.end(
                report.run, counts=_counts(report), error=error, mode=",".join(report.modes), span=report.span
            )

    async def failed(self, error: str) -> None:
        """It failed."""
        if self._report is not None:
            await self.ended(error)
            return
        with suppress(QupersyncError):
            await self.runs.fail(
                RunId(uuid7()),
                self.pipeline,
                mode=self._mode,
                cause=self._cause,
                error=error,
                seconds=self._seconds(),
            )

    def _seconds(self) -> float:
        return max(0.0, (self.clock.now() - self._began_at).total_seconds())


def _counts(report: RunReport) -> RunCounts:
    return RunCounts(pages=report.pages, rows=report.rows, bytes=report.bytes)

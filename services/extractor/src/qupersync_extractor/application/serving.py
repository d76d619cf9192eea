"""A pipeline in a running extractor: waits until it is due, runs, reports what went wrong, and tries again."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from qupersync_extractor.application.extract import IDLE_EVENT_EVERY, ExtractPipeline, RunReport
from qupersync_extractor.application.ports import Registry
from qupersync_extractor.application.runs import RunCounts, Runs
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import ConfigurationError, LeaseLostError, QupersyncError
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff

POLL_SECONDS = 1.0
LEASED_ELSEWHERE_SECONDS = 5.0
_log = get_logger(__name__)


class Timetable(Protocol):
    """When a pipeline is due."""

    def next_after(self, moment: datetime) -> datetime: ...


@dataclass(slots=True, kw_only=True)
class PipelineService:
    """Runs one pipeline by its timetable and by request. A second process beside it does no harm: leases decide."""

    use_case: ExtractPipeline
    registry: Registry
    timetable: Timetable
    clock: Clock
    troubles: Troubles
    runs: Runs
    _proven: bool = False
    _due: datetime | None = None
    _alive_at: datetime | None = None
    _told: bool = True
    _cause: str = "schedule"
    _recorded: RunReport | None = None
    _backoff: Backoff = field(default_factory=lambda: Backoff(first_seconds=0.5, cap_seconds=5.0))

    @property
    def name(self) -> str:
        return self.use_case.pipeline.name

    async def serve(self, stop: Stop) -> None:
        """Until the stop is requested. ConfigurationError only before the first run that reached the source."""
        self._due = self.clock.now()
        while not stop.requested:
            forced, asked = await self._asked()
            self._cause = "request" if asked else "schedule"
            if not asked and not self._is_due():
                await self._keep_alive()
                await stop.wait(POLL_SECONDS)
                continue
            delay = await self.attempt(stop, forced)
            if delay:
                await stop.wait(delay)

    async def once(self, stop: Stop) -> RunReport:
        """One whole run, tried until it succeeds or the stop is requested."""
        while True:
            report = await self._run(stop, None)
            if report is not None and not report.leased_elsewhere:
                return report
            await stop.wait(self._backoff.next())
            if stop.requested:
                return report or RunReport(run=self.use_case.new_run(), started_at=self.clock.now(), stopped=True)

    async def attempt(self, stop: Stop, forced: ForcedMode | None) -> float:
        """One run; returns the seconds to wait before anything else is tried."""
        report = await self._run(stop, forced)
        if report is None:
            return self._backoff.next()
        self._backoff.reset()
        if report.leased_elsewhere:
            return LEASED_ELSEWHERE_SECONDS
        self._due = self.timetable.next_after(self.clock.now())
        return 0.0

    async def _run(self, stop: Stop, forced: ForcedMode | None) -> RunReport | None:
        self._recorded = None
        try:
            report = await self.use_case.run(
                forced=forced,
                incremental_due=self._is_due,
                stopping=lambda: stop.requested,
                progressed=self._progressed,
            )
        except ConfigurationError as error:
            if not self._proven:
                raise
            await self._trouble(error)
            return None
        except LeaseLostError as error:
            _log.info("lease_lost", pipeline=self.name, reason=str(error))
            return None
        except QupersyncError as error:
            await self._trouble(error)
            await self._record_end(str(error))
            return None
        await self._record_end(None)
        self._proven = True
        await self._recovered()
        if not report.leased_elsewhere:
            _log.info(
                "run_ended",
                pipeline=self.name,
                modes=",".join(report.modes) or "nothing",
                pages=report.pages,
                rows=report.rows,
                seconds=round((self.clock.now() - report.started_at).total_seconds(), 3),
            )
        return report

    async def _progressed(self, report: RunReport) -> None:
        self._proven = True
        if self._recorded is None:
            self._recorded = report
            await self._record_start(report)
        if self._due is not None and self._is_due():
            self._due = self.timetable.next_after(self.clock.now())
        _log.debug("page_committed", pipeline=self.name, pages=report.pages, rows=report.rows)

    async def _record_start(self, report: RunReport) -> None:
        """Runs that find nothing leave no record, and a history that cannot be written stops no run."""
        with suppress(QupersyncError):
            await self.runs.start(
                report.run, self.use_case.pipeline.name, mode=",".join(report.modes), cause=self._cause
            )

    async def _record_end(self, error: str | None) -> None:
        report = self._recorded
        if report is not None:
            counts = RunCounts(pages=report.pages, rows=report.rows, bytes=report.bytes)
            with suppress(QupersyncError):
                await self.runs.end(report.run, counts=counts, error=error)

    def _is_due(self) -> bool:
        return self._due is not None and self.clock.now() >= self._due

    async def _asked(self) -> tuple[ForcedMode | None, bool]:
        try:
            asked, mode = await self.registry.take_request(self.use_case.pipeline.name)
        except QupersyncError as error:
            await self._trouble(error)
            return None, False
        return (ForcedMode(mode) if mode else None), asked

    async def _keep_alive(self) -> None:
        now = self.clock.now()
        if self._alive_at is not None and now - self._alive_at < IDLE_EVENT_EVERY / 4:
            return
        self._alive_at = now
        try:
            await self.use_case.keep_alive()
        except QupersyncError as error:
            _log.info("keep_alive_failed", pipeline=self.name, reason=str(error))

    async def _trouble(self, error: QupersyncError) -> None:
        news = self.troubles.set(self.name, "extractor", str(error))
        if news:
            _log.warning("extraction_waits", pipeline=self.name, reason=str(error))
        if news or not self._told:
            self._told = await self._tell(str(error))

    async def _recovered(self) -> None:
        if self.troubles.clear(self.name, "extractor"):
            _log.info("extraction_recovered", pipeline=self.name)
            self._told = False
        if not self._told:
            self._told = await self._tell(None)

    async def _tell(self, reason: str | None) -> bool:
        try:
            await self.registry.set_trouble(self.use_case.pipeline.name, reason)
        except QupersyncError:
            return False
        return True

"""A pipeline in a running extractor: waits until it is due, runs, reports what went wrong, and tries again."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from qupersync_extractor.application.asking import RequestBoard
from qupersync_extractor.application.extract import ExtractPipeline
from qupersync_extractor.application.ports import Registry, RunRequest
from qupersync_extractor.application.running import IDLE_EVENT_EVERY, RunHooks, RunReport
from qupersync_extractor.application.runs import RunCounts, Runs
from qupersync_extractor.application.troubles import Troubles, reason_of
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import ConfigurationError, LeaseLostError, QupersyncError, TerminalError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff

POLL_SECONDS = 1.0
LEASED_ELSEWHERE_SECONDS = 5.0
RUN_NEEDED_SECONDS = 5.0
_log = get_logger(__name__)


class Timetable(Protocol):
    """When a pipeline is due."""

    def next_after(self, moment: datetime) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run that is to be made, for as long as it takes; `asked` by a person or a loader."""

    asked: bool = False
    forced: ForcedMode | None = None

    @property
    def cause(self) -> str:
        return "request" if self.asked else "schedule"


@dataclass(slots=True, kw_only=True)
class Appointments:
    """When the next scheduled run is due. A clock that was put back since does not put the run off."""

    timetable: Timetable
    clock: Clock
    _due: datetime | None = None
    _made_at: datetime | None = None

    def begin(self) -> None:
        """The first run is due at once."""
        self._due = self._made_at = self.clock.now()

    def make(self) -> None:
        """The next one, seen from now."""
        now = self.clock.now()
        self._due, self._made_at = self.timetable.next_after(now), now

    def take(self) -> bool:
        """Whether a run is due; true once for each time that it is."""
        if self._due is None or self._made_at is None:
            return False
        now = self.clock.now()
        if now < self._made_at:
            self._due, self._made_at = min(self._due, self.timetable.next_after(now)), now
        if now < self._due:
            return False
        self.make()
        return True


@dataclass(slots=True, kw_only=True)
class PipelineService:
    """Runs one pipeline by its timetable and by request. A second process beside it does no harm: leases decide."""

    use_case: ExtractPipeline
    registry: Registry
    timetable: Timetable
    clock: Clock
    troubles: Troubles
    runs: Runs
    board: RequestBoard
    joined_late: bool = False  # others are at work by then: what only a person can mend must not end them
    _appointments: Appointments = field(init=False)
    _proven: bool = False
    _due: bool = False
    _request: RunRequest | None = None
    _alive_at: datetime | None = None
    _told: bool = False  # whether the database has what this process has to say of the pipeline's trouble
    _recorded: RunReport | None = None
    _backoff: Backoff = field(default_factory=lambda: Backoff(first_seconds=0.5, cap_seconds=5.0))

    def __post_init__(self) -> None:
        self._appointments = Appointments(timetable=self.timetable, clock=self.clock)

    @property
    def name(self) -> str:
        return self._pipeline

    @property
    def _pipeline(self) -> PipelineName:
        return self.use_case.pipeline.name

    @property
    def paused(self) -> bool:
        """Whether the pipeline is paused, as of the last look."""
        return self.board.asked(self._pipeline).paused

    @property
    def _wanted(self) -> Wanted | None:
        """The run that is to be made: one that is due, one that failed before, one that was asked for."""
        request = self._request
        if request is None:
            return Wanted() if self._due else None
        return Wanted(asked=True, forced=ForcedMode(request.mode) if request.mode else None)

    async def serve(self, stop: Stop) -> None:
        """Until the stop is requested. ConfigurationError, unless `joined_late`, before the first run that reached the
        source.
        """
        self._appointments.begin()
        while not stop.requested:
            await self._look()
            if (wanted := self._wanted) is not None and not self.paused:
                delay = await self._attempt_unless_paused(stop, wanted)
            elif self.board.asked(self._pipeline).rereads:
                delay = await self._reread(stop)
            else:
                await self._keep_alive(stop)
                await self.board.wait(self._pipeline, POLL_SECONDS)
                continue
            if delay:
                await stop.wait(delay)

    async def _attempt_unless_paused(self, stop: Stop, wanted: Wanted) -> float:
        """One run, which ends after the page under way when the pipeline is paused; it stays wanted then."""
        ending = stop.narrower()
        paused = asyncio.create_task(self.board.until_paused(self._pipeline), name=f"pause-{self.name}")
        paused.add_done_callback(lambda task: None if task.cancelled() else ending.request())
        try:
            return await self.attempt(ending, wanted)
        finally:
            await end_tasks([paused])

    async def once(self, stop: Stop) -> RunReport:
        """One whole run, and what was asked to be read again; tried until it succeeds or the stop is requested.

        Errors that no later attempt would be spared (TerminalError, ConfigurationError) come out at once.
        """
        while True:
            report = await self._run(stop, Wanted(), patient=False)
            if report is not None and not report.leased_elsewhere:
                await self._reread_all(stop)
                return report
            await stop.wait(self._backoff.next())
            if stop.requested:
                return report or RunReport(run=self.use_case.new_run(), started_at=self.clock.now(), stopped=True)

    async def attempt(self, stop: Stop, wanted: Wanted) -> float:
        """One run; returns the seconds to wait before anything else is tried. What failed stays wanted."""
        report = await self._run(stop, wanted, patient=True)
        if report is None:
            return self._backoff.next()
        self._backoff.reset()
        if report.leased_elsewhere:
            self._request = None  # it stays in the database until its run was made: here, or there
            return LEASED_ELSEWHERE_SECONDS
        if not report.stopped:
            await self._made()
        return 0.0

    async def _made(self) -> None:
        """The run that was wanted is over."""
        self._due = False
        self._appointments.make()
        request, self._request = self._request, None
        if request is not None:
            self.board.done(self._pipeline, run=True)
            with suppress(QupersyncError):  # then it is made once more
                await self.registry.run_made(self._pipeline, request)

    async def _reread(self, stop: Stop) -> float:
        """One turn of what was asked to be read again; returns the seconds to wait before anything else is tried."""
        report = await self._run(stop, Wanted(asked=True), patient=True, alone=True)
        if report is None:
            return self._backoff.next()
        self._backoff.reset()
        if report.leased_elsewhere:
            return LEASED_ELSEWHERE_SECONDS
        if report.run_needed:
            self._due = True
            if self.paused:  # there will be no such run before it is resumed: asked again at leisure
                await self._keep_alive(stop)
                return RUN_NEEDED_SECONDS
        elif not report.rereads_left and not report.stopped:
            self.board.done(self._pipeline, rereads=True)
        return 0.0

    async def _reread_all(self, stop: Stop) -> None:
        """Every reread that waits, as far as no run must come before it."""
        while not stop.requested:
            report = await self._run(stop, Wanted(asked=True), patient=False, alone=True)
            if report is None or report.leased_elsewhere:
                await stop.wait(self._backoff.next())
            elif report.run_needed or not report.rereads_left:
                return

    async def _run(self, stop: Stop, wanted: Wanted, *, patient: bool, alone: bool = False) -> RunReport | None:
        """The report of a run, or of rereads `alone`; None after a failure that a later attempt may be spared."""
        self._recorded = None
        hooks = self._hooks(wanted)
        try:
            if alone:
                report = await self.use_case.reread(hooks=hooks, stop=stop)
            else:
                report = await self.use_case.run(forced=wanted.forced, hooks=hooks, stop=stop)
        except LeaseLostError as error:
            _log.info("lease_lost", pipeline=self.name, reason=str(error))
            await self._record_end(str(error))
            return None
        except Exception as error:
            await self._record_end(reason_of(error))
            if not patient and not _may_pass(error):
                raise
            if isinstance(error, ConfigurationError) and not (self._proven or self.joined_late):
                raise
            await self._trouble(error)
            return None
        if report.leased_elsewhere:
            # Whatever kept this process from extracting is the other one's to tell now.
            self.troubles.clear(self.name, "extractor")
            return report
        await self._record_end(None)
        self._proven = True
        await self._recovered(report)
        self._tell_of_writer(report)
        report_end = _log.info if report.pages else _log.debug
        report_end(
            "run_ended",
            pipeline=self.name,
            modes=",".join(report.modes) or "nothing",
            pages=report.pages,
            rows=report.rows,
            seconds=round((self.clock.now() - report.started_at).total_seconds(), 3),
        )
        return report

    def _hooks(self, wanted: Wanted) -> RunHooks:
        async def progressed(report: RunReport) -> None:
            await self._progressed(report, wanted.cause)

        return RunHooks(
            incremental_due=self._appointments.take,
            served=lambda ended: not wanted.asked and self.timetable.next_after(ended) > self.clock.now(),
            progressed=progressed,
        )

    async def _progressed(self, report: RunReport, cause: str) -> None:
        self._proven = True
        if self._recorded is None:
            self._recorded = report
            # Runs that find nothing leave no record, and a history that cannot be written stops no run.
            with suppress(QupersyncError):
                await self.runs.start(report.run, self._pipeline, mode=",".join(report.modes), cause=cause)
        _log.debug("page_committed", pipeline=self.name, pages=report.pages, rows=report.rows)

    async def _record_end(self, error: str | None) -> None:
        report = self._recorded
        if report is not None:
            counts = RunCounts(pages=report.pages, rows=report.rows, bytes=report.bytes)
            with suppress(QupersyncError):
                await self.runs.end(report.run, counts=counts, error=error)

    async def _look(self) -> None:
        """What is to be done: a run that failed before, one that is due, one that was asked for."""
        if self._appointments.take():
            self._due = True
        if not self.board.asked(self._pipeline).run:
            return
        with suppress(QupersyncError):  # asked for as it is, it is seen later
            self._request = await self.registry.run_request(self._pipeline)
            if self._request is None:
                self.board.done(self._pipeline, run=True)

    async def _keep_alive(self, stop: Stop) -> None:
        now = self.clock.now()
        if self._alive_at is not None and abs(now - self._alive_at) < IDLE_EVENT_EVERY / 4:
            return
        self._alive_at = now
        try:
            await self.use_case.keep_alive(describe=self.paused, stop=stop)
        except QupersyncError as error:
            _log.info("keep_alive_failed", pipeline=self.name, reason=str(error))
        except Exception:  # noqa: BLE001  # a defect here must not end the pipeline
            _log.exception("keep_alive_failed", pipeline=self.name)

    async def _trouble(self, error: Exception) -> None:
        reason = reason_of(error)
        news = self.troubles.set(self.name, "extractor", reason)
        if news and isinstance(error, QupersyncError):
            _log.warning("extraction_waits", pipeline=self.name, reason=reason)
        elif news:
            _log.exception("extraction_failed", pipeline=self.name)
        if news or not self._told:
            self._told = await self._tell(reason)

    async def _recovered(self, report: RunReport) -> None:
        """Takes back what this process, or one before it, said of the pipeline."""
        if self.troubles.clear(self.name, "extractor"):
            _log.info("extraction_recovered", pipeline=self.name)
            self._told = False
        if report.trouble is not None or not self._told:
            self._told = await self._tell(None)

    def _tell_of_writer(self, report: RunReport) -> None:
        """A transaction left open at the source holds the cursor back for as long as it stays open: say so."""
        if report.writer_open_since is None:
            self.troubles.clear(self.name, "open transaction")
            return
        self.troubles.set(
            self.name,
            "open transaction",
            f"a transaction open at the source since {report.writer_open_since:%Y-%m-%d %H:%M:%S} UTC holds the cursor "
            "back: look for it in svv_transactions and end it",
        )

    async def _tell(self, reason: str | None) -> bool:
        try:
            await self.registry.set_trouble(self._pipeline, reason)
        except QupersyncError:
            return False
        return True


def _may_pass(error: Exception) -> bool:
    """Whether a later attempt may be spared this error: not a defect, and nothing that only a person can mend."""
    return isinstance(error, QupersyncError) and not isinstance(error, TerminalError | ConfigurationError)

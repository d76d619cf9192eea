"""A pipeline in a running extractor: waits until it is due, runs, reports what went wrong, and tries again."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from qupersync_extractor.application.appointments import (
    Agenda,
    Appointments,
    LastRun,
    LastRuns,
    Timetable,
    definition_of,
    is_served,
)
from qupersync_extractor.application.asking import RequestBoard
from qupersync_extractor.application.extract import ExtractPipeline
from qupersync_extractor.application.ports import Registration, Registry, RunRequest
from qupersync_extractor.application.recording import RunRecorder
from qupersync_extractor.application.running import IDLE_EVENT_EVERY, RunHooks, RunReport
from qupersync_extractor.application.runs import Runs
from qupersync_extractor.application.troubles import Troubles, reason_of
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import (
    ConfigurationError,
    LeaseLostError,
    QupersyncError,
    SourceUnavailableError,
    TerminalError,
)
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff

POLL_SECONDS = 5.0
LEASED_ELSEWHERE_SECONDS = 5.0
RUN_NEEDED_SECONDS = 5.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run that is to be made, for as long as it takes; `asked` by a person or a loader.

    One that came by the timetable at `came_at` is nobody's any more once another extractor has made it.
    """

    asked: bool = False
    forced: ForcedMode | None = None
    came_at: datetime | None = None

    @property
    def cause(self) -> str:
        return "request" if self.asked else "schedule"


@dataclass(slots=True, kw_only=True)
class PipelineService:
    """Runs one pipeline by its timetable and by request. A second process beside it does no harm: leases decide."""

    use_case: ExtractPipeline
    registry: Registry
    timetable: Timetable
    agenda: Agenda
    last_runs: LastRuns
    clock: Clock
    troubles: Troubles
    runs: Runs
    board: RequestBoard
    closed: Callable[[], str | None] = lambda: None  # why nothing may be read from the source now
    joined_late: bool = False  # others are at work by then: what only a person can mend must not end them
    _appointments: Appointments = field(init=False)
    _proven: bool = False
    _due: bool = False
    _last: LastRun | None = None
    _request: RunRequest | None = None
    _alive_at: datetime | None = None
    _told: bool = False  # whether the database has what this process has to say of the pipeline's trouble
    _recorder: RunRecorder = field(init=False)
    _backoff: Backoff = field(default_factory=lambda: Backoff(first_seconds=0.5, cap_seconds=5.0))

    def __post_init__(self) -> None:
        self._recorder = RunRecorder(pipeline=self._pipeline, runs=self.runs, clock=self.clock)
        self._appointments = Appointments(
            pipeline=self._pipeline,
            timetable=self.timetable,
            agenda=self.agenda,
            clock=self.clock,
            wake=lambda: self.board.wake(self._pipeline),
            definition=definition_of(self.use_case.pipeline),
        )

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
    def barred(self) -> bool:
        """Whether it is maintenance, and the source is left alone; a notice while that lasts."""
        reason = self.closed()
        if self.troubles.remark(self.name, "maintenance", reason):
            _log.info("maintenance_began" if reason else "maintenance_is_over", pipeline=self.name)
        return reason is not None

    @property
    def _wanted(self) -> Wanted | None:
        """The run that is to be made: one that is due, one that failed before, one that was asked for."""
        request = self._request
        if request is None:
            return Wanted(came_at=self._appointments.came_at) if self._due else None
        return Wanted(asked=True, forced=ForcedMode(request.mode) if request.mode else None)

    async def serve(self, stop: Stop) -> None:
        """Until the stop is requested. ConfigurationError, unless `joined_late`, before the first run that reached the
        source.
        """
        await self._begin()
        try:
            await self._serve(stop)
        finally:
            self._appointments.end()

    async def _begin(self) -> None:
        """The first run is due as the last one says, whoever made it; one that was left in the middle goes on, and one
        that has failed is tried, however late.
        """
        registration: Registration | None = None
        with suppress(QupersyncError):  # then it is tried at once, and the lease shows whether it was due
            registration = await self.registry.get(self._pipeline)
            self._know((await self.last_runs.read([self._pipeline])).get(self._pipeline))
        unfinished = registration is not None and (
            registration.state.snapshot is not None or registration.state.snapshot_wish is not None
        )
        overdue = registration is not None and (registration.trouble is not None or registration.state.between_pages)
        self._appointments.begin(self._last, at_once=unfinished, overdue=overdue)

    async def _serve(self, stop: Stop) -> None:
        while not stop.requested:
            await self._look()
            barred = self.barred
            if not barred and (wanted := self._wanted) is not None and not self.paused:
                delay = await self._attempt_unless_paused(stop, wanted)
            elif not barred and self.board.asked(self._pipeline).rereads:
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
            await self._made(report)
        return 0.0

    async def _made(self, report: RunReport) -> None:
        """The run that was wanted is over."""
        self._due = False
        self._appointments.make(self._last or self._appointments.run_since(report.started_at))
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
        mode = "reread" if alone else wanted.forced.value if wanted.forced is not None else ""
        self._recorder.begin(cause=wanted.cause, mode=mode)
        hooks = self._hooks(wanted)
        try:
            if alone:
                hooks = replace(hooks, over=RunHooks().over)  # a reread is no run
                report = await self.use_case.reread(hooks=hooks, stop=stop)
            else:
                report = await self.use_case.run(forced=wanted.forced, hooks=hooks, stop=stop)
        except LeaseLostError as error:
            _log.info("lease_lost", pipeline=self.name, reason=str(error))
            await self._recorder.ended(str(error))
            return None
        except Exception as error:
            if isinstance(error, SourceUnavailableError) and self.barred:
                await self._recorder.ended(reason_of(error))
                return None  # what maintenance does to a read under way is no trouble
            await self._recorder.failed(reason_of(error))
            if not patient and not _may_pass(error):
                raise
            if isinstance(error, ConfigurationError) and not (self._proven or self.joined_late):
                raise
            await self._trouble(error)
            return None
        if report.leased_elsewhere or report.made_before:
            # Whatever kept this process from extracting is the other one's to tell now.
            self.troubles.clear(self.name, "extractor")
            return report
        await self._recorder.ended()
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
            self._proven = True
            await self._recorder.progressed(report)
            _log.debug("page_committed", pipeline=self.name, pages=report.pages, rows=report.rows)

        return RunHooks(
            incremental_due=self._appointments.take,
            served=lambda ended: not wanted.asked and self.timetable.next_after(ended) > self.clock.now(),
            progressed=progressed,
            made_before=partial(self._made_before, wanted),
            over=self._over,
        )

    async def _made_before(self, wanted: Wanted) -> bool:
        """Whether another extractor has made the run that came by the timetable; under the lease nobody makes one."""
        if wanted.came_at is None or not self.timetable.remembered:
            return False
        last = (await self.last_runs.read([self._pipeline])).get(self._pipeline)
        if last is None or not is_served(self.timetable, last, wanted.came_at, self.clock.now()):
            return False
        self._know(last)
        return True

    def _know(self, last: LastRun | None) -> None:
        """Whoever made a run of the pipeline as it is defined here has proven that there can be one."""
        self._last = last
        self._proven |= last is not None and last.definition == self._appointments.definition

    async def _over(self, report: RunReport) -> None:
        """The run is told to other processes before they can have the lease."""
        self._last = self._appointments.run_since(report.started_at)
        if self.timetable.remembered:
            with suppress(QupersyncError):  # then it is made once more
                await self.last_runs.record(self._pipeline, self._last)

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
        # No run will describe the source soon, and it may be asked.
        describe = (self.paused or self._wanted is None) and self.closed() is None
        try:
            await self.use_case.keep_alive(describe=describe, stop=stop)
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

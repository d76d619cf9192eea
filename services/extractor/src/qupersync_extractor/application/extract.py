"""The use case of one pipeline: runs, rereads and signs of life, each under the pipeline's lease."""

from collections.abc import Awaitable, Callable

from qupersync_extractor.application.committing import PageCommitter, RunContext
from qupersync_extractor.application.leasing import held
from qupersync_extractor.application.one_run import ExtractorPorts, OneRun
from qupersync_extractor.application.pages import empty_draft
from qupersync_extractor.application.ports import (
    Registration,
)
from qupersync_extractor.application.reading import Described, PageReader
from qupersync_extractor.application.running import RunHooks, RunReport, is_silent
from qupersync_extractor.application.stopping import StoppedError, unless_stopped
from qupersync_extractor.domain.extraction import (
    HeartbeatPage,
)
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import FencingToken, RunId, uuid7
from qupersync_shared.runtime.lifecycle import Stop


class ExtractPipeline:
    """The use case of one pipeline; `run` may be called again and again, never twice at once."""

    def __init__(
        self, pipeline: Pipeline, ports: ExtractorPorts, reader: PageReader, *, owner: str, lease_seconds: float
    ) -> None:
        self._pipeline = pipeline
        self._ports = ports
        self._reader = reader
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._committer = PageCommitter(pipeline, ports.unit_of_work, ports.clock)
        self._described: Described | None = None
        self._declared = False

    async def run(
        self, *, forced: ForcedMode | None = None, hooks: RunHooks | None = None, stop: Stop | None = None
    ) -> RunReport:
        """Extracts what is due. QupersyncError when it could not: pages committed before stay, the next run goes on.

        When the stop is requested the run ends early: what is being read is given up, what is being committed is kept.
        """
        return await self._leased(lambda run: run.execute(forced), hooks, stop)

    async def reread(self, *, hooks: RunHooks | None = None, stop: Stop | None = None) -> RunReport:
        """Reads again some of what was asked for; `rereads_left` says that more waits, `run_needed` that a run must
        come first (a first snapshot, or one of changed columns). Errors as of `run`.
        """
        return await self._leased(lambda run: run.reread_alone(), hooks, stop)

    async def _leased(
        self, work: "Callable[[OneRun], Awaitable[None]]", hooks: RunHooks | None, stop: Stop | None
    ) -> RunReport:
        report = RunReport(run=self.new_run(), started_at=self._ports.clock.now())
        token = await self._ports.registry.acquire(self._pipeline.name, self._owner, self._lease_seconds)
        if token is None:
            report.leased_elsewhere = True
            return report
        asking = hooks or RunHooks()
        async with held(self._ports.registry, self._pipeline.name, token, seconds=self._lease_seconds):
            if await asking.made_before():
                report.made_before = True
                return report
            await self._fit()
            run = OneRun(
                self._pipeline,
                self._ports,
                self._reader,
                self._committer,
                token=token,
                report=report,
                hooks=asking,
                stop=stop or Stop(),
            )
            try:
                await work(run)
            except StoppedError:
                report.stopped = True
            except StreamUnavailableError:
                self._declared = False  # the stream may be gone: the next run declares it anew
                raise
            else:
                await asking.over(report)
            self._described = run.described or self._described
        return report

    async def _fit(self) -> None:
        """A stream to publish to, and no event beyond what its server takes."""
        try:
            if not self._declared:
                await self._ports.stream.declare(self._pipeline.name)
                self._declared = True
            self._reader.fit(await self._ports.stream.max_payload())
        except StreamUnavailableError:
            self._declared = False
            raise

    async def keep_alive(self, *, describe: bool = False, stop: Stop | None = None) -> bool:
        """Emits an empty batch if the pipeline was silent for a minute; whether it did.

        Asks the source nothing, unless no run has described it yet and `describe` says that none will soon; that is
        given up when the stop is requested. An event that lacks a column says that the source has dropped it: nothing
        is sent while the columns known here are not those of the log.
        """
        if self._described is None and not describe:
            return False
        if not self._silent(await self._ports.registry.get(self._pipeline.name)):
            return False  # looked at without the lease: idle pipelines cost reads only
        described = self._described
        if described is None:
            try:
                described = await unless_stopped(stop or Stop(), self._reader.describe())
            except StoppedError:
                return False
        token = await self._ports.registry.acquire(self._pipeline.name, self._owner, self._lease_seconds)
        if token is None:
            return False
        async with held(self._ports.registry, self._pipeline.name, token, seconds=self._lease_seconds):
            return await self._beat(token, described)

    async def _beat(self, token: FencingToken, described: Described) -> bool:
        """Emits the empty batch, if it is due still, and its columns are the log's; whether it did."""
        registration = await self._ports.registry.get(self._pipeline.name)
        if registration is None or not self._silent(registration):
            return False
        if registration.state.schema_fingerprint != described.shape:
            self._described = None  # another process knows better, or a snapshot is due first
            return False
        self._described = described
        draft = empty_draft(described.schema, HeartbeatPage(), lanes=registration.lanes)
        context = RunContext(
            run=RunId(uuid7()), token=token, schema=described.schema, mode=Mode.INCREMENTAL, heartbeat=True
        )
        await self._committer.commit(draft, context, registration.state)
        return True

    def _silent(self, registration: Registration | None) -> bool:
        """Whether the pipeline has sent something before, and nothing for a minute."""
        if registration is None or registration.state.sequence == 0:
            return False
        return is_silent(registration.state, self._ports.clock.now())

    @staticmethod
    def new_run() -> RunId:
        """A run's id, which its events carry as correlation id."""
        return RunId(uuid7())

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

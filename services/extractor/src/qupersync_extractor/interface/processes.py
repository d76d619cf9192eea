"""The processes of this service: what runs together, until a signal or, with `once`, until there is nothing left."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

from qupersync_extractor.application.commands import (
    accept_fork_report,
    accept_reread_request,
    accept_snapshot_request,
)
from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.relay import answer_resend
from qupersync_extractor.application.relaying import Bell, PipelineRelay
from qupersync_extractor.application.retention import LOOK_SECONDS, StreamKeeper
from qupersync_extractor.application.serving import PipelineService
from qupersync_extractor.application.troubles import PROCESS, reason_of
from qupersync_extractor.bootstrap import Workshop, workshop
from qupersync_extractor.infrastructure.jetstream.commands import CommandServer, Handlers
from qupersync_extractor.infrastructure.postgres.schema import pending_revisions
from qupersync_extractor.interface.controlling import check_control, serve_control
from qupersync_extractor.interface.maintenance import maintain, note
from qupersync_extractor.interface.observing import observe
from qupersync_extractor.interface.preflight.at_start import start_looks
from qupersync_extractor.interface.running_pipelines import RunningPipelines, register
from qupersync_extractor.interface.schedules import check_schedules
from qupersync_extractor.settings import ExtractorSettings, extractor_settings
from qupersync_shared.contracts.commands import ResendReply, ResendRequest
from qupersync_shared.contracts.progress import HEARTBEAT_SECONDS, ProcessHeartbeat
from qupersync_shared.kernel.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    QupersyncError,
    TransientError,
)
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.configuration_file import ConfigurationFile, still_there
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff
from qupersync_shared.runtime.settings import Configuration

DRAIN_LOOK_SECONDS = 0.1
KEEPERS_AT_ONCE = 4
FULL_LOOK_SECONDS = 1.0
DRAIN_SECONDS_MAX = 60.0
_SECTIONS = ("source", "outbox", "nats", "extractor", "control")
_EXTRACTORS_SECTIONS = (*_SECTIONS, "models")
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Which of its two halves a process runs."""

    extract: bool
    relay: bool

    @property
    def role(self) -> str:
        return "extractor" if self.extract else "relay"


async def run_process(
    configuration: Configuration,
    parts: Parts,
    stop: Stop,
    *,
    once: bool,
    only: Sequence[str] = (),
    path: str,
    file: ConfigurationFile | None = None,
) -> int:
    """Runs the parts until the stop is requested, or, with `once`, until what there is was extracted and relayed.

    With a `file` the pipelines follow it while it is edited.
    """
    try:
        check_schedules(configuration)
        if not once:
            check_control(configuration)
        async with workshop(configuration, role=parts.role, only=only, path=path) as shop:
            source = shop.source() if parts.extract else None
            try:
                process = Process(shop=shop, parts=parts, stop=stop, source=source, file=file, only=only)
                with contextlib.nullcontext() if file is None else file.heeding_hangups():
                    return await process.run(once=once)
            finally:
                if source is not None:
                    await source.close()
    except ConfigurationError as error:
        raise error.within(path) from None


@dataclass(slots=True, kw_only=True)
class Process:
    """Pipelines, relays, commands, heartbeat and maintenance of one process."""

    shop: Workshop
    parts: Parts
    stop: Stop
    source: Source | None
    file: ConfigurationFile | None = None
    only: Sequence[str] = ()
    bell: Bell = field(default_factory=Bell)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def _configured(self) -> Configuration:
        return self.shop.configuration if self.file is None else self.file.in_force

    async def run(self, *, once: bool) -> int:
        """Exit code 0 after an orderly end; ConfigurationError where only a person can help."""
        ending = Stop()
        heartbeat = asyncio.create_task(self._heartbeat(ending), name="heartbeat")
        commands = self._commands()
        serving = partial(serve_control, self.shop, lambda: self._configured, ending)
        background = [heartbeat, *([] if once else [asyncio.create_task(serving(), name="control")])]
        try:
            if await self._prepare():
                await commands.start()
                await (self._once() if once else self._serve())
        finally:
            ending.request()
            await commands.stop()
            await asyncio.gather(*background, return_exceptions=True)
            with contextlib.suppress(QupersyncError):
                await self.shop.progress.leave(self.parts.role, self.shop.instance)
            with contextlib.suppress(QupersyncError):
                await self.shop.stores.cursors.release(self.shop.instance)
        return 0

    async def _serve(self) -> None:
        """Pipelines come and go until the stop is requested."""
        failure: ConfigurationError | None = None
        full = asyncio.Event()
        pipelines = RunningPipelines(
            shop=self.shop,
            source=self.source,
            relays=self.parts.relay,
            bell=self.bell,
            on_full=partial(_when_full, full),
        )
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(maintain(self.shop, lambda: self._configured), name="maintenance")]
            background.append(group.create_task(observe(self.shop), name="ledger"))
            if self.source is not None:
                background.append(group.create_task(self.shop.requests.listen(self.stop), name="requests"))
                looks = start_looks(self.shop.configuration, self.shop.troubles, pipelines.running, self.shop.guard)
                background.append(group.create_task(looks.run(), name="preflight"))
            if self.parts.relay:
                background.append(group.create_task(self._keep_streams(lambda: pipelines.kept, full), name="streams"))
                background.append(group.create_task(self.bell.listen(self.shop.stores.outbox), name="bell"))
            for pipeline in self.shop.settings.pipelines:
                pipelines.begin(pipeline, self.shop.configuration.pipelines[pipeline.name])
            following = group.create_task(self._follow(pipelines), name="configuration")
            try:
                await pipelines.until_stopped(self.stop)
            except ConfigurationError as error:
                failure = error
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await pipelines.end()
                for task in background:
                    task.cancel()
        if failure is not None:
            raise failure

    async def _follow(self, pipelines: RunningPipelines) -> None:
        file = self.file
        if file is None:
            return

        def chosen(configuration: Configuration) -> ExtractorSettings:
            check_schedules(configuration)
            only = still_there(self.only, configuration)
            return extractor_settings(configuration, only=only, path=str(file.path))

        async def take(configuration: Configuration) -> None:
            await pipelines.change(chosen(configuration).pipelines, configuration.pipelines)
            with contextlib.suppress(QupersyncError):  # maintenance notes it later
                await note(self.shop, configuration)

        def tell(trouble: str | None) -> None:
            if trouble is None:
                self.shop.troubles.clear(PROCESS, "configuration")
            else:
                self.shop.troubles.set(PROCESS, "configuration", trouble)

        sections = _EXTRACTORS_SECTIONS if self.parts.extract else _SECTIONS[1:]
        await file.follow(sections=sections, check=chosen, take=take, tell=tell)

    async def _once(self) -> None:
        services = [self.shop.service(p, self.source) for p in self.shop.settings.pipelines] if self.source else []
        relays = [self.shop.relay(p, self.bell) for p in self.shop.settings.pipelines] if self.parts.relay else []
        kept = [(relay, self.shop.keeper(p)) for relay, p in zip(relays, self.shop.settings.pipelines, strict=False)]
        full = asyncio.Event()
        for relay, keeper in kept:
            relay.on_full = _when_full(full, keeper)
            keeper.on_room = relay.room_made
        relaying = Stop()
        failures: list[QupersyncError] = []
        async with asyncio.TaskGroup() as group:
            for relay in relays:
                group.create_task(relay.serve(relaying), name=f"relay-{relay.pipeline}")
            background = [group.create_task(maintain(self.shop, lambda: self._configured), name="maintenance")]
            background.append(group.create_task(observe(self.shop), name="ledger"))
            if relays:
                background.append(group.create_task(self._keep_streams(lambda: kept, full), name="streams"))
                background.append(group.create_task(self.bell.listen(self.shop.stores.outbox), name="bell"))
            try:
                failures += await self._extract(services)
                if relays:
                    await self._drain()
            except QupersyncError as error:
                failures.append(error)
            finally:
                relaying.request()
                self.bell.ring()
                for task in background:
                    task.cancel()
        if failures:
            raise failures[0]

    async def _extract(self, services: list[PipelineService]) -> list[QupersyncError]:
        """All pipelines at once; what ended single ones for good. The first ConfigurationError ends them all."""
        failures: list[QupersyncError] = []

        async def serve(service: PipelineService) -> None:
            if service.paused:
                _log.warning("pipeline_paused", pipeline=service.name, cure=f"qupersync resume {service.name}")
                return
            if service.barred:
                _log.warning("pipeline_waits_for_maintenance", pipeline=service.name, cure="Run again when it is over")
                return
            try:
                await service.once(self.stop)
            except ConfigurationError:
                raise
            except QupersyncError as error:
                _log.error("pipeline_ended", pipeline=service.name, reason=str(error))
                failures.append(error)

        tasks = [asyncio.create_task(serve(service), name=f"pipeline-{service.name}") for service in services]
        try:
            for task in asyncio.as_completed(tasks):
                await task
        except BaseException:
            self.stop.request()  # the others may miss their cancellation, and would hold the process for ever
            raise
        finally:
            await end_tasks(tasks)
        return failures

    async def _drain(self) -> None:
        """Until the outbox holds nothing of these pipelines that is not published.

        TransientError when nothing was published for long: a full stream or a dead server must not hold a script for
        ever. The records stay.
        """
        patience = max(DRAIN_SECONDS_MAX, 2 * self.shop.settings.lease_seconds)
        for pipeline in self.shop.settings.pipelines:
            least, since = math.inf, time.monotonic()
            while not self.stop.requested:
                with contextlib.suppress(QupersyncError):
                    records = (await self.shop.stores.outbox.depth(pipeline.name)).records
                    if records == 0:
                        break
                    if records < least:
                        least, since = records, time.monotonic()
                if time.monotonic() - since > patience:
                    raise TransientError(
                        f"{pipeline.name}: {least} records of the outbox were not published within {patience:g} s",
                        cure=self.shop.troubles.by_pipeline().get(pipeline.name, "They stay: run again"),
                    )
                self.bell.ring()
                await self.stop.wait(DRAIN_LOOK_SECONDS)

    # ------------------------------------------------------------------------------------------------ preparing

    async def _prepare(self) -> bool:
        """Registers the pipelines, waiting for the database if need be; False when stopped meanwhile."""
        backoff = Backoff(first_seconds=0.5, cap_seconds=5.0)
        while not self.stop.requested:
            try:
                await self._register()
            except TransientError as error:
                if self.shop.troubles.set(PROCESS, "outbox", f"outbox: {error}"):
                    _log.warning("outbox_unavailable", reason=str(error))
                await self.stop.wait(backoff.next())
                continue
            if self.shop.troubles.clear(PROCESS, "outbox"):
                _log.info("outbox_available")
            return True
        return False

    async def _register(self) -> None:
        if await pending_revisions(self.shop.stores.engine):
            raise DatabaseUnavailableError(
                "the outbox database is not migrated", cure="Run `qupersync-extractor migrate`"
            )
        await self.shop.stores.partitions.ensure_ahead()
        for pipeline in self.shop.settings.pipelines:
            await register(self.shop, pipeline)
        await note(self.shop, self._configured)
        if not await self.shop.requests.look():  # a pipeline that is paused must not run because nobody had looked
            raise DatabaseUnavailableError("the outbox database did not say which pipelines are paused")

    # ----------------------------------------------------------------------------------------------- background

    async def _keep_streams(
        self, kept: Callable[[], Sequence[tuple[PipelineRelay, StreamKeeper]]], full: asyncio.Event
    ) -> None:
        """Looks after the streams of the pipelines whose first lane this process publishes, or that refuse another."""
        slots = asyncio.Semaphore(KEEPERS_AT_ONCE)

        async def keep(keeper: StreamKeeper) -> None:
            async with slots:
                try:
                    await keeper.look_if_due()
                except Exception as error:  # noqa: BLE001  # a defect here must not end the relays
                    if not self.shop.troubles.set(keeper.pipeline, "stream keeper", reason_of(error)):
                        return
                    if isinstance(error, QupersyncError):
                        _log.warning("stream_not_kept", pipeline=keeper.pipeline, reason=str(error))
                    else:
                        _log.exception("stream_not_kept", pipeline=keeper.pipeline)
                else:
                    self.shop.troubles.clear(keeper.pipeline, "stream keeper")

        while True:
            mine: list[StreamKeeper] = []
            for relay, keeper in kept():
                if relay.leads or keeper.hurried:
                    mine.append(keeper)
                else:
                    keeper.rest()
            await asyncio.gather(*map(keep, mine))
            await asyncio.sleep(FULL_LOOK_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(full.wait(), LOOK_SECONDS - FULL_LOOK_SECONDS)
            full.clear()

    async def _heartbeat(self, ending: Stop) -> None:
        while not ending.requested:
            beat = ProcessHeartbeat(
                role=self.parts.role,
                instance=self.shop.instance,
                started_at=self.started_at,
                beat_at=datetime.now(UTC),
                version=version("qupersync-extractor"),
                troubles=self.shop.troubles.by_pipeline(),
                notices=self.shop.troubles.notices(),
                relays=self.parts.relay,
            )
            try:
                await self.shop.progress.beat(beat)
            except QupersyncError as error:
                _log.debug("heartbeat_failed", reason=str(error))
            except Exception:  # noqa: BLE001  # a defect here must not make the process look dead
                _log.exception("heartbeat_failed")
            await ending.wait(HEARTBEAT_SECONDS)

    async def _resend(self, request: ResendRequest) -> ResendReply:
        reply = await answer_resend(self.shop.stores.cursors, request)
        self.bell.ring([PipelineName(request.pipeline)])
        return reply

    def _commands(self) -> CommandServer:
        registry = self.shop.stores.registry
        handlers = Handlers(
            resend=self._resend,
            snapshot=partial(accept_snapshot_request, registry),
            fork=partial(accept_fork_report, registry),
            reread=partial(accept_reread_request, self.shop.stores.rereads),
        )
        return CommandServer(self.shop.connection, handlers)


def _when_full(full: asyncio.Event, keeper: StreamKeeper) -> Callable[[], None]:
    """What a lane tells of a stream that refuses it: its keeper looks soon."""

    def tell() -> None:
        keeper.hurry()
        full.set()

    return tell

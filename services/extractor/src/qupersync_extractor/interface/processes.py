"""The processes of this service: what runs together, until a signal or, with `once`, until there is nothing left."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
from qupersync_shared.contracts.commands import ResendReply, ResendRequest
from qupersync_shared.contracts.progress import HEARTBEAT_SECONDS, ProcessHeartbeat
from qupersync_shared.kernel.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    QupersyncError,
    TransientError,
)
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff
from qupersync_shared.runtime.settings import Configuration

MAINTENANCE_SECONDS_MAX = 600.0
RUNS_KEPT = timedelta(days=90)
REQUESTS_KEPT = timedelta(days=30)  # done rereads and settled rows of the source quarantine
DRAIN_LOOK_SECONDS = 0.1
KEEPERS_AT_ONCE = 4
FULL_LOOK_SECONDS = 1.0
DRAIN_SECONDS_MAX = 60.0
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
    configuration: Configuration, parts: Parts, stop: Stop, *, once: bool, only: Sequence[str] = (), path: str
) -> int:
    """Runs the parts until the stop is requested, or, with `once`, until what there is was extracted and relayed."""
    async with workshop(configuration, role=parts.role, only=only, path=path) as shop:
        source = shop.source() if parts.extract else None
        try:
            return await Process(shop=shop, parts=parts, stop=stop, source=source).run(once=once)
        except ConfigurationError as error:
            raise error.within(path) from None
        finally:
            if source is not None:
                await source.close()


@dataclass(slots=True, kw_only=True)
class Process:
    """Pipelines, relays, commands, heartbeat and maintenance of one process."""

    shop: Workshop
    parts: Parts
    stop: Stop
    source: Source | None
    bell: Bell = field(default_factory=Bell)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def run(self, *, once: bool) -> int:
        """Exit code 0 after an orderly end; ConfigurationError where only a person can help."""
        ending = Stop()
        heartbeat = asyncio.create_task(self._heartbeat(ending), name="heartbeat")
        commands = self._commands()
        try:
            if await self._prepare():
                await commands.start()
                await self._work(once=once)
        finally:
            ending.request()
            await commands.stop()
            await asyncio.gather(heartbeat, return_exceptions=True)
            with contextlib.suppress(QupersyncError):
                await self.shop.progress.leave(self.parts.role, self.shop.instance)
            with contextlib.suppress(QupersyncError):
                await self.shop.stores.cursors.release(self.shop.instance)
        return 0

    async def _work(self, *, once: bool) -> None:
        services = [self.shop.service(p, self.source) for p in self.shop.settings.pipelines] if self.source else []
        relays = [self.shop.relay(p, self.bell) for p in self.shop.settings.pipelines] if self.parts.relay else []
        relaying = Stop()
        failures: list[QupersyncError] = []
        async with asyncio.TaskGroup() as group:
            for relay in relays:
                group.create_task(relay.serve(relaying), name=f"relay-{relay.pipeline}")
            background = [group.create_task(self._maintain(), name="maintenance")]
            if services and not once:
                background.append(group.create_task(self.shop.requests.listen(self.stop), name="requests"))
            if relays:
                background.append(group.create_task(self._keep_streams(relays), name="streams"))
                background.append(group.create_task(self.bell.listen(self.shop.stores.outbox), name="bell"))
            try:
                failures += await self._extract(services, once=once)
                if once and relays:
                    await self._drain()
                elif not services:
                    await self.stop.wait()
            except QupersyncError as error:
                failures.append(error)
            finally:
                relaying.request()
                self.bell.ring()
                for task in background:
                    task.cancel()
        if failures:
            raise failures[0]

    async def _extract(self, services: list[PipelineService], *, once: bool) -> list[QupersyncError]:
        """All pipelines at once; what ended single ones for good. The first ConfigurationError ends them all."""
        failures: list[QupersyncError] = []

        async def serve(service: PipelineService) -> None:
            try:
                await (service.once(self.stop) if once else service.serve(self.stop))
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
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
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
            known = await self.shop.stores.registry.register(pipeline.name, pipeline.lanes)
            if known.lanes != pipeline.lanes:
                raise ConfigurationError(
                    f"lanes is {pipeline.lanes}, but the pipeline runs with {known.lanes}",
                    place=f"pipelines.{pipeline.name}.lanes",
                    cure=f"Write {known.lanes} again, or run `qupersync reset {pipeline.name}`, which begins a new log "
                    f"with {pipeline.lanes} lanes and a snapshot",
                )

    # ----------------------------------------------------------------------------------------------- background

    async def _maintain(self) -> None:
        # A short retention wants short partitions, made and dropped as often.
        pause = min(MAINTENANCE_SECONDS_MAX, self.shop.stores.partitions.width.total_seconds())
        while True:
            try:
                await self.shop.stores.partitions.ensure_ahead()
                dropped = await self.shop.stores.partitions.drop_published()
                await self.shop.stores.runs.forget(older_than=RUNS_KEPT)
                await self.shop.stores.rereads.forget(older_than=REQUESTS_KEPT)
                await self.shop.stores.withheld.forget(older_than=REQUESTS_KEPT)
                if dropped:
                    _log.info("outbox_partitions_dropped", partitions=dropped)
            except QupersyncError as error:
                _log.warning("maintenance_failed", reason=str(error))
            await asyncio.sleep(pause)

    async def _keep_streams(self, relays: Sequence[PipelineRelay]) -> None:
        """Looks after the streams of the pipelines whose first lane this process publishes, or that refuse another."""
        keepers = [
            (relay, self.shop.keeper(pipeline))
            for relay, pipeline in zip(relays, self.shop.settings.pipelines, strict=True)
        ]
        slots, full = asyncio.Semaphore(KEEPERS_AT_ONCE), asyncio.Event()
        for relay, keeper in keepers:
            relay.on_full = _when_full(keeper, full)

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
            for relay, keeper in keepers:
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


def _when_full(keeper: StreamKeeper, full: asyncio.Event) -> Callable[[], None]:
    """What a lane tells of a stream that refuses it: its keeper looks soon."""

    def tell() -> None:
        keeper.hurry()
        full.set()

    return tell

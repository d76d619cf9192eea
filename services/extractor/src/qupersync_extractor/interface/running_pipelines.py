"""The pipelines of a running process: begun and let go one by one, while the others go on."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qupersync_extractor.application.ports import Registration, Source
from qupersync_extractor.application.relaying import Bell, PipelineRelay
from qupersync_extractor.application.retention import StreamKeeper
from qupersync_extractor.application.serving import PipelineService
from qupersync_extractor.application.troubles import reason_of
from qupersync_extractor.bootstrap import Workshop
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.interface.verifying import scheduled_verification
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff
from qupersync_shared.runtime.settings import PipelineSection

LAST_RECORDS_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.2
_AGAIN_SECONDS: Final = 5.0
_PART: Final = "beginning"

_log = get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class RunningPipeline:
    """One pipeline: its extraction, its relay, and the keeper of its stream, as far as this process has them."""

    pipeline: Pipeline
    section: PipelineSection
    service: PipelineService | None
    relay: PipelineRelay | None
    keeper: StreamKeeper | None
    ending: Stop = field(default_factory=Stop)
    relaying: Stop = field(default_factory=Stop)
    removed: bool = False
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, kw_only=True)
class RunningPipelines:
    """Those of one process. `on_full` makes what each relay calls when its stream refuses an event."""

    shop: Workshop
    source: Source | None
    relays: bool
    bell: Bell
    on_full: Callable[[StreamKeeper], Callable[[], None]]
    _running: dict[str, RunningPipeline] = field(default_factory=dict)
    _fatal: asyncio.Queue[ConfigurationError] = field(default_factory=asyncio.Queue)

    @property
    def kept(self) -> list[tuple[PipelineRelay, StreamKeeper]]:
        """The relays of this process, each with its stream's keeper."""
        return [
            (one.relay, one.keeper)
            for one in self._running.values()
            if one.relay is not None and one.keeper is not None
        ]

    def running(self) -> dict[str, Pipeline]:
        """The pipelines that run now, by name."""
        return {name: one.pipeline for name, one in self._running.items() if not one.ending.requested}

    def begin(self, pipeline: Pipeline, section: PipelineSection, *, joined_late: bool = False) -> None:
        """From now on the pipeline runs. One that joins late is registered first, as others were at the start."""
        relay = self.shop.relay(pipeline, self.bell) if self.relays else None
        keeper = self.shop.keeper(pipeline) if self.relays else None
        if relay is not None and keeper is not None:
            relay.on_full = self.on_full(keeper)
            keeper.on_room = relay.room_made
        one = RunningPipeline(
            pipeline=pipeline,
            section=section,
            service=None
            if self.source is None
            else self.shop.service(pipeline, self.source, section.schedule, joined_late=joined_late),
            relay=relay,
            keeper=keeper,
        )
        self._running[pipeline.name] = one
        one.task = asyncio.create_task(self._run(one, joined_late=joined_late), name=f"pipeline-{pipeline.name}")

    async def change(self, pipelines: Sequence[Pipeline], sections: Mapping[str, PipelineSection]) -> None:
        """From now on these run. Others are let go after their page; changed ones are let go and begun anew."""
        wanted = {str(pipeline.name): pipeline for pipeline in pipelines}
        gone = [one for name, one in self._running.items() if _differs(one, wanted.get(name), sections.get(name))]
        names = {str(one.pipeline.name) for one in gone}

        async def replace(one: RunningPipeline) -> None:
            again = wanted.get(one.pipeline.name)
            await self._let_go(one, removed=again is None)
            if again is not None:
                self.begin(again, sections[again.name], joined_late=True)

        for name, pipeline in wanted.items():
            if name not in self._running and name not in names:
                self.begin(pipeline, sections[name], joined_late=True)
        await asyncio.gather(*(replace(one) for one in gone))

    async def until_stopped(self, stop: Stop) -> None:
        """Until the stop is requested. ConfigurationError where a pipeline from the start cannot run as configured."""
        stopped = asyncio.create_task(stop.wait())
        failed = asyncio.create_task(self._fatal.get())
        try:
            await asyncio.wait((stopped, failed), return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                raise failed.result()
        finally:
            await end_tasks((stopped, failed))

    async def end(self) -> None:
        """Lets every pipeline go, at once."""
        await asyncio.gather(*(self._let_go(one, removed=False) for one in list(self._running.values())))

    # ------------------------------------------------------------------------------------------------ one of them

    async def _let_go(self, one: RunningPipeline, *, removed: bool) -> None:
        one.removed = removed
        one.ending.request()
        self.shop.requests.wake(one.pipeline.name)  # it would look for itself, some seconds later
        if one.task is not None:
            await asyncio.wait((one.task,))  # not gathered: whoever gives up waiting must not cancel it
        if self._running.get(one.pipeline.name) is one:
            del self._running[one.pipeline.name]
        self.shop.troubles.forget(one.pipeline.name)
        _log.info("pipeline_let_go", pipeline=one.pipeline.name)

    async def _run(self, one: RunningPipeline, *, joined_late: bool) -> None:
        if joined_late:
            await self._register(one)
        relaying = asyncio.create_task(one.relay.serve(one.relaying)) if one.relay is not None else None
        comparing = self._comparing(one)
        try:
            if one.service is not None:
                await self._serve(one, one.service)
            await one.ending.wait()
            if one.removed and relaying is not None:
                await self._last_records(one)
        finally:
            await end_tasks(comparing)
            one.relaying.request()
            self.bell.ring([one.pipeline.name])
            if relaying is not None:
                await asyncio.gather(relaying, return_exceptions=True)
            with contextlib.suppress(QupersyncError):  # it expires by itself
                await self.shop.stores.cursors.release(self.shop.instance, one.pipeline.name)

    async def _serve(self, one: RunningPipeline, service: PipelineService) -> None:
        while not one.ending.requested:
            try:
                await service.serve(one.ending)
            except ConfigurationError as error:
                self._fatal.put_nowait(error)
                await one.ending.wait()
            except Exception as error:  # noqa: BLE001  # a defect at one pipeline must not end the others, nor itself
                self.shop.troubles.set(one.pipeline.name, _PART, reason_of(error))
                _log.exception("pipeline_failed", pipeline=one.pipeline.name)
                await one.ending.wait(_AGAIN_SECONDS)
                self.shop.troubles.clear(one.pipeline.name, _PART)  # whatever keeps it now says so itself

    def _comparing(self, one: RunningPipeline) -> list[asyncio.Task[None]]:
        """The pipeline's comparisons by schedule, if it has one, and this process extracts."""
        if self.source is None or one.section.verify is None:
            return []
        scheduled = scheduled_verification(self.shop, one.pipeline, one.section.verify)
        return [asyncio.create_task(scheduled.serve(one.ending), name=f"comparison-{one.pipeline.name}")]

    async def _register(self, one: RunningPipeline) -> None:
        """Tried until it succeeds or the pipeline is let go."""
        backoff = Backoff(first_seconds=0.5, cap_seconds=5.0)
        while not one.ending.requested:
            try:
                await register(self.shop, one.pipeline)
            except Exception as error:  # noqa: BLE001  # a pipeline that cannot begin says so, and tries again
                if self.shop.troubles.set(one.pipeline.name, _PART, reason_of(error)):
                    _log.warning("pipeline_waits", pipeline=one.pipeline.name, reason=reason_of(error))
                await one.ending.wait(backoff.next())
            else:
                self.shop.troubles.clear(one.pipeline.name, _PART)
                _log.info("pipeline_begins", pipeline=one.pipeline.name)
                return

    async def _last_records(self, one: RunningPipeline) -> None:
        """What was extracted is published before the pipeline is let go, as far as the stream takes it in time."""

        async def published() -> None:
            while True:
                with contextlib.suppress(QupersyncError):
                    if (await self.shop.stores.outbox.depth(one.pipeline.name)).records == 0:
                        return
                self.bell.ring([one.pipeline.name])
                await asyncio.sleep(_LOOK_SECONDS)

        try:
            await asyncio.wait_for(published(), LAST_RECORDS_SECONDS)
        except TimeoutError:
            _log.warning("records_stay_in_the_outbox", pipeline=one.pipeline.name)


async def register(shop: Workshop, pipeline: Pipeline) -> Registration:
    """The pipeline's row, made if it is new. One with another number of lanes than configured goes on with its own."""
    known = await shop.stores.registry.register(pipeline.name, pipeline.lanes)
    if known.lanes != pipeline.lanes:
        _log.warning(
            "lanes_differ",
            pipeline=pipeline.name,
            lanes=known.lanes,
            configured=pipeline.lanes,
            cure=f"qupersync reset {pipeline.name}",
        )
    return known


def _differs(one: RunningPipeline, pipeline: Pipeline | None, section: PipelineSection | None) -> bool:
    """Whether the pipeline must be let go. What only loaders ask for is no reason."""
    if pipeline != one.pipeline or section is None:
        return True
    return (section.schedule, section.verify) != (one.section.schedule, one.section.verify)

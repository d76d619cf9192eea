"""What people may do to pipelines, by command, API or page: one use case each, and each is recorded."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from qupersync_extractor.application import control
from qupersync_extractor.application.actions import ActionKind, Actions
from qupersync_extractor.application.control import ControlWorkFactory, NeverRunError, PipelineControl
from qupersync_extractor.application.history import purge_history
from qupersync_extractor.application.ledger import Ledger
from qupersync_extractor.application.ports import OutboxReader, Registry
from qupersync_extractor.application.runs import Runs
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.kernel.ids import Log, PipelineName


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """The use cases on the outbox database; `by` is who did it."""

    controls: ControlWorkFactory
    registry: Registry
    outbox: OutboxReader
    actions: Actions
    runs: Runs
    ledger: Ledger

    async def trigger(self, pipelines: Sequence[PipelineName], mode: ForcedMode | None, *, by: str) -> None:
        """Asks for a run of each now. NeverRunError, before anything is asked, where one has never run."""
        for name in pipelines:
            if await self.registry.get(name) is None:
                raise NeverRunError(
                    f"{name} has never run", cure="Start `qupersync-extractor run`: its first run begins at once"
                )
        for name in pipelines:
            if mode is ForcedMode.SNAPSHOT:
                # A wish outlives the process that takes the request and dies before its first page.
                await self.registry.wish_snapshot(name, reason="an operator asked for it", restart=False)
            await self.registry.request_run(name, mode.value if mode else None)
            await self.actions.record(
                ActionKind.TRIGGER, by=by, pipeline=name, details={"mode": mode.value if mode else None}
            )

    async def pause(
        self, pipeline: PipelineName, *, by: str, reason: str | None = None, version: int | None = None
    ) -> PipelineControl:
        """Pauses a pipeline; the record as it is then. StaleVersionError where somebody decided since `version`;
        NeverRunError.
        """
        return await control.pause(self.controls, pipeline, by=by, reason=reason, version=version)

    async def resume(self, pipeline: PipelineName, *, by: str, version: int | None = None) -> PipelineControl:
        """Lets a paused pipeline go on; the record as it is then. StaleVersionError and NeverRunError as `pause`."""
        return await control.resume(self.controls, pipeline, by=by, version=version)

    async def reset(
        self, pipeline: PipelineName, *, lanes: int, by: str, reason: str | None = None, version: int | None = None
    ) -> Log:
        """Begins a new log with so many lanes, and a snapshot at once; the log. StaleVersionError as `pause`."""
        await self.registry.register(pipeline, lanes)
        await control.decide_reset(self.controls, pipeline, lanes=lanes, by=by, reason=reason, version=version)
        log = await self.registry.reset(pipeline, lanes=lanes, reason="an operator reset the pipeline")
        with suppress(TransientError):  # it is reset: without a request the snapshot begins when a run is due
            await self.registry.request_run(pipeline, None)
        return log

    async def purge(self, *, older_than: timedelta, by: str) -> dict[str, int]:
        """Removes what is older from the history; how many runs, pages and actions it was."""
        return await purge_history(
            runs=self.runs, ledger=self.ledger, actions=self.actions, older_than=older_than, by=by
        )

    async def retire(self, pipeline: PipelineName, *, by: str) -> int:
        """How many records of a removed pipeline are given up: they belong to a log that is over."""
        known = await self.registry.get(pipeline)
        if known is None:
            raise QupersyncError(f"there is no pipeline {pipeline!r} in the outbox", cure="There is nothing to give up")
        records = (await self.outbox.depth(pipeline)).records
        await self.registry.reset(pipeline, lanes=known.lanes, reason="an operator retired the pipeline")
        await self.actions.record(ActionKind.RETIRE, by=by, pipeline=pipeline, details={"records": records})
        return records

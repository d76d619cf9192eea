"""A pipeline's comparisons by their own timetable, in whichever extractor process is first; beside its extraction."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from qupersync_extractor.application.appointments import Timetable, spread
from qupersync_extractor.application.ports import Registry
from qupersync_extractor.application.troubles import Troubles, reason_of
from qupersync_extractor.application.verifying.records import SCHEDULE, VerificationCounts, Verifications
from qupersync_extractor.application.verifying.verify import Outcome, Verify
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import GroupName, PipelineName, uuid7
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff

AFTER_FAILURE: Final = timedelta(minutes=15)
LOOK_SECONDS: Final = 5.0
_PART: Final = "comparison"

_log = get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class ScheduledVerification:
    """Compares one pipeline with one loader group whenever it is due, and says what keeps it from that."""

    pipeline: PipelineName
    group: GroupName
    timetable: Timetable
    verifications: Verifications
    registry: Registry
    clock: Clock
    troubles: Troubles
    opened: Callable[[], AbstractAsyncContextManager[Verify]]
    _backoff: Backoff = field(default_factory=lambda: Backoff(first_seconds=0.5, cap_seconds=30.0))

    async def serve(self, stop: Stop) -> None:
        """Until the stop is requested: a comparison under way is given up then, and recorded as such."""
        while not stop.requested:
            try:
                seconds = await self.turn(stop)
                self._backoff.reset()
            except Exception as error:  # noqa: BLE001  # a comparison that fails is no reason to end the extraction
                seconds = self._backoff.next()
                if self.troubles.set(self.pipeline, _PART, f"it was not compared: {reason_of(error)}"):
                    self._tell_failure(error)
            await stop.wait(seconds)

    async def turn(self, stop: Stop) -> float:
        """One comparison if it is due; the seconds until it is worth looking again."""
        last = await self.verifications.last(self.pipeline, self.group, cause=SCHEDULE)
        if last is None:
            registration = await self.registry.get(self.pipeline)
            if registration is None or registration.state.snapshot_ended_at is None:
                return LOOK_SECONDS  # nothing to compare before the first snapshot is whole
        else:
            due = spread(self.timetable, self.pipeline, self.timetable.next_after(last.started_at))
            if last.ended_at is not None and last.error is not None:
                due = min(due, last.ended_at + AFTER_FAILURE)
            left = (due - self.clock.now()).total_seconds()
            if left > 0:
                return min(left, LOOK_SECONDS)
        verification = uuid7()
        if not await self.verifications.claim(
            verification, self.pipeline, self.group, last=None if last is None else last.id
        ):
            return LOOK_SECONDS
        await self._verify(verification, stop)
        return LOOK_SECONDS

    async def _verify(self, verification: UUID, stop: Stop) -> None:
        stopped = asyncio.create_task(stop.wait())
        working = asyncio.create_task(self._compare(verification))
        try:
            await asyncio.wait((stopped, working), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                self._tell(working.result())
        finally:
            await end_tasks((stopped, working))

    async def _compare(self, verification: UUID) -> Outcome:
        try:
            async with self.opened() as verify:
                return await verify(verification, repair=False)
        except BaseException as error:
            # Recorded by the use case, unless it had not begun.
            reason = str(error) if isinstance(error, QupersyncError) else f"it was ended by {type(error).__name__}"
            await self.verifications.end(verification, counts=VerificationCounts(), error=reason)
            raise

    def _tell(self, outcome: Outcome) -> None:
        counts = outcome.counts()
        if outcome.decided.waiting_for is not None:
            self.troubles.set(self.pipeline, _PART, f"it was not compared to the end: {outcome.decided.waiting_for}")
        else:
            self.troubles.clear(self.pipeline, _PART)
        told = _log.warning if outcome.drift or outcome.cut else _log.info
        told(
            "source_and_target_compared",
            pipeline=self.pipeline,
            group=self.group,
            source_rows=counts.source_rows,
            target_rows=counts.target_rows,
            differing=counts.differing,
            in_motion=counts.in_motion,
            bytes_moved=counts.bytes_moved,
        )

    def _tell_failure(self, error: Exception) -> None:
        if isinstance(error, QupersyncError):
            _log.warning("comparison_failed", pipeline=self.pipeline, reason=str(error))
        else:
            _log.exception("comparison_failed", pipeline=self.pipeline)

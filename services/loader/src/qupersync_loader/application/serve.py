"""One turn of one slot at one lane: a target connection first, then messages, each applied and answered."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.outcome import Ack, Cause, Nak, Outcome, nak
from qupersync_loader.application.ports import Delivery, LaneFeed, Target, TargetSession
from qupersync_loader.application.quiet import QuietLanes
from qupersync_loader.application.rotation import LaneRef, Rotation
from qupersync_loader.application.troubles import STREAM, TARGET, Troubles, lane_place
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.kernel.errors import QupersyncError, StreamUnavailableError
from qupersync_shared.kernel.ids import Lane, Log, PipelineName
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.logs import describe, get_logger
from qupersync_shared.runtime.retry import Backoff

_BACKOFF_FIRST_SECONDS: Final = 0.2
_NAK_SECONDS: Final = 1.0
_ASKED_MAX: Final = 8
_BACKOFF_CAP_SECONDS: Final = 2.0  # so that work goes on within seconds of a recovery

_log = get_logger(__name__)


@dataclass(slots=True)
class Tally:
    """What this process has done since it started."""

    applied: int = 0
    rows: int = 0
    foreign: int = 0


class Slots:
    """The process's slots: each takes a connection, then a lane, then what the lane has, over and over."""

    def __init__(
        self,
        *,
        target: Target,
        feed: LaneFeed,
        use_cases: dict[PipelineName, ApplyEvent],
        rotation: Rotation,
        troubles: Troubles,
        ack_wait_seconds: float,
        quiet: QuietLanes | None = None,
    ) -> None:
        self.tally = Tally()
        self.last: dict[LaneRef, Outcome] = {}
        self._target = target
        self._feed = feed
        self._use_cases = use_cases
        self._rotation = rotation
        self._troubles = troubles
        self._quiet = quiet
        self._prolong_seconds = ack_wait_seconds / 3
        self._serving: dict[LaneRef, float] = {}  # since when nothing has moved there
        self._turn_ended = asyncio.Event()

    def join(self, pipeline: TargetPipeline, use_case: ApplyEvent) -> None:
        """From now on the pipeline's lanes may be given to the rotation."""
        self._use_cases[pipeline.name] = use_case

    async def leave(self, pipeline: TargetPipeline) -> None:
        """Returns when no slot is at the pipeline any more, each after the event it was at.

        The pipeline's lanes have been taken out of the rotation before.
        """
        if self._quiet is not None:
            await self._quiet.leave(pipeline)
        while any(ref[0] == pipeline for ref in self._serving):
            self._turn_ended.clear()
            await self._turn_ended.wait()
        self._use_cases.pop(pipeline.name, None)
        self.forget(ref for ref in list(self.last) if ref[0] == pipeline)

    def forget(self, lanes: Iterable[LaneRef]) -> None:
        """These lanes are over; what they were last answered counts no more."""
        for ref in lanes:
            self.last.pop(ref, None)

    @property
    def awaited(self) -> dict[LaneRef, Log]:
        """The log of each lane whose last message was of use to nobody who has not begun in it."""
        return {
            ref: outcome.awaits
            for ref, outcome in self.last.items()
            if isinstance(outcome, Ack) and outcome.awaits is not None
        }

    @property
    def slowest(self) -> tuple[LaneRef, float] | None:
        """The lane that a slot has been at for longest without anything moving there, and for how many seconds."""
        if not self._serving:
            return None
        ref, since = min(self._serving.items(), key=lambda item: item[1])
        return ref, time.monotonic() - since

    async def serve(self, stop: Stop) -> None:
        """One slot's life: ends after the message it is at when the stop is requested."""
        backoff = Backoff(first_seconds=_BACKOFF_FIRST_SECONDS, cap_seconds=_BACKOFF_CAP_SECONDS)
        try:
            while not stop.requested:
                ref = self._rotation.take()
                if ref is None:
                    await self._until_one_is_free(stop)
                    continue
                self._serving[ref] = time.monotonic()
                busy, rests = False, False
                try:
                    busy = await self._turn(ref, stop)
                    rests = not busy
                    backoff.reset()
                except QupersyncError as error:
                    self._note(ref[0], error)
                    await stop.wait(backoff.next())
                except Exception:  # noqa: BLE001  # a defect at one lane must not end the slot
                    _log.exception("turn_failed", pipeline=ref[0].name, lane=ref[1])
                    await stop.wait(backoff.next())
                finally:
                    self._give_back(ref, busy=busy, rests=rests and not stop.requested)
                    del self._serving[ref]
                    self._turn_ended.set()
        finally:
            if self._quiet is not None:
                await self._quiet.close()

    async def _until_one_is_free(self, stop: Stop) -> None:
        if self._quiet is not None:
            await self._quiet.wait(stop)
        else:
            await stop.wait(self._rotation.wait_seconds)

    def _give_back(self, ref: LaneRef, *, busy: bool, rests: bool) -> None:
        """With fewer slots than lanes, those that rest are watched: slots are for lanes with something to load."""
        if self._quiet is not None and rests and self._rotation.crowded and self._rotation.knows(ref):
            self._quiet.watch(ref)
        else:
            self._rotation.give_back(ref, busy=busy)

    def _note(self, pipeline: TargetPipeline, error: QupersyncError) -> None:
        stream = isinstance(error, StreamUnavailableError)
        place = STREAM if stream else TARGET
        if self._troubles.reason(pipeline.name, place) is None:
            _log.warning(f"{place}_unavailable", pipeline=pipeline.name, error=error)
        pipelines = [pipeline.name] if stream else list(self._use_cases)
        self._troubles.set(pipelines, place, describe(error))

    async def _turn(self, ref: LaneRef, stop: Stop) -> bool:
        """Serves the lane until it is idle or its time is over; whether it has more."""
        pipeline, lane = ref
        ends = time.monotonic() + self._rotation.quantum_seconds
        async with self._target.session(pipeline) as session:
            self._troubles.set(self._use_cases, TARGET, None)
            wait = self._rotation.wait_seconds
            while not stop.requested and self._rotation.knows(ref):
                delivery = await self._feed.fetch(pipeline, lane, wait_seconds=wait)
                self._serving[ref] = time.monotonic()
                self._troubles.set([pipeline.name], STREAM, None)
                if delivery is None:
                    return False
                outcome = await self._handle(pipeline, lane, delivery, session)
                await self._answer(ref, delivery, outcome)
                self._serving[ref] = time.monotonic()
                if isinstance(outcome, Nak):
                    return False  # the session may be broken, and the lane is blocked for a while
                if time.monotonic() >= ends and self._rotation.crowded:
                    if not delivery.pending or await self._another_waits():
                        return delivery.pending > 0
                    ends = time.monotonic() + self._rotation.quantum_seconds
        return True

    async def _another_waits(self) -> bool:
        """Whether it is worth leaving a lane that has more: lanes that other processes are at give us nothing."""
        if self._quiet is None:
            return True
        found = list(islice(iter(self._rotation.take, None), _ASKED_MAX))
        ready = await self._quiet.ready(found)
        for ref, busy in zip(found, ready, strict=True):
            self._give_back(ref, busy=busy, rests=not busy)
        return any(ready)

    async def _handle(
        self, pipeline: TargetPipeline, lane: Lane, delivery: Delivery, session: TargetSession
    ) -> Outcome:
        async with self._prolonged(delivery):
            try:
                return await self._use_cases[pipeline.name](lane, delivery, session)
            except asyncio.CancelledError:
                # The process ends by force: what was not committed is rolled back, and need not wait for the ack wait.
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(delivery.nak(0), _NAK_SECONDS)
                raise
            except Exception as error:  # noqa: BLE001  # a defect: the lane is held, and says so, instead of losing the event
                _log.exception("event_failed", pipeline=pipeline.name, lane=lane)
                return nak(f"a defect: {describe(error)}", delivery.attempt, halted=True)

    @asynccontextmanager
    async def _prolonged(self, delivery: Delivery) -> AsyncIterator[None]:
        """Tells the server, as long as the work goes on, that it does."""

        async def prolong() -> None:
            while True:
                await asyncio.sleep(self._prolong_seconds)
                with contextlib.suppress(QupersyncError):
                    await delivery.in_progress()

        task = asyncio.create_task(prolong())
        try:
            yield
        finally:
            task.cancel()

    async def _answer(self, ref: LaneRef, delivery: Delivery, outcome: Outcome) -> None:
        pipeline, lane = ref
        stays = _says_nothing(outcome, self.last.get(ref))
        if not stays:
            self.last[ref] = outcome
        match outcome:
            case Ack():
                if outcome.cause is Cause.APPLIED:
                    self.tally.applied += 1
                    self.tally.rows += outcome.applied.rows
                self.tally.foreign += outcome.cause is Cause.FOREIGN
                if outcome.cause is not Cause.FOREIGN and not stays:
                    self._troubles.set([pipeline.name], lane_place(lane), outcome.trouble)
                await delivery.ack()
            case Nak():
                self._troubles.set([pipeline.name], lane_place(lane), f"lane {lane}: {outcome.reason}")
                await delivery.nak(outcome.delay_seconds)


def _says_nothing(outcome: Outcome, before: Outcome | None) -> bool:
    """Whether a lane that was answered before stands as it stood: a foreign message, or a late duplicate."""
    passing = isinstance(outcome, Ack) and outcome.cause in (Cause.FOREIGN, Cause.ALREADY_APPLIED)
    return passing and isinstance(before, Ack)

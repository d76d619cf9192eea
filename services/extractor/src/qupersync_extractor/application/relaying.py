"""The relay in a running process: leases lanes, publishes each in its own task, wakes when records are committed."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from qupersync_extractor.application.ports import OutboxReader, RelayCursors, Stream
from qupersync_extractor.application.relay import LaneRelay
from qupersync_extractor.application.troubles import Troubles, reason_of
from qupersync_shared.kernel.errors import QupersyncError, StreamFullError, StreamUnavailableError
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff

POLL_SECONDS = 2.0
IDLE_SECONDS = 30.0
WAIT_SECONDS_MAX = 1.5  # after an election of NATS, which takes seconds, the lanes are to move at once
CLAIM_SECONDS = 3.0
_log = get_logger(__name__)


@dataclass(slots=True)
class Bell:
    """Wakes the lanes of a pipeline when the outbox has new records of it."""

    _events: dict[PipelineName, set[asyncio.Event]] = field(default_factory=dict)

    def ring(self, pipelines: Iterable[PipelineName] | None = None) -> None:
        """Wakes the lanes of these pipelines; of all if none are named."""
        for pipeline in list(self._events) if pipelines is None else pipelines:
            for event in self._events.get(pipeline, ()):
                event.set()

    def admit(self, pipeline: PipelineName, event: asyncio.Event) -> None:
        """From now on, the event is set whenever the bell rings for the pipeline."""
        self._events.setdefault(pipeline, set()).add(event)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Until the bell rings, at most so many seconds; a ring since the last call counts."""
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
        event.clear()

    def forget(self, pipeline: PipelineName, event: asyncio.Event) -> None:
        """The lane is done with."""
        self._events.get(pipeline, set()).discard(event)

    async def listen(self, outbox: OutboxReader) -> None:
        """Rings for every commit of new records until cancelled; what was not heard of is found every few seconds."""
        clock = asyncio.get_running_loop().time
        looked = clock()
        while True:
            try:
                self.ring(await outbox.next_committed(POLL_SECONDS))
                if clock() - looked >= POLL_SECONDS:
                    self.ring(await outbox.behind())
                    looked = clock()
            except QupersyncError:
                await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LaneWork:
    relay: LaneRelay
    task: asyncio.Task[None]
    ending: Stop

    async def end(self) -> None:
        """Returns when the task is over. Cancelling alone may be swallowed by a wait_for (Python before 3.12)."""
        self.ending.request()
        await end_tasks([self.task])


@dataclass(slots=True, kw_only=True)
class PipelineRelay:
    """Publishes every lane of one pipeline that this process can lease."""

    pipeline: PipelineName
    owner: str
    outbox: OutboxReader
    cursors: RelayCursors
    stream: Stream
    bell: Bell
    troubles: Troubles
    lease_seconds: float
    on_full: Callable[[], None] = lambda: None
    published: int = 0
    _work: dict[Lane, _LaneWork] = field(default_factory=dict)
    _declared: bool = False
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that keeps the pipeline's stream: it publishes the first lane."""
        return Lane(0) in self._work

    def room_made(self) -> None:
        """The stream has room again: lanes that it refused need not wait any longer."""
        self._room.set()
        self._room = asyncio.Event()

    async def serve(self, stop: Stop) -> None:
        """Until the stop is requested; running publishes are finished first."""
        try:
            while not stop.requested:
                try:
                    if not self._declared:
                        await self.stream.declare(self.pipeline)
                        self._declared = True
                    await self._claim(stop)
                except Exception as error:  # noqa: BLE001  # a defect here must not end the lanes of all pipelines
                    self._trouble("relay", error)
                    await stop.wait(min(1.0, self.lease_seconds / 3))
                    continue
                self._clear("relay")
                await stop.wait(min(CLAIM_SECONDS, self.lease_seconds / 3))
        finally:
            if not stop.requested:  # cancelled: nobody will tell the lanes
                for work in self._work.values():
                    work.ending.request()
                    work.task.cancel()
            await asyncio.gather(*(work.task for work in self._work.values()), return_exceptions=True)

    async def _claim(self, stop: Stop) -> None:
        claimed = {
            cursor.lane: cursor for cursor in await self.cursors.claim(self.pipeline, self.owner, self.lease_seconds)
        }
        for lane, work in list(self._work.items()):
            if lane not in claimed or work.task.done() or work.relay.cursor.log != claimed[lane].log:
                del self._work[lane]
                await work.end()
        for lane, cursor in claimed.items():
            if lane not in self._work:
                relay = LaneRelay(
                    pipeline=self.pipeline,
                    cursor=cursor,
                    owner=self.owner,
                    outbox=self.outbox,
                    cursors=self.cursors,
                    stream=self.stream,
                )
                ending = Stop()
                task = asyncio.create_task(self._publish(relay, stop, ending), name=f"relay-{self.pipeline}-{lane}")
                self._work[lane] = _LaneWork(relay=relay, task=task, ending=ending)

    async def _publish(self, relay: LaneRelay, stop: Stop, ending: Stop) -> None:
        event = asyncio.Event()
        self.bell.admit(self.pipeline, event)
        try:
            await self._publish_until(relay, stop, ending, event)
        finally:
            self.bell.forget(self.pipeline, event)
            self._clear(_part(relay))

    async def _publish_until(self, relay: LaneRelay, stop: Stop, ending: Stop, event: asyncio.Event) -> None:
        backoff = Backoff(first_seconds=0.1, cap_seconds=WAIT_SECONDS_MAX)
        part = _part(relay)
        while not stop.requested and not ending.requested:
            room = self._room  # before the attempt: what is made while it fails counts
            try:
                outcome = await relay.publish_some()
                if not outcome.stored:
                    current = await self.cursors.read(self.pipeline, relay.cursor.lane)
                    if current is None or current.log != relay.cursor.log:
                        return  # another log, or gone: the next claim begins anew
                    relay.cursor = current
            except Exception as error:  # noqa: BLE001  # a defect here must not end the lane in silence
                if isinstance(error, StreamFullError):
                    self.on_full()
                if isinstance(error, StreamUnavailableError):
                    self._declared = False  # the stream may be gone: the next claim declares it anew
                self._trouble(part, error)
                if isinstance(error, StreamFullError):
                    await _until_either(room, stop, backoff.next())
                else:
                    await stop.wait(backoff.next())
                continue
            self.published += outcome.count
            if outcome.refused or not outcome.stored:
                await stop.wait(backoff.next())
                continue
            backoff.reset()
            self._clear(part)
            if outcome.idle:
                await self.bell.wait(event, IDLE_SECONDS)

    def _trouble(self, part: str, error: Exception) -> None:
        if not self.troubles.set(self.pipeline, part, reason_of(error)):
            return
        if isinstance(error, QupersyncError):
            _log.warning("relay_waits", pipeline=self.pipeline, part=part, reason=str(error))
        else:
            _log.exception("relay_failed", pipeline=self.pipeline, part=part)

    def _clear(self, part: str) -> None:
        if self.troubles.clear(self.pipeline, part):
            _log.info("relay_recovered", pipeline=self.pipeline, part=part)


async def _until_either(event: asyncio.Event, stop: Stop, seconds: float) -> None:
    """Until the event is set or the stop is requested, at most so many seconds."""
    waiting = [asyncio.create_task(event.wait()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(waiting)


def _part(relay: LaneRelay) -> str:
    return f"relay lane {relay.cursor.lane}"

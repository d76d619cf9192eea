"""The port `History` in memory: a stream that can lose its oldest events."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from qupersync_loader.application.content import open_event
from qupersync_loader.application.rebuild.history import Size, StoredEvent, WholeSnapshot
from qupersync_loader.application.rebuild.snapshots_seen import SnapshotsSeen, own_envelope
from qupersync_loader.infrastructure.memory.fuse import Fuse
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import Lane, Log, PipelineName


class MemoryLaneReading:
    """The port `LaneReading`."""

    def __init__(self, history: "MemoryHistory", lane: Lane, begin: int) -> None:
        self._history = history
        self._lane = lane
        self._place = begin
        self.waiting = len(self._left())

    def _left(self) -> list[StoredEvent]:
        return [e for e in self._history.events if e.lane == self._lane and e.place >= self._place]

    async def next(self, count: int) -> Sequence[StoredEvent]:
        await self._history.fuse.burn()
        left = self._left()
        found = [replace(event, waiting=len(left) - n) for n, event in enumerate(left[:count], start=1)]
        if found:
            self._place = found[-1].place + 1
        return found


class MemoryHistory:
    """One pipeline's stream; `events` are those that stand in it."""

    def __init__(self, pipeline: PipelineName, *, fuse: Fuse | None = None) -> None:
        self.events: list[StoredEvent] = []
        self.fuse = fuse or Fuse()
        self._pipeline = pipeline
        self._place = 0

    def publish(self, lane: Lane, headers: Mapping[str, str], body: bytes, *, at: datetime | None = None) -> None:
        """Appends a message."""
        self._place += 1
        self.events.append(
            StoredEvent(
                place=self._place,
                lane=lane,
                at=at or datetime.now(UTC),
                headers=dict(headers),
                body=body,
                bytes=len(body),
            )
        )

    def purge(self, lane: Lane, *, below: int) -> None:
        """Loses what the lane has below a place."""
        self.events = [event for event in self.events if event.lane != lane or event.place >= below]

    async def whole_snapshot(self, log: Log, *, oldest: bool = False) -> WholeSnapshot | None:
        await self.fuse.burn()
        seen = SnapshotsSeen()
        for event in self.events:
            seen.see(self._pipeline, event)
        whole = seen.whole(log)
        return None if not whole else whole[0] if oldest else whole[-1]

    @asynccontextmanager
    async def reading(self, lane: Lane, *, begin: int) -> AsyncIterator[MemoryLaneReading]:
        await self.fuse.burn()
        yield MemoryLaneReading(self, lane, begin)

    async def headers(self) -> AsyncGenerator[StoredEvent, None]:
        for event in list(self.events):
            yield replace(event, body=b"")

    async def newest_log(self) -> Log | None:
        envelopes = [own_envelope(self._pipeline, event) for event in self.events]
        return max((Log(envelope.log) for envelope in envelopes if envelope is not None), default=None)

    async def schema(self) -> RowSchema:
        await self.fuse.burn()
        for event in reversed(self.events):
            envelope = own_envelope(self._pipeline, event)
            if envelope is not None:
                return open_event(envelope, event.body).schema
        raise QupersyncError(f"{self._pipeline}: its stream holds no event that can be decoded")

    async def size(self, begin: Mapping[Lane, int]) -> Size:
        found = [event for event in self.events if event.place >= begin.get(event.lane, event.place + 1)]
        return Size(events=len(found), bytes=sum(event.bytes for event in found))

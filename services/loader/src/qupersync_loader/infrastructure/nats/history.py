"""The port `History`: a pipeline's stream, read through ephemeral consumers that leave nothing behind."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import nats.js.errors
from pydantic import ValidationError

from qupersync_loader.application.content import open_event
from qupersync_loader.application.rebuild.history import Size, StoredEvent, WholeSnapshot
from qupersync_loader.application.rebuild.snapshots_seen import SnapshotsSeen, own_envelope
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.places import SnapshotPlaceEntry, StreamPlaces, places_key
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.errors import EventRefusedError, QupersyncError, StreamUnavailableError
from qupersync_shared.kernel.ids import Lane, Log, PipelineName, SnapshotId
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection, translated
from qupersync_shared.runtime.stream_reading import StreamMessage, StreamReading, reading

_WAIT_SECONDS: Final = 3.0
_HEADERS_AT_ONCE: Final = 256
_NEWEST_AT_ONCE: Final = 8


class NatsLaneReading:
    """The port `LaneReading`."""

    def __init__(self, lane: Lane, stream: StreamReading, waiting: int) -> None:
        self._lane = lane
        self._stream = stream
        self._left = waiting
        self.waiting = waiting

    async def next(self, count: int) -> Sequence[StoredEvent]:
        if not self._left:
            return ()
        messages = await self._stream.next(min(count, self._left), seconds=_WAIT_SECONDS)
        if not messages:
            # It was purged meanwhile, or the server forgot the consumer: a new reading tells which.
            raise StreamUnavailableError(
                f"{self._left} events of lane {self._lane} were to come and did not", cure="They are read anew"
            )
        self._left = messages[-1].waiting
        return [_stored(message, self._lane) for message in messages]


class NatsHistory:
    """Of one pipeline's stream."""

    def __init__(self, connection: Connection, pipeline: PipelineName) -> None:
        self._connection = connection
        self._pipeline = pipeline

    async def whole_snapshot(self, log: Log, *, oldest: bool = False) -> WholeSnapshot | None:
        """What the stream's keeper has written down, where it is true; else the headers of all events are read."""
        told = None if oldest else await self._told(log)
        if told is not None:
            return told
        seen = SnapshotsSeen()
        async with aclosing(self.headers()) as events:
            async for event in events:
                seen.see(self._pipeline, event)
        whole = seen.whole(log)
        return None if not whole else whole[0] if oldest else whole[-1]

    @asynccontextmanager
    async def reading(self, lane: Lane, *, begin: int) -> AsyncIterator[NatsLaneReading]:
        js = await self._connection.jetstream()
        async with reading(js, self._pipeline, lanes=[lane], from_sequence=begin) as (stream, waiting):
            yield NatsLaneReading(lane, stream, waiting)

    async def headers(self, *, begin: int = 1) -> AsyncGenerator[StoredEvent, None]:
        js = await self._connection.jetstream()
        async with reading(js, self._pipeline, from_sequence=begin, headers_only=True) as (stream, waiting):
            left = waiting
            while left:
                messages = await stream.next(min(_HEADERS_AT_ONCE, left), seconds=_WAIT_SECONDS)
                if not messages:
                    return  # what was left has been purged
                for message in messages:
                    left = message.waiting
                    if message.lane is not None:
                        yield _stored(message, Lane(message.lane))

    async def newest_log(self) -> Log | None:
        newest = await self._newest()
        return Log(newest[-1][0].log) if newest else None

    async def schema(self) -> RowSchema:
        for envelope, body in reversed(await self._newest()):
            try:
                return open_event(envelope, body).schema
            except EventRefusedError:
                continue
        raise QupersyncError(
            f"{self._pipeline}: its stream holds no event that can be decoded",
            cure="`qupersync events` shows what it holds; `qupersync trigger` fills it",
        )

    async def _newest(self) -> list[tuple[BatchEnvelope, bytes]]:
        """The newest events of some lanes, the newest of all at the end."""
        newest: list[tuple[BatchEnvelope, bytes]] = []
        js = await self._connection.jetstream()
        async with reading(js, self._pipeline, newest_of_each_lane=True) as (stream, waiting):
            left = waiting
            while left and (messages := await stream.next(min(_NEWEST_AT_ONCE, left), seconds=_WAIT_SECONDS)):
                left = messages[-1].waiting
                for message in messages:
                    envelope = own_envelope(self._pipeline, _stored(message, Lane(message.lane or 0)))
                    if envelope is not None:
                        newest.append((envelope, message.body))
                newest = sorted(newest, key=lambda one: (one[0].log, one[0].sequence))[-_NEWEST_AT_ONCE:]
        return newest

    async def size(self, begin: Mapping[Lane, int]) -> Size:
        events = size = 0
        async with aclosing(self.headers(begin=min(begin.values(), default=1))) as found:
            async for event in found:
                if event.place >= begin.get(event.lane, event.place + 1):
                    events += 1
                    size += event.bytes
        return Size(events=events, bytes=size)

    # ------------------------------------------------------------------------------------------- what is told

    async def _told(self, log: Log) -> WholeSnapshot | None:
        client = await self._connection.client()
        key = places_key(self._pipeline)
        try:
            entry = (await bucket.read(client, [key])).get(key)
            told = StreamPlaces.model_validate_json(entry.value) if entry is not None else None
        except (bucket.BucketMissingError, ValidationError):
            return None
        for place in reversed(told.places if told is not None else ()):
            if place.log == log and not place.cut and await self._stands(place):
                first = {Lane(lane): sequence for lane, sequence in place.first.items()}
                return WholeSnapshot(
                    id=SnapshotId(place.id), log=Log(place.log), lanes=place.lanes, at=place.first_at, first=first
                )
        return None

    async def _stands(self, place: SnapshotPlaceEntry) -> bool:
        """Whether the snapshot's first and last pages are where they were seen: the stream may have been restored."""
        lanes = set(range(place.lanes))
        if set(place.first) != lanes or set(place.last) != lanes:
            return False
        for lane in lanes:
            first = await self._envelope(place.first[lane])
            last = await self._envelope(place.last[lane])
            if first is None or not first.snapshot_first or (first.snapshot_id, first.lane) != (place.id, lane):
                return False
            if last is None or not last.snapshot_last or (last.snapshot_id, last.lane) != (place.id, lane):
                return False
        return True

    async def _envelope(self, sequence: int) -> BatchEnvelope | None:
        js = await self._connection.jetstream()
        stream = stream_name(self._pipeline)
        with translated(f"read message {sequence} of stream {stream}"):
            try:
                message = await js.get_msg(stream, sequence)
            except nats.js.errors.NotFoundError:
                return None
        try:
            return BatchEnvelope.from_headers(dict(message.headers or {}))
        except EventRefusedError:
            return None


def _stored(message: StreamMessage, lane: Lane) -> StoredEvent:
    return StoredEvent(
        place=message.sequence,
        lane=lane,
        at=message.at,
        headers=message.headers,
        body=message.body,
        bytes=message.bytes,
        waiting=message.waiting,
    )

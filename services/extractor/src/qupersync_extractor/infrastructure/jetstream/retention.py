"""The port `RetainedStream` over JetStream."""

from collections.abc import Mapping
from typing import Final

import nats.js.errors

from qupersync_extractor.application.retention import StreamMeasure
from qupersync_extractor.domain.retention import SeenEvent
from qupersync_extractor.infrastructure.jetstream.stream import own_envelope
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.subjects import lane_subject, stream_name
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName, Lane, Log, PipelineName, SnapshotId, StreamSequence
from qupersync_shared.runtime.bucket import moment
from qupersync_shared.runtime.jetstream import NO_MESSAGE, Connection, translated
from qupersync_shared.runtime.stream_reading import StreamMessage, lane_consumers, reading, stream_told

_BATCH: Final = 500
_SECONDS: Final = 5.0


class JetStreamRetention:
    """Looks at headers alone, except where one message is checked before a purge."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def measure(self, pipeline: PipelineName) -> StreamMeasure:
        told = await stream_told(await self._connection.client(), pipeline)
        state = told["state"]
        return StreamMeasure(
            made_at=moment(told["created"]),
            at=moment(told["ts"]),
            messages=state["messages"],
            bytes=state["bytes"],
            bytes_max=told["config"].get("max_bytes", -1),
            first=StreamSequence(state["first_seq"]),
            last=StreamSequence(state["last_seq"]),
        )

    async def tops(self, pipeline: PipelineName) -> Mapping[Lane, StreamSequence]:
        js = await self._connection.jetstream()
        found: dict[Lane, StreamSequence] = {}
        async with reading(js, pipeline, newest_of_each_lane=True, headers_only=True) as (stream, waiting):
            left = waiting
            while left > 0:
                messages = await stream.next(min(left, _BATCH), seconds=_SECONDS)
                if not messages:
                    # A lane that is left out would seem to have no last message to keep.
                    raise StreamUnavailableError(
                        f"{left} of {waiting} lanes of {stream_name(pipeline)} were not told in time",
                        cure="Look at the NATS server and the network; the stream is looked at again soon",
                    )
                left -= len(messages)
                for message in messages:
                    if message.lane is not None:
                        found[Lane(message.lane)] = StreamSequence(message.sequence)
        return found

    async def acknowledged(self, pipeline: PipelineName) -> Mapping[tuple[GroupName, Lane], StreamSequence]:
        consumers = await lane_consumers(await self._connection.jetstream(), pipeline)
        return {place: StreamSequence(consumer.acknowledged) for place, consumer in consumers.items()}

    async def events(
        self, pipeline: PipelineName, *, after: StreamSequence, upto: StreamSequence, limit: int
    ) -> tuple[list[SeenEvent], StreamSequence]:
        js = await self._connection.jetstream()
        seen: list[SeenEvent] = []
        last, read = after, 0
        async with reading(js, pipeline, from_sequence=after + 1, headers_only=True) as (stream, waiting):
            while read < min(waiting, limit):
                messages = await stream.next(min(_BATCH, min(waiting, limit) - read), seconds=_SECONDS)
                if not messages:
                    break
                read += len(messages)
                last = StreamSequence(messages[-1].sequence)
                seen.extend(event for message in messages if (event := _seen(pipeline, message)) is not None)
        return seen, max(last, upto) if read >= waiting else last

    async def event_at(self, pipeline: PipelineName, lane: Lane, sequence: StreamSequence) -> BatchEnvelope | None:
        js = await self._connection.jetstream()
        with translated(f"read message {sequence} of {stream_name(pipeline)}"):
            try:
                message = await js.get_msg(stream_name(pipeline), seq=sequence)
            except nats.js.errors.NotFoundError as error:
                if error.err_code == NO_MESSAGE:
                    return None
                raise
        if message.subject != lane_subject(pipeline, lane):
            return None
        return own_envelope(message.headers, pipeline, lane)

    async def purge(self, pipeline: PipelineName, lane: Lane, *, below: StreamSequence) -> None:
        js = await self._connection.jetstream()
        with translated(f"purge lane {lane} of {stream_name(pipeline)}"):
            await js.purge_stream(stream_name(pipeline), seq=below, subject=lane_subject(pipeline, lane))


def _seen(pipeline: PipelineName, message: StreamMessage) -> SeenEvent | None:
    envelope = own_envelope(message.headers, pipeline, Lane(message.lane)) if message.lane is not None else None
    if envelope is None:
        return None
    return SeenEvent(
        sequence=StreamSequence(message.sequence),
        lane=Lane(envelope.lane),
        log=Log(envelope.log),
        lanes=envelope.lanes,
        at=message.at,
        bytes=message.bytes,
        snapshot=SnapshotId(envelope.snapshot_id) if envelope.snapshot_id is not None else None,
        first=envelope.snapshot_first,
        last=envelope.snapshot_last,
    )

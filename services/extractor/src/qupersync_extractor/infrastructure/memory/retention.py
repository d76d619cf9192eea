"""A stream in memory as its keeper sees it, and the bucket's entry on it."""

from collections.abc import Mapping
from datetime import UTC, datetime

from qupersync_extractor.application.retention import StreamMeasure
from qupersync_extractor.domain.retention import SeenEvent
from qupersync_extractor.infrastructure.memory.stream import MemoryStream, StoredMessage
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.places import StreamPlaces
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.ids import GroupName, Lane, Log, PipelineName, SnapshotId, StreamSequence


class MemoryRetention:
    """The messages of a MemoryStream. Tests say what groups have acknowledged, and may move the clock."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self.made_at = datetime.now(UTC)
        self.now: datetime | None = None
        self.done: dict[PipelineName, dict[tuple[GroupName, Lane], StreamSequence]] = {}

    async def measure(self, pipeline: PipelineName) -> StreamMeasure:
        kept, last = self.stream.content(pipeline)
        return StreamMeasure(
            made_at=self.made_at,
            at=self.now or datetime.now(UTC),
            messages=len(kept),
            bytes=sum(message.bytes for message in kept),
            bytes_max=self.stream.bytes_max,
            first=kept[0].stream_sequence if kept else StreamSequence(last + 1),
            last=StreamSequence(last),
        )

    async def tops(self, pipeline: PipelineName) -> Mapping[Lane, StreamSequence]:
        kept, _ = self.stream.content(pipeline)
        return {message.lane: message.stream_sequence for message in kept}

    async def acknowledged(self, pipeline: PipelineName) -> Mapping[tuple[GroupName, Lane], StreamSequence]:
        return dict(self.done.get(pipeline, {}))

    async def events(
        self, pipeline: PipelineName, *, after: StreamSequence, upto: StreamSequence, limit: int
    ) -> tuple[list[SeenEvent], StreamSequence]:
        kept, _ = self.stream.content(pipeline)
        waiting = [message for message in kept if message.stream_sequence > after]
        read = waiting[:limit]
        last = read[-1].stream_sequence if read else after
        seen = [event for message in read if (event := self._seen(pipeline, message)) is not None]
        return seen, max(last, upto) if len(read) == len(waiting) else last

    async def event_at(self, pipeline: PipelineName, lane: Lane, sequence: StreamSequence) -> BatchEnvelope | None:
        kept, _ = self.stream.content(pipeline)
        at = next((message for message in kept if message.stream_sequence == sequence), None)
        return None if at is None or at.lane != lane else _own(pipeline, at)

    async def purge(self, pipeline: PipelineName, lane: Lane, *, below: StreamSequence) -> None:
        self.stream.purge(pipeline, below=below, lane=lane)

    def _seen(self, pipeline: PipelineName, message: StoredMessage) -> SeenEvent | None:
        envelope = _own(pipeline, message)
        if envelope is None:
            return None
        return SeenEvent(
            sequence=message.stream_sequence,
            lane=message.lane,
            log=Log(envelope.log),
            lanes=envelope.lanes,
            at=self.made_at,
            bytes=message.bytes,
            snapshot=SnapshotId(envelope.snapshot_id) if envelope.snapshot_id is not None else None,
            first=envelope.snapshot_first,
            last=envelope.snapshot_last,
        )


def _own(pipeline: PipelineName, message: StoredMessage) -> BatchEnvelope | None:
    try:
        envelope = BatchEnvelope.from_headers(dict(message.headers))
    except EventRefusedError:
        return None
    return envelope if (envelope.pipeline, envelope.lane) == (pipeline, message.lane) else None


class MemoryPlaceBoard:
    """The entries by pipeline."""

    def __init__(self) -> None:
        self.entries: dict[PipelineName, StreamPlaces] = {}

    async def places(self, pipeline: PipelineName) -> StreamPlaces | None:
        return self.entries.get(pipeline)

    async def put_places(self, places: StreamPlaces) -> None:
        self.entries[PipelineName(places.pipeline)] = places

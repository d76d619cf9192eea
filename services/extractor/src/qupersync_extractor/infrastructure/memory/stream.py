"""A stream in memory: the same fence, the same limits, and hooks for what goes wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from qupersync_extractor.application.ports import LastMessage, WrongLastSequenceError
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_shared.contracts.envelope import GENERATION_HEADER, BatchEnvelope
from qupersync_shared.kernel.errors import (
    EventRefusedError,
    QupersyncError,
    StreamFullError,
    StreamUnavailableError,
    TerminalError,
)
from qupersync_shared.kernel.ids import Generation, Lane, PipelineName, StreamSequence

_OVERHEAD_BYTES: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """One message as the stream keeps it."""

    stream_sequence: StreamSequence
    lane: Lane
    headers: Mapping[str, str]
    payload: bytes

    @property
    def bytes(self) -> int:
        return len(self.payload) + sum(len(name) + len(value) + 4 for name, value in self.headers.items())


@dataclass(slots=True)
class _Messages:
    kept: list[StoredMessage] = field(default_factory=list)
    last: int = 0


class MemoryStream:
    """`trouble`, while set, is raised by every call; `lose_acks` counts publishes that are stored and then fail."""

    def __init__(self, *, bytes_max: int = 1 << 30, event_bytes_max: int = 1_000_000) -> None:
        self.bytes_max = bytes_max
        self.event_bytes_max = event_bytes_max
        self.trouble: QupersyncError | None = None
        self.lose_acks = 0
        self._streams: dict[PipelineName, _Messages] = {}

    async def declare(self, pipeline: PipelineName) -> None:
        self._raise_trouble()
        self._streams.setdefault(pipeline, _Messages())

    async def publish(
        self, record: OutboxRecord, generation: Generation, *, expected: StreamSequence
    ) -> StreamSequence:
        self._raise_trouble()
        stream = self._stream(record.pipeline)
        headers = {**record.headers, GENERATION_HEADER: str(generation)}
        message = StoredMessage(
            stream_sequence=StreamSequence(stream.last + 1), lane=record.lane, headers=headers, payload=record.payload
        )
        if message.bytes > self.event_bytes_max:
            raise TerminalError(
                f"event {record.id} has {message.bytes} bytes, and the server takes {self.event_bytes_max}"
            )
        last = self._last(stream, record.lane)
        if (last.stream_sequence if last else 0) != expected:
            raise WrongLastSequenceError(f"{record.pipeline}, lane {record.lane}: expected {expected}")
        if sum(kept.bytes for kept in stream.kept) + message.bytes > self.bytes_max:
            raise StreamFullError(f"the stream of {record.pipeline} is full")
        self._append(stream, message)
        if self.lose_acks:
            self.lose_acks -= 1
            raise StreamUnavailableError("the acknowledgement was lost")
        return message.stream_sequence

    async def last_message(self, pipeline: PipelineName, lane: Lane) -> LastMessage | None:
        self._raise_trouble()
        last = self._last(self._stream(pipeline), lane)
        if last is None:
            return None
        try:
            envelope: BatchEnvelope | None = BatchEnvelope.from_headers(dict(last.headers))
        except EventRefusedError:
            envelope = None
        if envelope is not None and (envelope.pipeline, envelope.lane) != (pipeline, lane):
            envelope = None
        return LastMessage(stream_sequence=last.stream_sequence, envelope=envelope)

    async def max_payload(self) -> int:
        self._raise_trouble()
        return self.event_bytes_max - _OVERHEAD_BYTES

    # What tests do to it.

    def messages(self, pipeline: PipelineName, lane: Lane) -> list[StoredMessage]:
        """The lane's messages in order."""
        return [message for message in self._stream(pipeline).kept if message.lane == lane]

    def put_foreign(
        self,
        pipeline: PipelineName,
        lane: Lane,
        payload: bytes = b"?",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> StreamSequence:
        """Somebody else's message on a lane's subject."""
        stream = self._stream(pipeline)
        sequence = StreamSequence(stream.last + 1)
        self._append(stream, StoredMessage(stream_sequence=sequence, lane=lane, headers=headers, payload=payload))
        return sequence

    def content(self, pipeline: PipelineName) -> tuple[list[StoredMessage], int]:
        """Every message in order, and the last sequence that was given away."""
        self._raise_trouble()
        stream = self._stream(pipeline)
        return list(stream.kept), stream.last

    def purge(self, pipeline: PipelineName, *, below: StreamSequence | None = None, lane: Lane | None = None) -> None:
        """Removes messages below a stream sequence, or all, of one lane or all; sequences go on."""
        stream = self._stream(pipeline)
        stream.kept = [
            m
            for m in stream.kept
            if (below is not None and m.stream_sequence >= below) or (lane is not None and m.lane != lane)
        ]

    def delete(self, pipeline: PipelineName) -> None:
        """The stream is gone until it is declared again; then its sequences start at 1."""
        self._streams.pop(pipeline, None)

    def rewind(self, pipeline: PipelineName, *, to: StreamSequence) -> None:
        """A stream restored from an older copy of its store."""
        stream = self._stream(pipeline)
        stream.kept = [m for m in stream.kept if m.stream_sequence <= to]
        stream.last = min(stream.last, to)

    def _raise_trouble(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def _stream(self, pipeline: PipelineName) -> _Messages:
        try:
            return self._streams[pipeline]
        except KeyError:
            raise StreamUnavailableError(f"the stream of {pipeline} is missing", cure="Declare it") from None

    @staticmethod
    def _append(stream: _Messages, message: StoredMessage) -> None:
        stream.kept.append(message)
        stream.last = message.stream_sequence

    @staticmethod
    def _last(stream: _Messages, lane: Lane) -> StoredMessage | None:
        return next((message for message in reversed(stream.kept) if message.lane == lane), None)

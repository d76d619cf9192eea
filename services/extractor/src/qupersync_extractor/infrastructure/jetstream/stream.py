"""The port `Stream` over JetStream: the stream's own fence keeps each lane in order."""

from collections.abc import Mapping
from typing import Final

import nats.js.errors

from qupersync_extractor.application.ports import LastMessage, WrongLastSequenceError
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_shared.contracts.envelope import GENERATION_HEADER, BatchEnvelope
from qupersync_shared.contracts.subjects import lane_subject, stream_name
from qupersync_shared.kernel.errors import EventRefusedError, TerminalError
from qupersync_shared.kernel.ids import Generation, Lane, PipelineName, StreamSequence
from qupersync_shared.runtime.jetstream import (
    NO_MESSAGE,
    WRONG_LAST_SEQUENCE,
    Connection,
    ensure_bucket,
    ensure_stream,
    event_bytes_max,
    translated,
)
from qupersync_shared.runtime.settings import NatsSection

EXPECTED_HEADER: Final = "Nats-Expected-Last-Subject-Sequence"
# Header block, generation and expected sequence come on top of what a record holds.
_OVERHEAD_BYTES: Final = 128


class JetStreamStream:
    """Publishes one awaited message at a time per caller; callers of different lanes may run concurrently."""

    def __init__(self, connection: Connection, section: NatsSection, *, publish_seconds_max: float = 5) -> None:
        self._connection = connection
        self._section = section
        self._publish_seconds_max = publish_seconds_max

    async def declare(self, pipeline: PipelineName) -> None:
        js = await self._connection.jetstream()
        await ensure_stream(js, pipeline, self._section)
        await ensure_bucket(js, replicas=self._section.replicas)

    async def publish(
        self, record: OutboxRecord, generation: Generation, *, expected: StreamSequence
    ) -> StreamSequence:
        """The message's stream sequence. After StreamUnavailableError it may stand in the stream, or not: asking the
        fence again tells.
        """
        client = await self._connection.client()
        subject = lane_subject(record.pipeline, record.lane)
        # No Nats-Msg-Id: after a purge, deduplication swallows a resend and reports success.
        headers = {**record.headers, GENERATION_HEADER: str(generation), EXPECTED_HEADER: str(expected)}
        size, limit = header_bytes(headers) + len(record.payload), event_bytes_max(client)
        if size > limit:
            # The server would cut the connection, and every lane's with it.
            raise TerminalError(
                f"event {record.id} of {record.pipeline}, lane {record.lane}, has {size} bytes with its headers,"
                f" and the server takes {limit}",
                cure="Raise max_payload of the server, or lower extractor.event_bytes_max and run `qupersync reset`",
            )
        js = client.jetstream(timeout=self._publish_seconds_max)
        with translated(f"publish on {subject}"):
            try:
                ack = await js.publish(subject, record.payload, headers=headers)
            except nats.js.errors.APIError as error:
                if error.err_code in WRONG_LAST_SEQUENCE:
                    raise WrongLastSequenceError(f"{subject}: {error.description}") from error
                raise
        return StreamSequence(ack.seq)

    async def last_message(self, pipeline: PipelineName, lane: Lane) -> LastMessage | None:
        js = await self._connection.jetstream()
        subject = lane_subject(pipeline, lane)
        with translated(f"read the last message of {subject}"):
            try:
                # Not a direct get: the stream's leader answers this one.
                message = await js.get_last_msg(stream_name(pipeline), subject)
            except nats.js.errors.NotFoundError as error:
                if error.err_code == NO_MESSAGE:
                    return None
                raise
        return LastMessage(
            stream_sequence=StreamSequence(message.seq or 0),
            envelope=own_envelope(message.headers, pipeline, lane),
        )

    async def max_payload(self) -> int:
        return event_bytes_max(await self._connection.client()) - _OVERHEAD_BYTES


def own_envelope(headers: Mapping[str, str] | None, pipeline: PipelineName, lane: Lane) -> BatchEnvelope | None:
    """The envelope of a batch event of this lane; None for a foreign message."""
    try:
        envelope = BatchEnvelope.from_headers(dict(headers or {}))
    except EventRefusedError:
        return None
    return envelope if (envelope.pipeline, envelope.lane) == (pipeline, lane) else None


def header_bytes(headers: Mapping[str, str]) -> int:
    """The bytes of a NATS header block, which the server counts as payload."""
    lines = sum(len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items())
    return len(b"NATS/1.0\r\n") + lines + len(b"\r\n")

"""The port `Stream` over JetStream: the stream's own fence keeps each lane in order."""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client

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
_FREE_SECONDS: Final = 0.5  # in which a server answers a ping on a link that carries little else
_LEADERLESS: Final = 0.6  # of the time waited: doubled, a little more each time


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patience:
    """How long to wait for an answer about a lane: twice as long as the last answer took, or as it was waited in vain.

    With a fixed limit, a link that carries an event for longer than that would be filled with copies of the event, none
    of them answered in time, and the lane would never get on. A link that is free while the answer stays away means
    another thing: the stream has no leader just now, which takes seconds. Whoever waits long then, waits too long.
    """

    seconds_min: float
    seconds_max: float
    _seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def asking(self, client: Client, subject: str) -> AsyncIterator[float]:
        """The seconds to wait in this block; learns from how long it took."""
        seconds = self._seconds.get(subject, self.seconds_min)
        began = time.monotonic()
        try:
            yield seconds
        except TimeoutError:
            self._learn(subject, seconds * (_LEADERLESS if await _is_free(client) else 1))
            raise
        except (WrongLastSequenceError, nats.js.errors.APIError):
            self._learn(subject, time.monotonic() - began)  # a refusal is an answer
            raise
        else:
            self._learn(subject, time.monotonic() - began)

    def _learn(self, subject: str, seconds: float) -> None:
        self._seconds[subject] = min(max(2 * seconds, self.seconds_min), self.seconds_max)


class JetStreamStream:
    """Publishes one awaited message at a time per caller; callers of different lanes may run concurrently."""

    def __init__(
        self,
        connection: Connection,
        section: NatsSection,
        *,
        answer_seconds_min: float = 2,
        answer_seconds_max: float = 20,
    ) -> None:
        self._connection = connection
        self._section = section
        self._patience = _Patience(seconds_min=answer_seconds_min, seconds_max=answer_seconds_max)

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
        with translated(f"publish on {subject}"):
            async with self._patience.asking(client, subject) as seconds:
                js = client.jetstream(timeout=seconds)
                try:
                    ack = await js.publish(subject, record.payload, headers=headers)
                except nats.js.errors.APIError as error:
                    if error.err_code in WRONG_LAST_SEQUENCE:
                        raise WrongLastSequenceError(f"{subject}: {error.description}") from error
                    raise
        return StreamSequence(ack.seq)

    async def last_message(self, pipeline: PipelineName, lane: Lane) -> LastMessage | None:
        client = await self._connection.client()
        subject = lane_subject(pipeline, lane)
        with translated(f"read the last message of {subject}"):
            try:
                async with self._patience.asking(client, subject) as seconds:
                    # Not a direct get: the stream's leader answers this one.
                    message = await client.jetstream(timeout=seconds).get_last_msg(stream_name(pipeline), subject)
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


async def _is_free(client: Client) -> bool:
    """Whether the server that we are connected to answers at once: what was sent before has got through.

    It is asked for somebody who cannot be there. (A flush that gives up breaks nats-py's client when its pong comes.)
    """
    try:
        await client.request(client.new_inbox(), timeout=_FREE_SECONDS)
    except nats.errors.NoRespondersError:
        return True
    except (nats.errors.Error, OSError, TimeoutError):
        return False
    return True


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

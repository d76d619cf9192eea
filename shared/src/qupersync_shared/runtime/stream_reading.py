"""Reading a pipeline's stream beside its consumers: nothing durable is touched, and nothing is left behind."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from qupersync_shared.contracts.subjects import durable_name, lane_subject, stream_name, stream_subjects
from qupersync_shared.kernel.errors import QupersyncError, StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime.jetstream import translated

SIZE_HEADER: Final = "Nats-Msg-Size"
_INACTIVE_SECONDS: Final = 10.0
_CONSUMERS_A_PAGE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMessage:
    """One message as it stands in the stream; where only headers were asked for, `body` is empty, and `bytes` true."""

    sequence: int
    lane: int | None
    at: datetime
    headers: dict[str, str]
    body: bytes
    bytes: int
    waiting: int


class StreamReading:
    """Messages in the order of the stream, from one ephemeral consumer."""

    def __init__(self, js: JetStreamContext, stream: str, subscription: JetStreamContext.PullSubscription) -> None:
        self._js = js
        self._stream = stream
        self._subscription = subscription
        self._delivered = 0

    async def next(self, count: int, *, seconds: float) -> list[StreamMessage]:
        """Up to `count` further messages; none when there are none within `seconds`.

        StreamUnavailableError when some were lost on the way: read on from the last one with a new reading.
        """
        with translated(f"read stream {self._stream}"):
            try:
                messages = await self._subscription.fetch(count, timeout=seconds)
            except TimeoutError:
                return []
        for message in messages:
            self._delivered += 1
            if message.metadata.sequence.consumer != self._delivered:
                raise StreamUnavailableError(f"messages of {self._stream} were lost on the way", cure="Read again")
        return [_read(message) for message in messages]


@asynccontextmanager
async def reading(
    js: JetStreamContext,
    pipeline: PipelineName,
    *,
    lanes: Sequence[Lane] = (),
    from_sequence: int | None = None,
    newest_of_each_lane: bool = False,
    headers_only: bool = False,
) -> AsyncIterator[tuple[StreamReading, int]]:
    """A reading of all lanes or some, and how many messages wait for it.

    StreamUnavailableError where the stream is missing or NATS does not answer.
    """
    stream = stream_name(pipeline)
    subjects = [lane_subject(pipeline, lane) for lane in lanes] or [stream_subjects(pipeline)]
    policy = DeliverPolicy.ALL
    if newest_of_each_lane:
        policy = DeliverPolicy.LAST_PER_SUBJECT
    elif from_sequence is not None:
        policy = DeliverPolicy.BY_START_SEQUENCE
    config = ConsumerConfig(
        deliver_policy=policy,
        opt_start_seq=max(from_sequence, 1) if policy is DeliverPolicy.BY_START_SEQUENCE and from_sequence else None,
        ack_policy=AckPolicy.NONE,
        headers_only=headers_only or None,
        mem_storage=True,
        num_replicas=1,
        inactive_threshold=_INACTIVE_SECONDS,
        filter_subject=subjects[0] if len(subjects) == 1 else None,
        filter_subjects=subjects if len(subjects) > 1 else None,
    )
    with translated(f"read stream {stream}"):
        consumer = await js.add_consumer(stream, config)
        subscription = await js.pull_subscribe_bind(consumer=consumer.name, stream=stream)
    try:
        yield StreamReading(js, stream, subscription), consumer.num_pending or 0
    finally:
        # What is left goes by itself after the threshold.
        with suppress(nats.errors.Error, nats.js.errors.Error, QupersyncError, TimeoutError, OSError):
            await subscription.unsubscribe()
            await js.delete_consumer(stream, consumer.name)


def _read(message: Msg) -> StreamMessage:
    headers = dict(message.headers or {})
    told = headers.pop(SIZE_HEADER, None)
    lane = message.subject.rpartition(".")[2]
    size = int(told) if told is not None and told.isdecimal() else len(message.data)
    return StreamMessage(
        sequence=message.metadata.sequence.stream,
        lane=int(lane) if lane.isdecimal() else None,
        at=message.metadata.timestamp,
        headers=headers,
        body=message.data,
        bytes=size + sum(len(name) + len(value) + 4 for name, value in headers.items()),
        waiting=message.metadata.num_pending,
    )


async def stream_told(client: Client, pipeline: PipelineName, *, timeout: float = 5) -> dict[str, Any]:
    """What the server says of the pipeline's stream, with `created` and its own time `ts`, which nats-py leaves out."""
    stream = stream_name(pipeline)
    with translated(f"look at stream {stream}"):
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=timeout)
    told: dict[str, Any] = json.loads(answer.data)
    if "error" in told or "state" not in told:
        said = (told.get("error") or {}).get("description", "no answer")
        raise StreamUnavailableError(f"stream {stream}: {said}", cure="Run `qupersync-extractor migrate`")
    return told


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneConsumer:
    """One durable consumer of a lane: up to where it acknowledged without a hole, and what waits for it."""

    name: str
    acknowledged: int
    waiting: int


async def lane_consumers(js: JetStreamContext, pipeline: PipelineName) -> dict[tuple[GroupName, Lane], LaneConsumer]:
    """The durable consumers of all loader groups on the pipeline's stream; whatever has another name is not ours."""
    stream, found = stream_name(pipeline), {}
    offset = 0
    while True:
        with translated(f"look at the consumers of {stream}"):
            page = await js.consumers_info(stream, offset=offset)
        for info in page:
            head, _, number = info.name.rpartition("_")
            group = head.removesuffix(f"_{pipeline}")
            if not number.isdecimal() or info.name != durable_name(GroupName(group), pipeline, Lane(int(number))):
                continue
            found[GroupName(group), Lane(int(number))] = LaneConsumer(
                name=info.name,
                acknowledged=info.ack_floor.stream_seq if info.ack_floor is not None else 0,
                waiting=(info.num_pending or 0) + (info.num_ack_pending or 0),
            )
        offset += len(page)
        if len(page) < _CONSUMERS_A_PAGE:
            return found

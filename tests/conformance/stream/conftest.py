"""Both adapters of `Stream` and `Progress`, behind one harness that says what tests do besides the port."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

import nats.js.errors
import pytest

from qupersync_extractor.application.ports import Progress, Stream
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_extractor.infrastructure.jetstream.progress import JetStreamProgress
from qupersync_extractor.infrastructure.jetstream.stream import JetStreamStream
from qupersync_extractor.infrastructure.memory.progress import MemoryProgress
from qupersync_extractor.infrastructure.memory.stream import MemoryStream
from qupersync_local.nats import LocalNats
from qupersync_shared.contracts.envelope import EVENT_TYPE, EVENT_VERSION, BatchEnvelope, Mode
from qupersync_shared.contracts.payload import checksum
from qupersync_shared.contracts.progress import LaneProgress, lane_key
from qupersync_shared.contracts.subjects import lane_subject, stream_name
from qupersync_shared.kernel.ids import (
    EventId,
    GroupName,
    Lane,
    Log,
    PipelineName,
    RunId,
    Sequence,
    StreamSequence,
    uuid7,
)
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.settings import NatsSection


@dataclass(frozen=True, slots=True)
class Stored:
    stream_sequence: StreamSequence
    headers: Mapping[str, str]
    payload: bytes


class Harness(Protocol):
    stream: Stream
    progress: Progress

    async def stored(self, pipeline: PipelineName, lane: Lane) -> list[Stored]: ...
    async def put_foreign(
        self, pipeline: PipelineName, lane: Lane, headers: Mapping[str, str] = MappingProxyType({})
    ) -> StreamSequence: ...
    async def purge(self, pipeline: PipelineName) -> None: ...
    async def delete(self, pipeline: PipelineName) -> None: ...
    async def report(self, entry: LaneProgress) -> None: ...


class MemoryHarness:
    def __init__(self, *, bytes_max: int) -> None:
        self.memory_stream = MemoryStream(bytes_max=bytes_max)
        self.memory_progress = MemoryProgress()
        self.stream: Stream = self.memory_stream
        self.progress: Progress = self.memory_progress

    async def stored(self, pipeline: PipelineName, lane: Lane) -> list[Stored]:
        found = self.memory_stream.messages(pipeline, lane)
        return [Stored(message.stream_sequence, message.headers, message.payload) for message in found]

    async def put_foreign(
        self, pipeline: PipelineName, lane: Lane, headers: Mapping[str, str] = MappingProxyType({})
    ) -> StreamSequence:
        return self.memory_stream.put_foreign(pipeline, lane, headers=headers)

    async def purge(self, pipeline: PipelineName) -> None:
        self.memory_stream.purge(pipeline)

    async def delete(self, pipeline: PipelineName) -> None:
        self.memory_stream.delete(pipeline)

    async def report(self, entry: LaneProgress) -> None:
        self.memory_progress.report(entry)


class NatsHarness:
    def __init__(self, connection: Connection, section: NatsSection) -> None:
        self.connection = connection
        self.stream: Stream = JetStreamStream(connection, section)
        self.progress: Progress = JetStreamProgress(connection)

    async def stored(self, pipeline: PipelineName, lane: Lane) -> list[Stored]:
        js = await self.connection.jetstream()
        found: list[Stored] = []
        after = 0
        while True:
            try:
                message = await js.get_msg(
                    stream_name(pipeline), seq=after + 1, subject=lane_subject(pipeline, lane), next=True
                )
            except nats.js.errors.NotFoundError:
                return found
            after = message.seq or 0
            found.append(Stored(StreamSequence(after), message.headers or {}, message.data or b""))

    async def put_foreign(
        self, pipeline: PipelineName, lane: Lane, headers: Mapping[str, str] = MappingProxyType({})
    ) -> StreamSequence:
        js = await self.connection.jetstream()
        ack = await js.publish(lane_subject(pipeline, lane), b"?", headers=dict(headers) or None)
        return StreamSequence(ack.seq)

    async def purge(self, pipeline: PipelineName) -> None:
        await (await self.connection.jetstream()).purge_stream(stream_name(pipeline))

    async def delete(self, pipeline: PipelineName) -> None:
        await (await self.connection.jetstream()).delete_stream(stream_name(pipeline))

    async def report(self, entry: LaneProgress) -> None:
        key = lane_key(GroupName(entry.group), PipelineName(entry.pipeline), Lane(entry.lane))
        await bucket.write(await self.connection.jetstream(), key, entry.model_dump_json().encode())


class MakeHarness(Protocol):
    async def __call__(self, *, bytes_max: int = 64 << 20) -> Harness: ...


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.integration)])
async def make_harness(request: pytest.FixtureRequest) -> AsyncIterator[MakeHarness]:
    async with AsyncExitStack() as stack:

        async def make(*, bytes_max: int = 64 << 20) -> Harness:
            if request.param == "memory":
                return MemoryHarness(bytes_max=bytes_max)
            server = await stack.enter_async_context(LocalNats.start())
            section = NatsSection(servers=[server.url], stream_bytes_max=bytes_max)
            connection = Connection(section, name="conformance")
            stack.push_async_callback(connection.close)
            return NatsHarness(connection, section)

        yield make


@pytest.fixture
async def harness(make_harness: MakeHarness) -> Harness:
    return await make_harness()


class MakeRecord(Protocol):
    def __call__(self, sequence: int, *, lane: int = 0, pipeline: str = "cost", payload: bytes = b"rows") -> Any: ...


@pytest.fixture
def make_record() -> MakeRecord:
    def make(sequence: int, *, lane: int = 0, pipeline: str = "cost", payload: bytes = b"rows") -> OutboxRecord:
        event, run = uuid7(), uuid7()
        envelope = BatchEnvelope(
            id=event,
            source="urn:qupersync:test",
            subject=lane_subject(PipelineName(pipeline), Lane(lane)),
            time=datetime.now(UTC),
            pipeline=pipeline,
            lane=lane,
            lanes=4,
            log=1,
            sequence=sequence,
            mode=Mode.INCREMENTAL,
            row_count=1,
            key_columns=("id", "naïve key,\n"),
            schema_fingerprint="0" * 32,
            checksum=checksum(payload),
            correlation_id=run,
        )
        headers = {name: value for name, value in envelope.headers().items() if name != "ce-generation"}
        return OutboxRecord(
            id=EventId(event),
            pipeline=PipelineName(pipeline),
            lane=Lane(lane),
            log=Log(1),
            sequence=Sequence(sequence),
            occurred_at=datetime.now(UTC),
            correlation_id=RunId(run),
            headers=headers,
            payload=payload,
            event_type=EVENT_TYPE,
            event_version=EVENT_VERSION,
        )

    return make


@pytest.fixture
def progress_entry() -> Any:
    def make(group: str, pipeline: str, lane: int, sequence: int) -> LaneProgress:
        return LaneProgress(
            group=group,
            pipeline=pipeline,
            lane=lane,
            lanes=4,
            log=1,
            sequence=sequence,
            event_id=UUID(int=sequence),
            applied_at=datetime.now(UTC),
        )

    return make

"""What every adapter of `RetainedStream` and `PlaceBoard` promises the keeper of a stream."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import pytest

from qupersync_extractor.application.ports import Stream
from qupersync_extractor.application.retention import PlaceBoard, RetainedStream
from qupersync_extractor.infrastructure.jetstream.progress import JetStreamProgress
from qupersync_extractor.infrastructure.jetstream.retention import JetStreamRetention
from qupersync_extractor.infrastructure.jetstream.stream import JetStreamStream
from qupersync_extractor.infrastructure.memory.retention import MemoryPlaceBoard, MemoryRetention
from qupersync_extractor.infrastructure.memory.stream import MemoryStream
from qupersync_local.nats import LocalNats
from qupersync_shared.contracts.places import SnapshotPlaceEntry, StreamPlaces
from qupersync_shared.contracts.subjects import durable_name, lane_subject, stream_name
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import Generation, GroupName, Lane, PipelineName, StreamSequence
from qupersync_shared.runtime.jetstream import Connection, ensure_consumer
from qupersync_shared.runtime.settings import NatsSection

COST = PipelineName("cost")
MAIN = GroupName("main")


class Kept(Protocol):
    stream: Stream
    retained: RetainedStream
    board: PlaceBoard

    async def acknowledge(self, group: GroupName, lane: Lane, upto: int) -> None: ...
    async def foreign(self, lane: Lane) -> None: ...


@dataclass
class MemoryKept:
    stream: MemoryStream
    retained: MemoryRetention
    board: MemoryPlaceBoard

    async def acknowledge(self, group: GroupName, lane: Lane, upto: int) -> None:
        self.retained.done.setdefault(COST, {})[group, lane] = StreamSequence(upto)

    async def foreign(self, lane: Lane) -> None:
        self.stream.put_foreign(COST, lane)


@dataclass
class NatsKept:
    connection: Connection
    stream: JetStreamStream
    retained: JetStreamRetention
    board: JetStreamProgress

    async def acknowledge(self, group: GroupName, lane: Lane, upto: int) -> None:
        js = await self.connection.jetstream()
        await ensure_consumer(js, group, COST, lane, 30)
        durable = durable_name(group, COST, lane)
        reader = await js.pull_subscribe_bind(consumer=durable, stream=stream_name(COST))
        while True:
            [message] = await reader.fetch(1, timeout=5)
            await message.ack_sync()
            if message.metadata.sequence.stream >= upto:
                break
        await reader.unsubscribe()

    async def foreign(self, lane: Lane) -> None:
        await (await self.connection.jetstream()).publish(lane_subject(COST, lane), b"?")


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.integration)])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    if request.param == "memory":
        stream = MemoryStream(bytes_max=8 << 20)
        yield MemoryKept(stream, MemoryRetention(stream), MemoryPlaceBoard())
        return
    async with AsyncExitStack() as closing:
        server = await closing.enter_async_context(LocalNats.start())
        section = NatsSection(servers=[server.url], stream_bytes_max=8 << 20)
        connection = Connection(section, name="conformance")
        closing.push_async_callback(connection.close)
        yield NatsKept(
            connection,
            JetStreamStream(connection, section),
            JetStreamRetention(connection),
            JetStreamProgress(connection),
        )


@dataclass
class Publisher:
    kept: Kept
    make_record: Any
    sequence: int = 0

    async def page(self, snapshot: int | None = None, *, first: bool = False, last: bool = False) -> list[int]:
        """One event on each of two lanes; their stream sequences."""
        self.sequence += 1
        placed = []
        for lane in range(2):
            record = self.make_record(self.sequence, lane=lane, payload=b"x" * 1000)
            if snapshot is not None:
                ends = {"ce-snapshotfirst": first, "ce-snapshotlast": last}
                pages = {name: "true" for name, holds in ends.items() if holds}
                ranges = ({} if first else {"ce-rangefrom": KEY}) | ({} if last else {"ce-rangeto": KEY})
                told = {"ce-mode": "snapshot", "ce-snapshotid": str(UUID(int=snapshot))} | pages | ranges
                record = replace(record, headers={**record.headers, **told})
            top = await self.kept.stream.last_message(COST, Lane(lane))
            expected = top.stream_sequence if top else StreamSequence(0)
            placed.append(await self.kept.stream.publish(record, Generation(0), expected=expected))
        return placed


KEY = "%7B%22v%22:1,%22key%22:[[%22int%22,%225%22]]%7D"


@pytest.fixture
async def publisher(kept: Kept, make_record: Any) -> Publisher:
    await kept.stream.declare(COST)
    return Publisher(kept, make_record)


async def test_a_missing_stream_is_transient(kept: Kept) -> None:
    with pytest.raises(StreamUnavailableError):
        await kept.retained.measure(COST)


async def test_an_empty_stream_is_measured(publisher: Publisher) -> None:
    measure = await publisher.kept.retained.measure(COST)
    assert (measure.messages, measure.bytes, measure.bytes_max, measure.last) == (0, 0, 8 << 20, 0)
    assert await publisher.kept.retained.tops(COST) == {}
    assert await publisher.kept.retained.events(COST, after=measure.last, upto=measure.last, limit=9) == ([], 0)


async def test_events_are_seen_by_their_headers_and_foreign_ones_passed_over(publisher: Publisher) -> None:
    retained = publisher.kept.retained
    await publisher.page()
    await publisher.kept.foreign(Lane(1))
    await publisher.page(7, first=True)
    await publisher.page(7, last=True)

    measure = await retained.measure(COST)
    seen, upto = await retained.events(COST, after=StreamSequence(0), upto=measure.last, limit=100)
    assert (upto, measure.first, measure.messages) == (7, 1, 7)
    assert [(event.sequence, event.lane, event.first, event.last) for event in seen] == [
        (1, 0, False, False),
        (2, 1, False, False),
        (4, 0, True, False),
        (5, 1, True, False),
        (6, 0, False, True),
        (7, 1, False, True),
    ]
    assert [event.snapshot for event in seen[2:]] == [UUID(int=7)] * 4
    assert all(1000 < event.bytes < 3000 for event in seen)
    few, partly = await retained.events(COST, after=StreamSequence(1), upto=measure.last, limit=2)
    assert ([event.sequence for event in few], partly) == ([2], 3)


async def test_tops_and_what_stands_where(publisher: Publisher) -> None:
    retained = publisher.kept.retained
    first = await publisher.page(7, first=True)
    last = await publisher.page()
    assert await retained.tops(COST) == {0: last[0], 1: last[1]}
    event = await retained.event_at(COST, Lane(0), StreamSequence(first[0]))
    assert event is not None
    assert (event.snapshot_id, event.snapshot_first) == (UUID(int=7), True)
    assert await retained.event_at(COST, Lane(1), StreamSequence(first[0])) is None, "of another lane"
    assert await retained.event_at(COST, Lane(0), StreamSequence(99)) is None


async def test_a_purge_takes_one_lane_below_a_sequence(publisher: Publisher) -> None:
    retained = publisher.kept.retained
    for _ in range(4):
        await publisher.page()
    await retained.purge(COST, Lane(0), below=StreamSequence(5))
    measure = await retained.measure(COST)
    seen, _ = await retained.events(COST, after=StreamSequence(0), upto=measure.last, limit=100)
    assert [event.sequence for event in seen] == [2, 4, 5, 6, 7, 8]
    assert measure.first == 2
    await retained.purge(COST, Lane(0), below=StreamSequence(5))  # again


async def test_what_groups_have_acknowledged(publisher: Publisher) -> None:
    for _ in range(3):
        await publisher.page()
    await publisher.kept.acknowledge(MAIN, Lane(0), 3)
    await publisher.kept.acknowledge(MAIN, Lane(1), 6)
    await publisher.kept.acknowledge(GroupName("a_b"), Lane(1), 2)
    assert await publisher.kept.retained.acknowledged(COST) == {("main", 0): 3, ("main", 1): 6, ("a_b", 1): 2}


async def test_the_board_keeps_the_latest_word(kept: Kept) -> None:
    await kept.stream.declare(COST)
    assert await kept.board.places(COST) is None
    at = datetime(2026, 1, 2, 12, tzinfo=UTC)
    entry = SnapshotPlaceEntry(id=UUID(int=7), log=2, lanes=2, first={0: 4, 1: 5}, last={0: 6}, first_at=at, bytes=9)
    told = StreamPlaces(pipeline=COST, stream_made_at=at, upto=7, places=(entry,), bytes_since=3, replayable_since=at)
    await kept.board.put_places(told.model_copy(update={"upto": 1}))
    await kept.board.put_places(told)
    assert await kept.board.places(COST) == told
    assert await kept.board.places(PipelineName("other")) is None

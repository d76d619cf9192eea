"""What both adapters of `History` must do: in memory, and over a real stream."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol
from uuid import uuid4

import pytest
from tests.conformance.loader.events import PEOPLE, Event, Extractor, ints, people

from qupersync_loader.application.rebuild.history import History, StoredEvent
from qupersync_loader.infrastructure.memory.history import MemoryHistory
from qupersync_loader.infrastructure.nats.history import NatsHistory
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.places import SnapshotPlaceEntry, StreamPlaces, places_key
from qupersync_shared.contracts.subjects import lane_subject, stream_name
from qupersync_shared.kernel.errors import QupersyncError, StreamUnavailableError
from qupersync_shared.kernel.ids import Lane, Log, PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection, ensure_bucket, ensure_stream
from qupersync_shared.runtime.settings import NatsSection


class Stream(Protocol):
    name: PipelineName
    history: History

    async def publish(self, *pages: list[Event], generation: int = 0) -> None: ...
    async def publish_foreign(self, lane: int) -> None: ...
    async def purge(self, lane: int, *, below: int) -> None: ...


class MemoryStream:
    def __init__(self) -> None:
        self.name = PipelineName("people")
        self.memory = MemoryHistory(self.name)
        self.history: History = self.memory

    async def publish(self, *pages: list[Event], generation: int = 0) -> None:
        for event in [event for page in pages for event in page]:
            self.memory.publish(Lane(event.envelope.lane), event.headers(generation), event.body)

    async def publish_foreign(self, lane: int) -> None:
        self.memory.publish(Lane(lane), {}, b"not ours")

    async def purge(self, lane: int, *, below: int) -> None:
        self.memory.purge(Lane(lane), below=below)


class NatsStream:
    def __init__(self, section: NatsSection) -> None:
        self.name = PipelineName(f"p{uuid4().hex[:10]}")
        self.section = section
        self.connection = Connection(section, name="test")
        self.history: History = NatsHistory(self.connection, self.name)

    async def publish(self, *pages: list[Event], generation: int = 0) -> None:
        js = await self.connection.jetstream()
        for event in [event for page in pages for event in page]:
            await js.publish(event.envelope.subject, event.body, headers=event.headers(generation))

    async def publish_foreign(self, lane: int) -> None:
        await (await self.connection.jetstream()).publish(lane_subject(self.name, Lane(lane)), b"not ours")

    async def purge(self, lane: int, *, below: int) -> None:
        js = await self.connection.jetstream()
        await js.purge_stream(stream_name(self.name), seq=below, subject=lane_subject(self.name, Lane(lane)))


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.integration)])
async def stream(request: pytest.FixtureRequest) -> AsyncIterator[Stream]:
    if request.param == "memory":
        yield MemoryStream()
        return
    stack: ThreadedStack = request.getfixturevalue("local_stack")
    async for made in _nats(stack):
        yield made


@pytest.fixture
async def nats(local_stack: ThreadedStack) -> AsyncIterator[NatsStream]:
    """For what only NATS has."""
    async for made in _nats(local_stack):
        yield made


async def _nats(stack: ThreadedStack) -> AsyncIterator[NatsStream]:
    real = NatsStream(NatsSection(servers=[stack.stack.nats.url]))
    js = await real.connection.jetstream()
    await ensure_stream(js, real.name, real.section)
    await ensure_bucket(js)
    try:
        yield real
    finally:
        await js.delete_stream(stream_name(real.name))
        await real.connection.close()


def _source(stream: Stream, **changes: int) -> Extractor:
    return Extractor(name=stream.name, lanes=2, **changes)


async def _all(stream: Stream, lane: int, *, begin: int = 1, at_once: int = 2) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    async with stream.history.reading(Lane(lane), begin=begin) as reading:
        while events := await reading.next(at_once):
            assert len(events) <= at_once
            found += events
    return found


async def test_a_lane_is_read_from_a_place_on_and_ends_where_the_stream_does(stream: Stream) -> None:
    source = _source(stream)
    pages = [source.page(people(1, 2, 3)), *(source.incremental(people(n)) for n in range(4, 9))]
    await stream.publish(*pages)
    found = await _all(stream, 1)
    assert [event.body for event in found] == [page[1].body for page in pages]
    assert [event.waiting for event in found] == [5, 4, 3, 2, 1, 0]
    assert [event.headers["ce-sequence"] for event in found] == ["1", "2", "3", "4", "5", "6"]
    assert {event.lane for event in found} == {1}
    assert all(event.bytes >= len(event.body) for event in found)
    later = await _all(stream, 1, begin=found[3].place, at_once=100)
    assert later == found[3:]
    assert await _all(stream, 1, begin=found[-1].place + 1) == []
    async with stream.history.reading(Lane(1), begin=found[2].place) as reading:
        assert reading.waiting == 4


async def test_headers_are_those_of_all_lanes_in_order_and_bodies_stay_away(stream: Stream) -> None:
    source = _source(stream)
    await stream.publish(source.page(people(1, 2, 3)), source.incremental(people(4)))
    async with aclosing(stream.history.headers()) as events:
        found = [event async for event in events]
    assert [event.lane for event in found] == [0, 1, 0, 1]
    assert [event.place for event in found] == sorted(event.place for event in found)
    assert all(event.body == b"" and event.bytes > 0 for event in found)


async def test_only_a_whole_snapshot_of_the_log_is_one_to_begin_with(stream: Stream) -> None:
    source = _source(stream)
    assert await stream.history.whole_snapshot(Log(1)) is None
    await stream.publish(source.incremental(people(1)))
    await stream.publish(source.page(people(1, 2), upto=ints(2)))
    assert await stream.history.whole_snapshot(Log(1)) is None, "its last page is missing"
    await stream.publish_foreign(0)
    await stream.publish(source.page(people(3), after=ints(2)))
    first = source.snapshot
    found = await stream.history.whole_snapshot(Log(1))
    assert found is not None
    assert (found.id, found.log, found.lanes, set(found.first)) == (first, 1, 2, {0, 1})
    begins = (await _all(stream, 0, begin=found.first[Lane(0)]))[0]
    assert begins.headers["ce-snapshotfirst"] == "true"
    assert await stream.history.whole_snapshot(Log(2)) is None

    await stream.publish(source.page(people(1, 2, 3)))
    newest = await stream.history.whole_snapshot(Log(1))
    oldest = await stream.history.whole_snapshot(Log(1), oldest=True)
    assert newest is not None
    assert oldest is not None
    assert (newest.id, oldest.id) == (source.snapshot, first)

    await stream.purge(1, below=newest.first[Lane(1)] + 1)
    assert await stream.history.whole_snapshot(Log(1)) is None, "a first page is gone, and so are those before"


async def test_what_stands_in_the_stream_from_some_places_on_is_counted(stream: Stream) -> None:
    source = _source(stream)
    await stream.publish(source.page(people(1, 2, 3)), source.incremental(people(4)), source.incremental(people(5)))
    begin = (await _all(stream, 0))[1].place
    size = await stream.history.size({Lane(0): begin, Lane(1): begin})
    assert (size.events, size.bytes > 0) == (4, True)


async def test_the_newest_event_tells_columns_and_log(stream: Stream) -> None:
    assert await stream.history.newest_log() is None
    with pytest.raises(QupersyncError, match="no event that can be decoded"):
        await stream.history.schema()
    await stream.publish(_source(stream).page(people(1, 2, 3)))
    await stream.publish(_source(stream, log=2).page(people(1, 2, 3)))
    await stream.publish_foreign(1)
    assert await stream.history.newest_log() == 2
    assert (await stream.history.schema()).fingerprint == PEOPLE.fingerprint


async def test_what_the_keeper_wrote_down_is_taken_only_where_it_is_true(nats: NatsStream) -> None:
    source = _source(nats)
    await nats.publish(source.page(people(1, 2), upto=ints(2)), source.page(people(3), after=ints(2)))
    assert source.snapshot is not None
    first = await nats.history.whole_snapshot(Log(1))
    assert first is not None
    places = {lane: [event.place for event in await _all(nats, lane)] for lane in (0, 1)}
    told = SnapshotPlaceEntry(
        id=source.snapshot,
        log=1,
        lanes=2,
        first={lane: found[0] for lane, found in places.items()},
        last={lane: found[1] for lane, found in places.items()},
        first_at=first.at,
    )
    await nats.publish(source.page(people(1, 2, 3)))
    newest = await nats.history.whole_snapshot(Log(1))
    await _tell(nats, told)
    assert await nats.history.whole_snapshot(Log(1)) == first, "the keeper's word spares reading everything"
    for wrong in ({"first": told.last}, {"last": told.first}, {"cut": True}, {"first": {0: 1, 1: 999}}, {"last": {}}):
        await _tell(nats, told.model_copy(update=wrong))
        assert await nats.history.whole_snapshot(Log(1)) == newest


async def _tell(stream: NatsStream, place: SnapshotPlaceEntry) -> None:
    entry = StreamPlaces(pipeline=stream.name, stream_made_at=place.first_at, places=(place,))
    js = await stream.connection.jetstream()
    await bucket.write(js, places_key(stream.name), entry.model_dump_json().encode())


async def test_a_missing_stream_is_named(nats: NatsStream) -> None:
    missing = NatsHistory(nats.connection, PipelineName("nowhere"))
    with pytest.raises(StreamUnavailableError, match="nowhere"):
        await missing.newest_log()

"""News of idle lanes, as a real server tells them, and a loader with more lanes than slots that lives by them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import people
from tests.integration.loader.world import World, eventually, opened

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.nats.feed import NatsLaneFeed
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import durable_name, stream_name
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.settings import NatsSection

LANE = Lane(0)
LONG = 30.0


@pytest.fixture
async def world(postgres: PostgresHarness, local_stack: ThreadedStack) -> AsyncIterator[World]:
    async with opened(postgres, local_stack.stack.nats.url, lanes=12, connections=1) as made:
        yield made


@asynccontextmanager
async def feeding(world: World, *, ack_wait_seconds: float = 2) -> AsyncIterator[tuple[NatsLaneFeed, TargetPipeline]]:
    connection = Connection(world.section, name="test-news")
    feed = NatsLaneFeed(world.section, connection, name="test-lanes", ack_wait_seconds=ack_wait_seconds)
    pipeline = TargetPipeline(
        group=GroupName(world.group), name=PipelineName(world.name), schema="public", table="people", lanes=12
    )
    try:
        await feed.discover(pipeline)
        yield feed, pipeline
    finally:
        await feed.close()
        await connection.close()


async def test_news_come_when_a_message_does_and_take_nothing(world: World) -> None:
    async with feeding(world) as (feed, pipeline):
        assert not await feed.news(pipeline, LANE, wait_seconds=0.2)
        waiting = [asyncio.create_task(feed.news(pipeline, LANE, wait_seconds=LONG)) for _ in range(2)]
        await asyncio.sleep(0)
        await world.publish(world.source.page(people(1)))
        async with asyncio.timeout(LONG / 2):
            assert await asyncio.gather(*waiting) == [True, True]  # every process that waits is told
            assert await feed.news(pipeline, LANE, wait_seconds=LONG)  # and who comes later
        delivery = await feed.fetch(pipeline, LANE, wait_seconds=5)
        assert delivery is not None
        assert delivery.attempt == 1


async def test_there_are_no_news_while_the_lane_is_held_by_somebody_and_then_there_are(world: World) -> None:
    await world.publish(world.source.page(people(1)), world.source.incremental(people(2)))
    async with feeding(world) as (feed, pipeline):
        held = await feed.fetch(pipeline, LANE, wait_seconds=5)
        assert held is not None
        assert not await feed.news(pipeline, LANE, wait_seconds=0.2)
        waiting = asyncio.create_task(feed.news(pipeline, LANE, wait_seconds=LONG))
        await held.ack()
        async with asyncio.timeout(LONG / 2):
            assert await waiting


async def test_a_message_that_came_after_its_fetch_had_given_up_is_news(world: World) -> None:
    """The server counts it as delivered, and has nothing to tell until the ack wait is over."""
    async with feeding(world, ack_wait_seconds=10 * LONG) as (feed, pipeline):
        js = world.client.jetstream()
        stream, durable = stream_name(pipeline.name), durable_name(pipeline.group, pipeline.name, LANE)
        fetching = asyncio.create_task(feed.fetch(pipeline, LANE, wait_seconds=LONG))

        async def waits() -> bool:
            return bool((await js.consumer_info(stream, durable)).num_waiting)

        await eventually(waits, "a fetch that waits", services=world.services)
        fetching.cancel()  # as a time-out does: the request is left at the server
        await asyncio.gather(fetching, return_exceptions=True)
        await world.publish(world.source.page(people(1)))
        async with asyncio.timeout(LONG / 2):
            while not await feed.news(pipeline, LANE, wait_seconds=0.2):
                pass
            delivery = await feed.fetch(pipeline, LANE, wait_seconds=5)
        assert delivery is not None
        assert delivery.attempt == 1


async def test_a_message_that_came_too_late_is_given_back_when_the_process_ends(world: World) -> None:
    async with feeding(world, ack_wait_seconds=10 * LONG) as (feed, pipeline):
        js = world.client.jetstream()
        stream, durable = stream_name(pipeline.name), durable_name(pipeline.group, pipeline.name, LANE)
        fetching = asyncio.create_task(feed.fetch(pipeline, LANE, wait_seconds=LONG))

        async def waits() -> bool:
            return bool((await js.consumer_info(stream, durable)).num_waiting)

        async def held() -> bool:
            return bool((await js.consumer_info(stream, durable)).num_ack_pending)

        await eventually(waits, "a fetch that waits", services=world.services)
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
        await world.publish(world.source.page(people(1)))
        await eventually(held, "a message that was delivered", services=world.services)
    async with feeding(world, ack_wait_seconds=10 * LONG) as (feed, pipeline):
        assert await feed.fetch(pipeline, LANE, wait_seconds=LONG / 2) is not None


async def test_a_missing_consumer_is_news_and_a_closed_connection_an_error(world: World) -> None:
    async with feeding(world) as (feed, pipeline):
        js = world.client.jetstream()
        durable = durable_name(pipeline.group, pipeline.name, LANE)
        waiting = asyncio.create_task(feed.news(pipeline, LANE, wait_seconds=LONG))
        await js.delete_consumer(stream_name(pipeline.name), durable)
        async with asyncio.timeout(LONG / 2):
            assert await waiting
            assert await feed.news(pipeline, LANE, wait_seconds=LONG)
    nowhere = NatsSection(servers=["nats://127.0.0.1:1"])
    feed = NatsLaneFeed(nowhere, Connection(nowhere, name="none", timeout=1), name="none", ack_wait_seconds=2)
    with pytest.raises(StreamUnavailableError):
        await feed.news(pipeline, LANE, wait_seconds=0.1)


async def test_consumers_that_are_there_are_not_declared_again_and_lost_ones_are(world: World) -> None:
    async with feeding(world) as (feed, pipeline):
        js = world.client.jetstream()
        stream, durable = stream_name(pipeline.name), durable_name(pipeline.group, pipeline.name, LANE)
        await feed.discover(pipeline)  # sees what the first look has made
        info = await js.consumer_info(stream, durable)
        info.config.ack_wait = 77
        await js.add_consumer(stream, info.config)
        await feed.discover(pipeline)
        assert (await js.consumer_info(stream, durable)).config.ack_wait == 77
        await js.delete_consumer(stream, durable)
        await feed.discover(pipeline)
        assert (await js.consumer_info(stream, durable)).config.ack_wait == 2
        await js.delete_stream(stream)
        await world.declare()
        await feed.discover(pipeline)
        assert await js.consumer_info(stream, durable)


async def test_l_one_slot_serves_twelve_lanes_whenever_something_comes(world: World) -> None:
    loader = world.loader()
    await loader.start()
    await world.publish(world.source.page(people(*range(100))))
    await world.applied(1)
    for step in range(2, 6):
        await _at_rest(world)
        await world.publish(world.source.incremental(people(*range(100), name=f"s{step}_")))
        await world.applied(step)
    assert set((await world.rows()).values()) == {f"s5_{i}" for i in range(100)}


async def _at_rest(world: World) -> None:
    """Every lane is watched: a request of the loader waits at each consumer."""
    js = world.client.jetstream()

    async def watched() -> bool:
        found = [
            await js.consumer_info(
                stream_name(world.name), durable_name(GroupName(world.group), world.name, Lane(lane))
            )
            for lane in range(world.source.lanes)
        ]
        return all(one.num_waiting for one in found)

    await eventually(watched, "a request waiting at every lane", services=world.services)

"""A group's consumers and progress on a real server: begun again, and ended where lanes are gone."""

import asyncio
from collections.abc import Sequence

from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import people, pipeline
from tests.integration.loader.world import World, opened

from qupersync_loader.infrastructure.nats.claims import NatsClaims
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.progress import lane_key
from qupersync_shared.contracts.subjects import durable_name, stream_name
from qupersync_shared.kernel.ids import GroupName, Lane
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import ensure_bucket, ensure_consumer


def lanes(*numbers: int) -> frozenset[Lane]:
    return frozenset(map(Lane, numbers))


async def declare(world: World, group: str, numbers: Sequence[int]) -> None:
    js = world.client.jetstream()
    await ensure_bucket(js)
    for lane in map(Lane, numbers):
        await ensure_consumer(js, GroupName(group), world.name, lane, 5)
        await bucket.write(js, lane_key(GroupName(group), world.name, lane), b"{}")


async def acknowledge(world: World, group: str, lane: int) -> None:
    js = world.client.jetstream()
    subscription = await js.pull_subscribe_bind(
        consumer=durable_name(GroupName(group), world.name, Lane(lane)), stream=stream_name(world.name)
    )
    [message] = await subscription.fetch(1, timeout=10)
    await message.ack_sync()
    await subscription.unsubscribe()


async def waiting(world: World, group: str, lane: int) -> int:
    js = world.client.jetstream()
    info = await js.consumer_info(stream_name(world.name), durable_name(GroupName(group), world.name, Lane(lane)))
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


async def consumers(world: World) -> list[str]:
    return sorted(info.name for info in await world.client.jetstream().consumers_info(stream_name(world.name)))


async def test_lanes_that_had_acknowledged_something_are_given_everything_again(
    postgres: PostgresHarness, local_stack: ThreadedStack
) -> None:
    async with opened(postgres, local_stack.stack.nats.url, lanes=2) as world:
        await world.publish(world.source.incremental(), world.source.incremental())
        for group in ("mine", "other"):
            await declare(world, group, (0, 1))
            await acknowledge(world, group, 0)
        claims = NatsClaims(world.connection, ack_wait_seconds=5)
        mine = pipeline(name=world.name, group=GroupName("mine"))
        assert await claims.begin_again(mine, lanes(0, 1, 7)) == lanes(0)
        assert [await waiting(world, "mine", lane) for lane in (0, 1)] == [2, 2]
        assert await waiting(world, "other", 0) == 1, "another group's place is its own"
        assert await claims.begin_again(mine, lanes(0, 1)) == frozenset(), "nothing was acknowledged since"


async def test_claims_on_other_lanes_end_unless_something_waits_there(
    postgres: PostgresHarness, local_stack: ThreadedStack
) -> None:
    async with opened(postgres, local_stack.stack.nats.url, lanes=3) as world:
        await world.publish(world.source.incremental())
        await declare(world, "mine", (0, 1, 2))
        await declare(world, "other", (2,))
        await acknowledge(world, "mine", 2)
        mine = pipeline(name=world.name, group=GroupName("mine"))
        one, two = [NatsClaims(world.connection, ack_wait_seconds=5) for _ in range(2)]
        ended = await asyncio.gather(*(each.end(mine, kept=lanes(0)) for each in (one, two)))
        assert frozenset().union(*ended) == lanes(1, 2)
        names = [durable_name(GroupName(group), world.name, Lane(lane)) for group, lane in (("mine", 0), ("mine", 1))]
        assert await consumers(world) == [*names, durable_name(GroupName("other"), world.name, Lane(2))]
        kept = await bucket.read(world.client, [f"lane.*.{world.name}.*"])
        assert sorted(kept) == [f"lane.mine.{world.name}.0", f"lane.other.{world.name}.2"]


async def test_lanes_that_a_target_has_lost_while_it_knows_others_are_read_again(
    postgres: PostgresHarness, local_stack: ThreadedStack
) -> None:
    async with opened(postgres, local_stack.stack.nats.url, lanes=3, deletes="keep") as world:
        await world.publish(world.source.page(people(*range(60))), world.source.incremental(people(*range(60, 90))))
        assert (await world.run_until_drained("first")).exit_code == 0
        # Whoever began all of them again died after the first.
        await postgres.execute("DELETE FROM public.qupersync_watermark WHERE lane > 0")
        await postgres.execute("DELETE FROM public.people WHERE mod(_qs_slot, 3) > 0")
        again = await world.run_until_drained("again")
        assert again.exit_code == 0, again.tail()
        assert await world.rows() == {number: f"n{number}" for number in range(90)}
        assert await world.sequences() == [2, 2, 2]

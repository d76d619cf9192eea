"""26: of three NATS nodes one is killed and comes back, while rows keep coming."""

import asyncio
import time
from functools import partial

import nats.errors
import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import OLD, Audit, consumer, drained, in_source, jetstream, meanwhile, parked

from qupersync_local.nats_cluster import LocalNatsCluster
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(26), pytest.mark.integration]
FIRST = 500
KILLS = 2
# The nodes that are left take four to nine seconds until one of them stands for election, and nobody is served before.
# The stall is reported as a reader of the target sees it, whole; what is held to the promise is what comes on top.
STALL_SECONDS_MAX = 10.0
LANES = 3


@pytest.mark.long
@pytest.mark.timeout(420)
async def test_no_loss_and_no_long_stall_while_a_node_is_away(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with (
        LocalNatsCluster.start() as cluster,
        opened(local_stack, nats={"servers": cluster.urls, "replicas": len(cluster.nodes)}) as world,
    ):
        await world.insert(1, FIRST, moment=OLD)
        await world.migrate()
        await world.services.run(loaders=2)
        await world.wait_for_snapshot(None, seconds_max=180)
        async with (
            Audit.opened(world) as audit,
            jetstream(world) as js,
            jetstream(world, timeout_seconds=0.5) as impatient,  # who asks while nobody answers must not wait for long
        ):
            assert (await _stream(js, world)).config.num_replicas == len(cluster.nodes)
            flow = _Flow(world, audit)
            async with meanwhile(flow.insert), meanwhile(flow.watch):
                await flow.goes_on()
                stalls = []
                for _ in range(KILLS):
                    name = await _leader(js, world)
                    flow.begin()
                    began = time.monotonic()
                    await cluster.node(name).kill()
                    await eventually("the nodes do not agree", partial(_agreed, impatient, world, name))
                    chosen = time.monotonic() - began
                    await flow.goes_on()
                    stalls.append((flow.longest, chosen))
                    await cluster.node(name).run()
                    await eventually("the node is not level again", lambda: _level(impatient, world))
                await flow.goes_on()
            rows = await in_source(world)
            await drained(world, rows)
            marks = await audit.assert_in_order()
        facts |= {
            "rows": rows,
            "events": marks,
            "kills": KILLS,
            "longest stall of a lane": " and ".join(
                f"{stall:.1f} s (no leader for {chosen:.1f} of them)" for stall, chosen in stalls
            ),
        }
        for stall, chosen in stalls:
            assert stall - chosen < STALL_SECONDS_MAX, (
                f"a lane loaded nothing for {stall:.1f} s, leaders stood at {chosen:.1f}"
            )
        assert await parked(world) == (0, 0)


class _Flow:
    """Rows that keep coming on every lane, and the longest time in which a lane loaded nothing."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit
        self._since: dict[int, float] = {}
        self.newest = FIRST
        self.loaded: dict[int, int] = {}
        self.by_lane: dict[int, float] = {}

    def begin(self) -> None:
        """What was before does not count."""
        self.by_lane.clear()

    @property
    def longest(self) -> float:
        return max(self.by_lane.values(), default=0.0)

    async def insert(self) -> None:
        while True:
            await self._world.insert(self.newest + 1, self.newest + 10)
            self.newest += 10
            self._world.services.check()
            await asyncio.sleep(0.1)

    async def watch(self) -> None:
        while True:
            loaded = await self._audit.by_lane()
            now = time.monotonic()
            for lane in range(LANES):
                if loaded.get(lane, 0) > self.loaded.get(lane, 0):
                    self._since[lane] = now
                self.by_lane[lane] = max(self.by_lane.get(lane, 0.0), now - self._since.setdefault(lane, now))
            self.loaded = loaded
            await asyncio.sleep(0.1)

    async def goes_on(self) -> None:
        """Returns when every lane has loaded some more."""
        seen = dict(self.loaded)

        async def more() -> bool:
            return all(self.loaded.get(lane, 0) >= seen.get(lane, 0) + 2 for lane in range(LANES))

        await eventually("nothing more is loaded", more)


async def _stream(js: JetStreamContext, world: World) -> StreamInfo:
    return await js.stream_info(stream_name(PipelineName(world.name)))


async def _leader(js: JetStreamContext, world: World) -> str:
    info = await _stream(js, world)
    assert info.cluster is not None
    assert info.cluster.leader is not None
    return info.cluster.leader


async def _agreed(js: JetStreamContext, world: World, without: str) -> bool:
    """Whether the stream and every lane's consumer are led by other nodes than this one."""
    try:
        clusters = [(await _stream(js, world)).cluster]
        clusters += [(await consumer(js, world, lane)).cluster for lane in range(LANES)]
    except (nats.errors.Error, OSError, TimeoutError):
        return False
    return all(one is not None and one.leader not in (None, "", without) for one in clusters)


async def _level(js: JetStreamContext, world: World) -> bool:
    try:
        info = await _stream(js, world)
    except (nats.errors.Error, OSError, TimeoutError):
        return False
    others = info.cluster.replicas or [] if info.cluster is not None else []
    return len(others) == 2 and all(peer.current and not peer.offline for peer in others)

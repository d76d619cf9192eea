"""26: of three NATS nodes one is killed and comes back, while rows keep coming."""

import asyncio
import time
from functools import partial

import nats.errors
import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import OLD, Audit, consumer, drained, jetstream, meanwhile, parked

from qupersync_local.nats_cluster import LocalNatsCluster
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(26), pytest.mark.integration]
FIRST = 500
KILLS = 2
# The row's promise, counted from when the nodes that are left have chosen their leaders: that is theirs to do, and
# takes them four to nine seconds.
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
        async with Audit.opened(world) as audit, jetstream(world, timeout_seconds=1) as js:
            flow = _Flow(world, audit)
            async with meanwhile(flow.insert), meanwhile(flow.watch):
                await flow.goes_on()
                stalls = []
                for _ in range(KILLS):
                    name = await _leader(js, world)
                    flow.longest = 0.0
                    began = time.monotonic()
                    await cluster.node(name).kill()
                    await eventually("the nodes do not agree", partial(_agreed, js, world, name), seconds_max=60)
                    chosen = time.monotonic() - began
                    await flow.goes_on()
                    stalls.append((flow.longest, chosen))
                    await cluster.node(name).run()
                    await eventually("the node is not level again", lambda: _level(js, world), seconds_max=120)
                await flow.goes_on()
            await drained(world, flow.newest)
            marks = await audit.assert_in_order()
        for stall, chosen in stalls:
            assert stall - chosen < STALL_SECONDS_MAX, (
                f"nothing was loaded for {stall:.1f} s, leaders stood at {chosen:.1f}"
            )
        assert await parked(world) == (0, 0)
        facts |= {
            "rows": flow.newest,
            "events": marks,
            "kills": KILLS,
            "stalls": " and ".join(f"{stall:.1f} s ({chosen:.1f} until leaders stood)" for stall, chosen in stalls),
        }


class _Flow:
    """Rows that keep coming, and the longest time in which none was loaded."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit
        self.newest = FIRST
        self.loaded = 0
        self.longest = 0.0

    async def insert(self) -> None:
        while True:
            await self._world.insert(self.newest + 1, self.newest + 10)
            self.newest += 10
            self._world.services.check()
            await asyncio.sleep(0.1)

    async def watch(self) -> None:
        since, before = time.monotonic(), 0
        while True:
            self.loaded = await self._audit.count()
            now = time.monotonic()
            if self.loaded > before:
                since, before = now, self.loaded
            self.longest = max(self.longest, now - since)
            await asyncio.sleep(0.1)

    async def goes_on(self) -> None:
        """Returns when some more was loaded."""
        seen = self.loaded

        async def more() -> bool:
            return self.loaded >= seen + 6

        await eventually("nothing more is loaded", more, seconds_max=60)


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

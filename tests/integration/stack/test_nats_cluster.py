"""The cluster of the local stack: every node keeps a copy, and the others go on without one."""

import nats
import pytest
from nats.js.api import StorageType
from tests.e2e.world import eventually

from qupersync_local.nats_cluster import LocalNatsCluster
from qupersync_local.supervise import StackError

pytestmark = pytest.mark.integration


@pytest.mark.timeout(400)
async def test_what_was_acknowledged_outlives_its_leader() -> None:
    async with LocalNatsCluster.start() as cluster:
        client = await nats.connect(cluster.urls, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_silent)
        try:
            js = client.jetstream(timeout=20)
            await js.add_stream(name="kept", subjects=["kept"], num_replicas=3, storage=StorageType.FILE)
            for number in range(20):
                await js.publish("kept", str(number).encode())
            info = await js.stream_info("kept")
            assert info.cluster is not None
            assert info.cluster.leader is not None
            assert len(info.cluster.replicas or []) == 2
            leader = cluster.node(info.cluster.leader)
            await leader.kill()
            assert (await _last(cluster, leader.url)).decode() == "19"
            await leader.run()
            await cluster.ready()
        finally:
            await client.close()
        with pytest.raises(StackError, match="no node"):
            cluster.node("somebody else")


async def _last(cluster: LocalNatsCluster, without: str) -> bytes:
    """The stream's last message, asked of the nodes that are left until they have agreed on a leader."""
    client = await nats.connect([url for url in cluster.urls if url != without], error_cb=_silent)
    found: list[bytes] = []

    async def answered() -> bool:
        try:
            message = await client.jetstream(timeout=1).get_last_msg("kept", "kept")
        except (nats.errors.Error, TimeoutError):
            return False
        found.append(message.data or b"")
        return True

    try:
        await eventually("the nodes that are left have not agreed on a leader", answered)
    finally:
        await client.close()
    return found[0]


async def _silent(_: Exception) -> None:
    """A node goes away on purpose."""

"""Several nats-servers that keep copies of each other's streams, as production runs them: each may be killed alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import nats
import nats.errors
import nats.js.errors

from qupersync_local.nats import LocalNats
from qupersync_local.supervise import StackError, WorkDirectory, free_port

SIZE = 3
_READY_SECONDS_MAX = 60.0
_ATTEMPTS = 3
_PROBE = "ready"


class LocalNatsCluster:
    """Nodes on free ports of this machine; what is acknowledged was written to disk (`sync_interval: always`)."""

    def __init__(self, nodes: tuple[LocalNats, ...]) -> None:
        self.nodes = nodes

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        directory: Path | None = None,
        *,
        size: int = SIZE,
        payload_bytes_max: int = 1_048_576,
        store_bytes_max: int = 1 << 40,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> AsyncIterator["LocalNatsCluster"]:
        """Run a cluster until the block ends; `settings` are further keys of every node's configuration file.

        Returns when a stream with a copy on every node can be made.
        """
        work = WorkDirectory.create(directory)
        try:
            for attempt in range(_ATTEMPTS):
                cluster = cls(_nodes(work, attempt, size, payload_bytes_max, store_bytes_max, settings))
                try:
                    await cluster.run()
                except StackError:
                    await cluster.kill()
                    if attempt + 1 == _ATTEMPTS:  # another process may have taken a free port in between
                        raise
                    continue
                break
            try:
                yield cluster
            finally:
                await cluster.kill()
        finally:
            work.close()

    @property
    def urls(self) -> list[str]:
        """Where clients connect; any node serves them all."""
        return [node.url for node in self.nodes]

    def node(self, server_name: str) -> LocalNats:
        """The node that JetStream calls by this name, as the leader of a stream for instance."""
        for node in self.nodes:
            if node.server_name == server_name:
                return node
        raise StackError(f"{server_name} is no node of this cluster")

    async def run(self) -> None:
        """Start the nodes that do not run; returns when the cluster keeps a copy of a new stream on every node."""
        started = await asyncio.gather(*(node.run() for node in self.nodes), return_exceptions=True)
        for outcome in started:
            if outcome is not None:
                raise outcome
        await self.ready()

    async def ready(self) -> None:
        """Returns when all nodes run, have found each other, and take a stream with a copy on each."""
        try:
            async with asyncio.timeout(_READY_SECONDS_MAX):
                while True:
                    if await self._takes_a_stream():
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise StackError(f"the nodes did not form a cluster within {_READY_SECONDS_MAX:g} s") from None

    async def _takes_a_stream(self) -> bool:
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            client = await nats.connect(self.urls, error_cb=_ignore, allow_reconnect=False, connect_timeout=5)
            try:
                js = client.jetstream(timeout=5)
                with contextlib.suppress(nats.js.errors.NotFoundError):
                    await js.delete_stream(_PROBE)  # of an attempt that was not answered in time
                await js.add_stream(name=_PROBE, subjects=[f"_{_PROBE}"], num_replicas=len(self.nodes))
                await js.delete_stream(_PROBE)
            finally:
                await client.close()
            return True
        return False

    async def stop(self) -> None:
        """Stop every node; the stores stay, and `run` goes on with them."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def kill(self) -> None:
        """End every node as a crash would."""
        await asyncio.gather(*(node.kill() for node in self.nodes))


def _nodes(
    work: WorkDirectory,
    attempt: int,
    size: int,
    payload_bytes_max: int,
    store_bytes_max: int,
    settings: Mapping[str, object],
) -> tuple[LocalNats, ...]:
    ports = [free_port() for _ in range(size)]
    routes = [f"nats://127.0.0.1:{port}" for port in ports]
    jetstream = settings.get("jetstream", {})
    if not isinstance(jetstream, Mapping):
        raise StackError("the setting jetstream is a mapping")
    return tuple(
        LocalNats.create(
            work=work,
            name=f"nats-{attempt}-{number}",
            payload_bytes_max=payload_bytes_max,
            store_bytes_max=store_bytes_max,
            settings={
                **settings,
                "cluster": {
                    "name": work.path.name,
                    "listen": f"127.0.0.1:{port}",
                    "routes": [route for route in routes if not route.endswith(f":{port}")],
                },
                "jetstream": {"sync_interval": "always", **jetstream},
            },
        )
        for number, port in enumerate(ports)
    )


async def _ignore(_: Exception) -> None:
    """Nodes that are still looking for each other refuse for a while."""

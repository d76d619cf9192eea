"""A way through a proxy for single processes of a world: their environment names the proxy, the file does not."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from tests.e2e.world import World
from tests.faults.proxy import Proxy

Part = Literal["source", "outbox", "nats", "target"]


@dataclass(frozen=True, slots=True)
class Route:
    """Processes that are given `environment` reach the part through `proxy`."""

    proxy: Proxy
    environment: Mapping[str, str]


@asynccontextmanager
async def routed(world: World, part: Part) -> AsyncIterator[Route]:
    """A proxy before one of the four servers of this world, and the environment of processes that go through it."""
    section = world.configuration[part]
    if part == "source":
        async with Proxy.opened(section["host"], section["port"]) as proxy:
            yield Route(proxy, {"QUPERSYNC_SOURCE__HOST": "127.0.0.1", "QUPERSYNC_SOURCE__PORT": str(proxy.port)})
        return
    address = urlsplit(section["servers"][0] if part == "nats" else section["dsn"])
    assert address.hostname is not None
    assert address.port is not None
    async with Proxy.opened(address.hostname, address.port) as proxy:
        place = f"{address.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}".removeprefix("@")
        name = "SERVERS" if part == "nats" else "DSN"
        yield Route(proxy, {f"QUPERSYNC_{part.upper()}__{name}": urlunsplit(address._replace(netloc=place))})

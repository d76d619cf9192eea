"""A nats-server per test: these tests kill, fill and reconfigure it."""

from collections.abc import AsyncIterator

import pytest

from qupersync_local.nats import LocalNats
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.settings import NatsSection


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/jetstream" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)


@pytest.fixture
async def server() -> AsyncIterator[LocalNats]:
    async with LocalNats.start() as running:
        yield running


@pytest.fixture
def section(server: LocalNats) -> NatsSection:
    return NatsSection(servers=[server.url], stream_bytes_max=64 << 20)


@pytest.fixture
async def connection(section: NatsSection) -> AsyncIterator[Connection]:
    made = Connection(section, name="test", timeout=3)
    yield made
    await made.close()

"""A world for one test, on the stack that all suites share."""

from collections.abc import AsyncIterator

import pytest
from tests.e2e.world import World, opened

from qupersync_local.threaded import ThreadedStack


@pytest.fixture
async def world(local_stack: ThreadedStack) -> AsyncIterator[World]:
    async with opened(local_stack) as made:
        yield made

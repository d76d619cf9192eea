"""The stack that end-to-end tests share, and worlds on it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.e2e.world import World, opened

from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack


@pytest.fixture(scope="session")
def local_stack() -> Iterator[ThreadedStack]:
    with ThreadedStack(options=StackOptions(fast=True)) as stack:
        yield stack


@pytest.fixture
async def world(local_stack: ThreadedStack) -> AsyncIterator[World]:
    async with opened(local_stack) as made:
        yield made

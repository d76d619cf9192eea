"""A page over memory, with and without tokens."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.extractor.page.world import PageWorld, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[PageWorld]:
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[PageWorld]:
    async with opened(tmp_path, tokens=True) as made:
        yield made

"""Entities over the stand-in's system views, which are empty before and after each test."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest
from tests.integration.sources.catalogue.seeds import Seeds

from qupersync_extractor.infrastructure.memory.node_types import FixedNodeTypes
from qupersync_extractor.infrastructure.memory.remembered import MemoryRemembered
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_local.standin import RedshiftStandin

Make = Callable[..., CatalogueSource]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/sources/catalogue" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)


@pytest.fixture
async def seeds(admin: asyncpg.Connection) -> AsyncIterator[Seeds]:
    made = Seeds(admin)
    await made.clear()
    yield made
    await made.clear()


@pytest.fixture
def remembered() -> MemoryRemembered:
    return MemoryRemembered(MemoryStore())


@pytest.fixture
def make_catalogue(
    make_source: Callable[..., RedshiftSource], standin: RedshiftStandin, remembered: MemoryRemembered
) -> Make:
    def make(**changes: Any) -> CatalogueSource:
        given: dict[str, Any] = {
            "user": standin.user,
            "place": "standin",
            "remembered": remembered,
            "node_types": FixedNodeTypes("ra3.4xlarge"),
        }
        return CatalogueSource(make_source(), **{**given, **changes})

    return make


@pytest.fixture
def catalogue(make_catalogue: Make) -> CatalogueSource:
    return make_catalogue()


@pytest.fixture(params=[0, 2])
def protocol(request: pytest.FixtureRequest, standin: RedshiftStandin) -> Iterator[int]:
    """The driver decodes NUMERIC and others quite differently in the two."""
    standin.front.protocol, before = request.param, standin.front.protocol
    yield request.param
    standin.front.protocol = before

"""A target of its own for every test, and one pipeline's live table with a shadow beside it."""

import pytest
from tests.conformance.loader.conftest import PostgresHarness, postgres
from tests.integration.rebuild.sides import Sides

__all__ = ["postgres", "sides"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/rebuild" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def sides(postgres: PostgresHarness) -> Sides:
    return Sides(postgres)
